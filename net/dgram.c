/* SPDX-License-Identifier: MIT */
/* A backend of datagrams: one frame each, over a UNIX socket or UDP, as QEMU's
 * -netdev dgram does it. There is no connection, so the cable is always in; a
 * frame that nobody takes is lost, counted by the NIC and said once. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/dgram.h"
#include "base/iov.h"

struct dgram {
    struct netdev nd;
    struct netbe be;
    struct addr local, remote;
    struct fault f_send, f_recv;
    struct netdev_counts counts;
};

static const struct field dgram_counters[] = {
    COUNT("send_errors", struct dgram, f_send, "frames that could not be sent"),
    COUNT("recv_errors", struct dgram, f_recv, "reads that failed"),
    {.help = NULL},
};

static ssize_t dgram_send(struct netbe *be, const struct iovec *iov, int n)
{
    struct dgram *d = container_of(be, struct dgram, be);
    struct iovec tmp[IOV_COUNT_MAX];
    const struct iovec *in;
    int k = iov_skip(iov, n, NET_HDR_LEN, tmp, &in);
    if (k <= 0)
        return -EMSGSIZE;
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)in,
                       .msg_iovlen = (size_t)k};
    if (d->remote.len) {
        m.msg_name = &d->remote.sa;
        m.msg_namelen = d->remote.len;
    }
    ssize_t r = sendmsg(be->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (r >= 0)
        return r + NET_HDR_LEN;
    /* unix_dgram_sendmsg's EAGAIN is about the peer's queue, of which
     * EPOLLOUT on a socket that is not connected knows nothing. */
    bool blind = d->remote.len && d->remote.sa.sa_family == AF_UNIX;
    if (errno == EINTR || (errno == EAGAIN && !blind))
        return 0;
    int err = errno == EAGAIN ? ENOBUFS : errno;
    TRACE(NET, "%s send: %s", d->nd.id, strerror(err));
    fault_note(&d->f_send, "%s: %s does not take frames: %s", d->nd.id,
               d->remote.len ? d->remote.text : d->local.text, strerror(err));
    return -err;
}

static ssize_t dgram_recv(struct netbe *be, const struct iovec *iov, int n)
{
    struct dgram *d = container_of(be, struct dgram, be);
    struct iovec tmp[IOV_COUNT_MAX];
    const struct iovec *in;
    int k = iov_skip(iov, n, NET_HDR_LEN, tmp, &in);
    if (k <= 0)
        return -EINVAL;
    ssize_t r = readv(be->fd, in, k);
    if (r < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (r <= 0) { /* an empty datagram; ECONNREFUSED answers an earlier send */
        fault_note(&d->f_recv, "%s: %s: %s", d->nd.id,
                   d->local.len ? d->local.text : d->remote.text,
                   r ? strerror(errno) : "a datagram without a frame");
        return -EIO;
    }
    iov_zero(iov, n, NET_HDR_LEN);
    return r + NET_HDR_LEN;
}

static void dgram_close(struct netdev *nd)
{
    struct dgram *d = container_of(nd, struct dgram, nd);
    if (d->be.fd >= 0)
        close(d->be.fd);
    if (d->local.fd < 0)
        addr_unlink(&d->local);
    free(d);
}

/* One cable for everybody in the group, on this host unless routed. */
static int join_group(int fd, const struct addr *group)
{
    struct ip_mreqn m = {.imr_multiaddr = group->in.sin_addr};
    int one = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, &group->sa, group->len) < 0 ||
        setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)) < 0)
        return -errno;
    return 0;
}

static bool is_group(const struct addr *a)
{
    return a->len && a->sa.sa_family == AF_INET &&
           IN_MULTICAST(ntohl(a->in.sin_addr.s_addr));
}

static int dgram_socket(struct dgram *d)
{
    const struct addr *a = d->local.len ? &d->local : &d->remote;
    int type = 0;
    socklen_t len = sizeof(type);
    if (d->local.fd >= 0) {
        getsockopt(d->local.fd, SOL_SOCKET, SO_TYPE, &type, &len);
        return type == SOCK_DGRAM || type == SOCK_SEQPACKET
                   ? d->local.fd
                   : fail(-EINVAL, "%s: %s: not a socket for datagrams",
                          d->nd.id, d->local.text);
    }
    int fd =
        socket(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail(-errno, "socket: %s", strerror(errno));
    int r = 0;
    if (is_group(&d->remote) && !d->local.len)
        r = join_group(fd, &d->remote);
    else if (d->local.len)
        r = addr_bind(fd, &d->local);
    if (r < 0) {
        close(fd);
        d->local.len = 0; /* not ours to unlink */
        return fail(r, "%s: %s: cannot use it: %s%s", d->nd.id, a->text,
                    strerror(-r),
                    r == -ENODEV ? " (no route to groups); sudo ip route add "
                                   "224.0.0.0/4 dev lo"
                                 : "");
    }
    return fd;
}

int dgram_new(struct loop *l, const char *id, const struct addr *local,
              const struct addr *remote, struct netdev **out)
{
    struct dgram *d = calloc(1, sizeof(*d));
    (void)l;
    if (!d)
        return -ENOMEM;
    snprintf(d->nd.id, sizeof(d->nd.id), "%s", id);
    d->local = *local;
    d->remote = *remote;
    d->be =
        (struct netbe){.dev = &d->nd, .send = dgram_send, .recv = dgram_recv};
    d->nd.nq = 1;
    d->nd.q[0] = &d->be;
    d->nd.link_up = true;
    d->nd.close = dgram_close;
    netdev_count(&d->nd, &d->counts, dgram_counters, d);
    d->be.fd = dgram_socket(d);
    if (d->be.fd < 0) {
        int r = d->be.fd;
        dgram_close(&d->nd);
        return r;
    }
    *out = &d->nd;
    return 0;
}

static int dgram_open(struct loop *l, struct opts *o, struct netdev **out)
{
    struct addr local, remote;
    const char *id = opts_str(o, "id", "");
    if (addr_opts(o, "local", &local) || addr_opts(o, "remote", &remote) ||
        opts_done(o))
        return -EINVAL;
    if (remote.fd >= 0)
        return fail(-EINVAL, "%s: remote.type= must be unix or inet", o->what);
    if (local.fd < 0 && !remote.len)
        return fail(-EINVAL, "%s: remote.type= is missing", o->what);
    if (local.fd < 0 && !local.len && !is_group(&remote))
        return fail(-EINVAL, "%s: local.type= is missing: unix, inet or fd",
                    o->what);
    if (local.len && local.sa.sa_family != remote.sa.sa_family)
        return fail(-EINVAL, "%s: local.type= and remote.type= must agree",
                    o->what);
    return dgram_new(l, id, &local, &remote, out);
}

const struct netdev_class dgram_class = {
    .name = "dgram",
    .help =
        "local.type=unix,local.path=PATH,remote.type=unix,remote.path=PATH\n"
        "local.type=inet,local.host=IP,local.port=N,remote.type=inet,…\n"
        "local.type=fd,local.str=N             connected already\n"
        "remote.type=inet, a multicast group   one cable for many\n",
    .open = dgram_open,
};
