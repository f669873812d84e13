/* SPDX-License-Identifier: MIT */
/* The fake netdev: a pair of sockets for each queue, the test at one end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/fake.h"

struct fake_q {
    struct netbe be;
    int peer; /* the test's end */
    struct fake_net *net;
};

struct fake_net {
    struct netdev nd;
    char id[64];
    struct fake_q q[NET_QUEUES_MAX];
    int send_fails, send_err, recv_fails, recv_err;
    unsigned offload, queues, sends, recvs, announced;
    struct fake_net *next;
};

static struct fake_net *all; /* keeps them from counting as leaks */

/* What the NIC says by itself (RARP): counted, and no packet of the guest's. */
static bool fake_is_announcement(const struct iovec *iov, int n)
{
    const uint8_t *p = iov->iov_base;
    return n == 1 && iov->iov_len == NET_HDR_LEN + ETH_RARP_LEN &&
           p[NET_HDR_LEN + 12] == 0x80 && p[NET_HDR_LEN + 13] == 0x35;
}

static ssize_t fake_send(struct netbe *be, const struct iovec *iov, int n)
{
    struct fake_net *f = container_of(be, struct fake_q, be)->net;
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                         .msg_iovlen = (size_t)n};
    if (fake_is_announcement(iov, n)) {
        f->announced++;
        return (ssize_t)iov->iov_len;
    }
    f->sends++;
    if (f->send_fails > 0) {
        f->send_fails--;
        return f->send_err;
    }
    ssize_t got = sendmsg(be->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (got < 0)
        return errno == EAGAIN ? 0 : -errno;
    return got;
}

static ssize_t fake_recv(struct netbe *be, const struct iovec *iov, int n)
{
    struct fake_net *f = container_of(be, struct fake_q, be)->net;
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                         .msg_iovlen = (size_t)n};
    f->recvs++;
    if (f->recv_fails > 0) {
        f->recv_fails--;
        return f->recv_err;
    }
    ssize_t got = recvmsg(be->fd, &msg, MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN ? 0 : -errno;
    return got;
}

static int fake_set_offload(struct netdev *nd, unsigned bits)
{
    container_of(nd, struct fake_net, nd)->offload = bits;
    return 0;
}

static int fake_set_queues(struct netdev *nd, unsigned n)
{
    container_of(nd, struct fake_net, nd)->queues = n;
    return 0;
}

static void fake_close(struct netdev *nd)
{
    struct fake_net *f = container_of(nd, struct fake_net, nd);
    for (unsigned i = 0; i < nd->nq; i++) {
        close(f->q[i].be.fd);
        close(f->q[i].peer);
    }
}

struct fake_net *fake_net_new(const char *id, unsigned nq)
{
    struct fake_net *f = calloc(1, sizeof(*f));
    if (!f)
        abort();
    f->next = all;
    all = f;
    snprintf(f->id, sizeof(f->id), "%s", id);
    f->nd.id = f->id;
    f->nd.offload = NETBE_CSUM | NETBE_TSO4 | NETBE_TSO6 | NETBE_ECN |
                    NETBE_USO4 | NETBE_USO6;
    f->nd.vnet_hdr = true;
    f->nd.link_up = true;
    f->nd.nq = nq;
    f->nd.set_offload = fake_set_offload;
    f->nd.set_queues = fake_set_queues;
    f->nd.close = fake_close;
    f->offload = ~0u;
    for (unsigned i = 0; i < nq; i++) {
        int fd[2];
        REQUIRE_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd),
                   0);
        f->q[i] = (struct fake_q){
            .be = {.dev = &f->nd,
                   .fd = fd[0],
                   .send = fake_send,
                   .recv = fake_recv},
            .peer = fd[1],
            .net = f,
        };
        f->nd.q[i] = &f->q[i].be;
    }
    netdev_register(&f->nd);
    return f;
}

struct netdev *fake_net_dev(struct fake_net *f)
{
    return &f->nd;
}

void fake_net_give(struct fake_net *f, unsigned q, const struct net_hdr *hdr,
                   const void *frame, size_t len)
{
    struct net_hdr zero = {0};
    struct iovec iov[2] = {
        {(void *)(uintptr_t)(hdr ? hdr : &zero), NET_HDR_LEN},
        {(void *)(uintptr_t)frame, len},
    };
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    REQUIRE_EQ(sendmsg(f->q[q].peer, &msg, MSG_DONTWAIT), len + NET_HDR_LEN);
}

ssize_t fake_net_take(struct fake_net *f, unsigned q, struct net_hdr *hdr,
                      void *frame, size_t max)
{
    struct net_hdr h;
    for (;;) {
        struct iovec iov[2] = {{&h, NET_HDR_LEN}, {frame, max}};
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
        ssize_t n = recvmsg(f->q[q].peer, &msg, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0)
            return -1;
        if (n < NET_HDR_LEN) /* fake_net_block's filling */
            continue;
        if (hdr)
            *hdr = h;
        return n - NET_HDR_LEN;
    }
}

void fake_net_clear(struct fake_net *f)
{
    char byte;
    f->send_fails = f->recv_fails = 0;
    for (unsigned q = 0; q < f->nd.nq; q++) {
        while (recv(f->q[q].be.fd, &byte, 1, MSG_DONTWAIT) >= 0)
            continue;
        while (recv(f->q[q].peer, &byte, 1, MSG_DONTWAIT) >= 0)
            continue;
    }
}

void fake_net_block(struct fake_net *f, unsigned q, bool blocked)
{
    char fill = 0;
    if (blocked) {
        while (send(f->q[q].be.fd, &fill, 1, MSG_DONTWAIT) == 1)
            continue;
        return;
    }
    /* Packets the guest sent before are behind the filling, or before it. */
    while (recv(f->q[q].peer, &fill, 1, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC) ==
           1)
        recv(f->q[q].peer, &fill, 1, MSG_DONTWAIT);
}

void fake_net_fail_send(struct fake_net *f, int n, int err)
{
    f->send_fails = n;
    f->send_err = err;
}

void fake_net_fail_recv(struct fake_net *f, int n, int err)
{
    f->recv_fails = n;
    f->recv_err = err;
}

unsigned fake_net_offload(struct fake_net *f)
{
    return f->offload;
}

unsigned fake_net_queues(struct fake_net *f)
{
    return f->queues;
}

unsigned fake_net_sends(struct fake_net *f)
{
    return f->sends;
}

unsigned fake_net_recvs(struct fake_net *f)
{
    return f->recvs;
}

unsigned fake_net_announced(struct fake_net *f)
{
    return f->announced;
}
