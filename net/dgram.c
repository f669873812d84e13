/* SPDX-License-Identifier: MIT */
/* A backend of datagrams: one frame each, over a UNIX socket or UDP, as QEMU's
 * -netdev dgram does it. There is no connection, so the cable is always in; a
 * frame that nobody takes is lost, counted by the NIC and said once. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/helper.h"
#include "net/dgram.h"
#include "base/iov.h"
#include "base/use.h"
#include "host/sandbox.h"

/* syscalls loop pair if socket: sendmsg */
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

/* syscalls loop pair if socket: readv */
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
                   *d->local.text ? d->local.text : d->remote.text,
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
    free(d);
}

/* One cable for everybody in the group, on this host unless routed. */
static int dgram_join_group(int fd, const struct addr *group)
{
    struct ip_mreqn m = {.imr_multiaddr = group->in.sin_addr};
    int one = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, &group->sa, group->len) < 0 ||
        setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)) < 0)
        return -errno;
    return 0;
}

bool dgram_is_group(const struct addr *a)
{
    return a->len && a->sa.sa_family == AF_INET &&
           IN_MULTICAST(ntohl(a->in.sin_addr.s_addr));
}

static int dgram_socket(struct dgram *d)
{
    const struct addr *a = d->local.len ? &d->local : &d->remote;
    if (d->local.fd >= 0) {
        addr_own_fd(d->local.fd);
        return d->local.fd;
    }
    int fd =
        socket(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = fd < 0         ? -errno
            : d->local.len ? addr_bind(fd, &d->local)
                           : dgram_join_group(fd, &d->remote);
    if (r == 0 && d->local.len)
        r = helper_unlink(&d->local);
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        return fail(r, "%s: %s: cannot use it: %s%s", d->nd.id, a->text,
                    strerror(-r),
                    r == -ENODEV ? " (no route to groups); sudo ip route add "
                                   "224.0.0.0/4 dev lo"
                                 : "");
    }
    return fd;
}

int dgram_open(struct netdev *nd, struct loop *l)
{
    struct dgram *d = container_of(nd, struct dgram, nd);
    (void)l;
    thread_uses(USE_SOCKET);
    if (d->remote.len && d->remote.sa.sa_family == AF_UNIX)
        sandbox_needs_outside("datagrams go to a name");
    d->be = (struct netbe){.dev = nd, .send = dgram_send, .recv = dgram_recv};
    nd->nq = 1;
    nd->q[0] = &d->be;
    nd->link_up = true;
    nd->close = dgram_close;
    d->be.fd = dgram_socket(d);
    return d->be.fd < 0 ? d->be.fd : 0;
}

static int dgram_check(struct netdev *nd)
{
    struct dgram *d = container_of(nd, struct dgram, nd);
    const char *what = nd->opts.what;
    struct addr *local = &d->local, *remote = &d->remote;
    int err = addr_check(&d->told_local, what, "local", SOCK_DGRAM, local);
    if (!err)
        err = addr_check(&d->told_remote, what, "remote", SOCK_DGRAM, remote);
    if (err)
        return err;
    if (remote->fd >= 0)
        return fail(-EINVAL, "%s: remote.type= must be unix or inet", what);
    if (local->fd < 0 && !remote->len)
        return fail(-EINVAL, "%s: remote.type= is missing", what);
    if (local->fd < 0 && !local->len && !dgram_is_group(remote))
        return fail(-EINVAL, "%s: local.type= is missing: unix, inet or fd",
                    what);
    if (local->len && local->sa.sa_family != remote->sa.sa_family)
        return fail(-EINVAL, "%s: local.type= and remote.type= must agree",
                    what);
    helper_need_unlink(local);
    return 0;
}

const struct field dgram_counters[] = {
    COUNT("send_errors", struct dgram, f_send, "frames that nobody took"),
    COUNT("recv_errors", struct dgram, f_recv, "reads that failed"),
    {.help = NULL},
};

static const struct field dgram_fields[] = {
    FIELDS_OF(netdev_fields, "", struct dgram, nd),
    FIELDS_OF(addr_fields, "local", struct dgram, told_local),
    FIELDS_OF(addr_fields, "remote", struct dgram, told_remote),
    FIELDS_OF(dgram_counters, "", struct dgram, nd), /* the struct's begin */
    {.help = NULL},
};

const struct netdev_class dgram_class = {
    .name = "dgram",
    .help = "datagrams: local.type=unix,local.path=PATH,remote.type=unix,\n"
            "  remote.path=PATH; both inet, with host and port; local.type=fd;"
            "\n  or a multicast group alone as remote: one cable for many",
    .fields = dgram_fields,
    .size = sizeof(struct dgram),
    .check = dgram_check,
    .open = dgram_open,
};
