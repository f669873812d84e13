/* SPDX-License-Identifier: MIT */
/* Socket addresses as QEMU spells them. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/log.h"
#include "host/addr.h"
#include "base/iov.h"

int addr_unix(const char *what, const char *path, bool abstract, struct addr *a)
{
    size_t n = strlen(path);
    if (n == 0 || n + 1 > sizeof(a->un.sun_path))
        return fail(-EINVAL, "%s %s: a socket's path has 1 to %zu characters",
                    what, path, sizeof(a->un.sun_path) - 1);
    *a = (struct addr){.fd = -1};
    a->un.sun_family = AF_UNIX;
    memcpy(a->un.sun_path + abstract, path, n);
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    if (abstract) /* unix(7): the name is as long as the address says */
        a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
    snprintf(a->text, sizeof(a->text), "unix:%s%s", abstract ? "@" : "", path);
    return 0;
}

/* Numeric hosts and "localhost" only: a resolver would be a tenth of the
 * binary, and answers late. */
int addr_inet(const char *what, const char *host, const char *port, bool any,
              struct addr *a)
{
    const char *h = host && *host ? host : any ? "0.0.0.0" : "127.0.0.1";
    uint64_t p;
    *a = (struct addr){.fd = -1};
    if (!port || !*port)
        return fail(-EINVAL, "%s %s: no port", what, h);
    if (parse_u64("port", port, 1, 65535, &p))
        return -EINVAL;
    if (!strcmp(h, "localhost"))
        h = "127.0.0.1";
    if (inet_pton(AF_INET, h, &a->in.sin_addr) == 1) {
        a->in.sin_family = AF_INET;
        a->in.sin_port = htons((uint16_t)p);
        a->len = sizeof(a->in);
    } else if (inet_pton(AF_INET6, h, &a->in6.sin6_addr) == 1) {
        a->in6.sin6_family = AF_INET6;
        a->in6.sin6_port = htons((uint16_t)p);
        a->len = sizeof(a->in6);
    } else {
        return fail(-EINVAL, "%s %s: must be a numeric address", what, h);
    }
    snprintf(a->text, sizeof(a->text), "%s:%s", h, port);
    return 0;
}

int addr_host_port(const char *what, const char *text, bool any, struct addr *a)
{
    char host[96];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof(host))
        return fail(-EINVAL, "%s=%s: must be host:port", what, text);
    size_t n = (size_t)(colon - text);
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    snprintf(host, sizeof(host), "%.*s", (int)n, text);
    return addr_inet(what, host, colon + 1, any, a);
}

int addr_take_fd(const char *what, const char *text)
{
    char *end;
    long fd = strtol(text, &end, 10);
    if (end == text || *end || fd < 0 || fd > 1 << 20)
        return fail(-EINVAL, "%s %s: not the number of a descriptor", what,
                    text);
    int fl = fcntl((int)fd, F_GETFL);
    if (fl < 0)
        return fail(-EBADF, "%s %s: no such descriptor is open", what, text);
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    fd_take((int)fd);
    fcntl((int)fd, F_SETFL, fl | O_NONBLOCK);
    return (int)fd;
}

/* The keys are asked for by name: an error message lists what was asked for,
 * so their texts live for good. */
static const struct {
    const char *name, *type, *path, *abstract, *tight, *host, *port, *ipv4,
        *ipv6, *str;
} keys[] = {
#define KEYS(k)                                                                \
    {                                                                          \
        k, k ".type", k ".path", k ".abstract", k ".tight", k ".host",         \
            k ".port", k ".ipv4", k ".ipv6", k ".str"                          \
    }
    KEYS("addr"),
    KEYS("local"),
    KEYS("remote"),
};

int addr_opts(struct opts *o, const char *key, struct addr *a)
{
    size_t k = 0;
    bool abstract = false, ignored;
    *a = (struct addr){.fd = -1};
    while (strcmp(keys[k].name, key))
        k++;
    const char *type = opts_str(o, keys[k].type, NULL);
    const char *path = opts_str(o, keys[k].path, NULL);
    const char *host = opts_str(o, keys[k].host, NULL);
    const char *port = opts_str(o, keys[k].port, NULL);
    const char *str = opts_str(o, keys[k].str, NULL);
    if (opts_bool(o, keys[k].abstract, &abstract) ||
        opts_bool(o, keys[k].tight, &ignored) ||
        opts_bool(o, keys[k].ipv4, &ignored) ||
        opts_bool(o, keys[k].ipv6, &ignored))
        return -EINVAL;
    if (!type && !path && !host && !port && !str)
        return 0;
    if (!type)
        return fail(-EINVAL, "%s: %s.type= is missing: unix, inet or fd",
                    o->what, key);
    if (!strcmp(type, "unix"))
        return path ? addr_unix(keys[k].path, path, abstract, a)
                    : fail(-EINVAL, "%s: %s.path= is missing", o->what, key);
    if (!strcmp(type, "inet"))
        return addr_inet(keys[k].host, host, port, false, a);
    if (strcmp(type, "fd"))
        return fail(-EINVAL, "%s: %s.type=%s: must be unix, inet or fd",
                    o->what, key, type);
    if (!str)
        return fail(-EINVAL, "%s: %s.str= is missing", o->what, key);
    a->fd = addr_take_fd(keys[k].str, str);
    snprintf(a->text, sizeof(a->text), "fd:%s", str);
    return a->fd < 0 ? a->fd : 0;
}

/* A UNIX socket's file outlives its owner: one that nobody answers at, and
 * only such a one, is taken over. */
static bool stale(const struct addr *a)
{
    struct stat st;
    if (lstat(a->un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r = fd < 0 ? -1 : connect(fd, &a->sa, a->len);
        int err = errno;
        if (fd >= 0)
            close(fd);
        if (r == 0 || (err != ECONNREFUSED && err != EPROTOTYPE))
            return false;
    }
    return true;
}

int addr_bind(int fd, const struct addr *a)
{
    int one = 1;
    bool file = a->sa.sa_family == AF_UNIX && a->un.sun_path[0];
    if (a->sa.sa_family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, &a->sa, a->len) == 0)
        return 0;
    if (errno != EADDRINUSE || !file || !stale(a))
        return -errno;
    unlink(a->un.sun_path);
    return bind(fd, &a->sa, a->len) < 0 ? -errno : 0;
}

void addr_unlink(const struct addr *a)
{
    if (a->len && a->sa.sa_family == AF_UNIX && a->un.sun_path[0])
        unlink(a->un.sun_path);
}
