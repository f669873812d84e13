/* SPDX-License-Identifier: MIT */
/* The vsock device's packets to the guest (virtio 1.2 §5.10.6).
 *
 * Connections that have something to say stand in a line; each says one packet,
 * which is one buffer of the guest's at most, and goes to the end. Bytes are
 * read from the process's socket into the guest's memory, no more than it has
 * room and credit for; what cannot be read now stays in the socket, where it
 * holds up who sends it. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/iov.h"
#include "devices/virtio_vsock/state.h"

#define BURST 64 /* packets in one go */
#define BIT(op) (1u << VSOCK_OP_##op)

/* ---------------------------------------------------- what there is to say */

/* §5.10.6.3. A guest that contradicts itself has none. */
static uint32_t rx_credit(const struct vsock_conn *c)
{
    uint32_t ahead = c->sent - c->forwarded;
    return ahead < c->alloc ? c->alloc - ahead : 0;
}

static bool rx_reads(const struct vsock_conn *c)
{
    return c->state == VSOCK_OPEN && c->readable && !c->eof &&
           !(c->guest_shut & VSOCK_SHUT_RCV);
}

/* What the process has closed, as far as the guest may know: of one that is
 * gone nothing before all it had sent is delivered. */
static unsigned rx_shut(const struct vsock_conn *c)
{
    bool sent_all = c->eof || c->guest_shut & VSOCK_SHUT_RCV;
    unsigned shut = c->eof ? VSOCK_SHUT_SEND : 0;
    if (c->hup ? sent_all : c->deaf)
        shut |= VSOCK_SHUT_RCV;
    return shut;
}

/* What is to be said next; RW: perhaps. */
static enum vsock_op rx_next(const struct vsock_conn *c)
{
    if (c->state == VSOCK_DEAD)
        return VSOCK_OP_RST;
    if (c->owed & BIT(REQUEST))
        return VSOCK_OP_REQUEST;
    if (c->owed & BIT(RESPONSE))
        return VSOCK_OP_RESPONSE;
    if (c->state != VSOCK_OPEN)
        return VSOCK_OP_NONE;
    if (rx_reads(c) && rx_credit(c))
        return VSOCK_OP_RW;
    if (rx_shut(c) & ~(unsigned)c->shut_told)
        return VSOCK_OP_SHUTDOWN;
    if (c->owed & BIT(CREDIT_UPDATE))
        return VSOCK_OP_CREDIT_UPDATE;
    if (rx_reads(c) && !c->credit_asked)
        return VSOCK_OP_CREDIT_REQUEST;
    return VSOCK_OP_NONE;
}

void vsock_rx_want(struct vsock_conn *c)
{
    if (!c->rx.next && rx_next(c) != VSOCK_OP_NONE)
        vsock_list_add(&c->s->rx, &c->rx);
}

void vsock_rx_refuse(struct vsock *s, const struct vsock_hdr *h)
{
    if (s->nrst < VSOCK_RSTS) /* tx.c stops before */
        s->rst[(s->rst_at + s->nrst++) % VSOCK_RSTS] =
            (struct vsock_rst){.cid = h->dst_cid,
                               .host = h->dst_port,
                               .guest = h->src_port,
                               .type = h->type};
}

/* ----------------------------------------------------------------- packets */

/* One buffer of the guest's. */
struct rx_buffer {
    const struct iovec *iov;
    unsigned n;
    size_t len;
};

static uint32_t rx_put(struct vsock *s, const struct rx_buffer *b,
                       struct vsock_hdr *h)
{
    h->dst_cid = s->cid;
    iov_write(b->iov, b->n, 0, h, VSOCK_HDR_LEN);
    vsock_count(s, rx_packets, 1);
    vsock_count(s, rx_bytes, h->len);
    return VSOCK_HDR_LEN + h->len;
}

static uint32_t rx_put_rst(struct vsock *s, const struct rx_buffer *b)
{
    const struct vsock_rst *r = &s->rst[s->rst_at];
    struct vsock_hdr h = {.src_cid = r->cid,
                          .src_port = r->host,
                          .dst_port = r->guest,
                          .type = r->type,
                          .op = VSOCK_OP_RST};
    s->rst_at = (s->rst_at + 1) % VSOCK_RSTS;
    s->nrst--;
    return rx_put(s, b, &h);
}

/* Reads what the process says, behind where the header goes. How much; 0:
 * nothing just now, or nothing any more.
 *
 * syscalls loop if vsock: recvmsg, only Linux guests have a driver */
static uint32_t rx_read(struct vsock_conn *c, const struct rx_buffer *b)
{
    struct iovec part[VSOCK_PIECES];
    size_t len = b->len - VSOCK_HDR_LEN;
    if (len > rx_credit(c))
        len = rx_credit(c);
    int n = vsock_iov_cut(b->iov, b->n, VSOCK_HDR_LEN, &len, part);
    struct msghdr m = {.msg_iov = part, .msg_iovlen = (size_t)n};
    ssize_t got = recvmsg(c->ev.fd, &m, MSG_DONTWAIT);
    if (got > 0) {
        c->sent += (uint32_t)got;
        return (uint32_t)got;
    }
    if (got < 0 && errno == EAGAIN)
        c->readable = false;
    else if (got == 0 || errno != EINTR)
        c->eof = true;
    if (got < 0 && c->eof) /* it has gone without reading all it got */
        c->hup = true;
    return 0;
}

/* After SHUTDOWN of both ways the guest has its time to agree. */
static void rx_told_shut(struct vsock_conn *c, unsigned shut)
{
    c->shut_told = (uint8_t)shut;
    if (shut == VSOCK_SHUT_BOTH)
        vsock_conn_limit(c);
}

/* The connection's next packet: its length, 0: it has none. It may be gone
 * after that. */
static uint32_t rx_say(struct vsock_conn *c, const struct rx_buffer *b)
{
    struct vsock *s = c->s;
    enum vsock_op op = rx_next(c);
    struct vsock_hdr h = {.src_cid = VSOCK_HOST_CID,
                          .src_port = c->host,
                          .dst_port = c->guest,
                          .type = VSOCK_TYPE_STREAM,
                          .buf_alloc = VSOCK_BUFFER};
    if (op == VSOCK_OP_RW) {
        h.len = rx_read(c, b);
        if (!h.len)
            op = rx_next(c);
    }
    if (op == VSOCK_OP_NONE || (op == VSOCK_OP_RW && !h.len))
        return 0;
    if (op == VSOCK_OP_SHUTDOWN) {
        h.flags = rx_shut(c);
        rx_told_shut(c, h.flags);
    }
    h.op = (le16)op;
    h.fwd_cnt = c->told = c->taken;
    c->owed &= (uint8_t) ~(1u << op | BIT(CREDIT_UPDATE));
    if (op == VSOCK_OP_CREDIT_REQUEST || op == VSOCK_OP_RW) /* once a stop */
        c->credit_asked = op == VSOCK_OP_CREDIT_REQUEST;
    if (op == VSOCK_OP_RST)
        vsock_conn_free(c);
    return rx_put(s, b, &h);
}

/* Whoever is first in line: its packet's length, 0: none. */
static uint32_t rx_first(struct vsock *s, const struct rx_buffer *b)
{
    if (s->nrst)
        return rx_put_rst(s, b);
    struct vsock_conn *c = vsock_first(&s->rx, rx);
    bool ends = c->state == VSOCK_DEAD;
    vsock_list_del(&c->rx);
    uint32_t len = rx_say(c, b);
    if (!ends)
        vsock_rx_want(c);
    return len;
}

static bool rx_waits(const struct vsock *s)
{
    return s->nrst || s->rx.next != &s->rx;
}

/* One buffer's worth of it. False: there is no buffer, or a bad one. */
static bool rx_step(struct vsock *s, const char **fault)
{
    static struct iovec iov[VQ_SIZE_MAX];
    struct virtqueue *vq = &s->v.vq[VSOCK_RX];
    struct vq_chain c;
    enum vq_got got = vq_pop(vq, &c, iov, VQ_SIZE_MAX);
    if (got == VQ_EMPTY)
        return vq_rearm(vq);
    if (got != VQ_CHAIN) { /* no chain has more pieces than that */
        *fault = vq->fault;
        return false;
    }
    struct rx_buffer b = {iov + c.nr, c.nw, c.wlen};
    if (b.len <= VSOCK_HDR_LEN) { /* none that anything could be told in */
        vsock_count(s, rx_short, 1);
        vq_push(vq, &c, 0);
        return true;
    }
    uint32_t len = rx_first(s, &b);
    if (len)
        vq_push(vq, &c, len);
    else
        vq_undo_pop(vq, &c);
    return true;
}

const char *vsock_rx_run(struct vsock *s)
{
    const char *fault = NULL;
    int n = 0;
    /* The guest need not tell of buffers as long as there is no want of any. */
    vq_kicks_off(&s->v.vq[VSOCK_RX]);
    while (rx_waits(s) && n < BURST && rx_step(s, &fault))
        n++;
    if (n == BURST && rx_waits(s))
        loop_again(&s->v.kick[VSOCK_RX].ev);
    if (s->tx_waits && s->nrst < VSOCK_RSTS / 2)
        loop_again(&s->v.kick[VSOCK_TX].ev);
    return fault;
}

/* §5.10.6.7: all connections are gone, and the CID may be another one. */
const char *vsock_rx_event(struct vsock *s)
{
    struct virtqueue *vq = &s->v.vq[VSOCK_EVENT];
    static const le32 transport_reset = 0;
    struct iovec iov[VSOCK_PIECES];
    struct vq_chain c;
    for (int i = 0; s->reset_owed && i < BURST; i++) {
        enum vq_got got = vq_pop(vq, &c, iov, VSOCK_PIECES);
        if (got == VQ_EMPTY && vq_rearm(vq))
            continue;
        if (got == VQ_EMPTY)
            break;
        if (got != VQ_CHAIN)
            return vq->fault ? vq->fault
                             : "an event's buffer has too many "
                               "pieces";
        s->reset_owed = c.wlen < sizeof(transport_reset);
        if (!s->reset_owed)
            iov_write(iov + c.nr, c.nw, 0, &transport_reset,
                      sizeof(transport_reset));
        vq_push(vq, &c, s->reset_owed ? 0 : sizeof(transport_reset));
    }
    return NULL;
}
