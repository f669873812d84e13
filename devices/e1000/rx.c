/* SPDX-License-Identifier: MIT */
/* The e1000's receiver: packets from the backend into frames for the guest
 * (SDM 3.2).
 *
 * Theory of operation
 *
 * e1000_rx_run() is called by the loop, under the lock. It reads straight into
 * the guest's buffers: a frame that fits the next one is where it belongs when
 * recv returns, and only its descriptor is left to write.
 *
 * The backend also hands over TCP packets of up to 64 KiB that the guest must
 * see as frames of their MSS (the card has no LRO). Bulk transfers repeat
 * themselves, so the next packet is expected to look like the last: the iovec
 * is laid out with the first frame's headers and payload in the first buffer
 * and each further MSS bytes *behind the place for the headers* in the next
 * ones. If that comes true, no payload is ever copied: each frame lacks but its
 * headers. What does not come as expected, or has no descriptors yet, is
 * completed in a private buffer, buf[], where every byte has its place from the
 * start (piece[]), and copied from there as descriptors come: nothing that was
 * read is lost for lack of descriptors.
 *
 * Checksums are always completed, also where the guest's card says "checked":
 * a guest that forwards a frame sends it with the sum it has. Frames that came
 * with a sum from elsewhere are verified when the driver asks (RXCSUM).
 *
 * Back-pressure: without descriptors the backend is not read, `starved` until
 * RDT moves (TODO_RX). A driver behind in a flood gives descriptors back a few
 * at a time; to be woken for each of these few would cost more than the frames.
 * So for a moment (PATIENCE_NS) only a quarter of the ring is worth a kick;
 * then any descriptor is. The backend's queue is the longer FIFO, so MPC and
 * RXO count only frames that were really lost: looped back ones, and those that
 * the whole ring cannot hold. */
#include <string.h>

#include "devices/e1000/state.h"
#include "base/iov.h"

#define BURST 64 /* frames a run delivers, or packets it drops */
#define GUESS_MAX 4
#define PATIENCE_NS 500000
#define PATIENCE_RING 64 /* smaller rings are not waited for */

bool e1000_rx_on(const struct e1000 *e)
{
    return reg_get(e, RCTL) & RCTL_EN && reg_get(e, STATUS) & STATUS_LU &&
           pci_can_dma(&e->pci) && !e1000_loopback(e);
}

/* ---------------------------------------------------------------- reading */

/* SDM 13.4.22, LPE; 3.2.1: the longest frame on the wire, FCS included. */
static uint32_t e1000_rx_longest(const struct e1000 *e)
{
    return reg_get(e, RCTL) & RCTL_LPE ? E1000_LONG_MAX : E1000_FRAME_MAX;
}

static void e1000_rx_lay_piece(struct e1000_rx *x, void *base, uint32_t len,
                               uint32_t at)
{
    x->piece[x->niov] = at;
    x->iov[x->niov++] = (struct iovec){base, len};
}

/* The first frame, headers and one MSS, in the head descriptor's buffer, and
 * further payload in those behind it. Where it ends. */
static uint32_t e1000_rx_lay_guessed(struct e1000 *e, const struct rx_ring *r)
{
    struct e1000_rx *x = &e->rx;
    uint32_t avail = e1000_rx_avail(r), d = r->head, at = 0, skip = 0;
    uint32_t k = x->guess_hlen + x->guess_mss;
    while (avail-- && x->niov <= RX_IOV && at + k <= NET_FRAME_MAX) {
        uint8_t *buf = e1000_rx_buffer(e, r, d);
        if (!buf)
            break;
        e1000_rx_lay_piece(x, buf + skip, k, at);
        at += k;
        skip = x->guess_hlen;
        k = x->guess_mss;
        d = d + 1 == r->n ? 0 : d + 1;
    }
    return at;
}

/* Lays out the packet to come: as guessed, or into the head descriptor's buffer
 * for as long as a frame can be; the rest to buf[]. There is a descriptor.
 *
 * Nothing is written where no frame can reach, whatever size RCTL says: with
 * LPE off Linux' buffers are of 1522 bytes where it says 2048, and behind them
 * begins the next one, or any other page of its kernel. */
static void e1000_rx_lay_out(struct e1000 *e, const struct rx_ring *r)
{
    struct e1000_rx *x = &e->rx;
    uint32_t seg = x->guess_hlen + x->guess_mss, at = 0;
    uint32_t longest = e1000_rx_longest(e) - ETH_FCS;
    x->iov[0] = (struct iovec){&x->p.nh, NET_HDR_LEN};
    x->niov = 1;
    if (x->guess && seg <= longest && seg + ETH_FCS <= r->bufsize) {
        at = e1000_rx_lay_guessed(e, r);
    } else {
        uint8_t *buf = e1000_rx_buffer(e, r, r->head);
        if (buf) {
            at = longest < r->bufsize ? longest : r->bufsize;
            e1000_rx_lay_piece(x, buf, at, 0);
        }
    }
    e1000_rx_lay_piece(x, x->buf + at, NET_FRAME_MAX - at, at);
}

/* Brings what lies in guest buffers to its place in buf[], from byte `from`. */
static void e1000_rx_collect(struct e1000_rx *x, uint32_t from)
{
    for (int i = 1; i < x->niov - 1 && x->piece[i] < x->p.len; i++) {
        uint32_t left = x->p.len - x->piece[i];
        uint32_t k = (uint32_t)x->iov[i].iov_len;
        if (x->piece[i] >= from)
            memcpy(x->buf + x->piece[i], x->iov[i].iov_base,
                   left < k ? left : k);
    }
}

/* --------------------------------------------------------------- segments */

static void e1000_rx_segment_info(const struct rx_packet *p, uint32_t payload,
                                  struct eth_info *info)
{
    *info = p->info;
    info->end = p->seg.hlen + payload;
}

/* Its segment at hand is delivered. */
static void e1000_rx_segment_done(struct rx_packet *p, uint32_t payload)
{
    p->seg.off += payload;
    p->seg.k++;
    p->on = p->seg.off < p->seg.bytes;
}

/* Segments that lie where they belong, as guessed. Each has its buffer to
 * itself, FCS included: e1000_rx_put() appends that behind the payload. */
static void e1000_rx_put_in_place(struct e1000 *e, struct rx_ring *r)
{
    struct e1000_rx *x = &e->rx;
    struct rx_packet *p = &x->p;
    if (p->info.vlan || x->iov[1].iov_len != p->seg.hlen + (size_t)p->seg.mss ||
        p->seg.hlen + (size_t)p->seg.mss + ETH_FCS > r->bufsize ||
        (x->niov > 3 && p->seg.hlen != x->guess_hlen))
        return;
    for (int i = 1; i < x->niov - 1 && p->on; i++) {
        uint8_t *body = x->iov[i].iov_base, *frame;
        struct eth_info info;
        uint32_t payload;
        body += i == 1 ? p->seg.hlen : 0;
        frame = body - p->seg.hlen;
        payload = seg_headers(&p->seg, body, frame);
        e1000_rx_segment_info(p, payload, &info);
        struct rx_frame f = {.piece = {{frame, p->seg.hlen + payload}},
                             .n = 1,
                             .len = p->seg.hlen + payload,
                             .info = &info,
                             .trusted = true,
                             .in_place = true};
        if (!e1000_rx_put(e, r, &f))
            return;
        e1000_rx_segment_done(p, payload);
    }
}

/* One more frame of the packet in buf[]. False: no descriptors. */
static bool e1000_rx_put_next(struct e1000 *e, struct rx_ring *r)
{
    struct e1000_rx *x = &e->rx;
    struct rx_packet *p = &x->p;
    uint8_t h[RX_PEEK], *body = x->buf + p->seg.hlen + p->seg.off;
    struct eth_info info = p->info;
    struct rx_frame f = {.info = &info, .trusted = true};
    uint32_t payload = 0;
    if (p->seg.mss) {
        payload = seg_headers(&p->seg, body, h);
        e1000_rx_segment_info(p, payload, &info);
        f.piece[0] = (struct iovec){h, p->seg.hlen};
        f.piece[1] = (struct iovec){body, payload};
        f.n = 2;
        f.len = p->seg.hlen + payload;
    } else {
        f.piece[0] = (struct iovec){x->buf, p->len};
        f.n = 1;
        f.len = p->len;
        f.trusted = p->nh.flags;
    }
    if (e1000_rx_put(e, r, &f)) {
        e1000_rx_segment_done(p, payload);
        return true;
    }
    if ((uint64_t)(r->n - 1) * r->bufsize >= f.len + ETH_FCS)
        return false;
    nic_count(&e->nic.stats, rx_drop_fit, 1); /* the ring can never hold it */
    e1000_rx_drop_full(e);
    p->on = false;
    return true;
}

/* ---------------------------------------------------------------- packets */

/* May the guest have it? Counts why not. `len`: of its longest frame. */
static bool e1000_rx_accept(struct e1000 *e, const uint8_t *h, uint32_t len,
                            const struct eth_info *info)
{
    if (len + ETH_FCS > e1000_rx_longest(e)) {
        stat_add(e, ROC, 1);
        nic_count(&e->nic.stats, rx_drop_long, 1);
    } else if (!e1000_filter(e, h, info)) {
        nic_count(&e->nic.stats, rx_drop_filter, 1);
    } else {
        return true;
    }
    stat_add(e, TPR, 1);
    stat_add(e, TORL, (len < ETH_MIN ? ETH_MIN : len) + ETH_FCS);
    return false;
}

/* Checks a GSO packet's header against its bytes, and finds its headers' end.
 * Backends are other processes, maybe: nothing is taken on trust. */
static bool e1000_rx_gso_sane(struct rx_packet *p)
{
    unsigned type = p->nh.gso_type & ~(unsigned)NET_GSO_ECN;
    uint32_t l4 = p->info.l4, hlen;
    if ((type == NET_GSO_TCPV4 && p->info.ip != 4) ||
        (type == NET_GSO_TCPV6 && p->info.ip != 6) ||
        (type != NET_GSO_TCPV4 && type != NET_GSO_TCPV6) ||
        p->info.proto != 6 || !p->nh.gso_size || l4 + 20 > RX_PEEK ||
        l4 + 20 > p->len)
        return false;
    hlen = l4 + (p->head[l4 + 12] >> 4) * 4;
    if (hlen < l4 + 20 || hlen > RX_PEEK || hlen >= p->len)
        return false;
    eth_put16(p->head + l4 + 16,
              (uint16_t)~csum_fold(eth_pseudo(&p->info, p->head, 0)));
    p->seg = (struct seg){.head = p->head,
                          .l3 = p->info.l3,
                          .l4 = p->info.l4,
                          .hlen = (uint16_t)hlen,
                          .sum = (uint16_t)(l4 + 16),
                          .v6 = p->info.ip == 6,
                          .mss = p->nh.gso_size,
                          .bytes = p->len - hlen};
    return true;
}

static void e1000_rx_learn(struct e1000_rx *x)
{
    if (!x->p.seg.mss) {
        x->guess -= x->guess ? 1 : 0;
        return;
    }
    x->guess_hlen = x->p.seg.hlen;
    x->guess_mss = x->p.seg.mss;
    x->guess = GUESS_MAX;
}

/* SDM has nothing like it: the backend leaves a sum to us. The sum's seed is in
 * the field. */
static bool e1000_rx_complete_sum(struct rx_packet *p, struct rx_frame *f)
{
    uint32_t start = p->nh.csum_start, at = start + p->nh.csum_offset;
    uint8_t b[2];
    uint16_t v;
    if (start >= p->len || at + 2 > p->len)
        return false;
    v = csum_fold(e1000_rx_sum(f, start, p->len));
    eth_put16(b, v ? v : 0xffff);
    iov_write(f->piece, f->n, at, b, 2);
    return true;
}

static void e1000_rx_plain_packet(struct e1000 *e, struct rx_ring *r)
{
    struct e1000_rx *x = &e->rx;
    struct rx_packet *p = &x->p;
    bool strip = p->info.vlan && reg_get(e, CTRL) & CTRL_VME;
    bool whole = x->niov > 2 && p->len <= x->iov[1].iov_len;
    uint32_t padded = p->len < ETH_MIN ? ETH_MIN : p->len;
    struct rx_frame f = {.n = 1, .len = p->len, .info = &p->info};
    bool fits = padded + ETH_FCS <= r->bufsize;
    f.in_place = whole && fits && !strip;
    if (!f.in_place)
        e1000_rx_collect(x, 0);
    f.piece[0].iov_base = f.in_place ? x->iov[1].iov_base : x->buf;
    f.piece[0].iov_len = p->len;
    f.trusted = p->nh.flags & (NET_F_NEEDS_CSUM | NET_F_DATA_VALID);
    if (p->nh.flags & NET_F_NEEDS_CSUM && !e1000_rx_complete_sum(p, &f)) {
        nic_count(&e->nic.stats, rx_drop_backend, 1);
        return;
    }
    p->on = !(f.in_place && e1000_rx_put(e, r, &f));
}

/* A packet of `got` bytes was read as laid out. Leaves in p->on what could not
 * be delivered at once. */
static void e1000_rx_packet(struct e1000 *e, struct rx_ring *r, size_t got)
{
    struct e1000_rx *x = &e->rx;
    struct rx_packet *p = &x->p;
    uint32_t n, frame;
    p->on = false;
    p->seg = (struct seg){.mss = 0};
    if (got < NET_HDR_LEN + ETH_HLEN) {
        nic_count(&e->nic.stats, rx_drop_short, 1);
        return;
    }
    p->len = (uint32_t)(got - NET_HDR_LEN);
    n = (uint32_t)iov_read(&x->iov[1], x->niov - 1, 0, p->head,
                           p->len < RX_PEEK ? p->len : RX_PEEK);
    eth_parse(&p->info, p->head, n, p->len, (uint16_t)reg_get(e, VET));
    if (p->nh.gso_type && !e1000_rx_gso_sane(p)) {
        nic_count(&e->nic.stats, rx_drop_backend, 1);
        return;
    }
    frame = p->seg.mss && p->seg.hlen + p->seg.mss < p->len
                ? p->seg.hlen + p->seg.mss
                : p->len;
    if (!e1000_rx_accept(e, p->head, frame, &p->info))
        return;
    if (!p->seg.mss) {
        e1000_rx_plain_packet(e, r);
        return;
    }
    p->on = true;
    e1000_rx_put_in_place(e, r);
    if (p->on)
        e1000_rx_collect(x, p->seg.off ? p->seg.hlen + p->seg.off : 0);
}

static void e1000_rx_finish_burst(struct e1000 *e, const struct rx_ring *r,
                                  uint32_t before)
{
    uint32_t rctl = reg_get(e, RCTL);
    uint32_t low = r->n >> (1 + (rctl >> RCTL_RDMTS_SHIFT & 3));
    if (before > low && e1000_rx_avail(r) <= low) /* SDM 13.4.17, RXDMT0 */
        e->causes |= ICR_RXDMT0;
}

/* One packet or segment; false: nothing more to do now. */
static bool e1000_rx_step(struct e1000 *e, struct rx_ring *r)
{
    struct e1000_rx *x = &e->rx;
    ssize_t got;
    r->tail = atomic_load(&e->reg[RDT / 4]);
    x->starved = !e1000_rx_avail(r);
    if (!x->starved && !e1000_rx_desc_addr(r, r->head)) {
        e1000_rx_skip_nulls(e, r);
        x->starved = !e1000_rx_avail(r);
    }
    if (!x->starved && x->p.on) {
        x->starved = !e1000_rx_put_next(e, r);
        x->need = e1000_rx_avail(r) + 1;
        return !x->starved;
    }
    x->need = 1;
    if (x->starved)
        return false;
    if (!x->readable)
        return false;
    e1000_rx_lay_out(e, r);
    got = e->be->recv(e->be, x->iov, x->niov);
    if (got <= 0) {
        x->readable = false;
        if (got < 0)
            nic_count(&e->nic.stats, rx_drop_backend, 1);
        else if (e->be->gate && e->be->gate->rx_due)
            nic_count(&e->nic.stats, rx_limited, 1);
        return false;
    }
    x->readable = ++x->brought > 1 || !nic_one_is_enough(&x->alone);
    e1000_rx_packet(e, r, (size_t)got);
    e1000_rx_learn(x);
    return true;
}

/* Starved. After frames were delivered, more are likely to come. */
static void e1000_rx_wait_for_enough(struct e1000 *e, const struct rx_ring *r,
                                     bool delivered)
{
    struct e1000_rx *x = &e->rx;
    uint32_t enough = delivered && r->n >= PATIENCE_RING ? r->n / 4 : 1;
    if (enough <= x->need) {
        atomic_store(&x->enough, x->need);
        return;
    }
    atomic_store(&x->enough, enough);
    timer_arm(&e->patience_timer, now_ns() + PATIENCE_NS);
}

static void e1000_rx_patience_ends(struct timer *t)
{
    struct e1000 *e = container_of(t, struct e1000, patience_timer);
    bool pending;
    lock_take(&e->lock);
    atomic_store(&e->rx.enough, e->rx.need);
    pending = e->rx.starved && e1000_rx_pending(e);
    lock_give(&e->lock);
    if (pending)
        e1000_kick(e, TODO_RX);
}

void e1000_rx_init(struct e1000 *e)
{
    timer_init(&e->patience_timer, e->dev.m->loop, e1000_rx_patience_ends);
}

bool e1000_rx_run(struct e1000 *e)
{
    struct rx_ring r;
    uint32_t before, start = e->rx.frames;
    int steps = 0;
    atomic_store(&e->rx.enough, 1);
    if (!e->be || !e1000_rx_on(e)) {
        e->rx.starved = false;
        return false;
    }
    if (e->rx.starved) /* not read since */
        e->rx.readable = true;
    e->rx.need = 1;
    e->rx.starved = !e1000_rx_ring_open(e, &r);
    if (e->rx.starved)
        return false;
    before = e1000_rx_avail(&r);
    e->rx.brought = 0;
    while (steps < BURST && e->rx.frames - start < BURST &&
           e1000_rx_step(e, &r)) {
        steps++;
        if (atomic_load(&e->waiting))
            break;
    }
    nic_turn_brought(&e->rx.alone, e->rx.brought);
    e1000_rx_finish_burst(e, &r, before);
    if (e->rx.starved)
        e1000_rx_wait_for_enough(e, &r, e->rx.frames != start);
    return !e->rx.starved && e->rx.p.on;
}

/* Descriptors came since it starved, and enough of them? */
bool e1000_rx_pending(struct e1000 *e)
{
    struct rx_ring r;
    return e1000_rx_on(e) && e1000_rx_ring_open(e, &r) &&
           e1000_rx_avail(&r) >= atomic_load(&e->rx.enough);
}

/* -------------------------------------------------------------- loopback */

/* SDM 13.4.22 LBM, PHY register 0 bit 14. The frame goes through the receiver
 * as any other and never further: receiving starts no sending, buffers are RAM
 * only, so there is nothing to recurse (CVE-2021-3416). Without descriptors it
 * is lost, as on the wire. */
void e1000_rx_loop(struct e1000 *e, const struct iovec *iov, int n)
{
    struct rx_ring r;
    struct eth_info info;
    struct rx_frame f = {.n = 1, .info = &info};
    uint32_t before, len = (uint32_t)iov_len(iov, n);
    uint8_t *buf = e->rx.loop_buf;
    if (!(reg_get(e, RCTL) & RCTL_EN)) {
        nic_count(&e->nic.stats, rx_drop_off, 1);
        return;
    }
    f.len = (uint32_t)iov_read(iov, n, 0, buf, E1000_LONG_MAX);
    eth_parse(&info, buf, f.len, f.len, (uint16_t)reg_get(e, VET));
    if (!e1000_rx_accept(e, buf, len, &info))
        return;
    f.piece[0] = (struct iovec){buf, f.len};
    if (!e1000_rx_ring_open(e, &r)) {
        nic_count(&e->nic.stats, rx_drop_desc, 1);
        return;
    }
    e1000_rx_skip_nulls(e, &r);
    before = e1000_rx_avail(&r);
    if (!e1000_rx_put(e, &r, &f)) {
        nic_count(&e->nic.stats, rx_drop_no_buffer, 1);
        e1000_rx_drop_full(e);
    }
    e1000_rx_finish_burst(e, &r, before);
}

/* -------------------------------------------------------------- registers */

void e1000_rx_reset(struct e1000 *e)
{
    struct e1000_rx *x = &e->rx;
    if (x->p.on)
        nic_count(&e->nic.stats, rx_drop_off, 1);
    x->p.on = x->got = false;
    x->guess = 0;
    atomic_store(&x->enough, 1);
    fields_reset(e1000_rx_fields, x, STATE);
}

/* -------------------------------------------------------------------- rest */

/* Of a packet that is cut, headers and what is delivered need not be in buf[]
 * any more. */
void e1000_rx_rest(struct e1000 *e)
{
    struct e1000_rx *x = &e->rx;
    struct rx_packet *p = &x->p;
    if (!p->on) {
        p->len = 0;
        p->seg = (struct seg){.mss = 0};
    } else if (p->seg.mss) {
        memcpy(x->buf, p->head, p->seg.hlen);
        memset(x->buf + p->seg.hlen, 0, p->seg.off);
    }
}

const char *e1000_rx_loaded(struct e1000 *e)
{
    struct e1000_rx *x = &e->rx;
    struct rx_packet *p = &x->p;
    uint32_t n = p->len < RX_PEEK ? p->len : RX_PEEK, off = p->seg.off,
             k = p->seg.k;
    x->got = x->starved = false;
    x->guess = 0;
    p->on = p->len;
    p->seg = (struct seg){.mss = 0};
    if (!p->on)
        return off || k ? "rx.cut_off: of no packet" : NULL;
    memcpy(p->head, x->buf, n);
    if (p->len < ETH_HLEN)
        return "rx.packet: too short";
    eth_parse(&p->info, p->head, n, p->len, (uint16_t)reg_get(e, VET));
    if (p->nh.gso_type && !e1000_rx_gso_sane(p))
        return "rx.packet: not of the kind its header says";
    p->seg.off = off;
    p->seg.k = k;
    if (p->seg.mss ? off >= p->seg.bytes || off != (uint64_t)k * p->seg.mss
                   : off || k)
        return "rx.cut_off: no segment begins there";
    return NULL;
}

void e1000_wr_rctl(struct e1000 *e, uint32_t off, uint32_t val)
{
    uint32_t old = reg_get(e, off);
    reg_put(e, off, val);
    if (old & ~val & RCTL_EN)
        e1000_rx_reset(e);
    e1000_kick(e, TODO_CFG);
    if ((old ^ val) & (RCTL_UPE | RCTL_MPE | RCTL_BAM | RCTL_VFE))
        nic_filter_changed(&e->nic, &e->dev);
}

/* The doorbell. Pairs with the loop's last look: see "Kicks" in e1000.c. */
void e1000_wr_rdt(struct e1000 *e, uint32_t off, uint32_t val)
{
    const struct rx_ring r = {
        .n = e1000_ring_len(e, RDBAL), .head = reg_get(e, RDH), .tail = val};
    atomic_store(&e->reg[off / 4], val);
    nic_count(&e->nic.stats, rx_kicks, 1);
    uint32_t enough = atomic_load(&e->rx.enough);
    if (enough <= 1 || e1000_rx_avail(&r) >= enough)
        e1000_kick(e, TODO_RX);
}
