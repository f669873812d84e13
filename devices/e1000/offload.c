/* SPDX-License-Identifier: MIT */
/* What the e1000 does to a packet before it goes out: checksums, segments, VLAN
 * tag, padding (SDM 3.3.5-3.3.7, 3.5, 3.6, 9.2).
 *
 * Theory of operation
 *
 * The work is passed on where the backend takes it, as fields of the packet's
 * virtio header: an L4 checksum becomes NEEDS_CSUM, a TSO packet one GSO
 * packet. For that, its headers must be what the kernel expects of one big
 * packet; the card's drivers leave the lengths out. e1000_tx_tso_gso() says
 * when it can be done; everything else the card accepts is cut and summed up
 * here (e1000_tx_cut_step), a segment a step, so that no request, however small
 * its MSS, holds the loop.
 *
 * Headers are changed, and looked at, in a private copy: hdr[] has the first
 * TX_REACH bytes, all that the 8-bit offsets of a context can name. */
#include <errno.h>
#include <string.h>

#include "devices/e1000/state.h"
#include "base/iov.h"

/* Below this the kernel would not take a GSO size (TCP_MIN_SND_MSS). */
#define GSO_MSS_MIN 48
#define IP_MAX 65535

static const uint8_t zeros[ETH_MIN];

/* Moves the packet's first bytes into hdr[]. */
static void e1000_tx_pull(struct e1000_tx *t, uint32_t want)
{
    uint32_t n = want < t->bytes ? want : t->bytes;
    t->hlen =
        (uint32_t)iov_read(&t->iov[t->body], t->n - t->body, 0, t->hdr, n);
    n = t->hlen;
    while (n && t->body < t->n) {
        struct iovec *v = &t->iov[t->body];
        uint32_t k = v->iov_len < n ? (uint32_t)v->iov_len : n;
        v->iov_base = (uint8_t *)v->iov_base + k;
        v->iov_len -= k;
        n -= k;
        if (v->iov_len == 0)
            t->body++;
    }
}

static void e1000_tx_trim(struct e1000_tx *t, uint32_t cut)
{
    if (cut > t->bytes)
        cut = t->bytes;
    t->bytes -= cut;
    while (cut && t->n > t->body) {
        struct iovec *v = &t->iov[t->n - 1];
        uint32_t k = v->iov_len < cut ? (uint32_t)v->iov_len : cut;
        v->iov_len -= k;
        cut -= k;
        if (v->iov_len == 0)
            t->n--;
    }
}

/* SDM 3.3.3.1: without IFCS the driver has put the FCS at the end; the wire's
 * own is not ours to give, so it goes. But many a driver leaves IFCS out and
 * gives no FCS either, for no other model of the card looks at the bit: what is
 * not the frame's CRC-32 is its data. Segments have one each, and none of it
 * can be the driver's. */
static SELDOM void e1000_tx_take_fcs(struct e1000_tx *t)
{
    uint32_t left, crc = 0;
    uint8_t fcs[ETH_FCS], mine[ETH_FCS];
    if (t->bytes < ETH_HLEN + ETH_FCS || t->bytes > E1000_TX_MAX + ETH_FCS)
        return;
    left = t->bytes - ETH_FCS;
    iov_read(&t->iov[t->body], t->n - t->body, left, fcs, ETH_FCS);
    for (int i = t->body; i < t->n && left; i++) {
        uint32_t k = (uint32_t)t->iov[i].iov_len;
        k = k < left ? k : left;
        crc = eth_crc(crc, t->iov[i].iov_base, k);
        left -= k;
    }
    memcpy(mine, &crc, ETH_FCS);
    if (memcmp(fcs, mine, ETH_FCS) == 0)
        e1000_tx_trim(t, ETH_FCS);
}

static bool e1000_tx_can_offload(const struct e1000 *e, unsigned bits)
{
    return (e->offload & bits) == bits && !e1000_loopback(e);
}

/* -------------------------------------------------------------- checksums */

/* Sum of the packet's bytes [from, to). */
static uint32_t e1000_tx_sum_range(const struct e1000_tx *t, uint32_t from,
                                   uint32_t to)
{
    uint32_t sum = 0, at = t->hlen, a, b;
    if (from < t->hlen) {
        b = to < t->hlen ? to : t->hlen;
        sum = csum_partial(t->hdr + from, b - from, 0, false);
    }
    for (int i = t->body; i < t->n && at < to; i++) {
        uint32_t len = (uint32_t)t->iov[i].iov_len;
        a = from > at ? from - at : 0;
        b = to - at < len ? to - at : len;
        if (a < b)
            sum = csum_partial((uint8_t *)t->iov[i].iov_base + a, b - a, sum,
                               (at + a - from) & 1);
        at += len;
    }
    return sum;
}

/* SDM 3.3.5: the sum of [css, cse] goes to cso; cse 0 is the packet's end. The
 * field's old contents (the pseudo header's sum) count. Fields that are not
 * inside the packet are ignored. */
static void e1000_tx_insert_sum(struct e1000_tx *t, uint32_t css, uint32_t cse,
                                uint32_t cso, bool udp)
{
    uint32_t end = cse && cse < t->bytes ? cse + 1 : t->bytes;
    uint16_t v;
    if (css >= end || cso + 2 > t->hlen)
        return;
    v = csum_fold(e1000_tx_sum_range(t, css, end));
    if (udp && v == 0) /* RFC 768: 0 means that there is none */
        v = 0xffff;
    eth_put16(t->hdr + cso, v);
}

/* Can the sum of [css, end] to cso be left to the backend? */
static bool e1000_tx_leave_sum(struct e1000 *e, uint32_t css, uint32_t cse,
                               uint32_t cso)
{
    struct e1000_tx *t = &e->tx;
    if (!e1000_tx_can_offload(e, NETBE_CSUM) || (cse && cse + 1 < t->bytes) ||
        cso < css || css >= t->bytes || cso + 2 > t->bytes)
        return false;
    t->nh.flags = NET_F_NEEDS_CSUM;
    t->nh.csum_start = (uint16_t)css;
    t->nh.csum_offset = (uint16_t)(cso - css);
    return true;
}

static SELDOM void e1000_tx_prepare_sums(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    const struct tx_ctx *c = &t->ctx;
    e1000_tx_pull(t, TX_REACH);
    if (t->popts & POPTS_IXSM)
        e1000_tx_insert_sum(t, c->ipcss, c->ipcse, c->ipcso, false);
    if (t->popts & POPTS_TXSM &&
        !e1000_tx_leave_sum(e, c->tucss, c->tucse, c->tucso))
        e1000_tx_insert_sum(t, c->tucss, c->tucse, c->tucso,
                            !(c->cmd & TUCMD_TCP));
}

/* SDM 3.3.3: a legacy descriptor's own sum, from CSS to the end. */
static SELDOM void e1000_tx_prepare_legacy_sum(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    if (t->css >= t->bytes || t->cso + 1u >= t->bytes)
        return;
    e1000_tx_pull(t, TX_REACH);
    if (!e1000_tx_leave_sum(e, t->css, 0, t->cso))
        e1000_tx_insert_sum(t, t->css, 0, t->cso, false);
}

/* ------------------------------------------------------------------- TSO */

/* SDM 3.5.5-3.5.9: what a segmentation context must say to make sense. After
 * it, header offsets are in order and inside hdr[]. */
static bool e1000_tx_tso_sane(const struct e1000_tx *t)
{
    const struct tx_ctx *c = &t->ctx;
    bool tcp = c->cmd & TUCMD_TCP, v4 = c->cmd & TUCMD_IP;
    uint32_t paylen = c->cmd & 0xfffff;
    uint32_t longest = c->hdrlen + (c->mss < paylen ? c->mss : paylen);
    return c->mss && paylen && t->bytes == c->hdrlen + paylen &&
           longest <= E1000_TX_MAX && c->ipcss >= ETH_HLEN &&
           c->tucss >= c->ipcss + (v4 ? 20 : 40) &&
           c->hdrlen >= c->tucss + (tcp ? 20 : 8) &&
           c->tucso == c->tucss + (tcp ? 16 : 6) &&
           (!v4 || c->ipcso == c->ipcss + 10) &&
           (!c->tucse || c->tucse >= c->hdrlen);
}

/* Is it one TCP packet a kernel's GSO cuts just as the card would? */
static bool e1000_tx_tso_gso(struct e1000 *e, unsigned *type)
{
    const struct e1000_tx *t = &e->tx;
    const struct tx_ctx *c = &t->ctx;
    const uint8_t *ip = t->hdr + c->ipcss, *tcp = t->hdr + c->tucss;
    bool v4 = c->cmd & TUCMD_IP;
    unsigned need = NETBE_CSUM | (v4 ? NETBE_TSO4 : NETBE_TSO6);
    *type = v4 ? NET_GSO_TCPV4 : NET_GSO_TCPV6;
    if (tcp[13] & 0x80) { /* CWR */
        need |= NETBE_ECN;
        *type |= NET_GSO_ECN;
    }
    if (!e1000_tx_can_offload(e, need) || !(c->cmd & TUCMD_TCP) ||
        !(t->popts & POPTS_TXSM) || (v4 && !(t->popts & POPTS_IXSM)) ||
        c->tucse || c->mss < GSO_MSS_MIN || t->bytes - c->ipcss > IP_MAX ||
        (tcp[12] >> 4) * 4 != c->hdrlen - c->tucss)
        return false;
    if (v4)
        return ip[0] >> 4 == 4 && (ip[0] & 15) * 4 == c->tucss - c->ipcss &&
               ip[9] == 6;
    return ip[0] >> 4 == 6 && c->tucss == c->ipcss + 40 && ip[6] == 6;
}

/* SDM 3.5.9, for all of it as if it were one packet. The driver's sum of the
 * pseudo header is without the length: the card adds each segment's, the kernel
 * wants that of the whole. */
static void e1000_tx_make_gso(struct e1000_tx *t, unsigned type)
{
    const struct tx_ctx *c = &t->ctx;
    uint8_t *sum = t->hdr + c->tucso;
    t->seg.head = t->hdr;
    t->seg.mss = t->seg.bytes;
    t->seg.sum = 0;
    seg_headers(&t->seg, NULL, t->hdr);
    eth_put16(sum, (uint16_t)~csum_fold(eth_get16(sum) + t->bytes - c->tucss));
    t->nh.flags = NET_F_NEEDS_CSUM;
    t->nh.csum_start = c->tucss;
    t->nh.csum_offset = 16;
    if (t->seg.bytes <= c->mss)
        return;
    t->nh.gso_type = (uint8_t)type;
    t->nh.gso_size = c->mss;
    t->nh.hdr_len = c->hdrlen;
}

/* The whole packet in bounce[], as gathered. */
static void e1000_tx_flatten_pulled(struct e1000_tx *t)
{
    if (t->copied)
        return;
    memcpy(t->bounce, t->hdr, t->hlen);
    iov_read(&t->iov[t->body], t->n - t->body, 0, t->bounce + t->hlen,
             NET_FRAME_MAX - t->hlen);
    t->copied = true;
}

/* As its context has it cut. */
static void e1000_tx_segments(struct e1000_tx *t)
{
    const struct tx_ctx *c = &t->ctx;
    t->seg = (struct seg){.head = t->bounce,
                          .l3 = c->ipcss,
                          .l4 = c->tucss,
                          .hlen = c->hdrlen,
                          .sum = t->popts & POPTS_TXSM ? c->tucso : 0,
                          .v6 = !(c->cmd & TUCMD_IP),
                          .udp = !(c->cmd & TUCMD_TCP),
                          .mss = c->mss,
                          .bytes = t->bytes - c->hdrlen};
    t->nsegs = (t->seg.bytes + c->mss - 1) / c->mss;
}

static SELDOM void e1000_tx_prepare_tso(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    unsigned type;
    if (!e1000_tx_tso_sane(t)) {
        t->drop = &e->nic.stats.tx_drop_offload;
        stat_add(e, TSCTFC, 1);
        return;
    }
    e1000_tx_segments(t);
    e1000_tx_pull(t, TX_REACH);
    if (e1000_tx_tso_gso(e, &type)) {
        e1000_tx_make_gso(t, type);
        return;
    }
    e1000_tx_flatten_pulled(t);
    t->cut = true;
}

/* ------------------------------------------------------------ tag, padding */

/* SDM 9.2.1: CTRL.VME switches VLE on; the type comes from VET. */
static uint32_t e1000_tx_put_tag(struct e1000 *e, uint8_t *hdr, uint32_t hlen)
{
    struct e1000_tx *t = &e->tx;
    memmove(hdr + 16, hdr + 12, hlen - 12);
    eth_put16(hdr + 12, (uint16_t)reg_get(e, VET));
    eth_put16(hdr + 14, t->special);
    return hlen + VLAN_HLEN;
}

static bool e1000_tx_wants_tag(const struct e1000 *e)
{
    /* with TSE of the first descriptor, else of the last (SDM 3.3.7.1) */
    const struct e1000_tx *t = &e->tx;
    bool tse = t->first & TXD_DEXT && t->first & TXD_TSE;
    return (tse ? t->first : t->last) & TXD_VLE && reg_get(e, CTRL) & CTRL_VME;
}

static SELDOM void e1000_tx_insert_tag(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    if (!t->hlen)
        e1000_tx_pull(t, ETH_HLEN);
    t->hlen = e1000_tx_put_tag(e, t->hdr, t->hlen);
    t->bytes += VLAN_HLEN;
    if (t->nh.flags & NET_F_NEEDS_CSUM)
        t->nh.csum_start += VLAN_HLEN;
    if (t->nh.gso_type)
        t->nh.hdr_len += VLAN_HLEN;
}

/* SDM 13.4.33, PSP. */
static uint32_t e1000_tx_padding(const struct e1000 *e, uint32_t bytes)
{
    return reg_get(e, TCTL) & TCTL_PSP && bytes < ETH_MIN ? ETH_MIN - bytes : 0;
}

static void e1000_tx_finish(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    uint32_t pad = e1000_tx_padding(e, t->bytes);
    int at = t->body;
    if (pad) {
        t->iov[t->n++] = (struct iovec){(void *)(uintptr_t)zeros, pad};
        t->bytes += pad;
    }
    if (t->hlen)
        t->iov[--at] = (struct iovec){t->hdr, t->hlen};
    t->iov[--at] = (struct iovec){&t->nh, NET_HDR_LEN};
    t->at = at;
}

static SELDOM void e1000_tx_prepare_any(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    bool tse = t->first & TXD_DEXT && t->first & TXD_TSE;
    if (!(t->last & TXD_IFCS) && !tse)
        e1000_tx_take_fcs(t);
    if (t->bytes < ETH_HLEN)
        t->drop = &e->nic.stats.tx_drop_short;
    else if (!tse && t->bytes > E1000_TX_MAX)
        t->drop = &e->nic.stats.tx_drop_long;
    if (t->drop)
        return;
    if (tse)
        e1000_tx_prepare_tso(e);
    else if (t->first & TXD_DEXT && t->popts & (POPTS_IXSM | POPTS_TXSM))
        e1000_tx_prepare_sums(e);
    else if (!(t->first & TXD_DEXT) && t->last & TXD_IC)
        e1000_tx_prepare_legacy_sum(e);
    if (t->drop || t->cut)
        return;
    if (e1000_tx_wants_tag(e))
        e1000_tx_insert_tag(e);
    e1000_tx_finish(e);
}

/* A legacy descriptor's frame of a usual length, with nothing to be done to it
 * but what each needs: most are. */
static bool e1000_tx_plain(const struct e1000_tx *t)
{
    return (t->last & (TXD_IFCS | TXD_IC | TXD_VLE)) == TXD_IFCS &&
           !(t->first & TXD_DEXT) && t->bytes >= ETH_HLEN &&
           t->bytes <= E1000_TX_MAX;
}

void e1000_tx_prepare(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    memset(&t->nh, 0, sizeof(t->nh));
    t->nsegs = 1;
    if (t->drop)
        return;
    if (e1000_tx_plain(t))
        e1000_tx_finish(e);
    else
        e1000_tx_prepare_any(e);
}

/* -------------------------------------------------------------------- rest */

void e1000_tx_flatten_ready(struct e1000_tx *t)
{
    size_t at = t->hlen;
    /* Where it is in bounce[] already it is one piece, which may move a bit. */
    for (int i = t->body; i < t->n; i++) {
        memmove(t->bounce + at, t->iov[i].iov_base, t->iov[i].iov_len);
        at += t->iov[i].iov_len;
    }
    memcpy(t->bounce, t->hdr, t->hlen);
}

/* Is the header one of those that are made here? The backend goes by it. */
static bool e1000_tx_header_sane(const struct e1000 *e)
{
    const struct net_hdr *h = &e->tx.nh;
    unsigned type = h->gso_type & ~(unsigned)NET_GSO_ECN, need = 0;
    if (h->flags & ~NET_F_NEEDS_CSUM || h->num_buffers ||
        h->hdr_len > e->tx.bytes)
        return false;
    need |= h->flags || h->gso_type ? NETBE_CSUM : 0;
    need |= h->gso_type & NET_GSO_ECN ? NETBE_ECN : 0;
    need |= type == NET_GSO_TCPV4   ? NETBE_TSO4
            : type == NET_GSO_TCPV6 ? NETBE_TSO6
                                    : 0;
    if (type ? !(need & (NETBE_TSO4 | NETBE_TSO6)) || !h->flags ||
                   h->gso_size < GSO_MSS_MIN
             : h->gso_type || h->gso_size)
        return false;
    return (e->offload & need) == need &&
           (!h->flags ||
            (uint32_t)h->csum_start + h->csum_offset + 2 <= e->tx.bytes);
}

bool e1000_tx_prepared(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    uint32_t off = t->seg.off, k = t->seg.k, nsegs = t->nsegs;
    t->iov[1] = (struct iovec){&t->nh, NET_HDR_LEN};
    t->at = 1;
    if (!t->cut)
        return t->bytes >= ETH_HLEN && e1000_tx_header_sane(e);
    if (t->bytes > NET_FRAME_MAX || !e1000_tx_tso_sane(t))
        return false;
    e1000_tx_segments(t);
    t->seg.off = off;
    t->seg.k = k;
    return off < t->seg.bytes && off == (uint64_t)k * t->seg.mss &&
           nsegs == t->nsegs;
}

/* ------------------------------------------------------------------ out */

/* A packet of `bytes` went out as `segs` frames: each has the same headers and,
 * but for the last, MSS bytes. */
static void e1000_tx_count_sent(struct e1000 *e, const uint8_t *da,
                                uint32_t bytes, uint32_t segs)
{
    uint32_t mss = e->tx.ctx.mss, payload = e->tx.ctx.cmd & 0xfffff;
    uint32_t last = bytes;
    uint64_t octets = bytes + (uint64_t)segs * ETH_FCS;
    if (segs > 1) {
        uint32_t headers = bytes - payload;
        octets += (uint64_t)(segs - 1) * headers;
        last -= (segs - 1) * mss;
        e1000_stats_size(e, PTC64, headers + mss + ETH_FCS, segs - 1);
    }
    stat_add(e, GPTC, segs);
    stat_add(e, TPT, segs);
    stat_add(e, GOTCL, octets);
    stat_add(e, TOTL, octets);
    e1000_stats_size(e, PTC64, last + ETH_FCS, 1);
    if (da[0] & 1)
        stat_add(e, is_broadcast(da) ? BPTC : MPTC, segs);
    nic_count(&e->nic.stats, tx_frames, 1);
    nic_count(&e->nic.stats, tx_bytes, bytes);
}

/* SDM 3.5.6: the next segment of a packet flattened into bounce[], ready to
 * send from iov[0] on; its bytes. Its headers are made in hdr[], which nobody
 * needs any more. */
static SELDOM uint32_t e1000_tx_cut_next(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    uint8_t *body = t->bounce + t->seg.hlen + t->seg.off;
    uint32_t payload = seg_headers(&t->seg, body, t->hdr);
    uint32_t hlen = t->seg.hlen;
    if (e1000_tx_wants_tag(e))
        hlen = e1000_tx_put_tag(e, t->hdr, hlen);
    uint32_t pad = e1000_tx_padding(e, hlen + payload);
    t->at = 0;
    t->n = pad ? 4 : 3;
    t->iov[0] = (struct iovec){&t->nh, NET_HDR_LEN};
    t->iov[1] = (struct iovec){t->hdr, hlen};
    t->iov[2] = (struct iovec){body, payload};
    t->iov[3] = (struct iovec){(void *)(uintptr_t)zeros, pad};
    return hlen + payload + pad;
}

/* It is out: are there more? */
static SELDOM bool e1000_tx_cut_on(struct e1000_tx *t)
{
    t->seg.off += (uint32_t)t->iov[2].iov_len;
    t->seg.k++;
    return t->seg.off < t->seg.bytes;
}

/* What is ready to where it goes; as the backend's send. */
static ssize_t e1000_tx_emit(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    const struct iovec *iov = &t->iov[t->at];
    int n = t->n - t->at;
    if (e1000_loopback(e)) {
        e1000_rx_loop(e, iov + 1, n - 1);
        return 1;
    }
    if (!e->be || !(reg_get(e, STATUS) & STATUS_LU))
        return -ENETDOWN;
    return e->be->send(e->be, iov, n);
}

enum tx_result e1000_tx_send(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    struct nic_stats *s = &e->nic.stats;
    uint32_t bytes = t->bytes, segs = t->nsegs;
    if (t->drop) {
        atomic_fetch_add_explicit(t->drop, 1, memory_order_relaxed);
        return TX_DONE;
    }
    if (t->cut) {
        bytes = e1000_tx_cut_next(e);
        segs = 1;
    }
    ssize_t got = e1000_tx_emit(e);
    if (!got)
        return TX_BLOCKED;
    if (got > 0)
        e1000_tx_count_sent(
            e, e1000_to(&t->iov[t->at + 1], t->n - t->at - 1, t->to), bytes,
            segs);
    else if (reg_get(e, STATUS) & STATUS_LU && e->be)
        nic_count(s, tx_drop_backend, 1);
    else
        nic_count(s, tx_drop_link, 1);
    if (t->cut && e1000_tx_cut_on(t))
        return TX_MORE;
    if (t->first & TXD_DEXT && t->first & TXD_TSE)
        stat_add(e, TSCTC, 1);
    return TX_DONE;
}
