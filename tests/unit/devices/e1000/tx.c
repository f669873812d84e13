/* SPDX-License-Identifier: MIT */
/* The e1000's transmitter: descriptors, offloads, reports; differential test
 * of segments made by the kernel's rules against those cut in the VMM. */
#include "tests/unit/devices/e1000/drv.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define LEGACY (TXD_EOP | TXD_IFCS | TXD_RS)
#define DATA (TXD_DEXT | TXD_DTYP_DATA | TXD_IFCS)
static uint8_t frame[70000], got[70000], other[70000];

static int take(struct drv *d, struct net_hdr *h)
{
    return (int)fake_net_take(d->net, 0, h, got, sizeof(got));
}

static void context_for(struct tx_ctx *c, unsigned l3, bool v6, bool udp)
{
    unsigned l4 = l3 + (v6 ? 40 : 20);
    *c = (struct tx_ctx){
        .ipcss = (uint8_t)l3,
        .ipcso = (uint8_t)(l3 + 10),
        .ipcse = (uint16_t)(l4 - 1),
        .tucss = (uint8_t)l4,
        .tucso = (uint8_t)(l4 + (udp ? 6 : 16)),
        .cmd = (udp ? 0 : TUCMD_TCP) | (v6 ? 0 : TUCMD_IP),
    };
}

/* What a driver does to a frame it wants checksummed: the pseudo header's sum
 * in the field, with or without (TSO) the length. */
static void seed(uint8_t *f, uint32_t len, bool with_len)
{
    struct eth_info i;
    eth_parse(&i, f, len, len, 0x8100);
    uint32_t at = i.l4 + (i.proto == 6 ? 16u : 6u);
    uint32_t n = with_len ? i.end - i.l4 : 0;
    eth_put16(f + at, (uint16_t)~csum_fold(eth_pseudo(&i, f, n)));
    if (i.ip == 4)
        eth_put16(f + i.l3 + 10, 0);
}

TEST(e1000_3_3_3_legacy_frame_goes_out_and_is_reported)
{
    struct drv *d = drv_new(NULL);
    struct net_hdr h;
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 8);
    drv_send(d, frame, len, LEGACY);
    CHECK_EQ(take(d, &h), len);
    CHECK_MEM(got, frame, len);
    CHECK_EQ(h.flags | h.gso_type, 0);
    CHECK_EQ(drv_tx_status(d, 0), TXD_DD);
    CHECK_EQ(rd(d, TDH), 1);
    CHECK_EQ(rd(d, ICR) & (ICR_TXDW | ICR_TXQE), ICR_TXDW | ICR_TXQE);
    CHECK_EQ(rd(d, GPTC), 1);
    CHECK_EQ(rd(d, TPT), 1);
    CHECK_EQ(rd(d, GOTCL), len + 4);
    CHECK_EQ(rd(d, PTC255), 1);
    drv_free(d);
}

TEST(e1000_3_3_3_report_keeps_the_other_bytes)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1), *p;
    drv_rings(d, 8);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    drv_desc(d, DRV_TXBUF, len | LEGACY | 0x220000, 0xbeef12f0);
    p = fake_ram(d->m, DRV_TXRING, 16);
    drv_go(d);
    CHECK_EQ(p[2], len | LEGACY | 0x220000);
    CHECK_EQ(p[3], 0xbeef12f1);
    drv_free(d);
}

TEST(e1000_3_3_3_no_report_without_rs_and_rps_counts)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 8);
    drv_send(d, frame, len, TXD_EOP | TXD_IFCS);
    CHECK_EQ(drv_tx_status(d, 0), 0);
    CHECK_EQ(rd(d, ICR) & ICR_TXDW, 0);
    drv_send(d, frame, len, TXD_EOP | TXD_IFCS | TXD_RPS);
    CHECK_EQ(drv_tx_status(d, 1), TXD_DD);
    CHECK_EQ(rd(d, ICR) & ICR_TXDW, ICR_TXDW);
    drv_free(d);
}

TEST(e1000_3_3_3_null_and_empty_descriptors_only_report)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 8);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    drv_desc(d, 0, 500 | TXD_IFCS | TXD_RS, 0);
    drv_desc(d, DRV_TXBUF, TXD_IFCS | TXD_RS, 0);
    drv_desc(d, DRV_TXBUF, len | LEGACY, 0);
    drv_go(d);
    CHECK_EQ(take(d, NULL), len);
    for (uint32_t i = 0; i < 3; i++)
        CHECK_EQ(drv_tx_status(d, i), TXD_DD);
    drv_free(d);
}

TEST(e1000_3_3_3_ic_sums_from_css_to_the_end)
{
    struct drv *d = drv_new("offload=off");
    uint32_t len = make_tcp(frame, 101, -1);
    drv_rings(d, 8);
    seed(frame, len, true);
    eth_put16(frame + 24, csum_fold(csum_partial(frame + 14, 20, 0, false)));
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    drv_desc(d, DRV_TXBUF, len | LEGACY | TXD_IC | 50u << 16, 34 << 8);
    drv_desc(d, DRV_TXBUF, len | LEGACY | TXD_IC | 255u << 16, 34 << 8);
    drv_desc(d, DRV_TXBUF, len | LEGACY | TXD_IC | 50u << 16, 255 << 8);
    drv_go(d);
    CHECK_EQ(take(d, NULL), len);
    CHECK(sums_ok(got, len));
    for (int i = 0; i < 2; i++) { /* offsets outside: nothing happens */
        CHECK_EQ(take(d, NULL), len);
        CHECK_MEM(got, frame, len);
    }
    drv_free(d);
}

TEST(e1000_3_3_7_checksums_are_left_to_the_backend)
{
    struct drv *d = drv_new(NULL);
    struct tx_ctx c;
    struct net_hdr h;
    uint32_t len = make_tcp(frame, 1000, -1);
    drv_rings(d, 8);
    seed(frame, len, true);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    context_for(&c, 14, false, false);
    drv_context(d, &c);
    drv_desc(d, DRV_TXBUF, len | DATA | TXD_EOP | TXD_RS,
             (POPTS_IXSM | POPTS_TXSM) << 8);
    drv_desc(d, DRV_TXBUF, len | DATA | TXD_EOP | TXD_RS, POPTS_TXSM << 8);
    drv_go(d);
    CHECK_EQ(take(d, &h), len);
    CHECK_EQ(h.flags, NET_F_NEEDS_CSUM);
    CHECK_EQ(h.csum_start, 34);
    CHECK_EQ(h.csum_offset, 16);
    CHECK_EQ(csum_fold(csum_partial(got + 14, 20, 0, false)), 0);
    CHECK_MEM(got + 34, frame + 34, len - 34);
    CHECK_EQ(drv_tx_status(d, 0), 0); /* a context without RS */
    CHECK_EQ(drv_tx_status(d, 1), TXD_DD);
    CHECK_EQ(take(d, &h), len); /* the context holds on */
    CHECK_EQ(h.flags, NET_F_NEEDS_CSUM);
    CHECK_MEM(got, frame, len); /* no IXSM */
    drv_free(d);
}

TEST(e1000_3_3_7_checksums_are_computed_where_nobody_else_does)
{
    struct drv *d = drv_new("offload=off");
    struct tx_ctx c;
    struct net_hdr h;
    drv_rings(d, 64);
    for (uint32_t n = 0; n < 10; n++) {
        bool udp = n & 1;
        uint32_t len =
            udp ? make_udp(frame, 900 + n) : make_tcp(frame, 900 + n, -1);
        uint32_t cut = 37 + 100 * n; /* odd and even pieces */
        memcpy(other, frame, len);
        seed(frame, len, true);
        memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
        context_for(&c, 14, false, udp);
        drv_context(d, &c);
        drv_desc(d, DRV_TXBUF, cut | DATA, (POPTS_IXSM | POPTS_TXSM) << 8);
        drv_desc(d, DRV_TXBUF + cut, (len - cut) | DATA | TXD_EOP, 0);
        drv_go(d);
        CHECK_EQ(take(d, &h), len);
        CHECK_EQ(h.flags, 0);
        CHECK_MEM(got, other, len);
    }
    drv_free(d);
}

TEST(e1000_checksum_offsets_anywhere_stay_inside_the_frame)
{
    static const uint16_t v[] = {0,  13, 14,  33,  34,  58,   59,
                                 60, 61, 254, 255, 300, 65535};
    struct drv *d = drv_new("offload=off");
    uint32_t len = make_tcp(frame, 7, -1);
    drv_rings(d, 64);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    for (uint32_t i = 0; i < 2000; i++) {
        struct tx_ctx c = {
            .ipcss = (uint8_t)v[test_random() % 13],
            .ipcso = (uint8_t)v[test_random() % 13],
            .ipcse = v[test_random() % 13],
            .tucss = (uint8_t)v[test_random() % 13],
            .tucso = (uint8_t)v[test_random() % 13],
            .tucse = v[test_random() % 13],
        };
        drv_context(d, &c);
        drv_desc(d, DRV_TXBUF, len | DATA | TXD_EOP, 3 << 8);
        drv_go(d);
        CHECK_EQ(take(d, NULL), len);
    }
    drv_free(d);
}

/* SDM 3.3.5 a byte at a time: [css, cse] summed up to cso, in p. */
static void reference_sum(uint8_t *p, uint32_t len, uint32_t css, uint32_t cse,
                          uint32_t cso)
{
    uint32_t end = cse && cse < len ? cse + 1 : len, sum = 0;
    if (css >= end || cso + 2 > len)
        return;
    for (uint32_t i = css; i < end; i++)
        sum += (i - css) & 1 ? p[i] : (uint32_t)p[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    eth_put16(p + cso, (uint16_t)~sum);
}

/* One request, by a context's or a legacy descriptor's offsets; what the
 * backend is left to do is done, then it must be what the reference gives. */
static void expect_sum(struct drv *d, uint32_t len, uint8_t css, uint16_t cse,
                       uint8_t cso, bool legacy)
{
    struct tx_ctx c = {
        .tucss = css, .tucse = cse, .tucso = cso, .cmd = TUCMD_TCP};
    bool leave = d->e->offload && (!cse || cse + 1u >= len) && cso >= css &&
                 css < len && cso + 2u <= len;
    struct net_hdr h;
    memcpy(other, frame, len);
    if (legacy) {
        drv_desc(d, DRV_TXBUF, len | LEGACY | TXD_IC | (uint32_t)cso << 16,
                 (uint32_t)css << 8);
    } else {
        drv_context(d, &c);
        drv_desc(d, DRV_TXBUF, len | DATA | TXD_EOP, POPTS_TXSM << 8);
    }
    drv_go(d);
    REQUIRE_EQ(take(d, &h), len);
    CHECK_EQ(h.flags, leave ? NET_F_NEEDS_CSUM : 0);
    if (h.flags)
        reference_sum(got, len, h.csum_start, 0,
                      h.csum_start + (uint32_t)h.csum_offset);
    reference_sum(other, len, css, cse, cso);
    CHECK_MEM(got, other, len);
}

TEST(e1000_3_3_5_sums_of_every_range)
{
    struct drv *d = drv_new(NULL);
    const unsigned all = d->e->offload;
    const uint16_t len = 80;
    drv_rings(d, 64);
    for (unsigned i = 0; i < len; i++)
        frame[i] = (uint8_t)test_random();
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    for (int how = 0; how < 4; how++) {
        d->e->offload = how & 1 ? all : 0;
        for (unsigned css = 12; css < len + 3u; css += css == 20 ? 55 : 1) {
            for (unsigned k = 0; k < 6; k++) {
                uint8_t at = (uint8_t)(k < 4 ? len - 3 + k : css + k - 5);
                if (how & 2) {
                    expect_sum(d, len, (uint8_t)css, 0, at, true);
                    continue;
                }
                for (unsigned e = 0; e < 6; e++)
                    expect_sum(d, len, (uint8_t)css,
                               (uint16_t)(e ? len - 4 + e : 0), at, false);
                expect_sum(d, len, (uint8_t)css, (uint16_t)css, at, false);
                expect_sum(d, len, (uint8_t)css, (uint16_t)(css - 1), at,
                           false);
            }
        }
    }
    drv_free(d);
}

/* More descriptors than one turn of the loop takes, and no doorbell. */
TEST(e1000_13_4_33_switched_on_it_sends_all_that_waits)
{
    struct drv *d = drv_new(NULL);
    drv_tx_ring(d, 512);
    wr(d, TCTL, 0);
    for (unsigned i = 0; i < 500; i++)
        drv_desc(d, DRV_TXBUF, 10 | TXD_EOP, 0);
    drv_go(d);
    CHECK_EQ(rd(d, TDH), 0);
    wr(d, TCTL, TCTL_EN);
    run(d);
    CHECK_EQ(rd(d, TDH), 500);
    CHECK_EQ(d->e->nic.stats.tx_drop_short, 500);
    drv_free(d);
}

/* -------------------------------------------------------------------- TSO */

/* A driver's TSO request for a packet in `frame`; in pieces of `piece`. */
static void send_tso(struct drv *d, uint32_t len, const struct tx_ctx *c,
                     uint32_t piece, uint32_t cmd, uint32_t upper)
{
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    drv_context(d, c);
    for (uint32_t at = 0; at < len; at += piece) {
        uint32_t k = len - at < piece ? len - at : piece;
        drv_desc(d, DRV_TXBUF + at,
                 k | DATA | TXD_TSE | cmd |
                     (at + k == len ? TXD_EOP | TXD_RS : 0),
                 upper | (POPTS_IXSM | POPTS_TXSM) << 8);
    }
    drv_go(d);
}

static uint32_t tso_frame(struct tx_ctx *c, uint32_t payload, uint16_t mss,
                          bool v6)
{
    uint32_t len =
        v6 ? make_tcp6(frame, payload) : make_tcp(frame, payload, -1);
    context_for(c, 14, v6, false);
    c->hdrlen = (uint8_t)(len - payload);
    c->mss = mss;
    c->cmd |= TXD_TSE | payload;
    seed(frame, len, false);
    if (v6)
        eth_put16(frame + 18, 0);
    else
        eth_put16(frame + 16, 0); /* Linux clears tot_len */
    return len;
}

/* IPv4 and TCP, as Linux asks for it. */
TEST(e1000_3_5_tso_is_one_gso_packet)
{
    struct drv *d = drv_new(NULL);
    struct tx_ctx c;
    struct net_hdr h;
    uint32_t len = tso_frame(&c, 29200, 1460, false);
    uint16_t guest_seed = eth_get16(frame + 50);
    drv_rings(d, 64);
    send_tso(d, len, &c, 4096, 0, 0);
    CHECK_EQ(take(d, &h), 29254);
    CHECK_EQ(h.flags, NET_F_NEEDS_CSUM);
    CHECK_EQ(h.gso_type, NET_GSO_TCPV4);
    CHECK_EQ(h.hdr_len, 54);
    CHECK_EQ(h.gso_size, 1460);
    CHECK_EQ(h.csum_start, 34);
    CHECK_EQ(h.csum_offset, 16);
    CHECK_EQ(eth_get16(got + 16), 29240);
    CHECK_EQ(csum_fold(csum_partial(got + 14, 20, 0, false)), 0);
    CHECK_EQ(eth_get16(got + 50), (uint16_t)~csum_fold(guest_seed + 29220u));
    CHECK_MEM(got + 54, frame + 54, 29200);
    CHECK_EQ(rd(d, GPTC), 20);
    CHECK_EQ(rd(d, GOTCL), 29254 + 19 * 54 + 20 * 4);
    CHECK_EQ(rd(d, PTC1522), 20);
    CHECK_EQ(rd(d, TSCTC), 1);
    CHECK_EQ(rd(d, TSCTFC), 0);
    drv_free(d);
}

TEST(e1000_3_5_tso_with_one_segment_is_no_gso)
{
    struct drv *d = drv_new(NULL);
    struct tx_ctx c;
    struct net_hdr h;
    drv_rings(d, 64);
    for (uint16_t mss = 999; mss < 1002; mss++) {
        uint32_t len = tso_frame(&c, 1000, mss, false);
        send_tso(d, len, &c, 4096, 0, 0);
        CHECK_EQ(take(d, &h), len);
        CHECK_EQ(h.gso_type, mss < 1000 ? NET_GSO_TCPV4 : NET_GSO_NONE);
        CHECK_EQ(h.flags, NET_F_NEEDS_CSUM);
    }
    drv_free(d);
}

/* What a kernel makes of a GSO packet (its rules, written down anew): segment
 * k of the packet in `got`, in `other`. Returns its length, 0 after the last.
 */
static uint32_t reference_segment(const struct net_hdr *h, uint32_t len,
                                  uint32_t k)
{
    uint32_t hlen = h->hdr_len, off = k * h->gso_size, n = h->gso_size;
    uint32_t l4 = h->csum_start;
    bool v6 = h->gso_type == NET_GSO_TCPV6;
    struct eth_info i;
    if (hlen + off >= len)
        return 0;
    if (n > len - hlen - off)
        n = len - hlen - off;
    memcpy(other, got, hlen);
    memcpy(other + hlen, got + hlen + off, n);
    if (v6) {
        eth_put16(other + l4 - 40 + 4, (uint16_t)(hlen - l4 + n));
    } else {
        uint8_t *ip = other + l4 - 20;
        eth_put16(ip + 2, (uint16_t)(hlen - l4 + 20 + n));
        eth_put16(ip + 4, (uint16_t)(eth_get16(ip + 4) + k));
        eth_put16(ip + 10, 0);
        eth_put16(ip + 10, csum_fold(csum_partial(ip, 20, 0, false)));
    }
    eth_put32(other + l4 + 4, eth_get32(other + l4 + 4) + off);
    if (hlen + off + n < len)
        other[l4 + 13] &= 0xf6;
    eth_put16(other + l4 + 16, 0);
    eth_parse(&i, other, hlen + n, hlen + n, 0x8100);
    eth_put16(
        other + l4 + 16,
        csum_fold(csum_partial(other + l4, hlen - l4 + n,
                               eth_pseudo(&i, other, hlen - l4 + n), false)));
    return hlen + n;
}

static void differential(uint32_t payload, uint16_t mss, bool v6, bool tag)
{
    static uint8_t seg[20000];
    struct drv *d = drv_new(NULL);
    struct tx_ctx c;
    struct net_hdr h;
    uint32_t len, n, k = 0, octets, last = 0, vle = tag ? TXD_VLE : 0;
    drv_rings(d, 64);
    wr(d, CTRL, CTRL_SLU | CTRL_VME);
    len = tso_frame(&c, payload, mss, v6);
    send_tso(d, len, &c, 4096, vle, 0x0123u << 16);
    REQUIRE_EQ(take(d, &h), len + (tag ? 4 : 0));
    CHECK_EQ(h.gso_size, mss);
    octets = rd(d, GOTCL);
    CHECK_EQ(rd(d, GOTCH), 0);
    d->e->offload = 0; /* the same through the software path */
    len = tso_frame(&c, payload, mss, v6);
    send_tso(d, len, &c, 3000, vle, 0x0123u << 16);
    len += tag ? 4 : 0;
    for (; (n = reference_segment(&h, len, k)) != 0; k++) {
        REQUIRE_EQ(fake_net_take(d->net, 0, NULL, seg, sizeof(seg)),
                   n < 60 ? 60 : n);
        CHECK_MEM(seg, other, n);
        last = n < 60 ? 60 - n : 0;
        CHECK(sums_ok(seg, n));
        CHECK_EQ(tag, eth_get16(seg + 12) == 0x8100);
    }
    CHECK_EQ(fake_net_take(d->net, 0, NULL, seg, sizeof(seg)), -1);
    CHECK_EQ(rd(d, GPTC), 2 * k);
    CHECK_EQ(rd(d, GOTCL), octets + last); /* padded, cut here */
    CHECK_EQ(rd(d, TSCTC), 2);
    drv_free(d);
}

TEST(e1000_3_5_9_software_and_gso_segments_are_the_same)
{
    differential(29200, 1460, false, false);
    differential(65000 - 54, 1448, false, false);
    differential(5001, 1000, false, true);
    differential(29201, 1440, true, false);
    differential(3000, 999, true, true);
}

TEST(e1000_tso_nonsense_is_dropped_and_counted)
{
    static const struct {
        uint8_t hdrlen;
        uint16_t mss;
        uint32_t paylen;
    } bad[] = {{0, 1460, 1000},  {255, 1460, 1000}, {54, 0, 1000},
               {54, 1460, 0},    {54, 1460, 999},   {54, 1460, 0xfffff},
               {53, 1460, 1001}, {20, 1460, 1034}};
    struct drv *d = drv_new(NULL);
    struct tx_ctx c;
    uint32_t len = tso_frame(&c, 1000, 1460, false);
    drv_rings(d, 64);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct tx_ctx b = c;
        b.hdrlen = bad[i].hdrlen;
        b.mss = bad[i].mss;
        b.cmd = (c.cmd & ~0xfffffu) | bad[i].paylen;
        send_tso(d, len, &b, 4096, 0, 0);
        CHECK_EQ(take(d, NULL), -1);
        CHECK_EQ(drv_tx_status(d, (d->tail + 63) % 64), TXD_DD);
    }
    CHECK_EQ(rd(d, TSCTFC), ARRAY_LEN(bad));
    d->tail = 0;
    drv_tx_ring(d, 64); /* TSE without a context at all */
    wr(d, CTRL, CTRL_RST);
    drv_tx_ring(d, 64);
    drv_desc(d, DRV_TXBUF, len | DATA | TXD_TSE | TXD_EOP | TXD_RS, 3 << 8);
    drv_go(d);
    CHECK_EQ(take(d, NULL), -1);
    CHECK_EQ(drv_tx_status(d, 0), TXD_DD);
    drv_free(d);
}

/* SDM 3.5.5-3.5.9: offsets one off what they must be at least. */
TEST(e1000_3_5_5_tso_offsets_are_in_order)
{
    static const struct {
        int8_t l3, l4, hdrlen, ipcso, tucso, tucse, bytes;
        bool udp, ok;
    } bad[] = {
        {.ok = true},
        {.l3 = -1, .l4 = -1, .hdrlen = -1, .ipcso = -1, .tucso = -1},
        {.l4 = -1, .tucso = -1},
        {.hdrlen = -1, .bytes = -1},
        {.ipcso = 1},
        {.ipcso = -1},
        {.tucso = 1},
        {.tucso = -1},
        {.tucse = 53},
        {.tucse = 54, .ok = true},
        {.bytes = -1},
        {.bytes = 1},
        {.hdrlen = -12, .tucso = -10, .bytes = -12, .udp = true, .ok = true},
        {.hdrlen = -13, .tucso = -10, .bytes = -13, .udp = true},
        {.hdrlen = -12, .tucso = -9, .bytes = -12, .udp = true},
    };
    struct drv *d = drv_new("offload=off");
    struct tx_ctx c;
    uint32_t len = tso_frame(&c, 1000, 1460, false);
    drv_rings(d, 64);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct tx_ctx b = c;
        uint32_t n = len + (uint32_t)bad[i].bytes;
        b.ipcss = (uint8_t)(b.ipcss + bad[i].l3);
        b.tucss = (uint8_t)(b.tucss + bad[i].l4);
        b.hdrlen = (uint8_t)(b.hdrlen + bad[i].hdrlen);
        b.ipcso = (uint8_t)(b.ipcso + bad[i].ipcso);
        b.tucso = (uint8_t)(b.tucso + bad[i].tucso);
        b.tucse = (uint16_t)bad[i].tucse;
        if (bad[i].udp)
            b.cmd &= ~(uint32_t)TUCMD_TCP;
        /* bytes and PAYLEN agree unless that is what is wrong */
        if (bad[i].hdrlen == -1 && bad[i].l3)
            n--;
        send_tso(d, n, &b, 4096, 0, 0);
        CHECK_EQ(take(d, NULL), bad[i].ok ? (int)n : -1);
        CHECK_EQ(rd(d, TSCTFC), !bad[i].ok);
        memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    }
    len = tso_frame(&c, 1000, 1460, true);
    c.tucss--; /* less than an IPv6 header */
    c.tucso--;
    send_tso(d, len, &c, 4096, 0, 0);
    CHECK_EQ(take(d, NULL), -1);
    drv_free(d);
}

/* Frames that came out, and whether as one GSO packet of this type. */
static int tso_out(struct drv *d, uint32_t len, const struct tx_ctx *c,
                   uint8_t *type)
{
    struct net_hdr h;
    int n = 0;
    send_tso(d, len, c, 16000, 0, 0);
    *type = 0;
    for (; take(d, &h) >= 0; n++)
        *type |= h.gso_type;
    return n;
}

/* What a kernel would cut otherwise than the card, or not take, is cut here. */
TEST(e1000_3_5_only_what_a_kernel_cuts_alike_is_left_to_it)
{
    static const struct {
        uint8_t at, is; /* byte of the IPv4 frame */
        uint16_t mss, tucse;
        uint32_t payload;
        unsigned less; /* of what the backend can do */
        bool gso;
    } t[] = {
        {.gso = true},
        {.at = 14, .is = 0x55}, /* IP version, header length, protocol */
        {.at = 14, .is = 0x46},
        {.at = 14, .is = 0x44},
        {.at = 23, .is = 17},
        {.at = 46, .is = 0x60}, /* TCP's header length */
        {.at = 46, .is = 0x40},
        {.at = 47, .is = 0x90, .gso = true}, /* CWR */
        {.at = 47, .is = 0x90, .less = NETBE_ECN},
        {.less = NETBE_CSUM},
        {.less = NETBE_TSO4},
        {.less = NETBE_TSO6, .gso = true},
        {.mss = 48, .payload = 480, .gso = true},
        {.mss = 47, .payload = 470},
        {.tucse = 3000},
        {.payload = 65535 - 40, .mss = 8000, .gso = true},
        {.payload = 65535 - 39, .mss = 8000},
    };
    struct drv *d = drv_new(NULL);
    const unsigned all = d->e->offload;
    struct tx_ctx c;
    uint8_t type;
    drv_rings(d, 64);
    for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
        uint32_t payload = t[i].payload ? t[i].payload : 2999;
        uint16_t mss = t[i].mss ? t[i].mss : 1000;
        uint32_t len = tso_frame(&c, payload, mss, false);
        int frames = (int)((payload + mss - 1) / mss);
        if (t[i].at)
            frame[t[i].at] = t[i].is;
        c.tucse = t[i].tucse;
        d->e->offload = all & ~t[i].less;
        CHECK_EQ(tso_out(d, len, &c, &type), t[i].gso ? 1 : frames);
        CHECK_EQ(type, t[i].gso
                           ? NET_GSO_TCPV4 | (t[i].at == 47 ? NET_GSO_ECN : 0)
                           : 0);
    }
    drv_free(d);
}

TEST(e1000_3_5_ipv6_is_left_to_the_backend_without_extensions_only)
{
    static const struct {
        uint8_t at, is;
        unsigned less;
        bool gso;
    } t[] = {{.gso = true},
             {.at = 14, .is = 0x40},
             {.at = 20, .is = 0},
             {.less = NETBE_TSO6},
             {.less = NETBE_TSO4, .gso = true}};
    struct drv *d = drv_new(NULL);
    const unsigned all = d->e->offload;
    struct tx_ctx c;
    uint32_t len;
    uint8_t type;
    drv_rings(d, 64);
    for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
        len = tso_frame(&c, 3000, 1000, true);
        if (t[i].at)
            frame[t[i].at] = t[i].is;
        d->e->offload = all & ~t[i].less;
        CHECK_EQ(tso_out(d, len, &c, &type), t[i].gso ? 1 : 3);
        CHECK_EQ(type, t[i].gso ? NET_GSO_TCPV6 : 0);
    }
    d->e->offload = all;
    len = tso_frame(&c, 3000, 1000, true); /* 8 bytes between IP and TCP */
    memmove(frame + 62, frame + 54, len - 54);
    c.tucss += 8;
    c.tucso += 8;
    c.hdrlen += 8;
    CHECK_EQ(tso_out(d, len + 8, &c, &type), 3);
    CHECK_EQ(type, 0);
    drv_free(d);
}

TEST(e1000_mss_of_one_ends_and_yields)
{
    struct drv *d = drv_new(NULL);
    struct tx_ctx c;
    uint32_t len = tso_frame(&c, 300, 1, false), n = 0;
    drv_rings(d, 64);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    drv_context(d, &c);
    drv_desc(d, DRV_TXBUF, len | DATA | TXD_TSE | TXD_EOP | TXD_RS, 3 << 8);
    wr(d, TDT, d->tail);
    while (drv_tx_status(d, 1) == 0 && n < 1000) {
        loop_poll(d->m->loop, 0);
        while (take(d, NULL) == 60)
            n++;
    }
    CHECK_EQ(n, 300);
    drv_free(d);
}

/* A segment is a frame like any other: 16288 bytes at most (SDM 3.3.3), to be
 * cut here or by the backend. */
TEST(e1000_3_5_segments_are_no_longer_than_frames)
{
    struct drv *d = drv_new(NULL);
    struct tx_ctx c;
    uint32_t len, n;
    drv_rings(d, 64);
    for (int cut = 0; cut < 2; cut++) {
        d->e->offload = cut ? 0 : fake_net_dev(d->net)->offload;
        for (uint16_t mss = 16233; mss <= 16235; mss++) {
            len = tso_frame(&c, 20000, mss, false);
            send_tso(d, len, &c, 16000, 0, 0);
            n = 0;
            for (int k; (k = take(d, NULL)) >= 0;)
                n += (uint32_t)k;
            CHECK_EQ(n, mss > 16234 ? 0 : len + (cut ? HDR : 0));
        }
        len = tso_frame(&c, 16234, 60000, false); /* one segment */
        send_tso(d, len, &c, 16000, 0, 0);
        CHECK_EQ(take(d, NULL), 16288);
        len = tso_frame(&c, 16235, 60000, false);
        send_tso(d, len, &c, 16000, 0, 0);
        CHECK_EQ(take(d, NULL), -1);
    }
    CHECK_EQ(rd(d, TSCTFC), 4);
    drv_free(d);
}

/* CVE-2018-3295: a context in mid-packet is the next packet's. */
TEST(e1000_context_between_descriptors_changes_nothing)
{
    struct drv *d = drv_new(NULL);
    struct tx_ctx c, evil;
    struct net_hdr h;
    uint32_t len = tso_frame(&c, 2920, 1460, false);
    drv_rings(d, 64);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    evil = c;
    evil.hdrlen = 255;
    evil.mss = 1;
    drv_context(d, &c);
    drv_desc(d, DRV_TXBUF, 1000 | DATA | TXD_TSE, 3 << 8);
    drv_context(d, &evil);
    drv_desc(d, DRV_TXBUF + 1000, (len - 1000) | LEGACY, 0);
    drv_go(d);
    CHECK_EQ(take(d, &h), len);
    CHECK_EQ(h.gso_size, 1460);
    drv_free(d);
}

/* ------------------------------------------------------------ edges of it */

TEST(e1000_9_2_1_vle_inserts_vet_and_special)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 8);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    drv_desc(d, DRV_TXBUF, len | LEGACY | TXD_VLE, 0xabcd0000);
    drv_go(d);
    CHECK_EQ(take(d, NULL), len); /* VME off */
    wr(d, CTRL, CTRL_SLU | CTRL_VME);
    drv_desc(d, DRV_TXBUF, len | LEGACY | TXD_VLE, 0xabcd0000);
    drv_desc(d, DRV_TXBUF, 14 | LEGACY | TXD_VLE, 0xabcd0000);
    drv_desc(d, DRV_TXBUF, 12 | LEGACY | TXD_VLE, 0);
    drv_go(d);
    CHECK_EQ(take(d, NULL), len + 4);
    CHECK_EQ(eth_get32(got + 12), 0x8100abcd);
    CHECK_MEM(got, frame, 12);
    CHECK_MEM(got + 16, frame + 12, len - 12);
    CHECK_EQ(take(d, NULL), 60); /* 14 bytes and a tag, padded */
    CHECK_EQ(take(d, NULL), -1); /* no Ethernet header */
    drv_free(d);
}

TEST(e1000_13_4_33_psp_pads_with_zeroes)
{
    struct drv *d = drv_new(NULL);
    static const uint8_t zero[60];
    drv_rings(d, 8);
    make_tcp(frame, 100, -1);
    drv_send(d, frame, 20, LEGACY);
    CHECK_EQ(take(d, NULL), 60);
    CHECK_MEM(got, frame, 20);
    CHECK_MEM(got + 20, zero, 40);
    wr(d, TCTL, TCTL_EN);
    drv_send(d, frame, 20, LEGACY);
    CHECK_EQ(take(d, NULL), 20);
    drv_free(d);
}

/* A frame and its FCS, cut into two descriptors at any place. */
TEST(e1000_3_3_3_1_without_ifcs_the_drivers_fcs_is_taken_off)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1), crc = eth_crc(0, frame, len);
    drv_rings(d, 8);
    memcpy(frame + len, &crc, 4);
    drv_send(d, frame, len + 4, TXD_EOP | TXD_RS);
    CHECK_EQ(take(d, NULL), len);
    CHECK_MEM(got, frame, len);
    for (uint32_t cut = 1; cut < len + 4; cut++) {
        drv_desc(d, DRV_TXBUF, cut, 0);
        drv_desc(d, DRV_TXBUF + cut, (len + 4 - cut) | TXD_EOP | TXD_RS, 0);
        drv_go(d);
        CHECK_EQ(take(d, NULL), len);
        CHECK_MEM(got, frame, len);
    }
    /* the smallest and the longest; with IFCS it is data like any other */
    crc = eth_crc(0, frame, 14);
    memcpy(frame + 14, &crc, 4);
    wr(d, TCTL, TCTL_EN);
    drv_send(d, frame, 18, TXD_EOP | TXD_RS);
    CHECK_EQ(take(d, NULL), 14);
    drv_send(d, frame, 18, LEGACY);
    CHECK_EQ(take(d, NULL), 18);
    make_tcp(frame, 60000, -1);
    crc = eth_crc(0, frame, E1000_TX_MAX);
    memcpy(frame + E1000_TX_MAX, &crc, 4);
    drv_send(d, frame, E1000_TX_MAX + 4, TXD_EOP | TXD_RS);
    CHECK_EQ(take(d, NULL), E1000_TX_MAX);
    drv_free(d);
}

/* What most drivers that leave IFCS out send. */
TEST(e1000_3_3_3_1_without_ifcs_what_is_no_fcs_is_data)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 46, -1), bad;
    struct tx_ctx c;
    drv_rings(d, 8);
    drv_send(d, frame, len, TXD_EOP | TXD_RS);
    CHECK_EQ(take(d, NULL), len);
    CHECK_MEM(got, frame, len);
    for (unsigned bit = 0; bit < 32; bit++) {
        bad = eth_crc(0, frame, len) ^ 1u << bit;
        memcpy(frame + len, &bad, 4);
        drv_send(d, frame, len + 4, TXD_EOP | TXD_RS);
        CHECK_EQ(take(d, NULL), len + 4);
        CHECK_MEM(got, frame, len + 4);
    }
    bad = eth_crc(0, frame, 13); /* 13 bytes and their FCS are no frame */
    memcpy(frame + 13, &bad, 4);
    drv_send(d, frame, 17, TXD_EOP | TXD_RS);
    CHECK_EQ(take(d, NULL), 60);
    CHECK_MEM(got, frame, 17);
    len = tso_frame(&c, 3000, 1000, false);
    drv_context(d, &c);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    drv_desc(d, DRV_TXBUF,
             len | TXD_DEXT | TXD_DTYP_DATA | TXD_TSE | TXD_EOP | TXD_RS,
             (POPTS_IXSM | POPTS_TXSM) << 8);
    drv_go(d);
    CHECK_EQ(take(d, NULL), len);
    drv_free(d);
}

TEST(e1000_lengths_at_the_limits)
{
    struct drv *d = drv_new(NULL);
    drv_rings(d, 8);
    make_tcp(frame, 60000, -1);
    drv_send(d, frame, 13, LEGACY);
    CHECK_EQ(take(d, NULL), -1);
    drv_send(d, frame, 16288, LEGACY);
    CHECK_EQ(take(d, NULL), 16288);
    drv_send(d, frame, 16289, LEGACY);
    CHECK_EQ(take(d, NULL), -1);
    drv_send(d, frame, 65535, LEGACY);
    CHECK_EQ(take(d, NULL), -1);
    CHECK_EQ(drv_tx_status(d, 3), TXD_DD);
    drv_desc(d, DRV_TXBUF, 0x80000 | 100 | DATA | TXD_EOP, 0); /* 20 bits */
    drv_go(d);
    CHECK_EQ(take(d, NULL), -1);
    CHECK_EQ(rd(d, GPTC), 1);
    drv_free(d);
}

TEST(e1000_thousands_of_one_byte_pieces)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 1400, -1);
    drv_rings(d, 2048);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    for (uint32_t i = 0; i < len; i++)
        drv_desc(d, DRV_TXBUF + i,
                 1 | TXD_IFCS | TXD_RS | (i + 1 == len ? TXD_EOP : 0), 0);
    drv_go(d);
    CHECK_EQ(take(d, NULL), len);
    CHECK_MEM(got, frame, len);
    for (uint32_t i = 0; i < len; i++)
        CHECK_EQ(drv_tx_status(d, i), TXD_DD);
    drv_free(d);
}

/* As long as anything may be, in more pieces than are gathered as pointers;
 * and one byte more. */
TEST(e1000_the_longest_packet_in_many_pieces)
{
    struct drv *d = drv_new("offload=off");
    struct tx_ctx c;
    for (uint32_t more = 0; more < 2; more++) {
        uint32_t payload = NET_FRAME_MAX - HDR + more, len, sum = 0;
        drv_rings(d, 256);
        len = tso_frame(&c, payload, 8000, false);
        send_tso(d, len, &c, 500, 0, 0);
        for (int n; (n = take(d, NULL)) >= 0; sum += (uint32_t)n - HDR)
            if (sum < payload)
                CHECK_MEM(got + HDR, frame + HDR + sum, (uint32_t)n - HDR);
        CHECK_EQ(sum, more ? 0 : payload);
        CHECK_EQ(atomic_load(&d->e->nic.stats.tx_drop_long), more);
        CHECK_EQ(drv_tx_status(d, d->tail - 1), TXD_DD);
    }
    drv_free(d);
}

/* And the driver needs its descriptors back to give the rest. */
TEST(e1000_packet_over_several_kicks_and_the_whole_ring)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 1400, -1), at = 0;
    drv_rings(d, 8);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    while (at < len) {
        uint32_t k = len - at < 7 ? len - at : 7;
        memcpy(fake_ram(d->m, DRV_TXBUF, 7), frame + at, k);
        drv_desc(d, DRV_TXBUF,
                 k | TXD_IFCS | TXD_RS | (at + k == len ? TXD_EOP : 0), 0);
        drv_go(d);
        CHECK_EQ(drv_tx_status(d, (d->tail + 7) % 8), TXD_DD);
        at += k;
    }
    CHECK_EQ(take(d, NULL), len);
    CHECK_MEM(got, frame, len);
    drv_free(d);
}

TEST(e1000_endless_packet_keeps_memory_and_descriptors)
{
    struct drv *d = drv_new(NULL);
    drv_rings(d, 8);
    for (int i = 0; i < 4096; i++) {
        drv_desc(d, DRV_TXBUF, (i & 1 ? 0xffff : 0) | TXD_IFCS | TXD_RS, 0);
        if (i % 7 == 6)
            drv_go(d);
    }
    drv_go(d);
    drv_desc(d, DRV_TXBUF, LEGACY, 0);
    drv_go(d);
    CHECK_EQ(take(d, NULL), -1);
    drv_send(d, frame, make_tcp(frame, 10, -1), LEGACY);
    CHECK_EQ(take(d, NULL), 64);
    drv_free(d);
}

TEST(e1000_bad_rings_do_nothing)
{
    static const uint64_t base[] = {
        DRV_RAM,    DRV_RAM - 16,          0xfee00000,
        0xfffffff0, 0xfffffffffffffff0ull, 0xc0000000ull};
    struct drv *d = drv_new(NULL);
    drv_rings(d, 8);
    wr(d, TDT, 8);
    run(d);
    wr(d, TDT, 0xffff);
    run(d);
    CHECK_EQ(rd(d, TDH), 0);
    wr(d, TDH, 0xfff0);
    wr(d, TDT, 3);
    run(d);
    wr(d, TDLEN, 0); /* one descriptor: there is no second one */
    wr(d, TDT, 1);
    run(d);
    wr(d, TDH, 0);
    wr(d, TDT, 2);
    run(d);
    wr(d, TDLEN, 0xfff80);
    wr(d, TDT, 0);
    for (unsigned i = 0; i < ARRAY_LEN(base); i++) {
        wr(d, TDBAL, (uint32_t)base[i]);
        wr(d, TDBAH, (uint32_t)(base[i] >> 32));
        wr(d, TDT, i + 1);
        wr(d, RDBAL, (uint32_t)base[i]);
        wr(d, RDBAH, (uint32_t)(base[i] >> 32));
        wr(d, RDT, 5);
        fake_net_give(d->net, 0, NULL, frame, make_tcp(frame, 10, -1));
        run(d);
    }
    CHECK_EQ(take(d, NULL), -1);
    drv_free(d);
}

TEST(e1000_buffers_outside_ram_are_dropped_and_reported)
{
    struct drv *d = drv_new(NULL);
    drv_rings(d, 8);
    drv_desc(d, d->bar, 100 | LEGACY, 0); /* the card's own registers */
    drv_desc(d, DRV_RAM - 50, 100 | LEGACY, 0);
    drv_desc(d, ~0ull - 20, 100 | LEGACY, 0);
    drv_go(d);
    CHECK_EQ(take(d, NULL), -1);
    for (uint32_t i = 0; i < 3; i++)
        CHECK_EQ(drv_tx_status(d, i), TXD_DD);
    CHECK_EQ(atomic_load(&d->e->nic.stats.tx_drop_desc), 3);
    drv_free(d);
}

TEST(e1000_ring_that_shrinks_under_an_open_packet)
{
    struct drv *d = drv_new(NULL);
    drv_rings(d, 64);
    fake_net_block(d->net, 0, true);
    d->tail = 60;
    wr(d, TDH, 60);
    drv_desc(d, DRV_TXBUF, 100 | TXD_IFCS | TXD_RS, 0);
    drv_desc(d, DRV_TXBUF, 100 | LEGACY, 0);
    drv_go(d);
    wr(d, TDLEN, 8 * 16);
    fake_net_block(d->net, 0, false);
    run(d);
    CHECK_EQ(drv_tx_status(d, 60), 0);
    for (uint32_t at = 7; at < 9; at++) { /* the last of it, and the next */
        while (take(d, NULL) >= 0)
            continue;
        drv_tx_ring(d, 64);
        fake_net_block(d->net, 0, true);
        d->tail = at;
        wr(d, TDH, at);
        drv_desc(d, DRV_TXBUF, 100 | LEGACY, 0);
        drv_go(d);
        wr(d, TDLEN, 8 * 16);
        fake_net_block(d->net, 0, false);
        run(d);
        CHECK_EQ(drv_tx_status(d, at), at < 8 ? TXD_DD : 0);
    }
    drv_free(d);
}

/* 16 bytes of ring read back as 0: the descriptor at the base. */
TEST(e1000_13_4_38_a_ring_of_one_descriptor_sends_once_a_doorbell)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_tx_ring(d, 1);
    CHECK_EQ(rd(d, TDLEN), 0);
    for (unsigned i = 1; i <= 3; i++) {
        frame[len - 1] = (uint8_t)i;
        memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
        drv_desc(d, DRV_TXBUF, len | LEGACY, 0);
        wr(d, TDT, 1);
        run(d);
        CHECK_EQ(take(d, NULL), len);
        CHECK_MEM(got, frame, len);
        CHECK_EQ(drv_tx_status(d, 0), TXD_DD);
        CHECK_EQ(rd(d, ICR) & (ICR_TXDW | ICR_TXQE), ICR_TXDW | ICR_TXQE);
        CHECK_EQ(rd(d, TDH), 0);
        CHECK_EQ(rd(d, GPTC), 1);
        wr(d, TCTL, TCTL_EN | TCTL_PSP); /* no doorbell: nothing to send */
        run(d);
        CHECK_EQ(take(d, NULL), -1);
    }
    drv_desc(d, DRV_TXBUF, len | LEGACY, 0); /* nothing beyond it */
    wr(d, TDT, 2);
    run(d);
    CHECK_EQ(drv_tx_status(d, 0), 0);
    wr(d, TDBAL, DRV_RAM - 16);
    wr(d, TDH, 1);
    wr(d, TDT, 1);
    run(d);
    CHECK_EQ(take(d, NULL), -1);
    CHECK_EQ(rd(d, TDH), 1);
    wr(d, TDBAL, DRV_TXRING);
    wr(d, TDH, 0);
    wr(d, TDT, 0);
    run(d);
    CHECK_EQ(take(d, NULL), -1);
    fake_net_block(d->net, 0, true); /* held, and sent once */
    drv_desc(d, DRV_TXBUF, len | LEGACY, 0);
    wr(d, TDT, 1);
    run(d);
    CHECK_EQ(drv_tx_status(d, 0), 0);
    fake_net_block(d->net, 0, false);
    run(d);
    CHECK_EQ(take(d, NULL), len);
    CHECK_EQ(take(d, NULL), -1);
    CHECK_EQ(drv_tx_status(d, 0), TXD_DD);
    drv_free(d);
}

/* ----------------------------------------------------- the world, reports */

TEST(e1000_full_backend_pauses_and_goes_on)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    int n;
    drv_rings(d, 8);
    fake_net_block(d->net, 0, true);
    drv_send(d, frame, len, LEGACY);
    CHECK_EQ(drv_tx_status(d, 0), 0);
    CHECK_EQ(rd(d, TDH), 0);
    CHECK(rd(d, STATUS) & STATUS_TXOFF); /* not a hang, drivers see */
    drv_send(d, frame, len, LEGACY);
    fake_net_block(d->net, 0, false);
    run(d);
    CHECK_EQ(drv_tx_status(d, 0), TXD_DD);
    CHECK_EQ(drv_tx_status(d, 1), TXD_DD);
    CHECK(!(rd(d, STATUS) & STATUS_TXOFF));
    for (n = 0; take(d, NULL) == (int)len;)
        n++;
    CHECK_EQ(n, 2);
    drv_free(d);
}

/* Found by fuzz_e1000: the loop span on EPOLLOUT. */
TEST(e1000_blocked_and_switched_off_does_not_spin)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 8);
    fake_net_block(d->net, 0, true);
    drv_send(d, frame, len, LEGACY);
    drv_cfg_write(d->m, d->slot, PCI_COMMAND, 2, PCI_CMD_MEM);
    fake_net_block(d->net, 0, false);
    run(d);
    CHECK_EQ(take(d, NULL), -1);
    drv_enable(d->m, d->slot, PCI_CMD_MASTER);
    run(d);
    CHECK_EQ(take(d, NULL), len);
    drv_free(d);
}

TEST(e1000_write_errors_complete_the_descriptor)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 8);
    fake_net_fail_send(d->net, 2, -EIO);
    drv_send(d, frame, len, LEGACY);
    drv_send(d, frame, len, LEGACY);
    drv_send(d, frame, len, LEGACY);
    for (uint32_t i = 0; i < 3; i++)
        CHECK_EQ(drv_tx_status(d, i), TXD_DD);
    CHECK_EQ(rd(d, GPTC), 1);
    CHECK_EQ(atomic_load(&d->e->nic.stats.tx_drop_backend), 2);
    drv_free(d);
}

TEST(e1000_without_link_frames_are_dropped_and_reported)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 8);
    wr(d, CTRL, 0); /* no SLU */
    drv_send(d, frame, len, LEGACY);
    CHECK_EQ(drv_tx_status(d, 0), TXD_DD);
    CHECK_EQ(take(d, NULL), -1);
    drv_free(d);
}

TEST(e1000_13_4_33_enable_starts_what_waits)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 8);
    wr(d, TCTL, TCTL_PSP);
    drv_send(d, frame, len, LEGACY);
    CHECK_EQ(take(d, NULL), -1);
    wr(d, TCTL, TCTL_PSP | TCTL_EN);
    run(d);
    CHECK_EQ(take(d, NULL), len);
    drv_cfg_write(d->m, d->slot, PCI_COMMAND, 2, PCI_CMD_MEM);
    drv_send(d, frame, len, LEGACY);
    CHECK_EQ(take(d, NULL), -1);
    drv_enable(d->m, d->slot, PCI_CMD_MASTER);
    run(d);
    CHECK_EQ(take(d, NULL), len);
    drv_free(d);
}

TEST(e1000_13_4_44_tidv_delays_ide_and_tadv_limits)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 64);
    wr(d, TIDV, 8);  /* 8.192 us */
    wr(d, TADV, 32); /* 32.768 us */
    rd(d, ICR);
    drv_send(d, frame, len, LEGACY | TXD_IDE);
    CHECK_EQ(drv_tx_status(d, 0), TXD_DD); /* DD is never late */
    CHECK_EQ(rd(d, ICR) & ICR_TXDW, 0);
    fake_sleep_ns(d->m, 8191);
    CHECK_EQ(rd(d, ICR) & ICR_TXDW, 0);
    fake_sleep_ns(d->m, 2);
    CHECK_EQ(rd(d, ICR) & ICR_TXDW, ICR_TXDW);
    for (int i = 0; i < 6; i++) { /* each starts TIDV anew, not TADV */
        drv_send(d, frame, len, LEGACY | TXD_IDE);
        fake_sleep_ns(d->m, 6000);
        CHECK_EQ(rd(d, ICR) & ICR_TXDW, i == 5 ? ICR_TXDW : 0);
    }
    fake_sleep_ns(d->m, 100000);
    rd(d, ICR);
    drv_send(d, frame, len, LEGACY | TXD_IDE);
    drv_send(d, frame, len, LEGACY); /* takes the delayed one with it */
    CHECK_EQ(rd(d, ICR) & ICR_TXDW, ICR_TXDW);
    fake_sleep_ns(d->m, 100000);
    CHECK_EQ(rd(d, ICR) & ICR_TXDW, 0);
    drv_free(d);
}

TEST(e1000_13_4_46_txd_low_is_below_the_threshold)
{
    struct drv *d = drv_new(NULL);
    for (uint32_t n = 9; n >= 8; n--) { /* one is held by the backend */
        wr(d, TXDCTL, 0);
        drv_tx_ring(d, 64);
        wr(d, TXDCTL, 1u << TXDCTL_LWTHRESH_SHIFT);
        fake_net_block(d->net, 0, true);
        for (uint32_t i = 0; i < n; i++)
            drv_desc(d, DRV_TXBUF, 100 | LEGACY, 0);
        rd(d, ICR);
        drv_go(d);
        CHECK_EQ(!!(rd(d, ICR) & ICR_TXD_LOW), n - 1 < 8);
        fake_net_block(d->net, 0, false);
        run(d);
        while (take(d, NULL) >= 0)
            continue;
    }
    drv_free(d);
}

TEST(e1000_13_4_46_txd_low_only_when_asked)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 64);
    drv_send(d, frame, len, LEGACY);
    CHECK_EQ(rd(d, ICR) & ICR_TXD_LOW, 0);
    wr(d, TXDCTL, 1u << TXDCTL_LWTHRESH_SHIFT);
    for (int i = 0; i < 20; i++)
        drv_desc(d, DRV_TXBUF, len | LEGACY, 0);
    drv_go(d);
    CHECK_EQ(rd(d, ICR) & ICR_TXD_LOW, ICR_TXD_LOW);
    drv_free(d);
}

/* Doorbells in the middle of work cost no system call. */
TEST(e1000_kicks_ring_only_a_sleeping_loop)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 64);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    uint64_t rings = 0; /* the bell is edge-triggered: nobody reads it */
    CHECK_EQ(read(d->e->bell.fd, &rings, 8), 8);
    for (int i = 0; i < 10; i++) {
        drv_desc(d, DRV_TXBUF, len | LEGACY, 0);
        wr(d, TDT, d->tail);
    }
    CHECK_EQ(read(d->e->bell.fd, &rings, 8), 8);
    CHECK_EQ(rings, 1);
    CHECK_EQ(write(d->e->bell.fd, &rings, 8), 8);
    run(d);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(take(d, NULL), len);
    drv_free(d);
}

TEST(e1000_reset_in_mid_packet_sends_nothing_more)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 8);
    fake_net_block(d->net, 0, true);
    drv_send(d, frame, len, LEGACY);
    drv_desc(d, DRV_TXBUF, 50 | TXD_IFCS, 0);
    drv_go(d);
    outl(d->m, (unsigned)d->io, CTRL);
    outl(d->m, (unsigned)d->io + 4, CTRL_RST);
    fake_net_block(d->net, 0, false);
    run(d);
    CHECK_EQ(take(d, NULL), -1);
    CHECK_EQ(drv_tx_status(d, 0), 0);
    drv_rings(d, 8);
    drv_send(d, frame, len, LEGACY);
    CHECK_EQ(take(d, NULL), len);
    drv_free(d);
}
