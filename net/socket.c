/* SPDX-License-Identifier: MIT */
/* -netdev stream, and -netdev socket, its older form: their options. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/endpoint.h"
#include "host/helper.h"
#include "net/dgram.h"
#include "net/stream.h"

/* Without reconnecting, not reaching the peer is an error at the start; two
 * seconds are enough for a neighbour. */
static int socket_connect_now(const struct addr *a)
{
    int fd = addr_dial(a);
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

/* -netdev stream, and the half of -netdev socket that is one. */
struct stream_dev {
    struct stream s;
    struct addr addr;
    struct addr_told told;
    uint8_t server;
    uint32_t reconnect, reconnect_ms;
    int way; /* to it again */
};

static unsigned socket_redial_ms(const struct stream_dev *d)
{
    return d->reconnect_ms ? d->reconnect_ms : d->reconnect * 1000;
}

static int socket_open_by_addr(struct stream_dev *d, struct loop *l)
{
    const struct addr *a = &d->addr;
    struct stream_conf c = {.peer = a->text,
                            .fd = a->fd,
                            .listen_fd = -1,
                            .redial_ms = socket_redial_ms(d)};
    if (d->server) {
        c.listen_fd = endpoint_listen(a, 1);
        if (c.listen_fd < 0)
            return fail(c.listen_fd, "%s: cannot listen: %s", a->text,
                        strerror(-c.listen_fd));
    } else if (c.redial_ms && a->fd < 0) {
        c.way = d->way;
    } else if (a->fd < 0) {
        c.fd = socket_connect_now(a);
        if (c.fd < 0)
            return c.fd;
    } else {
        addr_own_fd(a->fd);
    }
    return stream_open(&d->s, l, &c);
}

static int socket_stream_check(struct netdev *nd)
{
    struct stream_dev *d = container_of(nd, struct stream_dev, s.nd);
    const char *what = nd->opts.what;
    int err = addr_check(&d->told, what, "addr", SOCK_STREAM, &d->addr);
    if (err)
        return err;
    if (!d->addr.len && d->addr.fd < 0)
        return fail(-EINVAL, "%s: addr.type= is missing: unix, inet or fd",
                    what);
    if (d->server && d->addr.fd >= 0)
        return fail(-EINVAL, "%s: server=on needs an address, not a descriptor",
                    what);
    if (d->server && (d->reconnect || d->reconnect_ms))
        return fail(-EINVAL, "%s: a server does not reconnect", what);
    if (d->server)
        helper_need_unlink(&d->addr);
    else if (socket_redial_ms(d) && d->addr.fd < 0)
        d->way = helper_address(d->addr.text, &d->addr);
    return d->way < 0 ? d->way : 0;
}

static int socket_stream_dev_open(struct netdev *nd, struct loop *l)
{
    return socket_open_by_addr(container_of(nd, struct stream_dev, s.nd), l);
}

static const struct field stream_fields[] = {
    FIELDS_OF(netdev_fields, "", struct stream_dev, s.nd),
    FIELDS_OF(addr_fields, "addr", struct stream_dev, told),
    FIELD(FLAG, "server", struct stream_dev, server,
          .help = "wait for the peer, or go to it"),
    FIELD(NUMBER, "reconnect-ms", struct stream_dev, reconnect_ms,
          .max = 3600000, .help = "go to it again and again, with this pause"),
    FIELD(NUMBER, "reconnect", struct stream_dev, reconnect, .max = 3600,
          .help = "the same in seconds"),
    FIELDS_OF(stream_counters, "", struct stream_dev, s),
    {.help = NULL},
};

const struct netdev_class stream_class = {
    .name = "stream",
    .help = "a stream of frames, each behind its length",
    .fields = stream_fields,
    .size = sizeof(struct stream_dev),
    .check = socket_stream_check,
    .open = socket_stream_dev_open,
};

/* The older form: a stream or datagrams, as its keys say. */
struct socket_dev {
    union {
        struct netdev nd;
        struct stream_dev stream;
        struct dgram dgram;
    };
    const char *fd, *listen, *connect, *mcast, *udp, *localaddr;
};

static int socket_check_stream(struct socket_dev *d, const char *what)
{
    struct addr *a = &d->stream.addr;
    char label[120];
    d->stream.server = d->listen != NULL;
    if (d->fd) {
        snprintf(label, sizeof(label), "%s: fd", what);
        *a = (struct addr){.fd = addr_fd(label, d->fd, SOCK_STREAM)};
        snprintf(a->text, sizeof(a->text), "fd:%s", d->fd);
        return a->fd < 0 ? a->fd : 0;
    }
    snprintf(label, sizeof(label), "%s: %s", what,
             d->listen ? "listen" : "connect");
    return addr_host_port(label, d->listen ? d->listen : d->connect,
                          d->listen != NULL, a);
}

static int socket_check_dgram(struct socket_dev *d, const char *what)
{
    struct addr *local = &d->dgram.local, *remote = &d->dgram.remote;
    char label[120];
    local->fd = -1;
    snprintf(label, sizeof(label), "%s: %s", what, d->mcast ? "mcast" : "udp");
    int err =
        addr_host_port(label, d->mcast ? d->mcast : d->udp, false, remote);
    if (err)
        return err;
    if (d->mcast)
        return dgram_is_group(remote)
                   ? 0
                   : fail(-EINVAL, "%s=%s: not a multicast address", label,
                          d->mcast);
    if (!d->localaddr)
        return fail(-EINVAL, "%s: udp= needs localaddr=", what);
    snprintf(label, sizeof(label), "%s: localaddr", what);
    return addr_host_port(label, d->localaddr, true, local);
}

static int socket_check(struct netdev *nd)
{
    struct socket_dev *d = container_of(nd, struct socket_dev, nd);
    const char *what = nd->opts.what;
    if (!!d->fd + !!d->listen + !!d->connect + !!d->mcast + !!d->udp != 1)
        return fail(-EINVAL,
                    "%s: exactly one of fd=, listen=, connect=, mcast= and "
                    "udp= is needed",
                    what);
    if (d->localaddr && !d->udp)
        return fail(-EINVAL, "%s: localaddr= goes with udp=", what);
    return d->mcast || d->udp ? socket_check_dgram(d, what)
                              : socket_check_stream(d, what);
}

static int socket_open(struct netdev *nd, struct loop *l)
{
    struct socket_dev *d = container_of(nd, struct socket_dev, nd);
    return d->mcast || d->udp ? dgram_open(nd, l)
                              : socket_open_by_addr(&d->stream, l);
}

#define SOCKET_TEXT(key, value, text)                                          \
    FIELD(TEXT, #key, struct socket_dev, key, .arg = value, .help = text)
static const struct field socket_fields[] = {
    FIELDS_OF(netdev_fields, "", struct socket_dev, nd),
    SOCKET_TEXT(listen, "[IP]:PORT", "a stream (TCP): wait for the peer"),
    SOCKET_TEXT(connect, "IP:PORT", "or go to it"),
    SOCKET_TEXT(fd, "N", "or it is connected already"),
    SOCKET_TEXT(udp, "IP:PORT", "datagrams: where they go"),
    SOCKET_TEXT(localaddr, "[IP]:PORT", "and where they come"),
    SOCKET_TEXT(mcast, "IP:PORT", "a multicast group: one cable for many"),
    {.help = NULL},
};

const struct netdev_class socket_class = {
    .name = "socket",
    .help = "stream and dgram, as older versions of QEMU have them",
    .fields = socket_fields,
    .size = sizeof(struct socket_dev),
    .check = socket_check,
    .open = socket_open,
};
