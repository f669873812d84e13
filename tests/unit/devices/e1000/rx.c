/* SPDX-License-Identifier: MIT */
/* The e1000's receiver: buffers, filters, FCS, VLANs, checksums, big packets
 * cut to frames, back-pressure; and the driver's own self-test. */
#include "tests/unit/devices/e1000/drv.h"
#include "tests/unit/devices/rxfilter.h"

#include <errno.h>
#include <stdlib.h>

static uint8_t frame[70000], got[70000], other[70000];

static void give(struct drv *d, uint32_t len)
{
    fake_net_give(d->net, 0, NULL, frame, len);
    run(d);
}

static uint8_t status_of(uint64_t result)
{
    return (uint8_t)(result >> 32);
}

/* RFC 1071 by its definition, a byte at a time. */
static uint32_t sum_of_bytes(const uint8_t *p, size_t n, bool odd)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (i + odd) & 1 ? p[i] : (uint32_t)p[i] << 8;
    return sum;
}

TEST(e1000_3_2_9_sums_are_those_of_rfc_1071)
{
    uint8_t b[300];
    memset(b, 0xff, sizeof(b)); /* carries everywhere */
    for (int fill = 0; fill < 2; fill++) {
        for (size_t n = 0; n < sizeof(b) - 8; n++)
            for (int at = 0; at < 8; at++)
                for (int odd = 0; odd < 2; odd++)
                    CHECK_EQ(csum_fold(csum_partial(b + at, n, 0, odd)),
                             csum_fold(sum_of_bytes(b + at, n, odd)));
        for (size_t i = 0; i < sizeof(b); i++)
            b[i] = (uint8_t)(i * 151 + (i >> 3));
    }
    CHECK_EQ(csum_fold(csum_partial(b, 7, csum_fold(0x1234), false)),
             csum_fold(csum_partial(b, 3, 0, false) +
                       csum_partial(b + 3, 4, csum_fold(0x1234), true)));
}

TEST(e1000_3_2_frame_lands_with_its_fcs)
{
    struct drv *d = drv_new("fcs=on");
    uint64_t v;
    uint32_t len = make_tcp(frame, 1400, -1), crc;
    drv_rings(d, 8);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, &v), len + 4);
    CHECK_MEM(got, frame, len);
    memcpy(&crc, got + len, 4);
    CHECK_EQ(crc, eth_crc(0, frame, len));
    CHECK_EQ(status_of(v), RXD_DD | RXD_EOP | RXD_IXSM);
    CHECK_EQ(rd(d, RDH), 1);
    CHECK_EQ(rd(d, ICR) & ICR_RXT0, ICR_RXT0);
    CHECK_EQ(rd(d, GPRC), 1);
    CHECK_EQ(rd(d, TPR), 1);
    CHECK_EQ(rd(d, GORCL), len + 4);
    CHECK_EQ(rd(d, PRC1522), 1);
    drv_free(d);
}

TEST(e1000_802_3_crc_of_known_text_and_pieces)
{
    uint32_t whole, parts;
    eth_crc_init();
    CHECK_EQ(eth_crc(0, "123456789", 9), 0xcbf43926);
    for (uint32_t i = 0; i < sizeof(frame); i++)
        frame[i] = (uint8_t)test_random();
    for (uint32_t n = 0; n < 2000; n += 13) {
        parts = 0;
        whole = eth_crc(0, frame, n);
        for (uint32_t i = 0; i < n; i++) /* by bytes, without PCLMULQDQ */
            parts = eth_crc(parts, frame + i, 1);
        CHECK_EQ(whole, parts);
    }
}

TEST(e1000_3_2_runts_are_padded_and_secrc_strips)
{
    struct drv *d = drv_new(NULL);
    static const uint8_t zero[60];
    drv_rings(d, 8);
    make_tcp(frame, 100, -1);
    memset(fake_ram(d->m, DRV_RXBUF, 64), 0xee, 64);
    give(d, 42);
    CHECK_EQ(drv_recv(d, got, NULL), 64);
    CHECK_MEM(got, frame, 42);
    CHECK_MEM(got + 42, zero, 18);
    wr(d, RCTL, RCTL_EN | RCTL_SECRC);
    give(d, 42);
    CHECK_EQ(drv_recv(d, got, NULL), 60);
    CHECK_EQ(rd(d, PRC64), 2);
    give(d, 13);
    CHECK_EQ(drv_recv(d, got, NULL), -1);
    drv_free(d);
}

/* Every length around every buffer size, canaries behind. */
TEST(e1000_frames_of_every_length_over_every_buffer_size)
{
    static const struct {
        uint32_t bits, size;
    } kind[] = {{0, 2048},
                {1u << 16, 1024},
                {2u << 16, 512},
                {3u << 16, 256},
                {RCTL_BSEX | 1u << 16, 16384},
                {RCTL_BSEX | 2u << 16, 8192},
                {RCTL_BSEX | 3u << 16, 4096}};
    struct drv *d = drv_new(NULL);
    test_timeout(60);
    make_tcp(frame, 20000, -1);
    for (unsigned k = 0; k < ARRAY_LEN(kind); k++) {
        for (uint32_t n = 60; n <= 16380;
             n += n % kind[k].size > 8 && n % kind[k].size < kind[k].size - 12
                      ? kind[k].size / 4 - 3
                      : 1) {
            drv_rx_ring(d, 128, RCTL_EN | RCTL_LPE | kind[k].bits);
            uint8_t *canary = fake_ram(d->m, DRV_RXBUF, 128 * DRV_RXSTEP / 2);
            if (kind[k].size < DRV_RXSTEP)
                canary[kind[k].size] = 0xc5;
            give(d, n);
            REQUIRE_EQ(drv_recv(d, got, NULL), n + 4);
            CHECK_MEM(got, frame, n);
            if (kind[k].size < DRV_RXSTEP)
                REQUIRE(canary[kind[k].size] == 0xc5);
            wr(d, RCTL, 0);
        }
    }
    drv_free(d);
}

TEST(e1000_13_4_22_lpe_and_sbp_limit_lengths)
{
    struct drv *d = drv_new(NULL);
    make_tcp(frame, 20000, -1);
    drv_rx_ring(d, 64, RCTL_EN | RCTL_SBP); /* CVE-2012-6075 */
    give(d, 1518);
    CHECK_EQ(drv_recv(d, got, NULL), 1522);
    give(d, 1519);
    give(d, 16000);
    CHECK_EQ(drv_recv(d, got, NULL), -1);
    CHECK_EQ(rd(d, ROC), 2);
    CHECK_EQ(rd(d, TPR), 3);
    CHECK_EQ(rd(d, GPRC), 1);
    wr(d, RCTL, RCTL_EN | RCTL_LPE);
    give(d, 16380);
    CHECK_EQ(drv_recv(d, got, NULL), 16384);
    give(d, 16381);
    CHECK_EQ(drv_recv(d, got, NULL), -1);
    drv_free(d);
}

TEST(e1000_13_5_a_filter_is_shown_and_its_change_told_once)
{
    struct drv *d = drv_new(NULL);
    struct device *dev = &d->e->dev;
    drv_rx_ring(d, 64, RCTL_EN | RCTL_BAM);
    filter_listen(d->m);
    const char *said = filter_of(dev);
    CHECK_HAS(said, "\"promiscuous\": false, \"multicast\": \"normal\", "
                    "\"unicast\": \"normal\", \"vlan\": \"all\", "
                    "\"broadcast-allowed\": true, "
                    "\"multicast-overflow\": false, ");
    CHECK_HAS(said, "\"unicast-table\": [], \"multicast-table\": []}");
    wr(d, RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC);
    CHECK(!filter_news(dev));
    wr(d, RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_VFE);
    CHECK(filter_news(dev));
    wr(d, RAL + 8 * 15, 0x99005452);
    wr(d, RAH + 8 * 15, RAH_AV | 0x9998);
    wr(d, RAL + 8 * 2, 0x005e0001);
    wr(d, RAH + 8 * 2, RAH_AV | 0xfb00);
    wr(d, VFTA + 4, 1 << 3);
    wr(d, MTA, 1);
    CHECK(!filter_news(dev)); /* nobody has asked since */
    said = filter_of(dev);
    CHECK_HAS(said, "\"promiscuous\": true, \"multicast\": \"all\", "
                    "\"unicast\": \"all\", \"vlan\": \"normal\", "
                    "\"broadcast-allowed\": true, "
                    "\"multicast-overflow\": true, ");
    CHECK_HAS(said, "\"main-mac\": \"52:54:00:");
    CHECK_HAS(said, "\"vlan-table\": [35], "
                    "\"unicast-table\": [\"52:54:00:99:98:99\"], "
                    "\"multicast-table\": [\"01:00:5e:00:00:fb\"]}");
    wr(d, MTA + 4 * 127, 1);
    CHECK(filter_news(dev));
    drv_free(d);
}

/* Known addresses: which bit of the table each is, for each offset. */
TEST(e1000_13_5_filters)
{
    static const uint8_t mc[3][6] = {{0x33, 0x33, 0, 0, 0, 1},
                                     {1, 0, 0x5e, 0, 0, 0xfb},
                                     {1, 0x80, 0xc2, 0, 0, 0x0e}};
    static const uint16_t hash[3][4] = {
        {16, 32, 64, 256},
        {125 * 32 + 16, 123 * 32, 118 * 32, 88 * 32},
        {7 * 32, 14 * 32, 28 * 32, 112 * 32}};
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1), rctl;
    drv_rx_ring(d, 64, RCTL_EN);
    for (unsigned mo = 0; mo < 4; mo++) {
        for (unsigned i = 0; i < 3; i++) {
            unsigned v = hash[i][mo];
            wr(d, RCTL, RCTL_EN | mo << RCTL_MO_SHIFT);
            memcpy(frame, mc[i], 6);
            give(d, len);
            CHECK_EQ(drv_recv(d, got, NULL), -1);
            wr(d, MTA + 4 * (v / 32), 1u << v % 32);
            give(d, len);
            CHECK_EQ(drv_recv(d, got, NULL), len + 4);
            wr(d, MTA + 4 * (v / 32), 0);
        }
    }
    CHECK_EQ(rd(d, MPRC), 12);
    rctl = RCTL_EN | RCTL_MPE;
    wr(d, RCTL, rctl);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, NULL), len + 4);
    memset(frame, 0xff, 6);
    wr(d, RCTL, RCTL_EN);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, NULL), -1);
    wr(d, RCTL, RCTL_EN | RCTL_BAM);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, NULL), len + 4);
    CHECK_EQ(rd(d, BPRC), 1);
    frame[0] = 0x52;
    frame[1] = 0x54;
    frame[2] = 0;
    memset(frame + 3, 0x99, 3);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, NULL), -1);
    wr(d, RAL + 8 * 15, 0x99005452);
    wr(d, RAH + 8 * 15, RAH_AV | 0x9999);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, NULL), len + 4);
    wr(d, RAH + 8 * 15, 0x9999); /* without AV */
    give(d, len);
    CHECK_EQ(drv_recv(d, got, NULL), -1);
    wr(d, RCTL, RCTL_EN | RCTL_UPE);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, NULL), len + 4);
    drv_free(d);
}

/* 13.4.22: MAC control frames to PAUSE's address need PMCF, and not DPF. */
TEST(e1000_13_4_22_dpf_and_pmcf_judge_pause_frames)
{
    static const uint8_t pause[] = {0x01, 0x80, 0xc2, 0, 0, 0x01};
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rx_ring(d, 16, RCTL_EN | RCTL_MPE);
    for (unsigned i = 0; i < 16; i++) {
        bool to = i & 1, type = i & 2;
        wr(d, RCTL,
           RCTL_EN | RCTL_MPE | (i & 4 ? RCTL_DPF : 0) |
               (i & 8 ? RCTL_PMCF : 0));
        memcpy(frame, to ? pause : drv_mac, 6);
        eth_put16(frame + 12, type ? 0x8808 : 0x8809);
        give(d, len);
        CHECK_EQ(drv_recv(d, got, NULL),
                 to && type && (i & 12) != 8 ? -1 : (int)len + 4);
        wr(d, RDT, (d->rx_next + 15) % 16);
    }
    drv_free(d);
}

TEST(e1000_9_3_vlan_filter_and_strip)
{
    struct drv *d = drv_new(NULL);
    uint64_t v;
    uint32_t len = make_tcp(frame, 200, 0x5064); /* id 100 */
    drv_rx_ring(d, 64, RCTL_EN);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, &v), len + 4); /* tag left in */
    CHECK(!(status_of(v) & RXD_VP));
    wr(d, RCTL, RCTL_EN | RCTL_VFE);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, &v), -1);
    wr(d, VFTA + 4 * (100 / 32), 1u << 100 % 32);
    wr(d, CTRL, CTRL_SLU | CTRL_VME);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, &v), len); /* less 4, plus FCS */
    CHECK_EQ(v >> 48, 0x5064);
    CHECK(status_of(v) & RXD_VP);
    CHECK_MEM(got, frame, 12);
    CHECK_MEM(got + 12, frame + 16, len - 16);
    wr(d, RCTL, RCTL_EN | RCTL_VFE | RCTL_CFIEN); /* CFI is 1 in 5064 */
    give(d, len);
    CHECK_EQ(drv_recv(d, got, &v), -1);
    wr(d, RCTL, RCTL_EN | RCTL_VFE | RCTL_CFIEN | RCTL_CFI);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, &v), len);
    wr(d, RCTL, RCTL_EN);
    for (uint32_t n = 14; n < 20; n++) { /* runts too */
        give(d, n);
        CHECK_EQ(drv_recv(d, got, &v), 64);
    }
    drv_free(d);
}

TEST(e1000_13_4_37_checksums_verified_when_asked)
{
    struct drv *d = drv_new(NULL);
    uint64_t v;
    uint32_t len = make_tcp(frame, 333, -1);
    drv_rx_ring(d, 64, RCTL_EN | RCTL_SECRC);
    wr(d, RXCSUM, RXCSUM_TUOFL | RXCSUM_IPOFL | 14);
    give(d, len);
    drv_recv(d, got, &v);
    CHECK_EQ(v >> 32 & 0xffff, RXD_DD | RXD_EOP | RXD_TCPCS | RXD_IPCS);
    CHECK_EQ(v >> 16 & 0xffff,
             csum_fold(csum_partial(frame + 14, len - 14, 0, false)));
    frame[100] ^= 1;
    give(d, len);
    drv_recv(d, got, &v);
    CHECK_EQ(v >> 40 & 0xff, RXD_ERR_TCPE);
    frame[22] ^= 1; /* TTL */
    give(d, len);
    drv_recv(d, got, &v);
    CHECK_EQ(v >> 40 & 0xff, RXD_ERR_TCPE | RXD_ERR_IPE);
    len = make_udp(frame, 20);
    give(d, len); /* padded: the padding is not UDP's */
    drv_recv(d, got, &v);
    CHECK_EQ(v >> 32 & 0xffff, RXD_DD | RXD_EOP | RXD_TCPCS | RXD_IPCS);
    eth_put16(frame + 40, 0); /* no sum: nothing to check */
    give(d, len);
    drv_recv(d, got, &v);
    CHECK_EQ(v >> 32 & 0xffff, RXD_DD | RXD_EOP | RXD_IPCS);
    for (uint32_t at = 58; at < 62; at++) { /* PCSS at and behind the end */
        wr(d, RXCSUM, RXCSUM_TUOFL | at);
        give(d, 60);
        drv_recv(d, got, &v);
        CHECK_EQ(v >> 16 & 0xffff,
                 at < 60
                     ? csum_fold(csum_partial(frame + at, 60 - at, 0, false))
                     : 0);
    }
    wr(d, RXCSUM, RXCSUM_TUOFL | RXCSUM_IPOFL);
    len = make_tcp6(frame, 100);
    give(d, len);
    drv_recv(d, got, &v);
    CHECK_EQ(v >> 32 & 0xffff, RXD_DD | RXD_EOP | RXD_TCPCS);
    len = make_tcp(frame, 100, -1);
    frame[20] = 0x20; /* a fragment */
    give(d, len);
    drv_recv(d, got, &v);
    CHECK(!(status_of(v) & RXD_TCPCS));
    drv_free(d);
}

TEST(e1000_partial_sums_are_completed)
{
    struct drv *d = drv_new(NULL);
    struct eth_info i;
    uint64_t v;
    uint32_t len = make_tcp(frame, 777, -1);
    struct net_hdr h = {
        .flags = NET_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
    memcpy(other, frame, len);
    eth_parse(&i, frame, len, len, 0x8100);
    eth_put16(frame + 50, (uint16_t)~csum_fold(eth_pseudo(&i, frame, 797)));
    drv_rx_ring(d, 8, RCTL_EN | RCTL_SECRC);
    wr(d, RXCSUM, RXCSUM_TUOFL);
    fake_net_give(d->net, 0, &h, frame, len);
    run(d);
    CHECK_EQ(drv_recv(d, got, &v), len);
    CHECK_MEM(got, other, len);
    CHECK(status_of(v) & RXD_TCPCS);
    for (uint32_t end = 0; end < 3; end++) { /* the frame's last bytes */
        h.csum_start = (uint16_t)(len - 4);
        h.csum_offset = (uint16_t)(1 + end);
        fake_net_give(d->net, 0, &h, frame, len);
        run(d);
        CHECK_EQ(drv_recv(d, got, &v), end < 2 ? (int)len : -1);
        if (end < 2)
            CHECK_EQ(eth_get16(got + len - 3 + end),
                     csum_fold(csum_partial(frame + len - 4, 4, 0, false)));
    }
    h.csum_start = (uint16_t)len;
    h.csum_offset = 0;
    fake_net_give(d->net, 0, &h, frame, len);
    run(d);
    CHECK_EQ(drv_recv(d, got, &v), -1);
    h.csum_start = 800; /* a peer's nonsense */
    h.csum_offset = 800;
    fake_net_give(d->net, 0, &h, frame, len);
    run(d);
    CHECK_EQ(drv_recv(d, got, &v), -1);
    drv_free(d);
}

/* ------------------------------------------------------------ big packets */

static void give_gso(struct drv *d, uint32_t len, uint16_t mss, bool v6,
                     bool tag)
{
    struct net_hdr h = {
        .flags = NET_F_NEEDS_CSUM,
        .gso_type = v6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4,
        .gso_size = mss,
        .csum_start = (uint16_t)((v6 ? 54 : 34) + (tag ? 4 : 0)),
        .csum_offset = 16,
    };
    fake_net_give(d->net, 0, &h, frame, len);
    run(d);
}

/* Takes the frames of a packet, and checks that they are it. */
static void expect_segments(struct drv *d, uint32_t len, uint32_t hlen,
                            uint32_t mss)
{
    uint32_t payload = len - hlen, seq = eth_get32(frame + hlen - 16);
    for (uint32_t off = 0, k = 0; off < payload; off += mss, k++) {
        uint32_t n = payload - off < mss ? payload - off : mss;
        uint32_t want = hlen + n < 60 ? 60 : hlen + n;
        REQUIRE_EQ(drv_recv(d, got, NULL), want);
        CHECK_MEM(got + hlen, frame + hlen + off, n);
        CHECK_MEM(got, frame, 14);
        CHECK(sums_ok(got, want));
        CHECK_EQ(eth_get32(got + hlen - 16), seq + off);
        CHECK_EQ(got[hlen - 7] & 9, off + n == payload ? 9 : 0);
        if (hlen == 54)
            CHECK_EQ(eth_get16(got + 18), 0x1234 + k);
    }
}

TEST(e1000_rx_gso_becomes_frames_of_its_mss)
{
    struct drv *d = drv_new(NULL);
    drv_rx_ring(d, 128, RCTL_EN | RCTL_SECRC);
    CHECK_EQ(fake_net_offload(d->net),
             NETBE_CSUM | NETBE_TSO4 | NETBE_TSO6 | NETBE_ECN);
    for (int k = 0; k < 6; k++) { /* the first is copied, others land */
        uint32_t len = make_tcp(frame, 29000 + (uint32_t)k * 777, -1);
        give_gso(d, len, 1448, false, false);
        expect_segments(d, len, HDR, 1448);
        CHECK_EQ(drv_recv(d, got, NULL), -1);
        wr(d, RDT, (d->rx_next + 127) % 128);
    }
    for (int k = 0; k < 3; k++) { /* a wrong guess */
        uint32_t len = make_tcp6(frame, 29000);
        give_gso(d, len, 1428, true, false);
        expect_segments(d, len, 74, 1428);
        wr(d, RDT, (d->rx_next + 127) % 128);
        len = make_tcp(frame, 1000, -1); /* and a plain one */
        give(d, len);
        CHECK_EQ(drv_recv(d, got, NULL), len);
        CHECK_MEM(got, frame, len);
    }
    CHECK_EQ(rd(d, GPRC), rd(d, TPR));
    drv_free(d);
}

/* A segment that fills its buffer leaves no room for the FCS (SDM 3.2.1): it
 * goes on in the next one. Every other buffer ends where RAM does. */
TEST(e1000_rx_gso_of_a_whole_buffer_keeps_its_fcs_inside)
{
    struct drv *d = drv_new("fcs=on");
    for (uint32_t buf = 256; buf <= 2048; buf *= 2) {
        /* each twice: the second one finds the layout of the first */
        for (uint32_t n = 0; n < 2 * (ETH_FCS + 2); n++) {
            uint32_t mss = buf - HDR - n / 2, posted = 127;
            uint32_t bsize = (uint32_t)__builtin_ctz(2048 / buf);
            struct net_hdr h = {.flags = NET_F_NEEDS_CSUM,
                                .gso_type = NET_GSO_TCPV4,
                                .hdr_len = HDR,
                                .gso_size = (uint16_t)mss,
                                .csum_start = 34,
                                .csum_offset = 16};
            uint32_t len = make_tcp(frame, 3 * mss, -1);
            drv_rx_ring(d, posted + 1,
                        RCTL_EN | RCTL_LPE | bsize << RCTL_BSIZE_SHIFT);
            for (uint32_t i = 0; i < posted; i++)
                drv_rx_desc(d, i,
                            i & 1 ? DRV_RAM - buf : DRV_RXBUF + i * 4096u);
            d->rx_next = 0;
            fake_net_give(d->net, 0, &h, frame, len);
            run(d);
            for (int k = 0; k < 3; k++) {
                uint64_t result;
                /* in pieces, of which the odd ones share one buffer */
                REQUIRE_EQ(drv_recv(d, got, &result), HDR + mss + ETH_FCS);
                CHECK_EQ(eth_get32(got + 38), eth_get32(frame + 38) + k * mss);
            }
        }
    }
    drv_free(d);
}

/* More segments than one read is laid out for, and fewer but so long that the
 * layout ends with the packet's longest length. */
TEST(e1000_rx_gso_of_many_segments_and_of_long_ones)
{
    static const uint32_t mss[] = {600, 1000, 15000, 16326};
    struct drv *d = drv_new(NULL);
    for (unsigned i = 0; i < ARRAY_LEN(mss); i++) {
        uint32_t len = make_tcp(frame, 65000, -1);
        drv_rx_ring(
            d, 128,
            RCTL_EN | RCTL_SECRC | RCTL_LPE |
                (mss[i] > 2000 ? RCTL_BSEX | 1u << RCTL_BSIZE_SHIFT : 0));
        for (int k = 0; k < 3; k++) {
            give_gso(d, len, (uint16_t)mss[i], false, false);
            expect_segments(d, len, HDR, mss[i]);
            CHECK_EQ(drv_recv(d, got, NULL), -1);
            wr(d, RDT, (d->rx_next + 127) % 128);
            run(d);
        }
    }
    drv_free(d);
}

/* In place, over the end of a ring that ends where RAM does; and the buffer at
 * the tail is the guest's. */
TEST(e1000_rx_gso_takes_no_descriptor_beyond_the_tail)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 5 * 1448, -1);
    const uint32_t ring = DRV_RAM - 128;
    static uint8_t ee[2048];
    memset(ee, 0xee, sizeof(ee));
    drv_rx_ring(d, 8, RCTL_EN | RCTL_SECRC);
    wr(d, RDBAL, ring);
    for (uint32_t head = 0; head < 8; head++) {
        for (uint32_t i = 0; i < 8; i++) {
            uint64_t desc[2] = {DRV_RXBUF + 2048 * i, 0};
            memcpy(fake_ram(d->m, ring + 16 * i, 16), desc, 16);
        }
        memset(fake_ram(d->m, DRV_RXBUF, 8 * 2048), 0xee, 8 * 2048);
        wr(d, RDH, head);
        wr(d, RDT, (head + 4) % 8);
        give_gso(d, len, 1448, false, false);
        CHECK_EQ(rd(d, RDH), (head + 4) % 8); /* four of five */
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t at = (head + i) % 8;
            CHECK_MEM(fake_ram(d->m, DRV_RXBUF + 2048 * at + HDR, 1448),
                      frame + HDR + 1448 * i, 1448);
        }
        for (uint32_t i = 4; i < 8; i++)
            CHECK_MEM(fake_ram(d->m, DRV_RXBUF + 2048 * ((head + i) % 8), 2048),
                      ee, 2048);
        wr(d, RDT, (head + 5) % 8);
        run(d);
        CHECK_EQ(rd(d, RDH), (head + 5) % 8);
    }
    drv_free(d);
}

/* A backend is no friend: what is longer than any packet is cut off where the
 * layout ends, and the layout ends with the longest packet. */
TEST(e1000_rx_gso_longer_than_any_packet_is_cut_off)
{
    static uint8_t big[90000];
    struct drv *d = drv_new(NULL);
    struct net_hdr h = {
        .gso_type = NET_GSO_TCPV4, .gso_size = 15000, .csum_start = 34};
    uint32_t len = make_tcp(big, 65000, -1);
    drv_rx_ring(d, 16,
                RCTL_EN | RCTL_SECRC | RCTL_LPE | RCTL_BSEX |
                    1u << RCTL_BSIZE_SHIFT);
    for (int k = 0; k < 3; k++) { /* by now it is expected */
        fake_net_give(d->net, 0, &h, big, k < 2 ? len : sizeof(big));
        run(d);
        for (int i = 0; i < 5; i++)
            REQUIRE_EQ(drv_recv(d, got, NULL),
                       i < 4 ? HDR + 15000
                             : (k < 2 ? (int)len : NET_FRAME_MAX) - 60000);
        CHECK_EQ(drv_recv(d, got, NULL), -1);
        wr(d, RDT, (d->rx_next + 15) % 16);
    }
    drv_free(d);
}

/* A plain frame where a big packet was expected: its last byte may lie in the
 * second buffer. */
TEST(e1000_rx_plain_frames_as_long_as_the_segment_expected)
{
    struct drv *d = drv_new(NULL);
    drv_rx_ring(d, 16, RCTL_EN | RCTL_SECRC);
    for (uint32_t len = HDR + 997; len < HDR + 1004; len++) {
        give_gso(d, make_tcp(frame, 3000, -1), 1000, false, false);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(drv_recv(d, got, NULL), HDR + 1000);
        wr(d, RDT, (d->rx_next + 15) % 16);
        memset(fake_ram(d->m, DRV_RXBUF, 16 * DRV_RXSTEP), 0xee,
               16 * DRV_RXSTEP);
        make_tcp(frame, len - HDR, -1);
        give(d, len);
        CHECK_EQ(drv_recv(d, got, NULL), len);
        CHECK_MEM(got, frame, len);
        CHECK_EQ(drv_recv(d, got, NULL), -1);
        wr(d, RDT, (d->rx_next + 15) % 16);
    }
    drv_free(d);
}

/* SDM 3.2.1: the FCS counts, in one buffer or over two; RAM's end behind. */
TEST(e1000_3_2_4_fcs_that_does_not_fit_goes_to_the_next_buffer)
{
    struct drv *d = drv_new("fcs=on");
    for (uint32_t size = 256; size <= 2048; size *= 2) {
        uint32_t bsize = (uint32_t)__builtin_ctz(2048 / size), crc;
        drv_rx_ring(d, 8, RCTL_EN | RCTL_LPE | bsize << RCTL_BSIZE_SHIFT);
        for (uint32_t len = size - 6; len < size + 2; len++) {
            uint32_t at = d->rx_next, next = (at + 1) % 8;
            drv_rx_desc(d, at, DRV_RXBUF);
            drv_rx_desc(d, next, DRV_RAM - size);
            wr(d, RDT, (at + 2) % 8);
            make_tcp(frame, len - HDR, -1);
            crc = eth_crc(0, frame, len);
            give(d, len);
            CHECK_EQ(drv_rx_result(d, at) & 0xffff,
                     len + 4 < size ? len + 4 : size);
            REQUIRE_EQ(drv_recv(d, got, NULL), len + 4);
            CHECK_MEM(got, frame, len);
            CHECK_MEM(got + len, &crc, 4);
            wr(d, RDT, d->rx_next);
        }
    }
    drv_free(d);
}

/* 13.4.22, LPE: it is the longest segment that counts. */
TEST(e1000_rx_gso_is_judged_by_its_longest_segment)
{
    struct drv *d = drv_new(NULL);
    drv_rx_ring(d, 16, RCTL_EN);
    give_gso(d, make_tcp(frame, 1464, -1), 1465, false, false);
    CHECK_EQ(drv_recv(d, got, NULL), 1522);
    give_gso(d, make_tcp(frame, 2928, -1), 1464, false, false);
    CHECK_EQ(drv_recv(d, got, NULL), 1522);
    CHECK_EQ(drv_recv(d, got, NULL), 1522);
    give_gso(d, make_tcp(frame, 1466, -1), 1465, false, false);
    CHECK_EQ(drv_recv(d, got, NULL), -1);
    CHECK_EQ(rd(d, ROC), 1);
    drv_free(d);
}

/* With LPE off no frame is longer than 1522 bytes, and a driver may give
 * buffers that end there while RCTL says 2048: Linux does. What is read before
 * its kind is known, or refused afterwards, stays in them, too. */
TEST(e1000_rx_writes_no_more_than_a_frame_can_be)
{
    struct drv *d = drv_new(NULL);
    static uint8_t ee[DRV_RXSTEP];
    uint8_t *buf = fake_ram(d->m, DRV_RXBUF, 16 * DRV_RXSTEP);
    const struct {
        uint32_t payload, mss;
        int frames;
    } step[] = {{8000, 1448, 6}, {8000, 1448, 6}, {1900, 0, 0},
                {8000, 1900, 0}, {8000, 1900, 0}, {8000, 1448, 6}};
    memset(ee, 0xee, sizeof(ee));
    for (unsigned i = 0; i < ARRAY_LEN(step); i++) {
        drv_rx_ring(d, 16, RCTL_EN);
        memset(buf, 0xee, 16 * DRV_RXSTEP);
        uint32_t len = make_tcp(frame, step[i].payload, -1);
        if (step[i].mss) {
            give_gso(d, len, (uint16_t)step[i].mss, false, false);
        } else {
            fake_net_give(d->net, 0, NULL, frame, len);
            run(d);
        }
        for (uint32_t k = 0; k < 16; k++)
            CHECK_MEM(buf + k * DRV_RXSTEP + 1522, ee, DRV_RXSTEP - 1522);
        for (int n = 0; n < step[i].frames; n++)
            CHECK(drv_recv(d, got, NULL) > 0);
        CHECK_EQ(drv_recv(d, got, NULL), -1);
    }
    drv_free(d);
}

/* A first segment as long as expected does not make it the packet expected:
 * with longer headers the next one would begin in front of its buffer. */
TEST(e1000_rx_gso_with_longer_headers_than_expected_stays_in_its_buffers)
{
    struct drv *d = drv_new(NULL);
    static uint8_t ee[2048];
    uint8_t *buf = fake_ram(d->m, DRV_RXBUF, 5 * 2048);
    memset(ee, 0xee, sizeof(ee));
    drv_rx_ring(d, 8, RCTL_EN | RCTL_SECRC);
    for (uint32_t i = 0; i < 8; i++) /* every other 2048 bytes is nobody's */
        drv_rx_desc(d, i, DRV_RXBUF + (1 + 2 * (i & 1)) * 2048);
    give_gso(d, make_tcp(frame, 2000, -1), 1000, false, false);
    CHECK_EQ(rd(d, RDH), 2);
    make_tcp(frame, 2 * 988 + 12, -1);
    frame[46] = 0x80; /* twelve bytes of it are options */
    for (uint32_t n = 2; n < 5; n++) {
        memset(buf, 0xee, 5 * 2048);
        wr(d, RDT, (rd(d, RDH) + n) % 8);
        give_gso(d, 66 + 2 * 988, 988, false, false);
        for (uint32_t i = 0; i < 5; i += 2)
            CHECK_MEM(buf + 2048 * i, ee, 2048);
        CHECK_MEM(buf + 2048 + 66, frame + 66, 988);
        CHECK_MEM(buf + 3 * 2048 + 66, frame + 66 + 988, 988);
        give_gso(d, make_tcp(frame, 2000, -1), 1000, false, false);
        make_tcp(frame, 2 * 988 + 12, -1);
        frame[46] = 0x80;
        wr(d, RDT, (rd(d, RDH) + 2) % 8); /* what did not fit yet */
        run(d);
    }
    drv_free(d);
}

TEST(e1000_rx_gso_with_tags_and_small_buffers)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 5000, 0x0042), off = 0, n = 0;
    drv_rx_ring(d, 128, RCTL_EN | RCTL_SECRC | 3u << RCTL_BSIZE_SHIFT);
    wr(d, CTRL, CTRL_SLU | CTRL_VME);
    for (int k = 0; k < 2; k++) {
        uint64_t v;
        give_gso(d, len, 1000, false, true);
        for (off = 0, n = 0; n < 5; n++, off += 1000) {
            REQUIRE_EQ(drv_recv(d, got, &v), 1054);
            CHECK_EQ(v >> 48, 0x42);
            CHECK_MEM(got + 54, frame + 58 + off, 1000);
            CHECK(sums_ok(got, 1054));
        }
        wr(d, RDT, (d->rx_next + 127) % 128);
    }
    drv_free(d);
}

TEST(e1000_rx_gso_waits_for_descriptors_and_loses_nothing)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 40 * 1448, -1), have = 0, off = 0;
    drv_rx_ring(d, 16, RCTL_EN | RCTL_SECRC);
    for (int k = 0; k < 3; k++) {
        give_gso(d, len, 1448, false, false);
        for (have = 0, off = 0; have < 40;) {
            int n = drv_recv(d, got, NULL);
            if (n < 0) {
                wr(d, RDT, (d->rx_next + 15) % 16);
                run(d);
                n = drv_recv(d, got, NULL);
            }
            REQUIRE_EQ(n, 1502);
            CHECK_MEM(got + HDR, frame + HDR + off, 1448);
            off += 1448;
            have++;
        }
        wr(d, RDT, (d->rx_next + 15) % 16);
    }
    CHECK_EQ(rd(d, MPC), 0);
    drv_free(d);
}

TEST(e1000_rx_malformed_gso_is_dropped)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 5000, -1);
    struct net_hdr h;
    drv_rx_ring(d, 64, RCTL_EN);
    make_tcp(frame, 0, -1);
    give_gso(d, HDR, 1000, false, false); /* no payload */
    eth_put16(frame + 16, 39);
    give_gso(d, HDR - 1, 1000, false, false);
    make_tcp(frame, 5000, -1);
    frame[46] = 0x40; /* headers shorter than TCP's */
    give_gso(d, len, 1000, false, false);
    frame[46] = 0x50;
    give_gso(d, len, 1000, true, false); /* not what it says */
    give_gso(d, len, 0, false, false);
    frame[23] = 17;
    give_gso(d, len, 1000, false, false);
    make_tcp6(frame, 5000);
    give_gso(d, len, 1000, false, false);
    CHECK_EQ(drv_recv(d, got, NULL), -1);
    CHECK_EQ(atomic_load(&d->e->nic.stats.rx_drop_backend), 7);
    for (int i = 0; i < 3000; i++) {
        uint8_t *p = (uint8_t *)&h;
        for (unsigned k = 0; k < sizeof(h); k++)
            p[k] = (uint8_t)test_random();
        if (i & 1)
            h.gso_type = NET_GSO_TCPV4;
        frame[46] = (uint8_t)test_random(); /* TCP's header length */
        fake_net_give(d->net, 0, &h, frame, i % 5 ? len : 50u);
        run(d);
        wr(d, RDT, (rd(d, RDH) + 63) % 64);
    }
    drv_free(d);
}

/* --------------------------------------------------------------- the ring */

static uint32_t rdh_after(struct drv *d, uint32_t rdt)
{
    wr(d, RDT, rdt % 256);
    run(d);
    return rd(d, RDH);
}

/* A driver behind in a flood gives descriptors back few at a time: the loop is
 * woken for a quarter of the ring, or after a moment. */
TEST(e1000_starved_ring_waits_for_enough)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rx_ring(d, 256, RCTL_EN);
    wr(d, RDT, 100);
    for (int i = 0; i < 150; i++)
        fake_net_give(d->net, 0, NULL, frame, len);
    run(d);
    CHECK_EQ(rd(d, RDH), 100);
    CHECK_EQ(rdh_after(d, 116), 100);
    CHECK_EQ(rdh_after(d, 132), 100);
    CHECK_EQ(rdh_after(d, 163), 100);
    CHECK_EQ(rdh_after(d, 164), 150); /* all there are */
    for (int i = 0; i < 34; i++)
        fake_net_give(d->net, 0, NULL, frame, len);
    run(d);
    CHECK_EQ(rd(d, RDH), 164);
    CHECK_EQ(rdh_after(d, 165), 164);
    fake_sleep_ns(d->m, 600000); /* a single one, by then */
    CHECK_EQ(rd(d, RDH), 165);
    CHECK_EQ(rdh_after(d, 170), 165);
    fake_sleep_ns(d->m, 1000000);
    CHECK_EQ(rd(d, RDH), 170);
    fake_sleep_ns(d->m, 1000000);
    CHECK_EQ(rdh_after(d, 171), 171); /* after the moment: at once */
    CHECK_EQ(rdh_after(d, 180), 171); /* and again */
    wr(d, RCTL, 0);
    wr(d, RCTL, RCTL_EN); /* a reset in between forgets it */
    CHECK_EQ(rdh_after(d, 181), 181);
    drv_free(d);
}

TEST(e1000_back_pressure_and_rdt_rearms_at_once)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    unsigned reads;
    drv_rx_ring(d, 8, RCTL_EN);
    for (int i = 0; i < 20; i++)
        fake_net_give(d->net, 0, NULL, frame, len);
    run(d);
    for (int i = 0; i < 7; i++)
        CHECK_EQ(drv_recv(d, got, NULL), len + 4);
    CHECK_EQ(drv_recv(d, got, NULL), -1);
    reads = fake_net_recvs(d->net);
    run(d);
    CHECK_EQ(fake_net_recvs(d->net), reads); /* no busy loop */
    wr(d, RDT, (d->rx_next + 7) % 8);
    run(d);
    for (int i = 0; i < 7; i++)
        CHECK_EQ(drv_recv(d, got, NULL), len + 4);
    wr(d, RDT, (d->rx_next + 7) % 8);
    run(d);
    for (int i = 0; i < 6; i++)
        CHECK_EQ(drv_recv(d, got, NULL), len + 4);
    CHECK_EQ(rd(d, MPC), 0);
    drv_free(d);
}

TEST(e1000_nothing_arrives_at_rdh_equal_rdt_or_disabled)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rx_ring(d, 8, 0);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, NULL), -1);
    wr(d, RDT, 0);
    wr(d, RCTL, RCTL_EN);
    run(d);
    CHECK_EQ(drv_rx_result(d, 0), 0);
    wr(d, RDT, 3);
    run(d);
    CHECK_EQ(drv_recv(d, got, NULL), len + 4);
    drv_free(d);
}

TEST(e1000_rdt_one_past_the_end_means_all_of_it)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rx_ring(d, 8, RCTL_EN);
    wr(d, RDT, 8);
    for (int i = 0; i < 8; i++) {
        give(d, len);
        CHECK_EQ(drv_recv(d, got, NULL), len + 4);
    }
    wr(d, RDT, 9);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, NULL), -1);
    drv_free(d);
}

/* 16 bytes of ring read back as 0. RDT is written once and for all; each frame
 * takes the place of the one before, and says so: RXO. */
TEST(e1000_13_4_26_a_ring_of_one_descriptor_is_filled_over_and_over)
{
    struct drv *d = drv_new("fcs=on");
    uint32_t len = make_tcp(frame, 100, -1);
    unsigned before;
    uint64_t v;
    drv_rx_desc(d, 1, DRV_RXBUF + DRV_RXSTEP); /* behind the ring */
    drv_rx_ring(d, 1, RCTL_EN);
    CHECK_EQ(rd(d, RDLEN), 0);
    give(d, len); /* RDT is 0: nothing there yet */
    CHECK_EQ((uint32_t)drv_rx_result(d, 0), 0);
    wr(d, IMS, ICR_RXO);
    wr(d, RDT, 1);
    run(d);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(drv_recv(d, got, &v), len + 4);
        CHECK_MEM(got, frame, len);
        CHECK_EQ(status_of(v) & (RXD_DD | RXD_EOP), RXD_DD | RXD_EOP);
        CHECK(irq_line(d));
        CHECK_EQ(rd(d, ICR) & (ICR_RXO | ICR_RXT0), ICR_RXO | ICR_RXT0);
        CHECK(!irq_line(d));
        CHECK_EQ(rd(d, RDH), 0);
        frame[len - 1]++;
        give(d, len);
    }
    CHECK_EQ(drv_rx_result(d, 1), 0);
    CHECK_EQ(rd(d, GPRC), 4);
    CHECK_EQ(rd(d, MPC), 0);
    drv_recv(d, got, NULL);
    wr(d, RCTL, RCTL_EN | RCTL_LPE); /* more than it can hold: lost, counted */
    give(d, 2045);
    CHECK_EQ(drv_recv(d, got, NULL), -1);
    CHECK_EQ(rd(d, MPC), 1);
    /* a flood is worked off in bounded bursts, none of it waits */
    for (int i = 0; i < 150; i++)
        fake_net_give(d->net, 0, NULL, frame, len);
    before = fake_net_recvs(d->net);
    CHECK(loop_poll(d->m->loop, 0) > 0);
    CHECK(fake_net_recvs(d->net) - before <= 64);
    run(d);
    CHECK_EQ(rd(d, GPRC), 150);
    wr(d, RDT, 2); /* no such place */
    give(d, len);
    CHECK_EQ(rd(d, GPRC), 0);
    drv_free(d);
}

/* An index one past the end, of rings that end where RAM does. */
TEST(e1000_indices_at_the_end_of_rings_at_the_end_of_ram)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    uint64_t a = DRV_RAM - 2048;
    drv_rx_ring(d, 8, RCTL_EN | RCTL_LPE);
    wr(d, RDBAL, DRV_RAM - 128);
    for (unsigned i = 0; i < 8; i++)
        memcpy(fake_ram(d->m, DRV_RAM - 128 + 16 * i, 8), &a, 8);
    wr(d, RDH, 8);
    wr(d, RDT, 3);
    give(d, len);
    CHECK_EQ(rd(d, RDH), 8);
    CHECK_EQ(rd(d, GPRC), 0);
    a = DRV_RXBUF; /* the last one, and over the end to the first */
    for (unsigned i = 0; i < 8; i++)
        memcpy(fake_ram(d->m, DRV_RAM - 128 + 16 * i, 8), &a, 8);
    wr(d, RDH, 7);
    wr(d, RDT, 1);
    run(d);
    CHECK_EQ(rd(d, RDH), 0);
    give(d, len);
    CHECK_EQ(rd(d, RDH), 1);
    give(d, len);
    CHECK_EQ(rd(d, RDH), 1);
    CHECK_EQ(rd(d, GPRC), 2);
    d->tail = 0;
    drv_tx_ring(d, 8);
    wr(d, TDBAL, DRV_RAM - 128);
    wr(d, TDH, 8);
    wr(d, TDT, 3);
    run(d);
    CHECK_EQ(rd(d, TDH), 8);
    wr(d, TDH, 7);
    wr(d, TDT, 1);
    run(d);
    CHECK_EQ(rd(d, TDH), 1);
    wr(d, TDBAL, DRV_RAM - 112); /* the last descriptor is not RAM */
    wr(d, TDH, 7);
    wr(d, TDT, 0);
    wr(d, RDBAL, DRV_RAM - 112);
    wr(d, RDH, 7);
    wr(d, RDT, 1);
    give(d, len);
    CHECK_EQ(rd(d, TDH), 7);
    CHECK_EQ(rd(d, RDH), 7);
    drv_free(d);
}

/* 3.2.4: buffers at RAM's end, filled to the last byte, in place and copied;
 * one that sticks out by a byte is no RAM. */
TEST(e1000_3_2_4_buffers_filled_to_the_last_byte_of_ram)
{
    struct drv *d = drv_new("fcs=on");
    uint8_t *last = fake_ram(d->m, DRV_RAM - 2048, 2048);
    drv_rx_ring(d, 8, RCTL_EN | RCTL_LPE);
    for (uint32_t i = 0; i < 8; i++)
        drv_rx_desc(d, i, DRV_RAM - 2048);
    make_tcp(frame, 3000, -1);
    for (uint32_t head = 0; head < 8; head++) { /* with one descriptor each */
        memset(last, 0, 2048);
        wr(d, RDH, head);
        wr(d, RDT, (head + 1) % 8);
        run(d);
        give(d, 2044);
        CHECK_EQ(rd(d, RDH), (head + 1) % 8);
        CHECK_EQ(drv_rx_result(d, head) & 0xffff, 2048);
        CHECK_MEM(last, frame, 2044);
    }
    drv_rx_desc(d, 0, DRV_RAM - 2047);
    memset(last, 0xee, 2048);
    wr(d, RDT, 1);
    give(d, 200);
    CHECK_EQ(rd(d, RDH), 1);
    CHECK_EQ(drv_rx_result(d, 0) >> 32 & RXD_DD, RXD_DD);
    CHECK_EQ(last[1], 0xee);
    CHECK_EQ(d->e->f_desc.count, 1);
    drv_free(d);
}

/* Over the ring's end as anywhere: head up to, not including, tail. */
TEST(e1000_3_2_6_as_many_frames_as_descriptors_wherever_they_are)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rx_ring(d, 8, RCTL_EN);
    for (uint32_t head = 0; head < 8; head++) {
        for (uint32_t n = 1; n < 8; n++) {
            wr(d, RDH, head);
            wr(d, RDT, (head + n) % 8);
            for (uint32_t i = 0; i <= n; i++)
                give(d, len);
            CHECK_EQ(rd(d, RDH), (head + n) % 8);
            CHECK_EQ(rd(d, GPRC), n);
            wr(d, RDT, (head + n + 1) % 8); /* the one that waited */
            run(d);
            CHECK_EQ(rd(d, GPRC), 1);
        }
    }
    drv_free(d);
}

/* All but one of the ring's descriptors hold a frame, or none ever will. */
TEST(e1000_3_2_6_the_longest_frame_a_ring_holds_waits_a_longer_one_is_lost)
{
    struct drv *d = drv_new("fcs=on");
    const uint32_t most = 7 * 256 - ETH_FCS;
    make_tcp(frame, 3000, -1);
    drv_rx_ring(d, 8, RCTL_EN | RCTL_LPE | 3u << RCTL_BSIZE_SHIFT);
    wr(d, RDT, 3);
    give(d, most);
    CHECK_EQ(rd(d, RDH), 0);
    CHECK_EQ(rd(d, MPC), 0);
    wr(d, RDT, 7);
    run(d);
    CHECK_EQ(rd(d, RDH), 7);
    CHECK_EQ(drv_recv(d, got, NULL), 7 * 256);
    CHECK_MEM(got, frame, most);
    wr(d, RDT, 6);
    give(d, most + 1);
    CHECK_EQ(rd(d, RDH), 7);
    CHECK_EQ(rd(d, MPC), 1);
    CHECK_EQ(atomic_load(&d->e->nic.stats.rx_drop_fit), 1);
    give(d, 200); /* and the next one is taken */
    CHECK_EQ(drv_recv(d, got, NULL), 204);
    drv_free(d);
}

/* 13.4.22: BSEX with BSIZE 00 is reserved: 2048. */
TEST(e1000_13_4_22_reserved_buffer_size_is_not_enlarged)
{
    struct drv *d = drv_new(NULL);
    make_tcp(frame, 3000, -1);
    drv_rx_ring(d, 8, RCTL_EN | RCTL_LPE | RCTL_BSEX);
    give(d, 3000);
    CHECK_EQ(drv_rx_result(d, 0) & 0xffff, 2048);
    CHECK_EQ(drv_rx_result(d, 1) & 0xffff, 3004 - 2048);
    drv_free(d);
}

TEST(e1000_null_and_foreign_buffers_end)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rx_ring(d, 8, RCTL_EN);
    for (uint32_t i = 0; i < 8; i++)
        drv_rx_desc(d, i, 0);
    give(d, len); /* CVE-2020-28916 */
    CHECK_EQ(rd(d, RDH), 7);
    wr(d, RDT, 8);
    run(d); /* and with RDT past the end */
    drv_rx_ring(d, 8, RCTL_EN);
    drv_rx_desc(d, 0, d->bar); /* into the card itself */
    drv_rx_desc(d, 1, DRV_RAM - 100);
    drv_rx_desc(d, 2, ~0ull - 5);
    for (int i = 0; i < 4; i++)
        give(d, len);
    CHECK(status_of(drv_rx_result(d, 2)) & RXD_DD);
    CHECK_MEM(fake_ram(d->m, DRV_RXBUF + 3 * DRV_RXSTEP, len), frame, len);
    drv_free(d);
}

TEST(e1000_ring_over_its_own_buffers)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 1400, -1);
    drv_rx_ring(d, 64, RCTL_EN);
    for (uint32_t i = 0; i < 64; i++)
        drv_rx_desc(d, i, DRV_RXRING + 8 * i);
    for (int i = 0; i < 64; i++)
        give(d, len);
    drv_free(d);
}

TEST(e1000_13_4_17_rxdmt0_when_the_threshold_is_crossed)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rx_ring(d, 16, RCTL_EN | 1 << RCTL_RDMTS_SHIFT); /* a quarter */
    for (int i = 0; i < 15; i++) {
        rd(d, ICR);
        give(d, len);
        CHECK_EQ(!!(rd(d, ICR) & ICR_RXDMT0), 15 - i - 1 == 4);
    }
    drv_free(d);
}

TEST(e1000_13_4_30_rdtr_delays_radv_limits_fpd_expires)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rx_ring(d, 64, RCTL_EN);
    wr(d, RDTR, 10); /* 10.24 us */
    wr(d, RADV, 20);
    give(d, len);
    CHECK_EQ(rd(d, ICR) & ICR_RXT0, 0);
    fake_sleep_ns(d->m, 10230);
    CHECK_EQ(rd(d, ICR) & ICR_RXT0, 0);
    fake_sleep_ns(d->m, 20);
    CHECK_EQ(rd(d, ICR) & ICR_RXT0, ICR_RXT0);
    for (int i = 0; i < 3; i++) {
        give(d, len);
        fake_sleep_ns(d->m, 8000);
        CHECK_EQ(rd(d, ICR) & ICR_RXT0, i == 2 ? ICR_RXT0 : 0);
    }
    give(d, len);
    wr(d, RDTR, RDTR_FPD | 10);
    CHECK_EQ(rd(d, RDTR), 10);
    CHECK_EQ(rd(d, ICR) & ICR_RXT0, ICR_RXT0);
    fake_sleep_ns(d->m, 100000);
    CHECK_EQ(rd(d, ICR), 0);
    wr(d, RSRPD, 200);
    give(d, len);
    CHECK_EQ(rd(d, ICR) & ICR_SRPD, ICR_SRPD);
    drv_free(d);
}

TEST(e1000_rx_errors_of_the_backend_do_not_spin)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rx_ring(d, 8, RCTL_EN);
    fake_net_fail_recv(d->net, 3, -EIO);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, NULL), len + 4);
    drv_free(d);
}

TEST(e1000_rx_doorbells_are_silent_while_it_has_descriptors)
{
    struct drv *d = drv_new(NULL);
    drv_rx_ring(d, 64, RCTL_EN);
    CHECK(atomic_load(&d->e->todo) & TODO_RX);
    wr(d, RDT, 1);
    wr(d, RDT, 2);
    CHECK_EQ(fake_run_loop(d->m), 0);
    drv_free(d);
}

/* ----------------------------------------------------- ethtool -t offline */

TEST(e1000_ethtool_register_test_is_inert_with_traffic)
{
    static const uint32_t pattern[] = {0x5a5a5a5a, 0xa5a5a5a5, 0, ~0u};
    static const struct {
        uint32_t off, mask;
    } reg[] = {{FCAL, ~0u},         {FCAH, 0xffff},     {FCT, 0xffff},
               {VET, 0xffff},       {RDTR, 0xffff},     {RDBAH, ~0u},
               {RDLEN, 0xfff80},    {RDH, 0xffff},      {RDT, 0xffff},
               {FCRTH, 0xfff8},     {FCTTV, 0xffff},    {TIPG, 0x3fffffff},
               {TDBAH, ~0u},        {TDLEN, 0xfff80},   {RDBAL, 0xfffffff0},
               {TDBAL, 0xfffffff0}, {TXCW, 0xc000ffff}, {TIDV, 0xffff}};
    struct drv *d = drv_new(NULL);
    uint32_t before = rd(d, STATUS), len = make_tcp(frame, 100, -1);
    wr(d, STATUS, 0xfffff833);
    CHECK_EQ(rd(d, STATUS), before);
    for (unsigned i = 0; i < ARRAY_LEN(reg); i++) {
        for (unsigned p = 0; p < 4; p++) {
            wr(d, reg[i].off, pattern[p]);
            CHECK_EQ(rd(d, reg[i].off) & reg[i].mask, pattern[p] & reg[i].mask);
            CHECK_EQ(rd(d, reg[i].off) & ~reg[i].mask, 0);
        }
        give(d, len);
    }
    wr(d, RCTL, 0);
    CHECK_EQ(rd(d, RCTL), 0);
    wr(d, RCTL, 0x06dfb3fe & 0x003ffffb); /* EN, LBM 11, rings all ones */
    CHECK_EQ(rd(d, RCTL), 0x001fb3fa);
    give(d, len);
    wr(d, TCTL, 0);
    CHECK_EQ(rd(d, TCTL), 0);
    wr(d, RCTL, 0x06dfb3fe);
    CHECK_EQ(rd(d, RCTL), 0x06dfb3fe);
    give(d, len);
    for (unsigned i = 0; i < 15; i++) {
        wr(d, RAH + 8 * i, ~0u);
        CHECK_EQ(rd(d, RAH + 8 * i), 0x8003ffff);
    }
    CHECK_EQ(rd(d, STATUS), before);
    drv_free(d);
}

TEST(e1000_ethtool_interrupt_test_passes)
{
    struct drv *d = drv_new(NULL);
    wr(d, IMC, ~0u);
    for (unsigned i = 0; i < 10; i++) {
        uint32_t bit = 1u << i;
        wr(d, IMC, bit);
        wr(d, ICS, bit);
        run(d);
        CHECK(!irq_line(d));
        wr(d, IMS, bit);
        CHECK(irq_line(d)); /* it was latched */
        CHECK(rd(d, ICR) & bit);
        wr(d, ICS, bit);
        CHECK(irq_line(d));
        CHECK(rd(d, ICR) & bit);
        CHECK(!irq_line(d));
        wr(d, IMC, ~bit & 0x7fff);
        wr(d, ICS, ~bit & 0x7fff);
        run(d);
        CHECK(!irq_line(d));
        rd(d, ICR);
    }
    drv_free(d);
}

static void phy_write(struct drv *d, unsigned n, uint16_t v)
{
    wr(d, MDIC, MDIC_OP_WRITE | n << 16 | 1 << 21 | v);
}

static void to_loopback(struct drv *d)
{
    phy_write(d, 16, 0x0808);
    phy_write(d, 0, 0x9140);
    phy_write(d, 0, 0x8140);
    phy_write(d, 0, 0x4140);
    wr(d, CTRL, 0xb81 | CTRL_FRCDPLX | CTRL_SLU); /* ILOS, 1000, FD */
    phy_write(d, 29, 0x001f);
    phy_write(d, 30, 0x8ffc);
    phy_write(d, 29, 0x001a);
    phy_write(d, 30, 0x8ff0);
}

/* 640 frames of 1024 bytes into 255 buffers, the last posted once; what
 * finds none is dropped, and transmit goes on. None reaches the wire. */
TEST(e1000_ethtool_loopback_test_passes)
{
    struct drv *d = drv_new(NULL);
    uint8_t *b;
    unsigned k = 0, l = 0;
    to_loopback(d);
    drv_tx_ring(d, 256);
    drv_rx_ring(d, 256, RCTL_EN | RCTL_BAM);
    memset(frame, 0xff, 1024);
    memset(frame + 512, 0xaa, 511);
    frame[522] = 0xbe;
    frame[524] = 0xaf;
    memcpy(fake_ram(d->m, DRV_TXBUF, 1024), frame, 1024);
    give(d, make_tcp(other, 100, -1)); /* the wire is cut off */
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 64; i++, k = (k + 1) % 256)
            drv_desc(d, DRV_TXBUF, 1024 | TXD_EOP | TXD_IFCS | TXD_RPS, 0);
        drv_go(d);
        for (int i = 0; i < 64; i++, l = (l + 1) % 256) {
            CHECK_EQ(drv_tx_status(d, (k + 256u - 64u + (unsigned)i) % 256) & 1,
                     1);
            if (round * 64 + i >= 255)
                continue;
            b = fake_ram(d->m, DRV_RXBUF + (uint64_t)l * DRV_RXSTEP, 1024);
            CHECK_EQ(b[3], 0xff);
            CHECK_EQ(b[522], 0xbe);
            CHECK_EQ(b[524], 0xaf);
        }
    }
    CHECK_EQ(fake_net_take(d->net, 0, NULL, got, sizeof(got)), -1);
    CHECK_EQ(rd(d, GPRC), 255);
    CHECK_EQ(rd(d, MPC), 640 - 255);
    CHECK_EQ(rd(d, GPTC), 640);
    CHECK(rd(d, ICR) & ICR_RXO);
    drv_free(d);
}

TEST(e1000_13_4_22_mac_loopback)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    drv_tx_ring(d, 8);
    drv_rx_ring(d, 8, RCTL_EN | RCTL_LBM_MAC);
    drv_send(d, frame, len, TXD_EOP | TXD_IFCS | TXD_RS);
    CHECK_EQ(drv_recv(d, got, NULL), len + 4);
    CHECK_MEM(got, frame, len);
    CHECK_EQ(fake_net_take(d->net, 0, NULL, got, sizeof(got)), -1);
    wr(d, RCTL, RCTL_EN);
    drv_send(d, frame, len, TXD_EOP | TXD_IFCS | TXD_RS);
    CHECK_EQ(fake_net_take(d->net, 0, NULL, got, sizeof(got)), len);
    drv_free(d);
}

/* CVE-2021-3416: a 64 KiB TSO looped into a ring that never moves, its
 * buffers over the transmit ring. */
TEST(e1000_loopback_of_tso_does_not_recurse)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 60000, -1);
    struct tx_ctx c = drv_tso(60000, 1000);
    to_loopback(d);
    drv_tx_ring(d, 8);
    drv_rx_ring(d, 8, RCTL_EN | RCTL_UPE);
    drv_rx_desc(d, 3, DRV_TXRING);
    drv_rx_desc(d, 4, DRV_RXRING);
    drv_rx_desc(d, 5, d->bar + TDT);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    drv_context(d, &c);
    drv_desc(d, DRV_TXBUF,
             len | TXD_DEXT | TXD_DTYP_DATA | TXD_TSE | TXD_EOP | TXD_IFCS |
                 TXD_RS,
             3 << 8);
    drv_go(d);
    CHECK(rd(d, GPTC) >= 3);
    drv_free(d);
}

TEST(e1000_receiver_toggled_and_tail_anywhere)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 1000, -1);
    drv_rx_ring(d, 16, RCTL_EN);
    for (int i = 0; i < 500; i++) {
        wr(d, RDT, test_random() % 20);
        if (i % 3 == 0)
            wr(d, RCTL, test_random() & 0x06dfb3fe);
        if (i % 20 == 0)
            fake_net_give(d->net, 0, NULL, frame, len);
        run(d);
    }
    wr(d, RCTL, 0);
    wr(d, CTRL, CTRL_RST);
    run(d);
    drv_rx_ring(d, 16, RCTL_EN | RCTL_UPE);
    give(d, len);
    CHECK(drv_recv(d, got, NULL) > 0);
    drv_free(d);
}

/* Frames that come alone cost one read each; some that come together are all
 * there at once, and are looked for again. */
TEST(e1000_rx_of_frames_that_come_alone_reads_once_for_each)
{
    struct drv *d = drv_new(NULL);
    uint32_t len = make_tcp(frame, 100, -1);
    unsigned reads = 0;
    drv_rx_ring(d, 64, RCTL_EN | RCTL_SECRC);
    for (unsigned i = 0; i < 31; i++) {
        if (i == 17)
            reads = fake_net_recvs(d->net);
        give(d, len);
        CHECK_EQ(drv_recv(d, got, NULL), len);
    }
    CHECK_EQ(fake_net_recvs(d->net) - reads, 31 - 17);
    for (unsigned i = 0; i < 20; i++)
        fake_net_give(d->net, 0, NULL, frame, len);
    run(d);
    for (unsigned i = 0; i < 20; i++)
        CHECK_EQ(drv_recv(d, got, NULL), len);
    reads = fake_net_recvs(d->net);
    give(d, len);
    CHECK_EQ(drv_recv(d, got, NULL), len);
    CHECK_EQ(fake_net_recvs(d->net) - reads, 2);
    drv_free(d);
}
