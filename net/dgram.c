/* SPDX-License-Identifier: MIT */
/* A backend of datagrams: one frame each, over a UNIX socket or UDP, as QEMU's
 * -netdev dgram does it. There is no connection, so the cable is always in; a
 * frame that nobody takes is lost, counted by the NIC and said once. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net/dgram.h"
#include "base/iov.h"
#include "base/use.h"

/* From one attempt to find the peer to the next. */
#define SEEK_NS 100000000ull

/* A frame was refused with `err`: the peer is looked for, unless it is being
 * so. Any thread. Gives why there is none. */
static int dgram_seek(struct dgram *d, int err)
{
    int away = atomic_load(&d->away);
    if (!atomic_exchange(&d->seeking, true))
        event_signal(d->lost.fd);
    return err == ENOTCONN && away ? away : err;
}

static void dgram_sought(struct helper_ask *a, int err, const int fd[2])
{
    struct dgram *d = container_of(a, struct dgram, ask);
    (void)fd;
    atomic_store(&d->away, -err);
    TRACE(NET, "%s: %s: %s", d->nd.id, d->remote.text,
          err ? strerror(-err) : "connected");
}

/* What cannot be asked for now is so with a later frame. */
static void dgram_on_lost(struct event *ev, uint32_t got)
{
    struct dgram *d = container_of(ev, struct dgram, lost);
    (void)got;
    event_drain(ev->fd);
    helper_connect(&d->ask, d->way);
    timer_arm(&d->pace, now_ns() + SEEK_NS);
}

static void dgram_seek_again(struct timer *t)
{
    struct dgram *d = container_of(t, struct dgram, pace);
    if (d->ask.tag)
        timer_arm(t, now_ns() + SEEK_NS);
    else
        atomic_store(&d->seeking, false);
}

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
    int fd = d->out >= 0 ? d->out : be->fd;
    if (d->remote.len && d->out < 0) {
        m.msg_name = &d->remote.sa;
        m.msg_namelen = d->remote.len;
    }
    ssize_t sent = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0)
        return sent + NET_HDR_LEN;
    /* unix_dgram_sendmsg's EAGAIN is about the peer's queue, of which
     * EPOLLOUT on the socket that frames arrive at knows nothing. */
    if (errno == EINTR || (errno == EAGAIN && d->out < 0))
        return 0;
    int err = errno == EAGAIN ? ENOBUFS : errno;
    if (d->out >= 0 && err != ENOBUFS)
        err = dgram_seek(d, err);
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
    ssize_t got = readv(be->fd, in, k);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0) { /* an empty datagram; the answer to an earlier send */
        fault_note(&d->f_recv, "%s: %s: %s", d->nd.id,
                   *d->local.text ? d->local.text : d->remote.text,
                   got ? strerror(errno) : "a datagram without a frame");
        return -EIO;
    }
    iov_zero(iov, n, NET_HDR_LEN);
    return got + NET_HDR_LEN;
}

static void dgram_close(struct netdev *nd)
{
    struct dgram *d = container_of(nd, struct dgram, nd);
    timer_cancel(&d->pace);
    helper_forget(&d->ask);
    loop_del(&d->lost);
    if (d->lost.fd >= 0)
        close(d->lost.fd);
    if (d->out >= 0)
        close(d->out);
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

/* A peer that is a path is out of the sandbox's reach, so frames leave from a
 * socket that is connected to it: now, and by the helper once a frame was
 * refused, as a socket's connection is to the one that was bound to the path
 * then. Not the one that frames arrive at, which would take them from that peer
 * alone. It bears the same name, for those who answer to that: the file is the
 * other's. */
static int dgram_open_sender(struct dgram *d, struct loop *l)
{
    const struct addr *a = &d->remote;
    bool file = addr_is_file(&d->local);
    d->out = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    d->lost.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int err = d->out < 0 || d->lost.fd < 0 ? -errno : loop_add(l, &d->lost);
    if (!err && file)
        err = addr_bind(d->out, &d->local);
    if (err)
        return fail(err, "%s: %s: cannot use it: %s", d->nd.id,
                    file ? d->local.text : a->text, strerror(-err));
    if (file)
        unlink(d->local.un.sun_path);
    atomic_store(&d->away, connect(d->out, &a->sa, a->len) ? errno : 0);
    return helper_lend(d->way, d->out);
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
    int err = fd < 0         ? -errno
              : d->local.len ? addr_bind(fd, &d->local)
                             : dgram_join_group(fd, &d->remote);
    if (err == 0 && d->local.len)
        err = helper_unlink(&d->local);
    if (err < 0) {
        if (fd >= 0)
            close(fd);
        return fail(err, "%s: %s: cannot use it: %s%s", d->nd.id, a->text,
                    strerror(-err),
                    err == -ENODEV ? " (no route to groups); sudo ip route add "
                                     "224.0.0.0/4 dev lo"
                                   : "");
    }
    return fd;
}

int dgram_open(struct netdev *nd, struct loop *l)
{
    struct dgram *d = container_of(nd, struct dgram, nd);
    thread_uses(USE_SOCKET);
    d->be = (struct netbe){.dev = nd, .send = dgram_send, .recv = dgram_recv};
    nd->nq = 1;
    nd->q[0] = &d->be;
    nd->link_up = true;
    nd->close = dgram_close;
    d->be.fd = d->out = -1;
    d->lost = (struct event){
        .fd = -1,
        .want = EPOLLIN,
        .ready = dgram_on_lost,
    };
    d->ask.done = dgram_sought;
    timer_init(&d->pace, l, dgram_seek_again);
    int err = d->way ? dgram_open_sender(d, l) : 0;
    if (err)
        return err;
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
    if (remote->len && remote->sa.sa_family == AF_UNIX)
        d->way = helper_address(remote->text, remote);
    return d->way < 0 ? d->way : 0;
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
