/* SPDX-License-Identifier: MIT */
/* virtio-net receive: packets are read straight into the guest's buffers.
 *
 * Theory of operation
 * -------------------
 * Buffers are popped ahead into a window (window.c), enough for the largest
 * packet that may come, and stay there from packet to packet, so a small packet
 * costs one pop and one push however large the next might be. One readv takes a
 * packet: its header into a private copy (it is checked and completed before
 * the guest sees it), the frame into the window's pieces, and what does not fit
 * into a private spill buffer, so that no packet is ever cut off unnoticed. The
 * kernel looks at each piece it is given, so while packets are small it gets
 * few of them; a large one then comes by the spill, once.
 *
 * A packet that ran into the spill is held until the driver posts more buffers
 * and then copied; if it never can fit, or the driver posts nothing for
 * HOLD_NS, it is dropped and counted. Without any buffer the backend is not
 * read: frames wait there, and a kick of the ring starts the reading again. */
#include "devices/virtio_net/state.h"

#include <string.h>

/* What bounds a call of vnet_rx (or vnet_rx_steered): so many packets, each
 * with what vnet_window_fill() takes from the ring. */
#define BURST 64
#define FLUSH_EVERY 16
#define HOLD_NS 20000000u
#define SMALL_RUN 8

void vnet_unmask_hdr(struct iovec *iov, const struct hdr_mask *m)
{
    iov[m->at] = m->saved[0];
    iov[m->at + 1] = m->saved[1];
}

SELDOM void vnet_hdr_scatter(const struct iovec *iov, unsigned n, unsigned len,
                             const struct vnet_hdr *h)
{
    iov_write(iov, n, 0, h, len);
}

/* ------------------------------------------------- off, at rest, and on again
 */

void vnet_rx_stop(struct vnet_pair *p)
{
    vnet_window_empty(p);
    p->held = 0;
}

void vnet_rx_rest(struct vnet_pair *p)
{
    struct rx_window *w = &p->win;
    uint32_t part = p->held ? p->held_direct : 0;
    if (part) {
        memmove(p->spill + part, p->spill, p->held - part);
        iov_read(&w->iov[w->first], w->end - w->first, 0, p->spill, part);
    }
    p->held_direct = 0;
    timer_cancel(&p->held_timer);
    vq_rewind(p->rx);
    vnet_window_empty(p);
}

void vnet_rx_go_on(struct vnet_pair *p)
{
    p->held_direct = p->small = 0;
    p->rx_stuck = false;
    if (p->held)
        timer_arm(&p->held_timer, now_ns() + HOLD_NS);
}

/* --------------------------------------------------------------- a packet */

/* §5.1.6.4.1: what the driver did not negotiate it must not see. */
static void vnet_rx_clean_hdr(const struct vnet *n, struct net_hdr *h)
{
    if (!(n->guest_offloads & 1ull << VIRTIO_NET_F_GUEST_CSUM))
        h->flags = 0;
    h->flags &= NET_F_NEEDS_CSUM | NET_F_DATA_VALID;
}

/* Gives a packet of `len` bytes (with the driver's header), already in the
 * window but for its header, to the driver. The window holds at least len
 * bytes. */
static void vnet_rx_deliver(struct vnet_pair *p, uint32_t len)
{
    struct rx_window *w = &p->win;
    const struct iovec *head = &w->iov[w->first];
    unsigned pieces = w->end - w->first, before = w->cfirst;
    for (uint32_t left = len; left; w->cfirst++) {
        const struct vq_chain *c = &w->chain[w->cfirst];
        uint32_t part = left < c->wlen ? left : c->wlen;
        vq_push(p->rx, c, part);
        w->first += c->nw;
        w->bytes -= c->wlen;
        left -= part;
    }
    vnet_rx_clean_hdr(p->n, &p->rx_hdr.h);
    p->rx_hdr.h.num_buffers = (uint16_t)(w->cfirst - before);
    vnet_hdr_write(head, pieces, p->n->hdr_len, &p->rx_hdr);
    if (w->first == w->end) {
        w->first = w->end = 1;
        w->cfirst = w->cend = 0;
    }
    nic_count(&p->stats, rx_frames, 1);
    nic_count(&p->stats, rx_bytes, len - p->n->hdr_len);
}

/* What one packet may fill now: all of the window, or its one chain. */
static uint64_t vnet_rx_room(const struct vnet_pair *p)
{
    const struct rx_window *w = &p->win;
    if (p->n->mergeable || w->cfirst == w->cend)
        return w->bytes;
    return w->chain[w->cfirst].wlen;
}

/* Could more buffers still come? Not past one that cannot join the window. */
static bool vnet_rx_may_grow(const struct vnet_pair *p)
{
    return p->n->mergeable && !p->rx_stuck && p->rx->inflight < p->rx->size;
}

/* It does not fit now: it waits for buffers, if more can come. */
static RARE void vnet_rx_hold(struct vnet_pair *p, uint32_t len,
                              uint32_t direct)
{
    if (!vnet_rx_may_grow(p)) {
        nic_count(&p->stats, rx_drop_fit, 1);
        p->held = 0;
        return;
    }
    if (!p->held)
        timer_arm(&p->held_timer, now_ns() + HOLD_NS);
    p->held = len;
    p->held_direct = direct;
}

static SELDOM void vnet_rx_unspill(struct vnet_pair *p, uint32_t len,
                                   uint32_t direct)
{
    struct rx_window *w = &p->win;
    iov_write(&w->iov[w->first], w->end - w->first, direct, p->spill,
              len - direct);
}

/* A packet of `len` bytes lies in the first `direct` bytes of the window and,
 * for the rest, in the spill. */
static void vnet_rx_settle(struct vnet_pair *p, uint32_t len, uint32_t direct)
{
    if (len > vnet_rx_room(p)) {
        vnet_rx_hold(p, len, direct);
        return;
    }
    if (len > direct)
        vnet_rx_unspill(p, len, direct);
    p->held = 0;
    vnet_rx_deliver(p, len);
}

/* May the driver see this header (§5.1.6.4.1)? The backend was told what was
 * negotiated; what it had queued before the driver took something back (LRO
 * off) still comes the old way. */
static bool vnet_rx_negotiated(const struct vnet *n, const struct net_hdr *h)
{
    uint64_t f = n->guest_offloads;
    if (h->flags & NET_F_NEEDS_CSUM && !has(f, VIRTIO_NET_F_GUEST_CSUM))
        return false;
    if (h->gso_type & NET_GSO_ECN && !has(f, VIRTIO_NET_F_GUEST_ECN))
        return false;
    switch (h->gso_type & ~NET_GSO_ECN) {
    case NET_GSO_NONE:
        return true;
    case NET_GSO_TCPV4:
        return has(f, VIRTIO_NET_F_GUEST_TSO4);
    case NET_GSO_TCPV6:
        return has(f, VIRTIO_NET_F_GUEST_TSO6);
    case NET_GSO_UDP:
        return has(f, VIRTIO_NET_F_GUEST_UFO);
    case NET_GSO_UDP_L4:
        return has(f, VIRTIO_NET_F_GUEST_USO4) ||
               has(f, VIRTIO_NET_F_GUEST_USO6);
    default:
        return false;
    }
}

/* Is the frame, of which `seen` bytes are at hand, one for this guest? Charged
 * to a reason if not. */
static bool vnet_rx_wanted(struct vnet_pair *p, const uint8_t *frame,
                           uint32_t seen, uint32_t len)
{
    const struct vnet *n = p->n;
    if (!netdev_link(p->be->dev)) {
        nic_count(&p->stats, rx_drop_link, 1);
        return false;
    }
    if (!vnet_rx_negotiated(n, &p->rx_hdr.h)) {
        nic_count(&p->stats, rx_drop_offload, 1);
        return false;
    }
    /* §5.1.4.1: no more than the MTU, but for what is to be segmented. */
    if (n->mtu && len > n->mtu + ETH_HLEN + 4 && !p->rx_hdr.h.gso_type) {
        nic_count(&p->stats, rx_drop_long, 1);
        return false;
    }
    return vnet_filter_passes(p, frame, seen);
}

/* vnet_dhcp_complete for a frame whose first `part` bytes are in the window,
 * the others in the spill. */
static RARE void vnet_rx_complete_dhcp(struct vnet_pair *p, uint32_t flen,
                                       uint32_t part)
{
    struct rx_window *w = &p->win;
    uint8_t frame[DHCP_FRAME_MAX];
    iov_read(&w->iov[w->first], w->end - w->first, p->n->hdr_len, frame, part);
    memcpy(frame + part, p->spill, flen - part);
    if (!vnet_dhcp_complete(&p->rx_hdr.h, frame, flen))
        return;
    iov_write(&w->iov[w->first], w->end - w->first, p->n->hdr_len, frame, part);
    memcpy(p->spill, frame + part, flen - part);
}

/* The first `seen` bytes of a frame that lie in several pieces, or the spill.
 */
static SELDOM const uint8_t *vnet_rx_gather(struct vnet_pair *p, uint32_t seen,
                                            uint32_t direct)
{
    const struct rx_window *w = &p->win;
    uint32_t part = direct - p->n->hdr_len;
    part = part < seen ? part : seen;
    iov_read(&w->iov[w->first], w->end - w->first, p->n->hdr_len, p->peek,
             part);
    memcpy(p->peek + part, p->spill, seen - part);
    return p->peek;
}

/* A packet of 12 + flen bytes was read into the window (its first `direct`
 * bytes there, the driver's header counted) and the spill. */
static void vnet_rx_take(struct vnet_pair *p, uint32_t flen, uint64_t direct)
{
    const struct vnet *n = p->n;
    uint32_t len = n->hdr_len + flen, seen = flen;
    const struct iovec *first = &p->win.iov[p->win.first];
    const uint8_t *frame = (uint8_t *)first->iov_base + n->hdr_len;
    if (direct > len)
        direct = len;
    /* Without a hash its first 18 bytes are enough. */
    if (seen > (n->rss.report ? RSS_LOOK : ETH_HLEN + 4))
        seen = n->rss.report ? RSS_LOOK : ETH_HLEN + 4;
    if (direct < n->hdr_len + seen || first->iov_len < n->hdr_len + seen)
        frame = vnet_rx_gather(p, seen, (uint32_t)direct);
    if (!vnet_rx_wanted(p, frame, seen, flen))
        return;
    if (n->rss.report)
        vnet_rss_hash(&n->rss, frame, seen, &p->rx_hdr);
    if (vnet_dhcp_maybe(&p->rx_hdr.h, flen))
        vnet_rx_complete_dhcp(p, flen, (uint32_t)direct - n->hdr_len);
    vnet_rx_settle(p, len, (uint32_t)direct);
}

/* Reads one packet. 0: none there; <0: -errno. */
static ssize_t vnet_rx_read_packet(struct vnet_pair *p)
{
    struct rx_window *w = &p->win;
    struct hdr_mask mask;
    unsigned pieces = w->end - w->first, most = pieces;
    uint64_t direct = w->bytes;
    bool small = p->small >= SMALL_RUN;
    if (!p->n->mergeable) {
        most = pieces = w->chain[w->cfirst].nw;
        direct = w->chain[w->cfirst].wlen;
    }
    if (small || most > IOV_LIMIT - 2) {
        direct = 0;
        for (pieces = 0; pieces < most && pieces < IOV_LIMIT - 2 &&
                         !(small && direct >= LOOP_SMALL);
             pieces++)
            direct += w->iov[w->first + pieces].iov_len;
    }
    unsigned stop = w->first + pieces;
    unsigned at =
        vnet_mask_hdr(w->iov, w->first, p->n->hdr_len, &p->rx_hdr.h, &mask);
    struct iovec after = w->iov[stop];
    w->iov[stop] = (struct iovec){p->spill, NET_FRAME_MAX};
    ssize_t got = p->be->recv(p->be, &w->iov[at], (int)(stop + 1 - at));
    w->iov[stop] = after;
    vnet_unmask_hdr(w->iov, &mask);
    if (got <= 0)
        return got;
    p->small = got <= LOOP_SMALL ? p->small + 1 : 0;
    if (got < NET_HDR_LEN + ETH_HLEN)
        nic_count(&p->stats, rx_drop_short, 1);
    else
        vnet_rx_take(p, (uint32_t)got - NET_HDR_LEN, direct);
    return got;
}

void vnet_rx_publish(struct vnet_pair *p)
{
    p->rx_given = false;
    vq_flush(p->rx);
    vnet_coal_irq(&p->rx_coal);
}

/* Nothing to read into: no more readiness of the backend, but kicks; or another
 * turn, when buffers came in the meantime or fill left some. */
static SELDOM void vnet_rx_starved(struct vnet_pair *p)
{
    if (vq_rearm(p->rx))
        loop_again(&p->n->v.kick[2 * p->index].ev);
    loop_want(&p->ev, p->ev.want & ~(uint32_t)EPOLLIN);
}

/* RSS: a buffer of `p` was used on the loop of `by`. Interrupts may have to
 * wait for a timer, and that is p's loop's: another one only says so and kicks.
 */
static void vnet_rx_given(struct vnet_pair *p, const struct vnet_pair *by)
{
    if (p->loop == by->loop) {
        vnet_rx_publish(p);
        return;
    }
    if (p->rx_given)
        return;
    p->rx_given = true;
    virtio_poke(&p->n->v, 2 * p->index);
}

/* RSS: the queue is known only when the packet is, so it comes here in one
 * piece (flen bytes of frame, read by `by`) and is copied. p->lock held. */
static void vnet_rx_give(struct vnet_pair *p, const struct vnet_pair *by,
                         const struct vnet_hdr *hdr, const uint8_t *frame,
                         uint32_t flen)
{
    struct rx_window *w = &p->win;
    uint32_t len = p->n->hdr_len + flen;
    if (vnet_window_fill(p)) {
        p->rx_hdr = *hdr;
        if (w->cfirst == w->cend) {
            nic_count(&p->stats, rx_drop_no_buffer, 1);
        } else if (len > vnet_rx_room(p)) {
            nic_count(&p->stats, rx_drop_fit, 1);
        } else {
            iov_write(&w->iov[w->first], w->end - w->first, p->n->hdr_len,
                      frame, flen);
            vnet_rx_deliver(p, len);
        }
    }
    vnet_rx_given(p, by);
    if (w->cfirst == w->cend)
        vq_rearm(p->rx);
}

/* Nothing was read: because of the rate limit? The backend stays readable then,
 * which would spin. */
static RARE void vnet_rx_limited(struct vnet_pair *p)
{
    const struct nic_gate *g = p->be->gate;
    if (!g || !g->rx_due)
        return;
    nic_count(&p->stats, rx_limited, 1);
    loop_want(&p->ev, p->ev.want & ~(uint32_t)EPOLLIN);
    vnet_wait_for_limit(p, g->rx_due);
}

/* Reads a packet into the spill and finds its pair. Like vnet_rx_read_packet;
 * `to` is set where there is one to be given. */
static ssize_t vnet_rx_read_steered(struct vnet_pair *p, struct vnet_pair **to)
{
    struct iovec iov[2] = {{&p->rx_hdr.h, NET_HDR_LEN},
                           {p->spill, NET_FRAME_MAX}};
    *to = NULL;
    ssize_t got = p->be->recv(p->be, iov, 2);
    if (got < 0)
        nic_count(&p->stats, rx_drop_backend, 1);
    if (got == 0)
        vnet_rx_limited(p);
    if (got <= 0)
        return got;
    uint32_t flen = (uint32_t)got - NET_HDR_LEN;
    if (got < NET_HDR_LEN + ETH_HLEN) {
        nic_count(&p->stats, rx_drop_short, 1);
        return got;
    }
    if (!vnet_rx_wanted(p, p->spill, flen, flen))
        return got;
    if (vnet_dhcp_maybe(&p->rx_hdr.h, flen))
        vnet_dhcp_complete(&p->rx_hdr.h, p->spill, flen);
    *to = p->n->pair[vnet_rss_hash(&p->n->rss, p->spill, flen, &p->rx_hdr)];
    return got;
}

/* The spill is this loop's alone, so it is read on without the lock: no thread
 * ever holds two pairs' locks. */
const char *vnet_rx_steered(struct vnet_pair *p, unsigned *life)
{
    const char *fault = NULL;
    for (int n = 0; n < BURST && !fault; n++) {
        struct vnet_pair *to = NULL;
        ssize_t got = 0;
        vnet_pair_lock(p);
        if (p->rx_on && p->active && p->n->rss.steer) {
            loop_want(&p->ev, p->ev.want | EPOLLIN);
            got = vnet_rx_read_steered(p, &to);
        }
        struct vnet_hdr hdr = p->rx_hdr;
        lock_give(&p->lock);
        if (got <= 0)
            break;
        if (!to)
            continue;
        vnet_pair_lock(to);
        if (!to->rx_on) {
            nic_count(&to->stats, rx_drop_off, 1);
        } else {
            vnet_rx_give(to, p, &hdr, p->spill, (uint32_t)got - NET_HDR_LEN);
            fault = to->rx->state == VQ_BROKEN ? to->rx->fault : NULL;
            to->rx_on = !fault;
            *life = p->n->v.life; /* a reset waits for to->lock first */
        }
        lock_give(&to->lock);
    }
    return fault;
}

const char *vnet_rx(struct vnet_pair *p)
{
    unsigned n = 0, most = nic_one_is_enough(&p->alone) ? 1 : BURST;
    uint32_t want = vnet_window_want(p);
    while (n < most) {
        if ((p->win.bytes < want || p->held) && !vnet_window_fill(p))
            break;
        if (p->held)
            vnet_rx_settle(p, p->held, p->held_direct);
        if (p->held || p->win.cfirst == p->win.cend) {
            vnet_rx_starved(p);
            break;
        }
        if (!(p->ev.want & EPOLLIN))
            loop_want(&p->ev, p->ev.want | EPOLLIN);
        ssize_t got = vnet_rx_read_packet(p);
        if (got == 0) {
            vnet_rx_limited(p);
            break;
        }
        if (got < 0) {
            nic_count(&p->stats, rx_drop_backend, 1);
            break;
        }
        if (++n % FLUSH_EVERY == 0)
            vnet_rx_publish(p);
    }
    nic_turn_brought(&p->alone, n);
    vnet_rx_publish(p);
    return p->rx->state == VQ_BROKEN ? p->rx->fault : NULL;
}
