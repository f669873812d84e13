/* SPDX-License-Identifier: MIT */
/* A netdev for fuzz targets: packets wait in memory, and the only descriptor is
 * an eventfd for each queue, written and read when its first packet comes and
 * its last one goes. (Sockets, as unit tests have them, cost half the time.) */
#ifndef WIRE_H
#define WIRE_H

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "net/net.h"

#define WIRE_PACKETS 64u
#define WIRE_BYTES 0x40000u

struct wire_q {
    struct netbe be;
    struct wire *wire;
    struct {
        uint32_t at, len;
    } packet[WIRE_PACKETS]; /* bytes in wire.bytes */
    unsigned first, end;
};

struct wire {
    struct netdev nd;
    struct wire_q q[NET_QUEUES_MAX];
    int send_fails, send_err, recv_fails, recv_err;
    uint8_t bytes[WIRE_BYTES]; /* of all packets; from the start again when none
                                  waits */
    uint32_t used;
    uint8_t sent[NET_HDR_LEN + NET_FRAME_MAX]; /* the last one */
    ssize_t sent_len;
};

static inline void wire_forget(struct wire *w, struct wire_q *q)
{
    if (q->first != q->end)
        event_drain(q->be.fd);
    q->first = q->end = 0;
    w->used = 0;
    for (unsigned i = 0; i < w->nd.nq; i++)
        if (w->q[i].end)
            w->used = WIRE_BYTES; /* another queue's still wait */
}

static inline ssize_t wire_recv(struct netbe *be, const struct iovec *iov,
                                int n)
{
    struct wire_q *q = container_of(be, struct wire_q, be);
    struct wire *w = q->wire;
    if (w->recv_fails > 0) {
        w->recv_fails--;
        return w->recv_err;
    }
    if (q->first == q->end)
        return 0;
    const uint8_t *from = w->bytes + q->packet[q->first].at;
    uint32_t left = q->packet[q->first].len, got = 0;
    for (int i = 0; i < n && left; i++) {
        uint32_t part = iov[i].iov_len < left ? (uint32_t)iov[i].iov_len : left;
        memcpy(iov[i].iov_base, from + got, part);
        got += part;
        left -= part;
    }
    if (q->first + 1 == q->end)
        wire_forget(w, q);
    else
        q->first++;
    return (ssize_t)got;
}

/* Copies all of it: each byte is looked at. */
static inline ssize_t wire_send(struct netbe *be, const struct iovec *iov,
                                int n)
{
    struct wire *w = container_of(be, struct wire_q, be)->wire;
    size_t at = 0;
    if (w->send_fails > 0) {
        w->send_fails--;
        return w->send_err;
    }
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > sizeof(w->sent) - at)
            abort(); /* longer than a packet may be */
        memcpy(w->sent + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    return w->sent_len = (ssize_t)at;
}

/* A packet for the guest; what does not fit is lost, as on any wire. */
static inline void wire_give(struct wire *w, unsigned queue,
                             const struct net_hdr *h, const void *frame,
                             uint32_t len)
{
    struct wire_q *q = &w->q[queue];
    uint32_t all = NET_HDR_LEN + len;
    if (q->end == WIRE_PACKETS || all > WIRE_BYTES - w->used)
        return;
    uint8_t *to = w->bytes + w->used;
    memcpy(to, h, NET_HDR_LEN);
    memcpy(to + NET_HDR_LEN, frame, len);
    if (q->first == q->end)
        event_signal(q->be.fd);
    q->packet[q->end].at = w->used;
    q->packet[q->end++].len = all;
    w->used += all;
}

static inline void wire_clear(struct wire *w)
{
    for (unsigned i = 0; i < w->nd.nq; i++) {
        if (w->q[i].first != w->q[i].end)
            event_drain(w->q[i].be.fd);
        w->q[i].first = w->q[i].end = 0;
    }
    w->used = 0;
    w->send_fails = w->recv_fails = 0;
    w->sent_len = -1;
}

static inline struct wire *wire_new(const char *id, unsigned nq)
{
    struct wire *w = calloc(1, sizeof(*w));
    if (!w)
        abort();
    w->nd.id = id;
    w->nd.offload = NETBE_CSUM | NETBE_TSO4 | NETBE_TSO6 | NETBE_ECN |
                    NETBE_USO4 | NETBE_USO6;
    w->nd.vnet_hdr = true;
    w->nd.link_up = true;
    w->nd.nq = nq;
    for (unsigned i = 0; i < nq; i++) {
        w->q[i].wire = w;
        w->q[i].be = (struct netbe){.dev = &w->nd,
                                    .fd = eventfd(0, EFD_NONBLOCK),
                                    .send = wire_send,
                                    .recv = wire_recv};
        w->nd.q[i] = &w->q[i].be;
    }
    netdev_register(&w->nd);
    return w;
}

#endif
