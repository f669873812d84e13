/* SPDX-License-Identifier: MIT */
/* virtio-net receive: packets are read straight into the guest's buffers.
 *
 * Theory of operation
 * -------------------
 * Buffers are popped ahead into a window, enough for the largest packet that
 * may come, and stay there from packet to packet, so a small packet costs one
 * pop and one push however large the next might be. One readv takes a packet:
 * the 12-byte header into a private copy (it is checked and completed before
 * the guest sees it), the frame into the window's pieces, and what does not fit
 * into a private spill buffer, so that no packet is ever cut off unnoticed.
 *
 * A packet that ran into the spill is held until the driver posts more buffers
 * and then copied; if it never can fit, or the driver posts nothing for
 * HOLD_NS, it is dropped and counted. Without any buffer the backend is not
 * read: frames wait there, and a kick of the ring starts the reading again. */
#include "devices/virtio_net.h"

#include <string.h>

#define BURST 64
#define FLUSH_EVERY 16
#define HOLD_NS 20000000u

bool iov_read(const struct iovec *iov, unsigned n, size_t at, void *p,
              size_t len)
{
    uint8_t *out = p;
    for (unsigned i = 0; i < n && len; i++) {
        if (at >= iov[i].iov_len) {
            at -= iov[i].iov_len;
            continue;
        }
        size_t part = iov[i].iov_len - at < len ? iov[i].iov_len - at : len;
        memcpy(out, (uint8_t *)iov[i].iov_base + at, part);
        out += part;
        len -= part;
        at = 0;
    }
    return !len;
}

bool iov_write(const struct iovec *iov, unsigned n, size_t at, const void *p,
               size_t len)
{
    const uint8_t *in = p;
    for (unsigned i = 0; i < n && len; i++) {
        if (at >= iov[i].iov_len) {
            at -= iov[i].iov_len;
            continue;
        }
        size_t part = iov[i].iov_len - at < len ? iov[i].iov_len - at : len;
        memcpy((uint8_t *)iov[i].iov_base + at, in, part);
        in += part;
        len -= part;
        at = 0;
    }
    return !len;
}

unsigned vnet_mask_hdr(struct iovec *iov, unsigned first, struct net_hdr *hdr,
                       struct hdr_mask *m)
{
    size_t skip = NET_HDR_LEN;
    unsigned k = first;
    while (iov[k].iov_len < skip)
        skip -= iov[k++].iov_len;
    /* Piece k holds the header's end: the private header goes before what is
     * left of it, or in its place when nothing is left. */
    m->at = iov[k].iov_len == skip ? k : k - 1;
    m->saved[0] = iov[m->at];
    m->saved[1] = iov[m->at + 1];
    if (m->at < k) {
        iov[k].iov_base = (uint8_t *)iov[k].iov_base + skip;
        iov[k].iov_len -= skip;
    }
    iov[m->at] = (struct iovec){hdr, NET_HDR_LEN};
    return m->at;
}

void vnet_unmask_hdr(struct iovec *iov, const struct hdr_mask *m)
{
    iov[m->at] = m->saved[0];
    iov[m->at + 1] = m->saved[1];
}

/* ---------------------------------------------------------------- window */

static void compact(struct rx_window *w)
{
    memmove(&w->iov[1], &w->iov[w->first],
            (w->end - w->first) * sizeof(w->iov[0]));
    w->end -= w->first - 1;
    w->first = 1;
    memmove(&w->chain[0], &w->chain[w->cfirst],
            (w->cend - w->cfirst) * sizeof(w->chain[0]));
    w->cend -= w->cfirst;
    w->cfirst = 0;
}

/* Bytes a packet may need. Without GSO it is a frame of the MTU. */
static uint32_t largest_packet(const struct vnet *n)
{
    const uint64_t gso =
        1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6 |
        1ull << VIRTIO_NET_F_GUEST_UFO | 1ull << VIRTIO_NET_F_GUEST_USO4 |
        1ull << VIRTIO_NET_F_GUEST_USO6;
    unsigned mtu = n->nic.nd->mtu > 1500 ? n->nic.nd->mtu : 1500;
    return n->guest_offloads & gso ? PACKET_MAX
                                   : NET_HDR_LEN + ETH_HLEN + 4 + mtu;
}

/* Pops chains until the window holds the largest packet (mergeable buffers) or
 * one chain. False: the queue broke. */
static bool fill(struct vnet_pair *p)
{
    struct rx_window *w = &p->win;
    uint32_t want = p->n->mergeable ? largest_packet(p->n) : 1;
    if (w->end > RX_IOV / 2 || w->cend > RX_CHAINS / 2)
        compact(w);
    while (w->bytes < want && w->cend < RX_CHAINS) {
        struct vq_chain *c = &w->chain[w->cend];
        switch (vq_pop(p->rx, c, &w->iov[w->end], (int)(RX_IOV + 1 - w->end))) {
        case VQ_EMPTY:
        case VQ_FULL_IOV:
            return true;
        case VQ_FAULT:
            return false;
        case VQ_CHAIN:
            break;
        }
        if (c->nr || c->wlen <= NET_HDR_LEN) {
            /* Not a receive buffer: back to the driver, unused. */
            nic_count(&p->n->nic.stats, rx_drop_desc, 1);
            vq_push(p->rx, c, 0);
            vq_flush(p->rx);
            continue;
        }
        w->end += c->nw;
        w->bytes += c->wlen;
        w->cend++;
    }
    return true;
}

void vnet_rx_stop(struct vnet_pair *p)
{
    p->win.first = p->win.end = 1;
    p->win.cfirst = p->win.cend = 0;
    p->win.bytes = 0;
    p->held = 0;
}

/* --------------------------------------------------------------- a packet */

/* §5.1.6.4.1: what the driver did not negotiate it must not see. */
static void clean_hdr(const struct vnet *n, struct net_hdr *h)
{
    if (!(n->guest_offloads & 1ull << VIRTIO_NET_F_GUEST_CSUM))
        h->flags = 0;
    h->flags &= NET_F_NEEDS_CSUM | NET_F_DATA_VALID;
}

/* Gives a packet of `len` bytes, already in the window but for its header, to
 * the driver. The window holds at least len bytes. */
static void deliver(struct vnet_pair *p, uint32_t len)
{
    struct rx_window *w = &p->win;
    uint32_t left = len;
    unsigned chains = 0;
    clean_hdr(p->n, &p->rx_hdr);
    for (unsigned i = w->cfirst; left; i++, chains++)
        left -= left < w->chain[i].wlen ? left : w->chain[i].wlen;
    p->rx_hdr.num_buffers = (uint16_t)chains;
    iov_write(&w->iov[w->first], w->end - w->first, 0, &p->rx_hdr, NET_HDR_LEN);
    for (left = len; left; w->cfirst++) {
        const struct vq_chain *c = &w->chain[w->cfirst];
        uint32_t part = left < c->wlen ? left : c->wlen;
        vq_push(p->rx, c, part);
        w->first += c->nw;
        w->bytes -= c->wlen;
        left -= part;
    }
    if (w->first == w->end) {
        w->first = w->end = 1;
        w->cfirst = w->cend = 0;
    }
    nic_count(&p->n->nic.stats, rx_frames, 1);
    nic_count(&p->n->nic.stats, rx_bytes, len - NET_HDR_LEN);
}

/* What one packet may fill now: all of the window, or its one chain. */
static uint64_t room(const struct vnet_pair *p)
{
    const struct rx_window *w = &p->win;
    if (p->n->mergeable || w->cfirst == w->cend)
        return w->bytes;
    return w->chain[w->cfirst].wlen;
}

/* Could more buffers still come? */
static bool may_grow(const struct vnet_pair *p)
{
    return p->n->mergeable && p->rx->inflight < p->rx->size;
}

/* A packet of `len` bytes lies in the first `direct` bytes of the window and,
 * for the rest, in the spill. */
static void settle(struct vnet_pair *p, uint32_t len, uint32_t direct)
{
    struct rx_window *w = &p->win;
    if (len > room(p)) {
        if (!may_grow(p)) {
            nic_count(&p->n->nic.stats, rx_drop_fit, 1);
            p->held = 0;
            return;
        }
        if (!p->held)
            timer_arm(&p->held_timer, now_ns() + HOLD_NS);
        p->held = len;
        p->held_direct = direct;
        return;
    }
    if (len > direct)
        iov_write(&w->iov[w->first], w->end - w->first, direct, p->spill,
                  len - direct);
    p->held = 0;
    deliver(p, len);
}

/* Reads one packet. 0: none there; <0: -errno. */
static ssize_t read_packet(struct vnet_pair *p)
{
    struct rx_window *w = &p->win;
    struct hdr_mask mask;
    unsigned pieces = w->end - w->first;
    uint64_t direct = w->bytes;
    if (!p->n->mergeable) {
        pieces = w->chain[w->cfirst].nw;
        direct = w->chain[w->cfirst].wlen;
    }
    if (pieces > IOV_LIMIT - 2) {
        pieces = IOV_LIMIT - 2;
        direct = 0;
        for (unsigned i = 0; i < pieces; i++)
            direct += w->iov[w->first + i].iov_len;
    }
    unsigned stop = w->first + pieces;
    unsigned at = vnet_mask_hdr(w->iov, w->first, &p->rx_hdr, &mask);
    struct iovec after = w->iov[stop];
    w->iov[stop] = (struct iovec){p->spill, PACKET_MAX};
    ssize_t got = p->be->recv(p->be, &w->iov[at], (int)(stop + 1 - at));
    w->iov[stop] = after;
    vnet_unmask_hdr(w->iov, &mask);
    if (got <= 0)
        return got;
    if (got < NET_HDR_LEN + ETH_HLEN)
        nic_count(&p->n->nic.stats, rx_drop_short, 1);
    else
        settle(p, (uint32_t)got,
               (uint32_t)((uint64_t)got < direct ? (uint64_t)got : direct));
    return got;
}

static void publish(struct vnet_pair *p)
{
    vq_flush(p->rx);
    if (virtio_queue_irq(&p->n->v, p->rx))
        nic_count(&p->n->nic.stats, rx_irqs, 1);
}

/* Nothing to read into: no more readiness of the backend, but kicks. True when
 * buffers came in the meantime. */
static bool starved(struct vnet_pair *p)
{
    if (vq_rearm(p->rx))
        return true;
    loop_want(&p->ev, p->ev.want & ~(uint32_t)EPOLLIN);
    return false;
}

const char *vnet_rx(struct vnet_pair *p)
{
    for (int n = 1; n <= BURST; n++) {
        if (!fill(p))
            break;
        if (p->held) {
            settle(p, p->held, p->held_direct);
            if (p->held) {
                if (starved(p))
                    continue;
                break;
            }
        }
        if (p->win.cfirst == p->win.cend) {
            if (starved(p))
                continue;
            break;
        }
        loop_want(&p->ev, p->ev.want | EPOLLIN);
        ssize_t got = read_packet(p);
        if (got == 0)
            break;
        if (got < 0) {
            nic_count(&p->n->nic.stats, rx_drop_backend, 1);
            break;
        }
        if (n % FLUSH_EVERY == 0)
            publish(p);
    }
    publish(p);
    if (p->rx->state != VQ_BROKEN)
        return NULL;
    /* Nobody reads the backend before a reset: being told of it would spin. */
    loop_want(&p->ev, p->ev.want & ~(uint32_t)EPOLLIN);
    return p->rx->fault;
}
