/* SPDX-License-Identifier: MIT */
/* Packets through virtio-net (virtio 1.2 §5.1): headers, offloads, mergeable
 * buffers, back-pressure. */
#include <errno.h>
#include <pthread.h>

#include <unistd.h>

#include "tests/unit/fakevirtio.h"

#define MRG F(VIRTIO_NET_F_MRG_RXBUF)
#define CSUM F(VIRTIO_NET_F_CSUM)
#define GUEST_CSUM F(VIRTIO_NET_F_GUEST_CSUM)
#define GUEST_TSO (F(VIRTIO_NET_F_GUEST_TSO4) | F(VIRTIO_NET_F_GUEST_TSO6))

static uint8_t big[NET_FRAME_MAX + 16], got[NET_FRAME_MAX + 16];

/* ------------------------------------------------------------- the device */

TEST(vnet_5_1_2_queues_and_5_1_4_config)
{
    struct vd d = {0};
    vd_new(&d);
    uint64_t f = vd_offered(&d);
    bool ctrl = f & F(VIRTIO_NET_F_CTRL_VQ);
    CHECK(f & F(VIRTIO_NET_F_MAC));
    CHECK_EQ(d.nq, ctrl ? 3 : 2);
    CHECK_EQ(drv_r8(d.m, d.config) & 1, 0); /* unicast */
    if (f & F(VIRTIO_NET_F_STATUS))
        CHECK_EQ(drv_r16(d.m, d.config + 6) & ~2, 1);
    if (f & F(VIRTIO_NET_F_MQ))
        CHECK(drv_r16(d.m, d.config + 8) >= 1);
    if (f & F(VIRTIO_NET_F_MTU)) {
        unsigned mtu = drv_r16(d.m, d.config + 10);
        CHECK(mtu >= 68);
    }
    vd_free(&d);
}

BOTH_RINGS(vnet_mac_survives_resets)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    vd_set(&d, C_STATUS, 1, 0);
    CHECK_EQ(drv_r32(d.m, d.config), 0x12005452);
    fake_reset(d.m);
    vd_find(&d);
    CHECK_EQ(drv_r32(d.m, d.config), 0x12005452);
    vd_free(&d);
}

/* ------------------------------------------------------------------- send */

BOTH_RINGS(vnet_5_1_6_2_frames_of_every_length)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    for (size_t len = 14; len < 200; len++)
        vd_check_tx(&d, (unsigned)len, len);
    for (size_t len = 1500; len < 66000; len += 2111) {
        d.brk = 0x80000;
        vd_check_tx(&d, (unsigned)len, len);
    }
    d.brk = 0x80000;
    vd_check_tx(&d, 1, NET_FRAME_MAX); /* the longest */
    vd_free(&d);
}

/* What cannot be sent is given back with length 0 and
 * counted, and the next frame goes. */
BOTH_RINGS(hostile_chains_that_are_no_packet)
{
    static const uint32_t len[] = {1, 11, 12, 13, 25};
    struct vd d = {0};
    int id;
    uint32_t written;
    vd_up(&d, packed, 0);
    for (size_t i = 0; i < ARRAY_LEN(len); i++) {
        struct vd_buf b = {vd_alloc(&d, 32, 1), len[i], false};
        REQUIRE(vd_add(&d.q[TX0], &b, 1) >= 0);
        vd_kick(&d, TX0);
        REQUIRE(vd_used(&d.q[TX0], &id, &written));
        CHECK_EQ(written, 0);
    }
    CHECK_EQ(vd_count(&d, "tx_drop_short"), ARRAY_LEN(len));
    CHECK_EQ(fake_net_sends(d.net), 0);
    vd_check_alive(&d);
    vd_free(&d);
}

BOTH_RINGS(hostile_frames_that_are_too_long)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    for (unsigned extra = 1; extra < 5000; extra += 1234) {
        d.brk = 0x80000;
        uint32_t len = NET_HDR_LEN + NET_FRAME_MAX + 8 + extra;
        struct vd_buf b = {vd_alloc(&d, len, 1), len, false};
        vd_add(&d.q[TX0], &b, 1);
        vd_kick(&d, TX0);
        CHECK_EQ(vd_reap(&d.q[TX0]), 1);
        CHECK_EQ(fake_net_take(d.net, 0, NULL, got, sizeof(got)), -1);
    }
    CHECK(vd_count(&d, "tx_drop_long") > 0);
    vd_check_alive(&d);
    vd_free(&d);
}

/* More pieces than one system call takes. */
BOTH_RINGS(hostile_more_pieces_than_iov_max)
{
    struct vd d = {.qsize = 256};
    static struct vd_buf b[1024];
    int id;
    uint32_t written;
    vd_up(&d, packed, F(VIRTIO_F_INDIRECT_DESC));
    vd_frame(big, 1012, 4);
    uint64_t at = vd_alloc(&d, 1024, 1);
    memcpy((uint8_t *)vd_ram(&d, at, 1024) + 12, big, 1012);
    for (unsigned n = 1022; n <= 1024; n++) {
        for (unsigned i = 0; i < n; i++)
            b[i] = (struct vd_buf){at + i, i + 1 < n ? 1 : 1025 - n, false};
        vd_put_indirect(&d.q[TX0], b, n);
        vd_publish(&d.q[TX0]);
        vd_kick(&d, TX0);
        REQUIRE(vd_used(&d.q[TX0], &id, &written));
        CHECK_EQ(fake_net_take(d.net, 0, NULL, got, sizeof(got)), 1012);
        CHECK_MEM(got, big, 1012);
    }
    vd_free(&d);
}

/* Sends a frame with this header; did it reach the wire, and with which? */
static bool sent(struct vd *d, const struct net_hdr *h, struct net_hdr *out)
{
    d->brk = 0x80000;
    vd_frame(big, 200, 1);
    vd_send(d, TX0, h, big, 200);
    vd_kick(d, TX0);
    CHECK_EQ(vd_reap(&d->q[TX0]), 1); /* in any case */
    return fake_net_take(d->net, 0, out, got, sizeof(got)) == 200;
}

/* Header and first byte in one piece: with the private header it is one piece
 * more than one system call takes. */
BOTH_RINGS(h45_one_piece_more_than_iov_max)
{
    struct vd d = {.qsize = 256};
    static struct vd_buf b[1024];
    vd_up(&d, packed, F(VIRTIO_F_INDIRECT_DESC));
    vd_frame(big, 1024, 4);
    uint64_t at = vd_alloc(&d, 1036, 1);
    memcpy((uint8_t *)vd_ram(&d, at, 1036) + 12, big, 1024);
    b[0] = (struct vd_buf){at, 13, false};
    for (unsigned i = 1; i < 1024; i++)
        b[i] = (struct vd_buf){at + 12 + i, 1, false};
    for (int k = 0; k < 2; k++) {
        vd_put_indirect(&d.q[TX0], b, 1024);
        vd_publish(&d.q[TX0]);
        vd_kick(&d, TX0);
        CHECK_EQ(vd_reap(&d.q[TX0]), 1);
        CHECK_EQ(fake_net_take(d.net, 0, NULL, got, sizeof(got)), 1024);
        CHECK_MEM(got, big, 1024);
    }
    vd_free(&d);
}

/* A buffer that the header alone would fill takes no frame. */
BOTH_RINGS(h46_buffer_of_just_the_header)
{
    struct vd d = {0};
    vd_up(&d, packed, F(VIRTIO_NET_F_MRG_RXBUF));
    vd_post(&d, RX0, 12);
    vd_post(&d, RX0, 13);
    vd_kick(&d, RX0);
    CHECK_EQ(vd_reap(&d.q[RX0]), 1); /* the first one, unused */
    CHECK_EQ(vd_count(&d, "rx_drop_desc"), 1);
    vd_free(&d);
}

/* The tap is gone: the link goes down, nothing spins; the next one works. */
BOTH_RINGS(vnet_backend_that_fails_takes_the_link_down)
{
    struct vd d = {0};
    int sv[2];
    vd_up(&d, packed, F(VIRTIO_NET_F_STATUS));
    struct vnet *n = container_of(d.dev, struct vnet, v.dev);
    struct netbe *be = fake_net_dev(d.net)->q[0];
    int keep = dup(be->fd);
    REQUIRE_EQ(pipe(sv), 0);
    /* a pipe without a reader: errors only, as a tap that was deleted */
    loop_del(&n->pair[0]->ev);
    REQUIRE(dup2(sv[1], be->fd) >= 0);
    close(sv[1]);
    close(sv[0]);
    vd_kick(&d, RX0);
    CHECK(fake_run_loop(d.m) < 10);
    CHECK(!netdev_link(fake_net_dev(d.net)));
    CHECK_EQ(drv_r8(d.m, d.config + 6) & 1, 0);
    REQUIRE(dup2(keep, be->fd) >= 0);
    close(keep);
    netdev_set_link(fake_net_dev(d.net), true);
    vd_kick(&d, RX0);
    vd_check_alive(&d);
    vd_free(&d);
}

BOTH_RINGS(vnet_5_1_6_2_2_header_fields_without_meaning_are_ignored)
{
    struct vd d = {0};
    struct net_hdr out;
    vd_up(&d, packed, CSUM);
    struct net_hdr h = {.flags = 0xfe,
                        .hdr_len = 0xffff,
                        .gso_size = 0x1234,
                        .csum_start = 0xffff,
                        .csum_offset = 0xffff,
                        .num_buffers = 0xa5a5};
    REQUIRE(sent(&d, &h, &out));
    CHECK_EQ(out.flags, 0);
    CHECK_EQ(out.gso_type, 0);
    CHECK(out.hdr_len <= 200);
    CHECK_EQ(out.gso_size, 0);
    vd_free(&d);
}

BOTH_RINGS(vnet_5_1_6_2_checksum_request_goes_through)
{
    struct vd d = {0};
    struct net_hdr out;
    vd_up(&d, packed, CSUM);
    struct net_hdr h = {
        .flags = NET_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
    REQUIRE(sent(&d, &h, &out));
    CHECK_EQ(out.flags, NET_F_NEEDS_CSUM);
    CHECK_EQ(out.csum_start, 34);
    CHECK_EQ(out.csum_offset, 16);
    vd_free(&d);
}

static const struct {
    uint8_t type;
    uint64_t feature;
} gso[] = {
    {NET_GSO_TCPV4, F(VIRTIO_NET_F_HOST_TSO4)},
    {NET_GSO_TCPV6, F(VIRTIO_NET_F_HOST_TSO6)},
    {NET_GSO_UDP_L4, F(VIRTIO_NET_F_HOST_USO)},
    {NET_GSO_TCPV4 | NET_GSO_ECN,
     F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_HOST_ECN)},
    {NET_GSO_TCPV6 | NET_GSO_ECN,
     F(VIRTIO_NET_F_HOST_TSO6) | F(VIRTIO_NET_F_HOST_ECN)},
};

/* A GSO type goes through exactly when it was negotiated. */
BOTH_RINGS(vnet_5_1_6_2_2_gso_types_need_their_feature)
{
    struct vd d = {.packed = packed};
    vd_new(&d);
    uint64_t f = vd_offered(&d);
    for (size_t i = 0; i < ARRAY_LEN(gso); i++) {
        struct net_hdr out, h = {.flags = NET_F_NEEDS_CSUM,
                                 .gso_type = gso[i].type,
                                 .hdr_len = 54,
                                 .gso_size = 100,
                                 .csum_start = 34,
                                 .csum_offset = 16};
        if (gso[i].feature & ~f)
            continue;
        d.brk = 0x10000;
        vd_again(&d, CSUM | gso[i].feature);
        CHECK(sent(&d, &h, &out));
        CHECK_EQ(out.gso_type, gso[i].type);
        CHECK_EQ(out.gso_size, 100);
        CHECK_EQ(out.hdr_len, 54);
        d.brk = 0x10000;
        vd_again(&d, CSUM);
        CHECK(!sent(&d, &h, &out));
    }
    vd_free(&d);
}

/* Every type there is, with the extremes of the other fields. */
BOTH_RINGS(hostile_every_gso_type)
{
    static const uint16_t x[] = {0, 1, 13, 14, 54, 199, 200, 201, 65535};
    struct vd d = {.packed = packed};
    vd_new(&d);
    vd_again(&d, vd_offered(&d) & (0x7fffull | F(VIRTIO_NET_F_HOST_USO)) &
                     ~F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) &
                     ~F(VIRTIO_NET_F_MTU));
    for (unsigned type = 0; type < 256; type++)
        for (size_t i = 0; i < ARRAY_LEN(x); i++) {
            struct net_hdr out,
                h = {.flags = 1,
                     .gso_type = (uint8_t)type,
                     .hdr_len = x[i],
                     .gso_size = x[ARRAY_LEN(x) - 1 - i],
                     .csum_start = x[(i + type) % ARRAY_LEN(x)],
                     .csum_offset = x[(i * 3 + type) % ARRAY_LEN(x)]};
            if (sent(&d, &h, &out))
                CHECK(out.hdr_len <= 200);
        }
    CHECK_EQ(vd_status(&d), 0x0f);
    vd_check_alive(&d);
    vd_free(&d);
}

/* Several frames in a burst keep their order (issue 3, back-pressure). */
BOTH_RINGS(vnet_tx_full_backend_keeps_frames_and_order)
{
    struct vd d = {0};
    unsigned next = 0;
    vd_up(&d, packed, F(VIRTIO_F_EVENT_IDX));
    fake_net_block(d.net, 0, true);
    for (unsigned i = 0; i < 200; i++) {
        vd_frame(big, 60 + i, i);
        vd_send(&d, TX0, NULL, big, 60 + i);
        if (i % 20 == 0)
            vd_kick(&d, TX0);
    }
    vd_kick(&d, TX0);
    CHECK_EQ(vd_reap(&d.q[TX0]), 0);
    CHECK(fake_run_loop(d.m) <= 1); /* waits, and does not spin */
    while (next < 200) {
        fake_net_block(d.net, 0, false);
        fake_run_loop(d.m);
        ssize_t n = fake_net_take(d.net, 0, NULL, got, sizeof(got));
        REQUIRE(n >= 0);
        for (; n >= 0; next++) {
            REQUIRE_EQ(n, 60 + next);
            vd_frame(big, 60 + next, next);
            CHECK_MEM(got, big, 60 + next);
            n = fake_net_take(d.net, 0, NULL, got, sizeof(got));
        }
    }
    CHECK_EQ(vd_reap(&d.q[TX0]), 200);
    vd_check_alive(&d);
    vd_free(&d);
}

/* Each refusal of the tap drops one frame and no more. */
BOTH_RINGS(vnet_tx_backend_errors_drop_one_frame_each)
{
    static const int err[] = {-EINVAL, -EIO, -ENOMEM, -ENOBUFS, -EBADFD};
    struct vd d = {0};
    vd_up(&d, packed, 0);
    for (size_t i = 0; i < ARRAY_LEN(err); i++) {
        fake_net_fail_send(d.net, 1, err[i]);
        CHECK(!sent(&d, NULL, NULL));
        vd_check_tx(&d, 1, 60);
    }
    CHECK_EQ(vd_count(&d, "tx_drop_backend"), ARRAY_LEN(err));
    vd_free(&d);
}

BOTH_RINGS(vnet_tx_without_link_is_completed_and_counted)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    netdev_set_link(fake_net_dev(d.net), false);
    fake_run_loop(d.m);
    CHECK(!sent(&d, NULL, NULL));
    CHECK_EQ(vd_count(&d, "tx_drop_link"), 1);
    netdev_set_link(fake_net_dev(d.net), true);
    fake_run_loop(d.m);
    vd_check_alive(&d);
    vd_free(&d);
}

/* ---------------------------------------------------------------- receive */

static void give(struct vd *d, const struct net_hdr *h, size_t len, unsigned i)
{
    vd_frame(big, len, i);
    fake_net_give(d->net, 0, h, big, len);
    fake_run_loop(d->m);
}

BOTH_RINGS(vnet_5_1_6_4_num_buffers_is_1_without_mergeable_buffers)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    uint64_t at = vd_post(&d, RX0, 2000);
    memset(vd_ram(&d, at, 2000), 0xff, 2000);
    vd_kick(&d, RX0);
    struct net_hdr h = {.num_buffers = 0xaaaa};
    give(&d, &h, 60, 1);
    REQUIRE_EQ(vd_reap(&d.q[RX0]), 1);
    const struct net_hdr *p = vd_ram(&d, at, 12);
    const struct net_hdr want = {.num_buffers = 1};
    CHECK_MEM(p, &want, 12); /* and nothing stale */
    vd_free(&d);
}

BOTH_RINGS(vnet_5_1_6_4_too_small_a_buffer_drops_the_packet)
{
    struct vd d = {0};
    int id;
    uint32_t len;
    vd_up(&d, packed, 0);
    uint64_t at = vd_post(&d, RX0, 100);
    vd_kick(&d, RX0);
    give(&d, NULL, 200, 1);
    give(&d, NULL, 89, 2);
    CHECK(vd_count(&d, "rx_drop_fit") >= 1);
    CHECK(fake_run_loop(d.m) == 0);
    vd_post(&d, RX0, 2000);
    vd_kick(&d, RX0);
    give(&d, NULL, 88, 3);
    while (vd_used(&d.q[RX0], &id, &len)) {
        if (!len)
            continue; /* the buffer came back unused: allowed as well */
        CHECK_EQ(len, 100);
        CHECK(at || id);
    }
    CHECK_EQ(vd_count(&d, "rx_frames"), 1);
    CHECK_EQ(vd_count(&d, "rx_drop_fit"), 2);
    vd_free(&d);
}

/* All but the last are filled; num_buffers is what was used. */
static void check_merged(struct vd *d, const uint64_t *at, uint32_t each,
                         size_t len, unsigned i)
{
    struct vd_queue *q = &d->q[RX0];
    uint32_t total = (uint32_t)len + NET_HDR_LEN, done = 0, written;
    unsigned n = 0;
    int id;
    vd_frame(big, len, i);
    while (done < total) {
        REQUIRE(vd_used(q, &id, &written));
        CHECK_EQ(written, total - done < each ? total - done : each);
        memcpy(got + done, vd_ram(d, at[n++], each), written);
        done += written;
    }
    CHECK_EQ(done, total);
    CHECK(!vd_used(q, &id, &written));
    const struct net_hdr *h = (const void *)got;
    CHECK_EQ(h->num_buffers, n);
    CHECK_MEM(got + NET_HDR_LEN, big, len);
}

BOTH_RINGS(vnet_5_1_6_4_mergeable_buffers)
{
    static const uint32_t each[] = {13, 26, 100, 256, 1526, 4096};
    struct vd d = {0};
    uint64_t at[256];
    vd_up(&d, packed, MRG);
    for (size_t e = 0; e < ARRAY_LEN(each); e++)
        for (size_t len = 14; len < 1519; len += 149) {
            unsigned n = (unsigned)(len + 12 + each[e] - 1) / each[e];
            d.brk = 0x40000;
            if (n > 250)
                continue;
            for (unsigned i = 0; i < n; i++)
                at[i] = vd_post(&d, RX0, each[e]);
            vd_kick(&d, RX0);
            give(&d, NULL, len, (unsigned)len);
            check_merged(&d, at, each[e], len, (unsigned)len);
            CHECK_EQ(vd_irqs(&d, RX0), 1);
        }
    vd_free(&d);
}

/* A large packet with GSO over many buffers. */
BOTH_RINGS(vnet_5_1_6_4_mergeable_buffers_take_64k)
{
    struct vd d = {0};
    uint64_t at[64];
    vd_up(&d, packed, MRG | GUEST_CSUM | GUEST_TSO);
    for (size_t len = 60000; len <= 65549; len += 1109) {
        d.brk = 0x40000;
        for (unsigned i = 0; i < (len + 12 + 1535) / 1536; i++)
            at[i] = vd_post(&d, RX0, 1536);
        vd_kick(&d, RX0);
        give(&d, NULL, len, 5);
        check_merged(&d, at, 1536, len, 5);
    }
    vd_free(&d);
}

/* After many small packets, for which few buffers are offered, too. */
BOTH_RINGS(vnet_5_1_6_4_large_packet_after_small_ones)
{
    struct vd d = {0};
    uint64_t at[64];
    vd_up(&d, packed, MRG | GUEST_CSUM | GUEST_TSO);
    for (size_t len = 1500; len <= 65549; len += 7111)
        for (unsigned turn = 0; turn < 2; turn++) {
            d.brk = 0x40000;
            for (unsigned i = 0; i < 64; i++)
                at[i] = vd_post(&d, RX0, 1536);
            vd_kick(&d, RX0);
            for (unsigned i = 0; i < 20; i++) {
                give(&d, NULL, 60, i);
                check_merged(&d, &at[i], 1536, 60, i);
            }
            give(&d, NULL, len, 5);
            check_merged(&d, &at[20], 1536, len, 5);
            vd_set(&d, C_STATUS, 1, 0);
            vd_again(&d, MRG | GUEST_CSUM | GUEST_TSO);
        }
    vd_free(&d);
}

/* Too few buffers: the packet waits, uses none of them half, and comes
 * whole when more are posted. */
BOTH_RINGS(vnet_5_1_6_4_packet_waits_for_enough_buffers)
{
    struct vd d = {0};
    uint64_t at[20];
    vd_up(&d, packed, MRG | F(VIRTIO_F_EVENT_IDX));
    for (unsigned i = 0; i < 10; i++)
        at[i] = vd_post(&d, RX0, 100);
    vd_kick(&d, RX0);
    give(&d, NULL, 1400, 7);
    CHECK_EQ(vd_reap(&d.q[RX0]), 0);
    CHECK_EQ(fake_run_loop(d.m), 0);
    for (unsigned i = 10; i < 14; i++)
        at[i] = vd_post(&d, RX0, 100);
    CHECK(vd_kick_wanted(&d.q[RX0], 4)); /* avail_event says so */
    vd_kick(&d, RX0);
    CHECK_EQ(vd_reap(&d.q[RX0]), 0); /* 1412 > 1400 */
    at[14] = vd_post(&d, RX0, 100);
    CHECK(vd_kick_wanted(&d.q[RX0], 1));
    vd_kick(&d, RX0);
    check_merged(&d, at, 100, 1400, 7);
    vd_check_alive(&d);
    vd_free(&d);
}

/* A packet no ring of these buffers could ever hold. */
BOTH_RINGS(hostile_packet_larger_than_the_whole_ring)
{
    struct vd d = {.qsize = 8};
    uint64_t at[8];
    vd_up(&d, packed, MRG);
    for (unsigned i = 0; i < 8; i++)
        at[i] = vd_post(&d, RX0, 64);
    vd_kick(&d, RX0);
    give(&d, NULL, 1400, 1);
    CHECK_EQ(vd_count(&d, "rx_drop_fit"), 1);
    CHECK_EQ(fake_run_loop(d.m), 0);
    give(&d, NULL, 400, 2);
    check_merged(&d, at, 64, 400, 2);
    vd_free(&d);
}

/* Half a ring, no more buffers coming: after a while the packet goes
 * and the ones behind it come through. */
BOTH_RINGS(hostile_held_packet_does_not_stall_for_ever)
{
    struct vd d = {.qsize = 8};
    vd_up(&d, packed, MRG);
    vd_post(&d, RX0, 80);
    vd_kick(&d, RX0);
    give(&d, NULL, 1000, 1);
    give(&d, NULL, 60, 2);
    CHECK_EQ(vd_reap(&d.q[RX0]), 0);
    fake_sleep_ns(d.m, 2000000000);
    CHECK_EQ(vd_reap(&d.q[RX0]), 1);
    CHECK_EQ(vd_count(&d, "rx_drop_fit"), 1);
    vd_free(&d);
}

/* A packet waits, and what comes next in the ring is no receive buffer:
 * nothing more can come, so nothing is waited for (and the loop rests). */
BOTH_RINGS(hostile_refused_buffer_behind_a_held_packet)
{
    struct vd d = {.qsize = 8};
    vd_up(&d, packed, MRG);
    vd_post(&d, RX0, 32);
    vd_post(&d, RX0, 4);
    vd_kick(&d, RX0);
    give(&d, NULL, 60, 1);
    CHECK_EQ(fake_run_loop(d.m), 0);
    CHECK_EQ(vd_count(&d, "rx_drop_fit"), 1);
    give(&d, NULL, 20, 2);
    CHECK(vd_reap(&d.q[RX0]) >= 1);
    vd_post(&d, RX0, 2000);
    vd_kick(&d, RX0);
    give(&d, NULL, 60, 3);
    CHECK_EQ(vd_count(&d, "rx_frames"), 2);
    vd_free(&d);
}

/* The MTU that was named stays, and nothing longer is delivered, a VLAN
 * tag's room aside. */
BOTH_RINGS(vnet_5_1_4_1_frames_longer_than_the_mtu_are_dropped)
{
    struct vd d = {.opts = "host_mtu=1400"};
    vd_up(&d, packed, F(VIRTIO_NET_F_MTU));
    CHECK_EQ(drv_r16(d.m, d.config + 10), 1400);
    drv_w16(d.m, d.config + 10, 9000);
    CHECK_EQ(drv_r16(d.m, d.config + 10), 1400);
    for (unsigned k = 0; k < 3; k++)
        vd_post(&d, RX0, 4000);
    vd_kick(&d, RX0);
    give(&d, NULL, 1400 + 14, 1);
    give(&d, NULL, 1400 + 18, 2);
    CHECK_EQ(vd_reap(&d.q[RX0]), 2);
    give(&d, NULL, 1400 + 19, 3);
    CHECK_EQ(vd_reap(&d.q[RX0]), 0);
    CHECK_EQ(vd_count(&d, "rx_drop_long"), 1);
    give(&d, NULL, 60, 4);
    CHECK_EQ(vd_reap(&d.q[RX0]), 1);
    vd_again(&d, 0); /* a driver that did not ask for it hears everything */
    vd_post(&d, RX0, 4000);
    vd_kick(&d, RX0);
    give(&d, NULL, 3000, 5);
    CHECK_EQ(vd_reap(&d.q[RX0]), 1);
    vd_free(&d);
}

/* A frame larger than the MTU that is known still finds its buffers. */
BOTH_RINGS(vnet_5_1_6_4_merged_frame_larger_than_the_mtu)
{
    struct vd d = {0};
    uint64_t at[40];
    vd_up(&d, packed, MRG);
    for (unsigned i = 0; i < 40; i++)
        at[i] = vd_post(&d, RX0, 100);
    vd_kick(&d, RX0);
    give(&d, NULL, 3500, 7);
    check_merged(&d, at, 100, 3500, 7);
    vd_free(&d);
}

/* Buffers of all silly sizes, and no stall. */
BOTH_RINGS(hostile_tiny_buffers)
{
    static const uint32_t size[] = {1, 2, 11, 12, 13, 25, 26, 27};
    for (int mrg = 0; mrg < 2; mrg++)
        for (size_t i = 0; i < ARRAY_LEN(size); i++) {
            struct vd d = {.qsize = 16};
            vd_up(&d, packed, mrg ? MRG : 0);
            for (unsigned k = 0; k < 16; k++)
                vd_post(&d, RX0, size[i]);
            vd_kick(&d, RX0);
            for (unsigned k = 0; k < 10; k++)
                give(&d, NULL, 60, k);
            fake_sleep_ns(d.m, 1000000000);
            CHECK_EQ(fake_run_loop(d.m), 0);
            CHECK_EQ(vd_status(&d), 0x0f);
            vd_reap(&d.q[RX0]);
            vd_drain(&d);
            d.brk = 0x10000;
            vd_again(&d, 0);
            vd_check_alive(&d);
            vd_free(&d);
        }
}

/* 1024 pieces of a byte. */
BOTH_RINGS(hostile_chain_of_1024_bytes)
{
    struct vd d = {0};
    static struct vd_buf b[1024];
    int id;
    uint32_t len;
    vd_up(&d, packed, F(VIRTIO_F_INDIRECT_DESC));
    uint64_t at = vd_alloc(&d, 1024, 1);
    for (unsigned i = 0; i < 1024; i++)
        b[i] = (struct vd_buf){at + i, 1, true};
    vd_put_indirect(&d.q[RX0], b, 1024);
    vd_publish(&d.q[RX0]);
    vd_kick(&d, RX0);
    give(&d, NULL, 1012, 1);
    REQUIRE(vd_used(&d.q[RX0], &id, &len));
    CHECK_EQ(len, 1024);
    CHECK_MEM((uint8_t *)vd_ram(&d, at, 1024) + 12, big, 1012);
    vd_free(&d);
}

/* What the driver did not ask for it does not see. */
BOTH_RINGS(vnet_5_1_6_4_1_no_flags_without_guest_csum)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    CHECK_EQ(fake_net_offload(d.net), 0);
    uint64_t at = vd_post(&d, RX0, 2000);
    vd_kick(&d, RX0);
    /* The tap may say so unasked. */
    struct net_hdr h = {.flags = NET_F_DATA_VALID};
    give(&d, &h, 60, 1);
    REQUIRE_EQ(vd_reap(&d.q[RX0]), 1);
    CHECK_EQ(((const struct net_hdr *)vd_ram(&d, at, 12))->flags, 0);
    vd_free(&d);
}

BOTH_RINGS(vnet_5_1_6_4_1_flags_with_guest_csum)
{
    struct vd d = {0};
    vd_up(&d, packed, GUEST_CSUM);
    CHECK_EQ(fake_net_offload(d.net), NETBE_CSUM);
    uint64_t at = vd_post(&d, RX0, 2000);
    vd_kick(&d, RX0);
    struct net_hdr h = {
        .flags = NET_F_NEEDS_CSUM | 0xf0, .csum_start = 34, .csum_offset = 6};
    give(&d, &h, 60, 1);
    REQUIRE_EQ(vd_reap(&d.q[RX0]), 1);
    const struct net_hdr *p = vd_ram(&d, at, 12);
    CHECK_EQ(p->flags, NET_F_NEEDS_CSUM);
    CHECK_EQ(p->csum_start, 34);
    CHECK_EQ(p->csum_offset, 6);
    vd_free(&d);
}

/* The backend is told what was negotiated, no more. */
TEST(vnet_t2_offloads_follow_the_negotiated_features)
{
    static const struct {
        uint64_t features;
        unsigned bits;
    } row[] = {
        {0, 0},
        {GUEST_CSUM, NETBE_CSUM},
        {GUEST_CSUM | F(VIRTIO_NET_F_GUEST_TSO4), NETBE_CSUM | NETBE_TSO4},
        {GUEST_CSUM | GUEST_TSO, NETBE_CSUM | NETBE_TSO4 | NETBE_TSO6},
        {GUEST_CSUM | GUEST_TSO | F(VIRTIO_NET_F_GUEST_ECN),
         NETBE_CSUM | NETBE_TSO4 | NETBE_TSO6 | NETBE_ECN},
        {CSUM | F(VIRTIO_NET_F_HOST_TSO4), 0},
    };
    struct vd d = {0};
    vd_new(&d);
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        d.brk = 0x10000;
        vd_again(&d, row[i].features);
        CHECK_EQ(fake_net_offload(d.net), row[i].bits);
        vd_set(&d, C_STATUS, 1, 0);
        CHECK_EQ(fake_net_offload(d.net), 0);
    }
    vd_free(&d);
}

/* Packets that come alone cost one read each; some that come together are all
 * there at once, and are looked for again. */
BOTH_RINGS(vnet_rx_of_packets_that_come_alone_reads_once_for_each)
{
    struct vd d = {0};
    unsigned reads = 0, came = 0;
    vd_up(&d, packed, 0);
    for (unsigned i = 0; i < 60; i++)
        vd_post(&d, RX0, 1526);
    vd_kick(&d, RX0);
    for (unsigned i = 0; i < 31; i++) {
        if (i == 17)
            reads = fake_net_recvs(d.net);
        give(&d, NULL, 60, i);
        came += vd_reap(&d.q[RX0]);
        CHECK_EQ(came, i + 1);
    }
    CHECK_EQ(fake_net_recvs(d.net) - reads, 31 - 17);
    for (unsigned i = 0; i < 20; i++)
        fake_net_give(d.net, 0, NULL, big, 60);
    fake_run_loop(d.m);
    CHECK_EQ(vd_reap(&d.q[RX0]), 20);
    reads = fake_net_recvs(d.net);
    give(&d, NULL, 60, 0);
    CHECK_EQ(vd_reap(&d.q[RX0]), 1);
    CHECK_EQ(fake_net_recvs(d.net) - reads, 2);
    vd_free(&d);
}

/* Without buffers frames stay in the backend, nothing spins, nothing is lost
 * (issue 3, back-pressure). */
BOTH_RINGS(vnet_rx_without_buffers_frames_wait_in_the_backend)
{
    struct vd d = {0};
    uint64_t at[30];
    vd_up(&d, packed, 0);
    for (unsigned i = 0; i < 30; i++)
        give(&d, NULL, 60 + i, i);
    CHECK_EQ(fake_run_loop(d.m), 0);
    CHECK(fake_net_recvs(d.net) <= 1);
    for (unsigned i = 0; i < 30; i++)
        at[i] = vd_post(&d, RX0, 1526);
    vd_kick(&d, RX0);
    for (unsigned i = 0; i < 30; i++) {
        int id;
        uint32_t len;
        REQUIRE(vd_used(&d.q[RX0], &id, &len));
        CHECK_EQ(len, 72 + i);
        vd_frame(big, 60 + i, i);
        CHECK_MEM((uint8_t *)vd_ram(&d, at[i], 1526) + 12, big, 60 + i);
    }
    vd_free(&d);
}

BOTH_RINGS(vnet_rx_runts_are_dropped_and_counted)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    vd_post(&d, RX0, 2000);
    vd_kick(&d, RX0);
    for (size_t len = 0; len < 14; len++)
        give(&d, NULL, len, 1);
    CHECK_EQ(vd_reap(&d.q[RX0]), 0);
    CHECK_EQ(vd_count(&d, "rx_drop_short"), 14);
    give(&d, NULL, 14, 1);
    CHECK_EQ(vd_reap(&d.q[RX0]), 1);
    vd_free(&d);
}

BOTH_RINGS(vnet_rx_backend_error_is_counted_and_passes)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    fake_net_fail_recv(d.net, 1, -EIO);
    vd_post(&d, RX0, 2000);
    vd_kick(&d, RX0);
    give(&d, NULL, 60, 1);
    CHECK_EQ(vd_reap(&d.q[RX0]), 1);
    CHECK_EQ(vd_count(&d, "rx_drop_backend"), 1);
    vd_free(&d);
}

/* One interrupt for a burst, not one for each frame. */
BOTH_RINGS(vnet_a_burst_is_few_interrupts)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    for (unsigned i = 0; i < 64; i++) {
        vd_frame(big, 60, i);
        fake_net_give(d.net, 0, NULL, big, 60);
        vd_post(&d, RX0, 1526);
    }
    vd_kick(&d, RX0);
    CHECK_EQ(vd_reap(&d.q[RX0]), 64);
    unsigned n = vd_irqs(&d, RX0);
    CHECK(n >= 1 && n <= 16);
    vd_free(&d);
}

/* ------------------------------------------------------ changed under way */

struct flipper {
    struct vd_desc *desc[2];
    struct net_hdr *hdr;
    _Atomic bool stop;
};

/* A second vCPU that rewrites what the device looks at. */
static void *flip(void *arg)
{
    struct flipper *f = arg;
    for (unsigned i = 0; !atomic_load(&f->stop); i++) {
        for (unsigned q = 0; q < 2; q++) {
            *(volatile le32 *)&f->desc[q]->len = i & 1 ? 0xffffff00 : 100;
            *(volatile le64 *)&f->desc[q]->addr = i & 2 ? ~0ull : 0x8000;
        }
        *(volatile uint8_t *)&f->hdr->gso_type = (uint8_t)i;
        *(volatile uint16_t *)&f->hdr->hdr_len = (uint16_t)(i * 77);
    }
    return NULL;
}

BOTH_RINGS(hostile_descriptors_change_while_they_are_read)
{
    struct vd d = {.qsize = 16};
    pthread_t t;
    vd_up(&d, packed, 0);
    const struct vd_raw r = {0x8000, 100, 0, 0};
    const struct vd_raw w = {0x8000, 100, D_WRITE, 0};
    struct flipper f = {{vd_desc(&d.q[RX0], 0), vd_desc(&d.q[TX0], 0)},
                        vd_ram(&d, 0x8000, 12),
                        false};
    REQUIRE_EQ(pthread_create(&t, NULL, flip, &f), 0);
    for (unsigned i = 0; i < 2000; i++) {
        vd_raw(&d.q[TX0], &r, 1);
        vd_raw(&d.q[RX0], &w, 1);
        vd_kick(&d, TX0);
        vd_kick(&d, RX0);
        if (i % 16 == 0)
            give(&d, NULL, 60, i);
        if (vd_status(&d) & VIRTIO_NEEDS_RESET || i % 100 == 99) {
            vd_drain(&d);
            d.brk = 0x10000; /* the rings come where they were */
            vd_again(&d, 0);
        }
    }
    atomic_store(&f.stop, true);
    pthread_join(t, NULL);
    vd_drain(&d);
    d.brk = 0x10000;
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}
