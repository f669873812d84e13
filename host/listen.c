/* SPDX-License-Identifier: MIT */
/* Descriptors that a service manager opened for us.
 *
 * They are numbered from 3 on, and named by a list with colons. A TAP's name is
 * "tap:NAME" there, although that has a colon itself: "tap" is nobody else's.
 * Who may not write a colon (a unit's FileDescriptorName=) writes "tap=NAME".
 */
#include "host/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/opts.h"
#include "host/addr.h"

#define FIRST 3 /* SD_LISTEN_FDS_START */
#define MOST 64

static const char
    *given[MOST]; /* the name of descriptor FIRST + i; NULL: taken */
static unsigned ngiven;
static char names[4096];

/* Cuts the next name off *p. */
static char *listen_cut(char **p)
{
    char *name = *p;
    bool tap = !strncmp(name, "tap:", 4);
    size_t n = (tap ? 4u : 0u) + strcspn(name + (tap ? 4 : 0), ":");
    *p = name[n] ? name + n + 1 : NULL;
    name[n] = '\0';
    if (!strncmp(name, "tap=", 4))
        name[3] = ':';
    return name;
}

static int listen_name_all(const char *list)
{
    char *p = names;
    unsigned n = 0;
    if ((size_t)snprintf(names, sizeof(names), "%s", list) >= sizeof(names))
        return fail(-EINVAL, "LISTEN_FDNAMES: longer than %zu characters",
                    sizeof(names) - 1);
    for (; p && n < ngiven; n++)
        given[n] = listen_cut(&p);
    if (n == ngiven && !p)
        return 0;
    return fail(-EINVAL,
                "LISTEN_FDNAMES=%s: must name as many as LISTEN_FDS=%u", list,
                ngiven);
}

static int listen_read(const char *count, const char *list)
{
    uint64_t n;
    if (!scan_number(&count, MOST, &n) || *count)
        return fail(-EINVAL, "LISTEN_FDS: must be a number up to %d", MOST);
    for (unsigned i = 0; i < n; i++)
        if (fcntl(FIRST + (int)i, F_GETFD) < 0)
            return fail(-EINVAL, "LISTEN_FDS=%u: descriptor %u is not open",
                        (unsigned)n, FIRST + i);
    ngiven = (unsigned)n;
    for (unsigned i = 0; i < n; i++)
        given[i] = "unknown";
    return n && list ? listen_name_all(list) : 0;
}

int listen_early(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    const char *list = getenv("LISTEN_FDNAMES");
    uint64_t number;
    int err = 0;
    ngiven = 0;
    if (pid && count && scan_number(&pid, INT32_MAX, &number) && !*pid &&
        number == (uint64_t)getpid())
        err = listen_read(count, list);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return err;
}

int listen_take(const char *name)
{
    for (unsigned i = 0; i < ngiven; i++)
        if (given[i] && !strcmp(given[i], name)) {
            given[i] = NULL;
            fd_take(FIRST + (int)i);
            return FIRST + (int)i;
        }
    return -ENOENT;
}

static bool listen_listens(int fd)
{
    int type = 0, listens = 0;
    socklen_t len = sizeof(int);
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
    return type == SOCK_STREAM && listens;
}

int listen_socket(const char *what, const char *name)
{
    int fd = listen_take(name);
    if (fd < 0)
        return fd;
    if (!listen_listens(fd))
        return fail(-EINVAL,
                    "%s: descriptor %d (LISTEN_FDNAMES %s): no stream socket "
                    "that is listened at",
                    what, fd, name);
    addr_own_fd(fd);
    return fd;
}

int listen_given(const char *what, const char *number)
{
    uint64_t n = 0;
    const char *p = number;
    if (!scan_number(&p, INT32_MAX, &n) || *p || n < FIRST ||
        !listen_listens((int)n))
        return fail(-EINVAL, "%s: fd=%s: no stream socket that is listened at",
                    what, number);
    fd_take((int)n);
    addr_own_fd((int)n);
    return (int)n;
}

int listen_check_rest(void)
{
    for (unsigned i = 0; i < ngiven; i++)
        if (given[i])
            return fail(
                -EINVAL,
                "LISTEN_FDNAMES: no option takes descriptor %u, \"%s\"; "
                "names are api, serial (-serial unix:PATH), tap:NAME "
                "(-tap NAME)",
                FIRST + i, given[i]);
    return 0;
}
