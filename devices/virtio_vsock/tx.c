/* SPDX-License-Identifier: MIT */
/* The vsock device's packets from the guest (virtio 1.2 §5.10.6). Nothing in
 * them is believed: a header is copied once, each field is looked at together
 * with what the connection allows, and what does not fit ends the connection
 * with a RST, or is answered by one where there is none. */
#include "base/iov.h"
#include "devices/virtio_vsock/state.h"

#define BURST 64 /* packets in one go */

int vsock_iov_cut(const struct iovec *iov, unsigned n, size_t skip, size_t *len,
                  struct iovec out[VSOCK_PIECES])
{
    size_t left = *len;
    int k = 0;
    for (unsigned i = 0; i < n && left && k < VSOCK_PIECES; i++) {
        size_t size = iov[i].iov_len;
        if (skip >= size) {
            skip -= size;
            continue;
        }
        size = size - skip < left ? size - skip : left;
        out[k++] = (struct iovec){(char *)iov[i].iov_base + skip, size};
        left -= size;
        skip = 0;
    }
    *len -= left;
    return k;
}

/* It has done what it may not. */
static void tx_end(struct vsock_conn *c)
{
    vsock_count(c->s, resets, 1);
    vsock_conn_kill(c);
}

static void tx_request(struct vsock *s, const struct vsock_hdr *h)
{
    struct vsock_conn *c = vsock_conn_new(s, VSOCK_DIALLING, -1);
    if (!c) {
        vsock_rx_refuse(s, h);
        return;
    }
    c->guest = h->src_port;
    c->host = h->dst_port;
    c->alloc = h->buf_alloc;
    c->forwarded = h->fwd_cnt;
    c->deadline = now_ns() + VSOCK_LIMIT_NS;
    vsock_conn_add(c);
    vsock_conn_wait(c, &s->dials);
    vsock_host_dial(s);
}

static void tx_response(struct vsock_conn *c)
{
    if (c->state == VSOCK_ASKED && !c->owed)
        vsock_host_accepted(c);
    else
        tx_end(c);
}

static void tx_data(struct vsock_conn *c, const struct vsock_hdr *h,
                    const struct iovec *iov, unsigned n)
{
    if (c->guest_shut & VSOCK_SHUT_SEND ||
        !vsock_conn_take(c, iov, n, h->len)) {
        tx_end(c);
        return;
    }
    vsock_count(c->s, tx_bytes, h->len);
}

/* Of a connection that is open, at both ends. */
static void tx_open(struct vsock_conn *c, const struct vsock_hdr *h,
                    const struct iovec *iov, unsigned n)
{
    switch (h->op) {
    case VSOCK_OP_RW:
        tx_data(c, h, iov, n);
        break;
    case VSOCK_OP_SHUTDOWN:
        vsock_conn_shut(c, h->flags);
        break;
    case VSOCK_OP_CREDIT_REQUEST:
        c->owed |= 1 << VSOCK_OP_CREDIT_UPDATE;
        break;
    case VSOCK_OP_CREDIT_UPDATE:
        break;
    default:
        tx_end(c);
    }
}

static void tx_known(struct vsock_conn *c, const struct vsock_hdr *h,
                     const struct iovec *iov, unsigned n)
{
    c->alloc = h->buf_alloc;
    c->forwarded = h->fwd_cnt;
    if (h->op == VSOCK_OP_RST) {
        if (c->state == VSOCK_ASKED)
            vsock_count(c->s, refused, 1);
        vsock_conn_part(c);
        return;
    }
    if (c->state == VSOCK_DEAD)
        return; /* its RST is on its way */
    if (h->op == VSOCK_OP_RESPONSE)
        tx_response(c);
    else if (c->state == VSOCK_OPEN && !(c->owed & 1 << VSOCK_OP_RESPONSE))
        tx_open(c, h, iov, n);
    else
        tx_end(c);
    vsock_rx_want(c);
}

/* iov[0..n) has the whole packet. */
static void tx_packet(struct vsock *s, const struct iovec *iov, unsigned n,
                      uint32_t len)
{
    struct vsock_hdr h;
    if (iov_read(iov, n, 0, &h, VSOCK_HDR_LEN) < VSOCK_HDR_LEN ||
        h.src_cid != s->cid) {
        vsock_count(s, tx_bad, 1);
        return;
    }
    vsock_count(s, tx_packets, 1);
    bool ours = h.dst_cid == VSOCK_HOST_CID && h.type == VSOCK_TYPE_STREAM;
    struct vsock_conn *c =
        ours ? vsock_conn_find(s, h.src_port, h.dst_port) : NULL;
    if (h.len > len - VSOCK_HDR_LEN) {
        vsock_count(s, tx_bad, 1);
        if (c && c->state != VSOCK_DEAD)
            tx_end(c);
        return;
    }
    if (c)
        tx_known(c, &h, iov, n);
    else if (ours && h.op == VSOCK_OP_REQUEST)
        tx_request(s, &h);
    else if (h.op != VSOCK_OP_RST)
        vsock_rx_refuse(s, &h);
}

const char *vsock_tx_run(struct vsock *s)
{
    static struct iovec iov[VQ_SIZE_MAX];
    struct virtqueue *vq = &s->v.vq[VSOCK_TX];
    struct vq_chain c;
    vq_kicks_off(vq);
    for (int i = 0; i < BURST; i++) {
        s->tx_waits = s->nrst == VSOCK_RSTS;
        if (s->tx_waits) /* until the guest takes some */
            return NULL;
        enum vq_got got = vq_pop(vq, &c, iov, VQ_SIZE_MAX);
        if (got == VQ_EMPTY && !vq_rearm(vq))
            return NULL;
        if (got == VQ_EMPTY)
            continue;
        if (got != VQ_CHAIN)
            return vq->fault;
        tx_packet(s, iov, c.nr, c.rlen);
        vq_push(vq, &c, 0);
    }
    loop_again(&s->v.kick[VSOCK_TX].ev);
    return NULL;
}
