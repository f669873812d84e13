/* SPDX-License-Identifier: MIT */
/* virtio-net: Toeplitz, RSS steering, hash reports (virtio 1.2 §5.1.6.4.2,
 * §5.1.6.4.3, §5.1.6.5.6). */
#include <time.h>

#include "tests/unit/fakevirtio.h"

/* Microsoft's verification suite for RSS: its key, and known answers. */
static const uint8_t ms_key[RSS_KEY_MAX] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
    0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
    0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
    0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

static const struct {
    uint8_t src[4], dst[4];
    uint16_t sport, dport;
    uint32_t ip, tcp;
} known[] = {
    {{66, 9, 149, 187},
     {161, 142, 100, 80},
     2794,
     1766,
     0x323e8fc2,
     0x51ccc178},
    {{199, 92, 111, 2}, {65, 69, 140, 83}, 14230, 4739, 0xd718262a, 0xc626b0ea},
    {{24, 19, 198, 95},
     {12, 22, 207, 184},
     12898,
     38024,
     0xd2d0a5de,
     0x5c2b394a},
    {{38, 27, 205, 30},
     {209, 142, 163, 6},
     48228,
     2217,
     0x82989176,
     0xafc7327f},
    {{153, 39, 163, 191},
     {202, 188, 127, 2},
     44251,
     1303,
     0x5d1809c5,
     0x10e828a2},
};

static void put_be16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* An IPv4 frame of 60 bytes with ports, to the device's MAC. */
static void ipv4_frame(uint8_t *f, unsigned i, uint8_t proto)
{
    static const uint8_t head[] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 2,
                                   0,    0,    0, 0,    1,    8,    0};
    memset(f, 0, 60);
    memcpy(f, head, sizeof(head));
    f[14] = 0x45;
    put_be16(f + 16, 46);
    f[23] = proto;
    memcpy(f + 26, known[i].src, 4);
    memcpy(f + 30, known[i].dst, 4);
    put_be16(f + 34, known[i].sport);
    put_be16(f + 36, known[i].dport);
}

TEST(vnet_5_1_6_4_3_toeplitz_known_answers)
{
    for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
        uint8_t data[12];
        memcpy(data, known[i].src, 4);
        memcpy(data + 4, known[i].dst, 4);
        put_be16(data + 8, known[i].sport);
        put_be16(data + 10, known[i].dport);
        CHECK_EQ(vnet_toeplitz(ms_key, data, 8), known[i].ip);
        CHECK_EQ(vnet_toeplitz(ms_key, data, 12), known[i].tcp);
    }
}

TEST(vnet_5_1_6_4_3_which_hash_for_which_packet)
{
    struct vnet_rss rss = {.types = RSS_TYPES, .unclassified = 7};
    struct vnet_hdr h;
    uint8_t f[60];
    memcpy(rss.key, ms_key, sizeof(ms_key));
    ipv4_frame(f, 0, 6);
    vnet_rss_hash(&rss, f, 60, &h);
    CHECK_EQ(h.hash_value, known[0].tcp);
    CHECK_EQ(h.hash_report, 2);
    f[20] = 0x20; /* a fragment: no ports */
    vnet_rss_hash(&rss, f, 60, &h);
    CHECK_EQ(h.hash_value, known[0].ip);
    CHECK_EQ(h.hash_report, 1);
    ipv4_frame(f, 0, 17);
    vnet_rss_hash(&rss, f, 60, &h);
    CHECK_EQ(h.hash_report, 3);
    rss.types = 1 | 2; /* UDP goes by its addresses */
    vnet_rss_hash(&rss, f, 60, &h);
    CHECK_EQ(h.hash_report, 1);
    rss.types = 2;
    CHECK_EQ(vnet_rss_hash(&rss, f, 60, &h), 7);
    CHECK_EQ(h.hash_report, 0);
    for (unsigned len = 14; len < 60; len++) /* cut anywhere */
        vnet_rss_hash(&rss, f, len, &h);
}

TEST(vnet_5_1_6_4_3_ipv6_behind_extension_headers)
{
    struct vnet_rss rss = {.types = RSS_TYPES};
    struct vnet_hdr plain, behind;
    uint8_t f[120] = {0};
    memcpy(rss.key, ms_key, sizeof(ms_key));
    put_be16(f + 12, 0x86dd);
    f[14] = 0x60;
    for (unsigned i = 0; i < 32; i++)
        f[22 + i] = (uint8_t)(i * 5);
    f[20] = 6;
    put_be16(f + 54, 1234);
    put_be16(f + 56, 80);
    vnet_rss_hash(&rss, f, sizeof(f), &plain);
    CHECK_EQ(plain.hash_report, 5);
    memset(f + 54, 0, 4);
    f[20] = 60; /* destination options of 16 bytes */
    f[54] = 6;
    f[55] = 1;
    put_be16(f + 70, 1234);
    put_be16(f + 72, 80);
    vnet_rss_hash(&rss, f, sizeof(f), &behind);
    CHECK_EQ(behind.hash_report, 5);
    CHECK_EQ(behind.hash_value, plain.hash_value);
    f[55] = 255; /* longer than the frame */
    vnet_rss_hash(&rss, f, sizeof(f), &behind);
    CHECK_EQ(behind.hash_report, 4);
}

/* What a hash is taken of, for every kind of packet and set of types. */
TEST(vnet_5_1_6_4_3_types_of_ipv6)
{
    struct vnet_rss rss = {.unclassified = 7};
    struct vnet_hdr h;
    uint8_t f[80] = {0};
    memcpy(rss.key, ms_key, sizeof(ms_key));
    put_be16(f + 12, 0x86dd);
    f[14] = 0x60;
    f[20] = 17;
    const struct {
        uint32_t types;
        unsigned udp, tcp;
    } want[] = {{0, 0, 0},  {8, 4, 4},       {16, 0, 5},
                {32, 6, 0}, {16 | 32, 6, 5}, {1 | 2 | 4, 0, 0}};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        rss.types = want[i].types;
        f[20] = 17;
        unsigned to = vnet_rss_hash(&rss, f, sizeof(f), &h);
        CHECK_EQ(h.hash_report, want[i].udp);
        CHECK_EQ(to, want[i].udp ? 0 : 7);
        f[20] = 6;
        vnet_rss_hash(&rss, f, sizeof(f), &h);
        CHECK_EQ(h.hash_report, want[i].tcp);
    }
    rss.types = RSS_TYPES;
    f[20] = 58; /* ICMPv6 has no ports */
    vnet_rss_hash(&rss, f, sizeof(f), &h);
    CHECK_EQ(h.hash_report, 4);
    f[20] = 6; /* cut off before, in and behind the ports */
    vnet_rss_hash(&rss, f, 53, &h);
    CHECK_EQ(h.hash_report, 0);
    vnet_rss_hash(&rss, f, 57, &h);
    CHECK_EQ(h.hash_report, 4);
    vnet_rss_hash(&rss, f, 58, &h);
    CHECK_EQ(h.hash_report, 5);
    f[14] = 0x40; /* not what its type says */
    vnet_rss_hash(&rss, f, sizeof(f), &h);
    CHECK_EQ(h.hash_report, 0);
}

TEST(vnet_5_1_6_4_3_odd_headers)
{
    struct vnet_rss rss = {.types = RSS_TYPES};
    struct vnet_hdr h;
    uint8_t f[200], tagged[204];
    memset(f, 0, sizeof(f));
    memcpy(rss.key, ms_key, sizeof(ms_key));
    ipv4_frame(f, 0, 6);
    f[14] = 0x44; /* shorter than a header can be */
    vnet_rss_hash(&rss, f, 60, &h);
    CHECK_EQ(h.hash_report, 0);
    f[14] = 0x4f; /* 60 bytes of options, beyond the frame */
    vnet_rss_hash(&rss, f, 60, &h);
    CHECK_EQ(h.hash_report, 1);
    vnet_rss_hash(&rss, f, 100, &h);
    CHECK_EQ(h.hash_report, 2);
    f[14] = 0x65;
    vnet_rss_hash(&rss, f, 60, &h);
    CHECK_EQ(h.hash_report, 0);
    ipv4_frame(f, 0, 6); /* behind one tag and two */
    memcpy(tagged, f, 12);
    memcpy(tagged + 12, "\x81\0\0\5", 4);
    memcpy(tagged + 16, f + 12, 48);
    vnet_rss_hash(&rss, tagged, 64, &h);
    CHECK_EQ(h.hash_value, known[0].tcp);
    memset(f, 0, sizeof(f)); /* extension headers without end, or cut off */
    put_be16(f + 12, 0x86dd);
    f[14] = 0x60;
    vnet_rss_hash(&rss, f, sizeof(f), &h);
    CHECK_EQ(h.hash_report, 4);
    vnet_rss_hash(&rss, f, 61, &h);
    CHECK_EQ(h.hash_report, 4);
    for (unsigned i = 0; i < 3; i++) { /* the others are stepped over too */
        f[20] = (uint8_t[]){43, 60, 135}[i];
        f[54] = 17;
        vnet_rss_hash(&rss, f, sizeof(f), &h);
        CHECK_EQ(h.hash_report, 6);
    }
}

/* ------------------------------------------------------------- the device */

#define CTRL(d) (2 * (d)->pairs)

static uint8_t command(struct vd *d, uint8_t class, uint8_t cmd,
                       const void *data, uint32_t len)
{
    uint64_t at = vd_alloc(d, len + 3, 16);
    uint8_t *p = vd_ram(d, at, len + 3);
    p[0] = class;
    p[1] = cmd;
    memcpy(p + 2, data, len);
    p[len + 2] = 0xee;
    const struct vd_buf b[] = {{at, len + 2, false}, {at + len + 2, 1, true}};
    int id;
    uint32_t used;
    REQUIRE(vd_add(&d->q[CTRL(d)], b, 2) >= 0);
    vd_kick(d, CTRL(d));
    REQUIRE(vd_used(&d->q[CTRL(d)], &id, &used));
    return p[len + 2];
}

static uint8_t rss_config(struct vd *d, uint16_t mask, unsigned entries,
                          const uint16_t *table, uint16_t unclassified,
                          uint16_t max_tx, uint32_t types, uint8_t key_len)
{
    uint8_t p[600] = {0};
    unsigned at = 8 + 2 * entries;
    memcpy(p, &types, 4);
    memcpy(p + 4, &mask, 2);
    memcpy(p + 6, &unclassified, 2);
    memcpy(p + 8, table, 2ul * entries);
    memcpy(p + at, &max_tx, 2);
    p[at + 2] = key_len;
    memcpy(p + at + 3, ms_key, key_len < 40 ? key_len : 40);
    return command(d, 4, 1, p, at + 3 + key_len);
}

#define RSS_WANT                                                               \
    (F(VIRTIO_NET_F_CTRL_VQ) | F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_RSS))

BOTH_RINGS(vnet_5_1_6_5_6_4_rss_steers)
{
    struct vd d = {.opts = "rss=on", .pairs = 4};
    const uint16_t table[4] = {3, 2, 1, 0};
    uint8_t f[60];
    vd_up(&d, packed, RSS_WANT);
    for (unsigned i = 0; i < 4; i++)
        for (int k = 0; k < 8; k++)
            vd_post(&d, 2 * i, 2000);
    REQUIRE_EQ(rss_config(&d, 3, 4, table, 0, 4, RSS_TYPES, 40), 0);
    CHECK_EQ(fake_net_queues(d.net), 4);
    for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
        ipv4_frame(f, i, 6);
        unsigned to = table[known[i].tcp & 3];
        fake_net_give(d.net, i % 4, NULL, f, 60); /* wherever it comes in */
        fake_run_loop(d.m);
        for (unsigned q = 0; q < 4; q++)
            CHECK_EQ(vd_reap(&d.q[2 * q]), q == to);
    }
    vd_free(&d);
}

BOTH_RINGS(vnet_5_1_6_5_6_4_wrong_rss_configurations)
{
    struct vd d = {.opts = "rss=on", .pairs = 2};
    const uint16_t good[4] = {0, 1, 0, 1}, bad[4] = {0, 1, 2, 0};
    vd_up(&d, packed, RSS_WANT);
    CHECK_EQ(rss_config(&d, 3, 4, good, 0, 2, RSS_TYPES, 40), 0);
    CHECK_EQ(rss_config(&d, 3, 4, bad, 0, 2, RSS_TYPES, 40), 1);
    CHECK_EQ(rss_config(&d, 2, 3, good, 0, 2, RSS_TYPES, 40), 1);
    CHECK_EQ(rss_config(&d, 0xffff, 4, good, 0, 2, RSS_TYPES, 40), 1);
    CHECK_EQ(rss_config(&d, 3, 4, good, 2, 2, RSS_TYPES, 40), 1);
    CHECK_EQ(rss_config(&d, 3, 4, good, 0, 3, RSS_TYPES, 40), 1);
    CHECK_EQ(rss_config(&d, 3, 4, good, 0, 0, RSS_TYPES, 40), 1);
    CHECK_EQ(rss_config(&d, 3, 4, good, 0, 2, 0x40, 40), 1);
    CHECK_EQ(rss_config(&d, 3, 4, good, 0, 2, RSS_TYPES, 41), 1);
    /* 128 entries are the most (§5.1.4) */
    static const uint16_t all[256];
    CHECK_EQ(rss_config(&d, 127, 128, all, 0, 2, RSS_TYPES, 40), 0);
    CHECK_EQ(rss_config(&d, 255, 256, all, 0, 2, RSS_TYPES, 40), 1);
    uint8_t longer[8 + 2 + 3 + 40 + 1] = {[10] = 1, [12] = 40};
    CHECK_EQ(command(&d, 4, 1, longer, sizeof(longer) - 1), 0);
    CHECK_EQ(command(&d, 4, 1, longer, sizeof(longer)), 1);
    vd_free(&d);
}

/* Steered packets are completed too (see dhcp.c). */
BOTH_RINGS(vnet_5_1_6_5_6_4_steered_dhcp_answer_is_summed)
{
    struct vd d = {.opts = "rss=on", .pairs = 2};
    const struct net_hdr h = {
        .flags = NET_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6};
    const uint16_t table[1] = {1};
    uint8_t f[60];
    unsigned sum = 0;
    vd_up(&d, packed, RSS_WANT | F(VIRTIO_NET_F_GUEST_CSUM));
    REQUIRE_EQ(rss_config(&d, 0, 1, table, 0, 2, RSS_TYPES, 40), 0);
    uint64_t at = vd_post(&d, 2, 2000);
    vd_kick(&d, 2);
    ipv4_frame(f, 0, 17);
    put_be16(f + 34, 67);
    put_be16(f + 40, 0x1234); /* the pseudo-header's sum */
    fake_net_give(d.net, 0, &h, f, 60);
    fake_run_loop(d.m);
    REQUIRE_EQ(vd_reap(&d.q[2]), 1);
    const uint8_t *got = vd_ram(&d, at, 72);
    CHECK_EQ(got[0], 0);
    for (unsigned i = 34; i < 60; i += 2)
        sum += (unsigned)got[12 + i] << 8 | got[13 + i];
    CHECK_EQ((sum + 0x1234) % 0xffff, 0); /* right, in one's complement */
    vd_free(&d);
}

/* No buffer where a frame belongs: dropped by name, nothing waits. */
BOTH_RINGS(vnet_5_1_6_5_6_4_rss_without_buffers)
{
    struct vd d = {.opts = "rss=on", .pairs = 2};
    const uint16_t table[1] = {1};
    uint8_t f[60];
    vd_up(&d, packed, RSS_WANT);
    REQUIRE_EQ(rss_config(&d, 0, 1, table, 0, 2, RSS_TYPES, 40), 0);
    ipv4_frame(f, 0, 6);
    fake_net_give(d.net, 0, NULL, f, 60);
    fake_run_loop(d.m);
    CHECK_NE(vd_count(&d, "rx_drop_no_buffer"), 0);
    vd_post(&d, 2, 2000);
    vd_kick(&d, 2);
    fake_net_give(d.net, 0, NULL, f, 60);
    fake_run_loop(d.m);
    CHECK_EQ(vd_reap(&d.q[2]), 1);
    vd_free(&d);
}

/* A steered packet fits its buffer to the byte, or not. */
BOTH_RINGS(vnet_5_1_6_5_6_4_rss_buffer_of_the_exact_size)
{
    struct vd d = {.opts = "rss=on", .pairs = 2};
    const uint16_t table[1] = {1};
    uint8_t f[60];
    vd_up(&d, packed, RSS_WANT);
    REQUIRE_EQ(rss_config(&d, 0, 1, table, 0, 2, RSS_TYPES, 40), 0);
    vd_post(&d, 2, 72);
    vd_kick(&d, 2);
    ipv4_frame(f, 0, 6);
    fake_net_give(d.net, 0, NULL, f, 60);
    fake_run_loop(d.m);
    CHECK_EQ(vd_reap(&d.q[2]), 1);
    vd_post(&d, 2, 71);
    vd_kick(&d, 2);
    fake_net_give(d.net, 0, NULL, f, 60);
    fake_run_loop(d.m);
    CHECK_EQ(vd_count(&d, "pair1.rx_drop_fit"), 1);
    vd_free(&d);
}

/* Frames come in on one pair's thread and belong to another's: what they cost
 * in timers is done by the thread that owns them, so that the interrupt that
 * was put off does come. */
BOTH_RINGS(vnet_rss_iothreads_coalesce_on_the_owners_loop)
{
    struct vd d = {.opts = "rss=on,iothreads=on", .pairs = 2};
    const uint16_t table[1] = {1};
    const uint32_t coal[2] = {100, 1000};
    uint8_t f[60];
    unsigned used = 0, irqs = 0;
    vd_up(&d, packed, RSS_WANT | F(VIRTIO_NET_F_NOTF_COAL));
    REQUIRE_EQ(rss_config(&d, 0, 1, table, 0, 2, RSS_TYPES, 40), 0);
    REQUIRE_EQ(command(&d, 6, 1, coal, sizeof(coal)), 0);
    for (int i = 0; i < 10; i++)
        vd_post(&d, 2, 2000);
    vd_kick(&d, 2);
    ipv4_frame(f, 0, 6);
    for (int i = 0; i < 10; i++)
        fake_net_give(d.net, 0, NULL, f, 60);
    for (int i = 0; i < 5000 && used < 10; i++) {
        used += vd_reap(&d.q[2]);
        nanosleep(&(struct timespec){0, 200000}, NULL);
    }
    CHECK_EQ(used, 10);
    CHECK_EQ(vd_irqs(&d, 2), 0);
    fake_advance_ns(2000000);
    for (int i = 0; i < 5000 && !irqs; i++) {
        irqs = vd_irqs(&d, 2);
        nanosleep(&(struct timespec){0, 200000}, NULL);
    }
    CHECK_EQ(irqs, 1);
    vd_free(&d);
}

/* §5.1.6.4.2: 20 bytes of header, both ways. */
BOTH_RINGS(vnet_5_1_6_4_2_hash_report)
{
    struct vd d = {.opts = "hash=on", .pairs = 1};
    struct {
        le32 types;
        le16 reserved[4];
        uint8_t len, key[RSS_KEY_MAX];
    } __attribute__((packed)) config = {.types = RSS_TYPES, .len = 40};
    struct vnet_hdr h;
    uint8_t f[60], got[64];
    memcpy(config.key, ms_key, 40);
    vd_up(&d, packed,
          F(VIRTIO_NET_F_CTRL_VQ) | F(VIRTIO_NET_F_HASH_REPORT) |
              F(VIRTIO_NET_F_MRG_RXBUF));
    CHECK_EQ(command(&d, 4, 2, &config, sizeof(config)), 0);
    CHECK_EQ(command(&d, 4, 2, &config, sizeof(config) - 1), 1);
    uint64_t at = vd_post(&d, RX0, 2000);
    vd_kick(&d, RX0);
    ipv4_frame(f, 2, 6);
    fake_net_give(d.net, 0, NULL, f, 60);
    fake_run_loop(d.m);
    int id;
    uint32_t len;
    REQUIRE(vd_used(&d.q[RX0], &id, &len));
    CHECK_EQ(len, 80);
    memcpy(&h, vd_ram(&d, at, 20), 20);
    CHECK_EQ(h.hash_value, known[2].tcp);
    CHECK_EQ(h.hash_report, 2);
    CHECK_EQ(h.h.num_buffers, 1);
    CHECK_MEM(vd_ram(&d, at + 20, 60), f, 60);
    /* and transmit, the header cut in two (CVE-2023-6693) */
    at = vd_alloc(&d, 80, 16);
    memcpy(vd_ram(&d, at + 20, 60), f, 60);
    const struct vd_buf b[] = {{at, 13, false}, {at + 13, 67, false}};
    vd_add(&d.q[TX0], b, 2);
    vd_kick(&d, TX0);
    REQUIRE_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
    CHECK_MEM(got, f, 60);
    vd_free(&d);
}
