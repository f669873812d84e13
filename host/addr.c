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

int addr_fd(const char *what, const char *text, int type)
{
    char *end;
    long fd = strtol(text, &end, 10);
    int is = 0;
    socklen_t len = sizeof(is);
    if (end == text || *end || fd < 0 || fd > 1 << 20)
        return fail(-EINVAL, "%s=%s: not the number of a descriptor", what,
                    text);
    if (fcntl((int)fd, F_GETFD) < 0)
        return fail(-EINVAL, "%s=%s: no such descriptor is open", what, text);
    if (getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &is, &len) < 0 ||
        (is != type && (type != SOCK_DGRAM || is != SOCK_SEQPACKET)))
        return fail(-EINVAL, "%s=%s: not a %s", what, text,
                    type == SOCK_STREAM ? "connected stream socket"
                                        : "socket for datagrams");
    fd_take((int)fd);
    return (int)fd;
}

void addr_own_fd(int fd)
{
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static const char *const types[] = {"unix", "inet", "fd", NULL};
enum { UNIX, INET, FD, NONE };

const struct field addr_fields[] = {
    FIELD(WORD, "type", struct addr_told, type, .words = types, .def = NONE,
          .help = "what kind of address"),
    FIELD(TEXT, "path", struct addr_told, path, .arg = "PATH",
          .help = "unix: the socket's"),
    FIELD(FLAG, "abstract", struct addr_told, abstract,
          .help = "unix: a name outside the file system"),
    FIELD(FLAG, "tight", struct addr_told, tight, .def = ON,
          .help = "unix: must be on: an abstract name ends where it ends"),
    FIELD(TEXT, "host", struct addr_told, host, .arg = "IP",
          .help = "inet: numeric, or localhost"),
    FIELD(NUMBER, "port", struct addr_told, port, .min = 1, .max = 65535,
          .help = "inet"),
    FIELD(FLAG, "ipv4", struct addr_told, ipv4, .def = ON,
          .help = "inet: may it be IPv4"),
    FIELD(FLAG, "ipv6", struct addr_told, ipv6, .def = ON,
          .help = "inet: may it be IPv6"),
    FIELD(TEXT, "str", struct addr_told, str, .arg = "N",
          .help = "fd: the descriptor, connected already"),
    {.help = NULL},
};

static int addr_check_inet(const struct addr_told *t, const char *what,
                           struct addr *a)
{
    char port[8] = "";
    if (t->port)
        snprintf(port, sizeof(port), "%u", t->port);
    int err = addr_inet(what, t->host, port, false, a);
    if (!err && !(a->sa.sa_family == AF_INET ? t->ipv4 : t->ipv6))
        err = fail(-EINVAL, "%s.host=%s: is of the kind that is off", what,
                   t->host ? t->host : "127.0.0.1");
    return err;
}

int addr_check(const struct addr_told *t, const char *what, const char *key,
               int type, struct addr *a)
{
    char label[120];
    snprintf(label, sizeof(label), "%s: %s", what, key);
    *a = (struct addr){.fd = -1};
    if (t->type == NONE && !t->path && !t->host && !t->port && !t->str)
        return 0;
    switch (t->type) {
    case UNIX:
        if (!t->tight)
            return fail(-EINVAL,
                        "%s.tight=off: an abstract name ends where it "
                        "ends",
                        label);
        return t->path ? addr_unix(label, t->path, t->abstract, a)
                       : fail(-EINVAL, "%s.path= is missing", label);
    case INET:
        return addr_check_inet(t, label, a);
    case FD:
        if (!t->str)
            return fail(-EINVAL, "%s.str= is missing", label);
        snprintf(label, sizeof(label), "%s: %s.str", what, key);
        a->fd = addr_fd(label, t->str, type);
        snprintf(a->text, sizeof(a->text), "fd:%s", t->str);
        return a->fd < 0 ? a->fd : 0;
    default:
        return fail(-EINVAL, "%s.type= is missing: unix, inet or fd", label);
    }
}

/* A UNIX socket's file outlives its owner: one that nobody answers at, and
 * only such a one, is taken over. */
static bool addr_stale(const struct addr *a)
{
    struct stat st;
    if (lstat(a->un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    static const int kinds[] = {SOCK_STREAM, SOCK_DGRAM};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        int fd = socket(AF_UNIX, kinds[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int err = fd >= 0 && !connect(fd, &a->sa, a->len) ? 0 : errno;
        if (fd >= 0)
            close(fd);
        if (err != ECONNREFUSED && err != EPROTOTYPE)
            return false;
    }
    return true;
}

int addr_beside(const struct addr *a, uint32_t n, struct addr *out)
{
    const size_t room = sizeof(a->un.sun_path), len = strlen(a->un.sun_path);
    *out = *a;
    int more = snprintf(out->un.sun_path + len, room - len, "_%u", n);
    if (len + (size_t)more >= room)
        return -ENAMETOOLONG;
    out->len += (socklen_t)more;
    return 0;
}

bool addr_is_file(const struct addr *a)
{
    return a->len && a->sa.sa_family == AF_UNIX && a->un.sun_path[0];
}

int addr_bind(int fd, const struct addr *a)
{
    int one = 1;
    if (a->sa.sa_family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, &a->sa, a->len) == 0)
        return 0;
    int err = -errno;
    if (err != -EADDRINUSE || !addr_is_file(a) || !addr_stale(a))
        return err;
    unlink(a->un.sun_path);
    return bind(fd, &a->sa, a->len) < 0 ? -errno : 0;
}

const char *addr_bind_why(const struct addr *a, int err)
{
    struct stat st;
    if (err != -EADDRINUSE || !addr_is_file(a) || lstat(a->un.sun_path, &st))
        return strerror(-err);
    if (S_ISDIR(st.st_mode))
        return "is a directory; name a file in it that is not there yet";
    if (!S_ISSOCK(st.st_mode))
        return "is there already, and no socket; remove it, or name another "
               "path";
    return "another process listens there; end it, or name another path";
}

int addr_dial(const struct addr *a)
{
    int fd =
        socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (!connect(fd, &a->sa, a->len) || errno == EINPROGRESS)
        return fd;
    int err = -errno;
    close(fd);
    return err;
}
