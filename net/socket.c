/* SPDX-License-Identifier: MIT */
/* -netdev stream, and -netdev socket, its older form: their options. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/dgram.h"
#include "net/stream.h"

static int dial_addr(void *arg)
{
    const struct addr *a = arg;
    int fd =
        socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, &a->sa, a->len) < 0 && errno != EINPROGRESS) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

static int listen_at(const struct addr *a)
{
    int fd =
        socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail(-errno, "socket: %s", strerror(errno));
    int r = addr_bind(fd, a);
    if (r == 0 && listen(fd, 1) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return fail(r, "%s: cannot listen: %s", a->text, strerror(-r));
    }
    return fd;
}

/* Without reconnecting, not reaching the peer is an error at the start; two
 * seconds are enough for a neighbour. */
static int connect_now(const struct addr *a)
{
    int fd = dial_addr((void *)(uintptr_t)a);
    int err = fd < 0 ? -fd : 0;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t len = sizeof(err);
    if (!err && poll(&p, 1, 2000) == 0)
        err = ETIMEDOUT;
    if (!err)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if (!err)
        return fd;
    if (fd >= 0)
        close(fd);
    return fail(-err,
                "%s: cannot connect: %s; start the other side first, or "
                "say reconnect-ms=1000",
                a->text, strerror(err));
}

static int stream_by_addr(struct loop *l, const char *id, const struct addr *a,
                          bool server, unsigned redial_ms, struct netdev **out)
{
    struct stream_conf c = {
        .peer = a->text, .fd = a->fd, .listen_fd = -1, .redial_ms = redial_ms};
    if (a->fd >= 0 && server)
        return fail(-EINVAL, "server=on needs an address, not a descriptor");
    if (server) {
        c.bound = a;
        c.listen_fd = listen_at(a);
        if (c.listen_fd < 0)
            return c.listen_fd;
    } else if (redial_ms && a->fd < 0) {
        c.dial = dial_addr;
        c.end = free;
        c.arg = malloc(sizeof(*a));
        if (!c.arg)
            return -ENOMEM;
        memcpy(c.arg, a, sizeof(*a));
    } else if (a->fd < 0) {
        c.fd = connect_now(a);
        if (c.fd < 0)
            return c.fd;
    }
    return stream_new(l, id, &c, out);
}

static int stream_open(struct loop *l, struct opts *o, struct netdev **out)
{
    struct addr a;
    bool server = false;
    uint64_t s = 0, ms = 0;
    const char *id = opts_str(o, "id", "");
    int r = addr_opts(o, "addr", &a);
    r |= opts_bool(o, "server", &server);
    r |= opts_u64(o, "reconnect", 0, 3600, &s);
    r |= opts_u64(o, "reconnect-ms", 0, 3600000, &ms);
    if (r || opts_done(o))
        return -EINVAL;
    if (!a.len && a.fd < 0)
        return fail(-EINVAL, "%s: addr.type= is missing: unix, inet or fd",
                    o->what);
    if (server && (s || ms))
        return fail(-EINVAL, "%s: a server does not reconnect", o->what);
    return stream_by_addr(l, id, &a, server, (unsigned)(ms ? ms : s * 1000),
                          out);
}

const struct netdev_class stream_class = {
    .name = "stream",
    .help = "addr.type=unix,addr.path=PATH[,addr.abstract=on]\n"
            "addr.type=inet,addr.host=IP,addr.port=N\n"
            "addr.type=fd,addr.str=N   connected already\n"
            "server=on|off             wait for the peer, or go to it (off)\n"
            "reconnect-ms=N            go to it again and again\n",
    .open = stream_open,
};

static int socket_open(struct loop *l, struct opts *o, struct netdev **out)
{
    const char *id = opts_str(o, "id", "");
    const char *fd = opts_str(o, "fd", NULL);
    const char *lis = opts_str(o, "listen", NULL);
    const char *con = opts_str(o, "connect", NULL);
    const char *mcast = opts_str(o, "mcast", NULL);
    const char *udp = opts_str(o, "udp", NULL);
    const char *local = opts_str(o, "localaddr", NULL);
    struct addr a = {.fd = -1}, b = {.fd = -1};
    int r = opts_done(o);
    if (r < 0)
        return r;
    if (!!fd + !!lis + !!con + !!mcast + !!udp != 1)
        return fail(-EINVAL,
                    "%s: exactly one of fd=, listen=, connect=, mcast= and "
                    "udp= is needed",
                    o->what);
    if (fd) {
        a.fd = addr_take_fd("fd", fd);
        snprintf(a.text, sizeof(a.text), "fd:%s", fd);
        return a.fd < 0 ? a.fd : stream_by_addr(l, id, &a, false, 0, out);
    }
    if (lis || con) {
        r = addr_host_port(lis ? "listen" : "connect", lis ? lis : con,
                           lis != NULL, &a);
        return r < 0 ? r : stream_by_addr(l, id, &a, lis != NULL, 0, out);
    }
    r = addr_host_port(mcast ? "mcast" : "udp", mcast ? mcast : udp, false, &a);
    if (r == 0 && udp && !local)
        r = fail(-EINVAL, "%s: udp= needs localaddr=", o->what);
    if (r == 0 && udp)
        r = addr_host_port("localaddr", local, true, &b);
    return r < 0 ? r : dgram_new(l, id, &b, &a, out);
}

const struct netdev_class socket_class = {
    .name = "socket",
    .help = "listen=[IP]:PORT  connect=IP:PORT  fd=N   a stream (TCP)\n"
            "udp=IP:PORT,localaddr=[IP]:PORT            datagrams\n"
            "mcast=IP:PORT                              one cable for many\n",
    .open = socket_open,
};
