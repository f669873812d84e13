/* SPDX-License-Identifier: MIT */
/* One frame into the e1000's receive descriptors: buffers, padding, FCS,
 * checksums, status (SDM 3.2.3-3.2.6, 13.4.37). */
#include <string.h>

#include "devices/e1000/state.h"
#include "base/iov.h"

/* Frames after which the guest hears of them though more are at hand. */
#define REPORT_EVERY 8

static const uint8_t zeros[ETH_MIN];

/* SDM 13.4.22: BSIZE, and BSEX times sixteen; 00 with BSEX is reserved. */
static uint32_t e1000_rx_buffer_size(uint32_t rctl)
{
    uint32_t bsize = rctl >> RCTL_BSIZE_SHIFT & 3;
    uint32_t size = 2048u >> bsize;
    return rctl & RCTL_BSEX && bsize ? size * 16 : size;
}

bool e1000_rx_ring_open(struct e1000 *e, struct rx_ring *r)
{
    r->d = e1000_ring(e, RDBAL, &r->n);
    r->head = reg_get(e, RDH);
    /* pairs with the release in e1000_wr_rdt: descriptors are visible */
    r->tail = atomic_load(&e->reg[RDT / 4]);
    r->bufsize = e1000_rx_buffer_size(reg_get(e, RCTL));
    return r->d;
}

/* The second half of a descriptor at once, DD with it; the release orders the
 * buffer before it. */
static void e1000_rx_desc_write(struct rx_ring *r, uint64_t result)
{
    __atomic_store_n(&r->d[r->head].result, result, __ATOMIC_RELEASE);
    r->head = r->head + 1 == r->n ? 0 : r->head + 1;
}

void e1000_rx_skip_nulls(struct e1000 *e, struct rx_ring *r)
{
    for (uint32_t i = 0;
         i < r->n && e1000_rx_avail(r) && !e1000_rx_desc_addr(r, r->head);
         i++) {
        e1000_rx_desc_write(r, (uint64_t)RXD_DD << 32);
        nic_count(&e->nic.stats, rx_drop_desc, 1);
        reg_put(e, RDH, r->head);
    }
}

void e1000_rx_drop_full(struct e1000 *e)
{
    stat_add(e, MPC, 1);
    stat_add(e, RNBC, 1);
    e->causes |= ICR_RXO;
}

/* -------------------------------------------------------------- checksums */

uint32_t e1000_rx_sum(const struct rx_frame *f, uint32_t from, uint32_t to)
{
    uint32_t sum = 0, at = 0;
    for (int i = 0; i < f->n && at < to; i++) {
        uint32_t len = (uint32_t)f->piece[i].iov_len;
        uint32_t a = from > at ? from - at : 0;
        uint32_t b = to - at < len ? to - at : len;
        if (a < b)
            sum = csum_partial((uint8_t *)f->piece[i].iov_base + a, b - a, sum,
                               (at + a - from) & 1);
        at += len;
    }
    return sum;
}

/* Reads header bytes of the pieces; a guest can change them under us, which
 * makes a wrong verdict on its own frame and no more. */
static uint16_t e1000_rx_word_at(const struct rx_frame *f, uint32_t off)
{
    uint8_t b[2] = {0, 0};
    iov_read(f->piece, f->n, off, b, 2);
    return eth_get16(b);
}

/* SDM 3.2.9, RXCSUM.IPOFL. */
static uint32_t e1000_rx_ip_verdict(const struct rx_frame *f)
{
    const struct eth_info *i = f->info;
    uint32_t v = (uint32_t)RXD_IPCS;
    if (i->ip != 4)
        return 0;
    if (csum_fold(e1000_rx_sum(f, i->l3, i->l4)))
        v |= (uint32_t)RXD_ERR_IPE << 8;
    return v;
}

/* SDM 3.2.9, RXCSUM.TUOFL: TCP, and UDP that has a sum, not in fragments. */
static uint32_t e1000_rx_l4_verdict(const struct rx_frame *f)
{
    const struct eth_info *i = f->info;
    uint8_t head[64];
    uint32_t sum;
    size_t n;
    if (!i->ip || !i->whole || (i->proto != PROTO_TCP && i->proto != PROTO_UDP))
        return 0;
    if (f->trusted)
        return RXD_TCPCS;
    if (i->proto == PROTO_UDP && !e1000_rx_word_at(f, i->l4 + 6u))
        return 0;
    n = iov_read(f->piece, f->n, 0, head, sizeof(head));
    if (n < i->l3 + (i->ip == 4 ? 20u : 40u))
        return 0;
    sum = sum_fold(e1000_rx_sum(f, i->l4, i->end)) +
          sum_fold(eth_pseudo(i, head, i->end - i->l4));
    return RXD_TCPCS | (csum_fold(sum) ? (uint32_t)RXD_ERR_TCPE << 8 : 0);
}

/* Status in the low byte, errors in the next. With RXCSUM 0 the driver wants
 * none of it: IXSM says that nothing was looked at. */
static uint32_t e1000_rx_verdict(struct e1000 *e, const struct rx_frame *f)
{
    uint32_t rxcsum = reg_get(e, RXCSUM), v = 0;
    if (!rxcsum || f->info->l3 == 0)
        return RXD_IXSM;
    if (rxcsum & RXCSUM_IPOFL)
        v |= e1000_rx_ip_verdict(f);
    if (rxcsum & RXCSUM_TUOFL)
        v |= e1000_rx_l4_verdict(f);
    return v;
}

/* -------------------------------------------------------------- delivery */

/* Cuts the tag out: bytes 12 to 15 (SDM 9.2.2). The frame is in one piece. */
static void e1000_rx_strip_tag(struct rx_frame *f)
{
    uint8_t *p = f->piece[0].iov_base;
    if (f->n == 2) {
        memmove(p + 12, p + 16, f->piece[0].iov_len - 16);
        f->piece[0].iov_len -= VLAN_HLEN;
    } else {
        f->piece[1] = (struct iovec){p + 16, f->len - 16};
        f->piece[0].iov_len = 12;
        f->n = 2;
    }
    f->len -= VLAN_HLEN;
    f->tagged = true;
}

static uint32_t e1000_rx_frame_crc(const struct e1000 *e,
                                   const struct rx_frame *f)
{
    uint32_t crc = 0;
    if (!e->fcs)
        return 0;
    for (int i = 0; i < f->n; i++)
        crc = eth_crc(crc, f->piece[i].iov_base, f->piece[i].iov_len);
    return crc;
}

/* Padding to the least frame, and the FCS unless it is stripped (SECRC). */
static void e1000_rx_complete(struct e1000 *e, struct rx_frame *f,
                              uint32_t *crc)
{
    if (f->len < ETH_MIN) {
        f->piece[f->n++] =
            (struct iovec){(void *)(uintptr_t)zeros, ETH_MIN - f->len};
        f->len = ETH_MIN;
    }
    if (reg_get(e, RCTL) & RCTL_SECRC)
        return;
    *crc = e1000_rx_frame_crc(e, f);
    f->piece[f->n++] = (struct iovec){crc, ETH_FCS};
    f->len += ETH_FCS;
}

/* The same where the frame lies. */
static void e1000_rx_complete_in_place(struct e1000 *e, struct rx_frame *f)
{
    uint8_t *p = f->piece[0].iov_base;
    if (f->len < ETH_MIN) {
        memset(p + f->len, 0, ETH_MIN - f->len);
        f->len = ETH_MIN;
    }
    if (!(reg_get(e, RCTL) & RCTL_SECRC)) {
        uint32_t crc = e->fcs ? eth_crc(0, p, f->len) : 0;
        memcpy(p + f->len, &crc, ETH_FCS);
        f->len += ETH_FCS;
    }
    f->piece[0].iov_len = f->len;
}

static void e1000_rx_count(struct e1000 *e, const uint8_t *da, uint32_t wire)
{
    stat_add(e, GPRC, 1);
    stat_add(e, TPR, 1);
    stat_add(e, GORCL, wire);
    stat_add(e, TORL, wire);
    e1000_stats_size(e, PRC64, wire, 1);
    if (da[0] & 1)
        stat_add(e, is_broadcast(da) ? BPRC : MPRC, 1);
    nic_count(&e->nic.stats, rx_frames, 1);
    nic_count(&e->nic.stats, rx_bytes, wire - ETH_FCS);
    if (wire <= (reg_get(e, RSRPD) & 0xfff))
        e->causes |= ICR_SRPD;
    e->rx.got = true;
    e->rx.frames++;
}

/* Copies the frame into as many buffers as it needs; a buffer that is no RAM
 * swallows its part, as the bus would. */
static void e1000_rx_scatter(struct e1000 *e, struct rx_ring *r,
                             struct rx_frame *f, uint32_t pcsum, uint64_t last)
{
    for (uint32_t off = 0; off < f->len;) {
        uint8_t *buf = e1000_rx_buffer(e, r, r->head);
        uint32_t k = f->len - off < r->bufsize ? f->len - off : r->bufsize;
        bool end = off + k == f->len;
        if (buf)
            iov_read(f->piece, f->n, off, buf, k);
        else
            fault_note(&e->f_desc, "%s: a receive buffer is not RAM",
                       e->dev.id);
        e1000_rx_desc_write(r, k | (uint64_t)(off ? 0 : pcsum) << 16 |
                                   (end ? last : (uint64_t)RXD_DD << 32));
        off += k;
    }
}

/* Are there descriptors for it, padding and FCS included? */
static bool e1000_rx_fits(const struct e1000 *e, const struct rx_ring *r,
                          const struct rx_frame *f, bool strip)
{
    uint32_t total = f->len - (strip ? VLAN_HLEN : 0);
    total = total < ETH_MIN ? ETH_MIN : total;
    total += reg_get(e, RCTL) & RCTL_SECRC ? 0 : ETH_FCS;
    return (uint64_t)e1000_rx_avail(r) * r->bufsize >= total;
}

bool e1000_rx_put(struct e1000 *e, struct rx_ring *r, struct rx_frame *f)
{
    uint32_t crc = 0, wire, v, pcsum = 0, pcss;
    uint8_t copy[6] = {0};
    bool strip = f->info->vlan && reg_get(e, CTRL) & CTRL_VME;
    if (!f->in_place && !e1000_rx_fits(e, r, f, strip))
        return false;
    const uint8_t *da = e1000_to(f->piece, f->n, copy);
    wire = (f->len < ETH_MIN ? ETH_MIN : f->len) + ETH_FCS;
    v = e1000_rx_verdict(e, f) | RXD_DD | RXD_EOP;
    if (f->in_place) {
        e1000_rx_complete_in_place(e, f);
    } else {
        if (strip)
            e1000_rx_strip_tag(f);
        e1000_rx_complete(e, f, &crc);
    }
    pcss = reg_get(e, RXCSUM) & RXCSUM_PCSS;
    if (!(v & RXD_IXSM) && pcss < f->len)
        pcsum = csum_fold(e1000_rx_sum(f, pcss, f->len));
    uint64_t last = (uint64_t)v << 32;
    if (f->tagged)
        last |= (uint64_t)RXD_VP << 32 | (uint64_t)f->info->tci << 48;
    if (f->in_place)
        e1000_rx_desc_write(r, f->len | (uint64_t)pcsum << 16 | last);
    else
        e1000_rx_scatter(e, r, f, pcsum, last);
    reg_put(e, RDH, r->head);
    if (r->n == 1) /* and it was the last one there is (SDM 13.4.17) */
        e->causes |= ICR_RXO;
    e1000_rx_count(e, da, wire);
    if (e->rx.frames - e->rx.told >= REPORT_EVERY)
        e1000_report(e);
    return true;
}
