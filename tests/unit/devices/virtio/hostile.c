/* SPDX-License-Identifier: MIT */
/* Rings of a hostile driver. Each must end with either the buffer dropped or
 * the device asking for a reset, never with a hang, and a reset must bring
 * everything back. */
#include "tests/unit/fakevirtio.h"

#define BUF 0x8000u /* 4 KiB of RAM for hostile chains */

static void up(struct vd *d, bool packed, bool indirect)
{
    d->qsize = 16;
    vd_up(d, packed, indirect ? F(VIRTIO_F_INDIRECT_DESC) : 0);
}

/* The chain breaks queue q; the device says so and comes back after a reset. */
static void breaks(bool packed, unsigned q, bool indirect,
                   const struct vd_raw *r, unsigned n)
{
    struct vd d = {0};
    uint8_t frame[60] = {0};
    up(&d, packed, indirect);
    vd_raw(&d.q[q], r, n);
    if (q == RX0)
        fake_net_give(d.net, 0, NULL, frame, sizeof(frame));
    vd_kick(&d, q);
    CHECK_EQ(fake_net_sends(d.net), 0);
    vd_check_broken(&d);
    vd_free(&d);
}

/* The chain is given back unused, and the device goes on. */
static void returned(bool packed, unsigned q, const struct vd_raw *r,
                     unsigned n)
{
    struct vd d = {0};
    int id;
    uint32_t len;
    up(&d, packed, false);
    vd_raw(&d.q[q], r, n);
    vd_kick(&d, q);
    CHECK_EQ(fake_net_sends(d.net), 0);
    d.q[q].next[0] = 1;
    d.q[q].next[1] = 2;
    REQUIRE(vd_used(&d.q[q], &id, &len));
    CHECK_EQ(id, 0);
    CHECK_EQ(len, 0);
    CHECK_EQ(vd_status(&d), 0x0f);
    vd_drain(&d);
    d.brk = 0x10000;
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}

/* ----------------------------------------------------------------- chains */

TEST(hostile_chain_that_points_to_itself)
{
    const struct vd_raw r = {BUF, 100, D_NEXT, 0};
    const struct vd_raw w = {BUF, 100, D_NEXT | D_WRITE, 0};
    breaks(false, TX0, false, &r, 1);
    breaks(false, RX0, false, &w, 1);
}

TEST(hostile_chain_of_two_that_loops)
{
    const struct vd_raw r[] = {{BUF, 100, D_NEXT, 1}, {BUF, 100, D_NEXT, 0}};
    breaks(false, TX0, false, r, 2);
}

TEST(hostile_loop_of_empty_pieces)
{
    const struct vd_raw r[] = {{BUF, 0, D_NEXT, 1}, {BUF, 0, D_NEXT, 0}};
    breaks(false, TX0, false, r, 2);
    breaks(false, RX0, false, r, 2);
}

TEST(hostile_next_outside_of_the_table)
{
    const uint16_t bad[] = {16, 17, 255, 0x7fff, 0x8000, 0xffff};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct vd_raw r = {BUF, 100, D_NEXT, bad[i]};
        breaks(false, TX0, false, &r, 1);
    }
}

/* One more than the ring has can only be a loop (split) or a chain that never
 * ends (packed: NEXT in each place). */
BOTH_RINGS(hostile_chain_longer_than_the_ring)
{
    struct vd_raw r[16];
    for (uint16_t i = 0; i < 16; i++)
        r[i] = (struct vd_raw){BUF, 10, D_NEXT, (i + 1) % 16};
    breaks(packed, TX0, false, r, 16);
    for (int i = 0; i < 16; i++)
        r[i].flags |= D_WRITE;
    breaks(packed, RX0, false, r, 16);
}

BOTH_RINGS(hostile_buffer_not_in_ram)
{
    const struct vd_raw bad[] = {
        {VD_LOW_RAM, 100, 0, 0},
        {VD_LOW_RAM - 50, 100, 0, 0},
        {VD_HIGH_BASE - 50, 100, 0, 0},
        {VD_HIGH_BASE + VD_HIGH_RAM - 99, 100, 0, 0},
        {0xc0000000, 100, 0, 0}, /* the BARs */
        {0xe0000000, 4096, 0, 0},
        {0xfee00000, 100, 0, 0},
        {1ull << 63, 100, 0, 0},
        {~0ull, 1, 0, 0},
        {~0ull - 49, 100, 0, 0}, /* wraps to 0 */
        {BUF, 0xffffffff, 0, 0},
        {0, VD_LOW_RAM + 1, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct vd_raw r = bad[i];
        breaks(packed, TX0, false, &r, 1);
        r.flags = D_WRITE;
        breaks(packed, RX0, false, &r, 1);
    }
}

/* The last bytes of RAM are as good as others. */
BOTH_RINGS(hostile_buffer_at_the_end_of_ram)
{
    static const uint64_t ends[] = {VD_LOW_RAM, VD_HIGH_BASE + VD_HIGH_RAM};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        struct vd d = {0};
        uint8_t frame[60], got[64];
        up(&d, packed, false);
        vd_frame(frame, 60, 3);
        memcpy(vd_ram(&d, ends[i] - 60, 60), frame, 60);
        const struct vd_buf b = {ends[i] - 72, 72, false};
        REQUIRE(vd_add(&d.q[TX0], &b, 1) >= 0);
        vd_kick(&d, TX0);
        CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
        CHECK_MEM(got, frame, 60);
        const struct vd_buf w = {ends[i] - 72, 72, true};
        REQUIRE(vd_add(&d.q[RX0], &w, 1) >= 0);
        vd_kick(&d, RX0);
        fake_net_give(d.net, 0, NULL, got, 60);
        fake_run_loop(d.m);
        CHECK_EQ(vd_reap(&d.q[RX0]), 1);
        vd_free(&d);
    }
}

/* Two pieces of nearly 4 GiB: more than the length of a chain can say. RAM is
 * smaller here, so each is outside of it; the same for its sum. */
BOTH_RINGS(hostile_chain_of_huge_pieces)
{
    struct vd d = {.qsize = 256};
    struct vd_raw r[256];
    for (uint16_t i = 0; i < 256; i++)
        r[i] = (struct vd_raw){0, VD_LOW_RAM, i < 255 ? D_NEXT : 0,
                               (uint16_t)(i + 1)};
    vd_up(&d, packed, 0);
    vd_raw(&d.q[TX0], r, 256); /* 1 GiB */
    vd_kick(&d, TX0);
    CHECK_EQ(fake_net_sends(d.net), 0);
    CHECK_EQ(vd_status(&d), 0x0f);
    CHECK_EQ(vd_count(&d, "tx_drop_long"), 1);
    vd_free(&d);
}

BOTH_RINGS(hostile_nothing_readable_to_send)
{
    const struct vd_raw w = {BUF, 100, D_WRITE, 0};
    const struct vd_raw none = {BUF, 0, 0, 0};
    returned(packed, TX0, &w, 1);
    returned(packed, TX0, &none, 1);
}

BOTH_RINGS(hostile_nothing_writable_to_receive_into)
{
    const struct vd_raw r = {BUF, 2000, 0, 0};
    const struct vd_raw none = {BUF, 0, D_WRITE, 0};
    const struct vd_raw mixed[] = {{BUF, 12, D_NEXT, 1},
                                   {BUF, 2000, D_WRITE, 0}};
    returned(packed, RX0, &r, 1);
    returned(packed, RX0, &none, 1);
    returned(packed, RX0, mixed, 2);
}

/* §2.7.4.2: readable ones come first. */
BOTH_RINGS(hostile_writable_before_readable)
{
    const struct vd_raw r[] = {{BUF, 100, D_WRITE | D_NEXT, 1},
                               {BUF, 100, 0, 0}};
    breaks(packed, TX0, false, r, 2);
    breaks(packed, RX0, false, r, 2);
}

/* OpenVMM #4045: frames wait for a queue that is broken. The device sleeps. */
BOTH_RINGS(hostile_broken_receive_queue_does_not_spin)
{
    struct vd d = {0};
    uint8_t frame[60] = {2};
    const struct vd_raw bad = {VD_LOW_RAM, 100, D_WRITE, 0};
    up(&d, packed, false);
    vd_post(&d, RX0, 100);
    vd_kick(&d, RX0); /* the device waits for frames now */
    vd_raw(&d.q[RX0], &bad, 1);
    for (unsigned i = 0; i < 5; i++)
        fake_net_give(d.net, 0, NULL, frame, 60);
    fake_run_loop(d.m);
    CHECK_EQ(fake_run_loop(d.m), 0);
    vd_check_broken(&d);
    vd_free(&d);
}

/* ----------------------------------------------------- the available ring */

TEST(hostile_avail_idx_jump_breaks_queue)
{
    static const uint16_t jump[] = {17, 18, 255, 32768, 65535};
    for (size_t i = 0; i < ARRAY_LEN(jump); i++)
        for (unsigned q = 0; q < 2; q++) {
            struct vd d = {0};
            up(&d, false, false);
            *vd_avail_word(&d.q[q], 1) = jump[i];
            vd_kick(&d, q);
            CHECK_EQ(fake_net_sends(d.net), 0);
            vd_check_broken(&d);
            vd_free(&d);
        }
}

/* The same in mid-traffic, backwards. */
TEST(hostile_avail_idx_goes_back)
{
    struct vd d = {0};
    up(&d, false, false);
    for (unsigned i = 0; i < 5; i++)
        vd_check_tx(&d, i, 60);
    *vd_avail_word(&d.q[TX0], 1) = 4;
    vd_kick(&d, TX0);
    CHECK_EQ(*vd_used_word(&d.q[TX0], 1), 5);
    vd_check_broken(&d);
    vd_free(&d);
}

TEST(hostile_head_outside_of_the_table)
{
    static const uint16_t head[] = {16, 255, 0x8000, 0xffff};
    for (size_t i = 0; i < ARRAY_LEN(head); i++)
        for (unsigned q = 0; q < 2; q++) {
            struct vd d = {0};
            up(&d, false, false);
            *vd_avail_word(&d.q[q], 2) = head[i];
            *vd_avail_word(&d.q[q], 1) = 1;
            vd_kick(&d, q);
            vd_check_broken(&d);
            vd_free(&d);
        }
}

/* A whole ring of one head is legal to send (nothing is in flight twice at
 * once), and kept in bounds when receiving. */
TEST(hostile_all_heads_identical)
{
    struct vd d = {0};
    uint8_t frame[60] = {2}, got[64];
    up(&d, false, false);
    for (unsigned q = 0; q < 2; q++) {
        *vd_desc(&d.q[q], 3) =
            (struct vd_desc){BUF, 72, {{q == RX0 ? D_WRITE : 0, 0}}};
        for (unsigned i = 0; i < 16; i++)
            *vd_avail_word(&d.q[q], 2 + i) = 3;
        *vd_avail_word(&d.q[q], 1) = 16;
        vd_kick(&d, q);
    }
    for (unsigned i = 0; i < 16; i++)
        CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
    CHECK_EQ(*vd_used_word(&d.q[TX0], 1), 16);
    for (unsigned i = 0; i < 20; i++)
        fake_net_give(d.net, 0, NULL, frame, 60);
    fake_run_loop(d.m);
    CHECK_EQ(*vd_used_word(&d.q[RX0], 1), 16);
    CHECK_EQ(vd_status(&d), 0x0f);
    vd_free(&d);
}

/* More receive buffers than the ring has places: offered again while all are
 * in flight (CVE-2016-5403). */
BOTH_RINGS(hostile_more_buffers_in_flight_than_places)
{
    struct vd d = {0};
    up(&d, packed, false);
    struct vd_queue *q = &d.q[RX0];
    const struct vd_raw w = {BUF, 100, D_WRITE, 0};
    for (unsigned i = 0; i < 16; i++)
        vd_raw(q, &w, 1);
    vd_kick(&d, RX0);
    CHECK_EQ(vd_status(&d), 0x0f);
    for (unsigned i = 0; i < 16; i++)
        vd_raw(q, &w, 1);
    vd_kick(&d, RX0);
    uint8_t frame[60] = {2};
    for (unsigned i = 0; i < 40; i++)
        fake_net_give(d.net, 0, NULL, frame, 60);
    fake_run_loop(d.m);
    /* Either is an answer; what follows must work. */
    uint8_t status = vd_status(&d);
    CHECK(status == 0x0f || status == 0x4f);
    vd_drain(&d);
    d.brk = 0x10000;
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}

/* -------------------------------------------------------- indirect tables */

static void table_breaks(bool packed, uint64_t at, uint32_t len, uint16_t flags)
{
    const struct vd_raw r = {at, len, (uint16_t)(D_INDIRECT | flags), 1};
    breaks(packed, TX0, true, &r, 1);
}

BOTH_RINGS(hostile_indirect_table_of_wrong_length)
{
    static const uint32_t bad[] = {0,    1,          8,          15,
                                   17,   31,         0x7fffffff, 0xfffffff0,
                                   4097, 1025 * 16u, 0xffffffff};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        table_breaks(packed, 0x9000, bad[i], 0);
}

BOTH_RINGS(hostile_indirect_table_not_in_ram)
{
    table_breaks(packed, VD_LOW_RAM, 16, 0);
    table_breaks(packed, VD_LOW_RAM - 16, 32, 0);
    table_breaks(packed, VD_HIGH_BASE - 16, 32, 0);
    table_breaks(packed, ~0ull - 15, 32, 0);
    table_breaks(packed, 0xc0000000, 32, 0);
    table_breaks(packed, 1ull << 63, 16, 0);
}

BOTH_RINGS(hostile_indirect_with_next)
{
    table_breaks(packed, BUF, 16, D_NEXT);
}

BOTH_RINGS(hostile_indirect_not_negotiated)
{
    const struct vd_raw r = {0x9000, 16, D_INDIRECT, 0};
    breaks(packed, TX0, false, &r, 1);
    breaks(packed, RX0, false, &r, 1);
}

/* What is inside of a table is up to the driver until the device reads it. */
static void inside_breaks(const struct vd_desc *t, unsigned n)
{
    struct vd d = {0};
    const struct vd_raw r = {BUF, 16 * n, D_INDIRECT, 0};
    up(&d, false, true);
    memcpy(vd_ram(&d, BUF, 16 * n), t, 16 * n);
    vd_raw(&d.q[TX0], &r, 1);
    vd_kick(&d, TX0);
    CHECK_EQ(fake_net_sends(d.net), 0);
    vd_check_broken(&d);
    vd_free(&d);
}

TEST(hostile_nested_indirect)
{
    const struct vd_desc t = {BUF, 16, {{D_INDIRECT, 0}}};
    inside_breaks(&t, 1);
}

TEST(hostile_next_inside_a_table_outside_of_it)
{
    static const uint16_t bad[] = {2, 3, 15, 0xffff};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct vd_desc t[] = {{0x9000, 50, {{D_NEXT, bad[i]}}},
                                    {0x9000, 50, {{0, 0}}}};
        inside_breaks(t, 2);
    }
}

TEST(hostile_loop_inside_a_table)
{
    const struct vd_desc t[] = {{0x9000, 50, {{D_NEXT, 1}}},
                                {0x9000, 50, {{D_NEXT, 0}}}};
    inside_breaks(t, 2);
}

TEST(hostile_buffer_inside_a_table_not_in_ram)
{
    const struct vd_desc t = {VD_LOW_RAM - 10, 100, {{0, 0}}};
    inside_breaks(&t, 1);
}

/* §2.8.7: packed rings have one descriptor for a table, no chain. */
TEST(hostile_packed_indirect_in_a_chain)
{
    const struct vd_raw r[] = {{BUF, 100, D_NEXT, 0},
                               {0x9000, 16, D_INDIRECT, 0}};
    breaks(true, TX0, true, r, 2);
}

/* The longest of all: a ring of direct descriptors, then a table. No
 * driver may make one (§2.7.5.3.1); it must not stop the queue for ever. */
TEST(hostile_direct_chain_and_a_full_table)
{
    struct vd d = {.qsize = 16};
    vd_up(&d, false, F(VIRTIO_F_INDIRECT_DESC));
    struct vd_raw r[16];
    uint64_t table = vd_alloc(&d, 16 * 1024, 16);
    struct vd_desc *t = vd_ram(&d, table, 16 * 1024);
    for (unsigned i = 0; i < 1024; i++)
        t[i] = (struct vd_desc){
            BUF, 1, {{i < 1023 ? D_NEXT : 0, (uint16_t)(i + 1)}}};
    for (uint16_t i = 0; i < 15; i++)
        r[i] = (struct vd_raw){BUF, 1, D_NEXT, i + 1};
    r[15] = (struct vd_raw){table, 16 * 1024, D_INDIRECT, 0};
    vd_raw(&d.q[TX0], r, 16);
    vd_kick(&d, TX0);
    if (vd_status(&d) == 0x0f) {
        CHECK_EQ(*vd_used_word(&d.q[TX0], 1), 1);
        vd_free(&d);
        return;
    }
    vd_check_broken(&d);
    vd_free(&d);
}

/* ----------------------------------------------------------- packed rings */

/* Every combination of flags at the first place: nothing hangs, and what was
 * not available stays untouched. */
TEST(hostile_packed_flag_combinations)
{
    struct vd d = {0};
    up(&d, true, true);
    for (unsigned flags = 0; flags < 0x10000; flags += 1) {
        if (flags & ~(D_NEXT | D_WRITE | D_INDIRECT | D_AVAIL | D_USED | 0x48))
            continue;
        struct vd_queue *q = &d.q[TX0];
        *vd_desc(q, 0) = (struct vd_desc){.addr = BUF, .len = 100};
        vd_desc(q, 0)->packed.flags = (uint16_t)flags;
        vd_kick(&d, TX0);
        bool avail = (flags & (D_AVAIL | D_USED)) == D_AVAIL;
        if (!avail)
            CHECK_EQ(vd_desc(q, 0)->packed.flags, flags);
        CHECK(vd_status(&d) == 0x0f || avail);
        vd_drain(&d);
        d.brk = 0x10000;
        vd_again(&d, F(VIRTIO_F_INDIRECT_DESC));
    }
    vd_check_alive(&d);
    vd_free(&d);
}

/* The buffer id is the driver's: any comes back as it was. */
TEST(hostile_packed_any_buffer_id)
{
    static const uint16_t ids[] = {0, 15, 16, 0x7fff, 0x8000, 0xffff};
    struct vd d = {0};
    up(&d, true, false);
    struct vd_queue *q = &d.q[TX0];
    for (unsigned i = 0; i < ARRAY_LEN(ids); i++) {
        *vd_desc(q, i) = (struct vd_desc){.addr = BUF, .len = 100};
        vd_desc(q, i)->packed.id = ids[i];
        vd_desc(q, i)->packed.flags = D_AVAIL;
        vd_kick(&d, TX0);
        CHECK_EQ(vd_desc(q, i)->packed.id, ids[i]);
        CHECK_EQ(vd_desc(q, i)->packed.flags, D_AVAIL | D_USED);
    }
    CHECK_EQ(fake_net_sends(d.net), 6);
    vd_free(&d);
}

/* The driver makes every place available again and again, without waiting. */
TEST(hostile_packed_wrap_flips)
{
    struct vd d = {0};
    up(&d, true, false);
    for (unsigned q = 0; q < 2; q++)
        for (unsigned lap = 0; lap < 6; lap++) {
            for (unsigned i = 0; i < 16; i++) {
                struct vd_desc *p = vd_desc(&d.q[q], i);
                *p = (struct vd_desc){.addr = BUF, .len = 80};
                p->packed.flags = (uint16_t)((lap & 1 ? D_USED : D_AVAIL) |
                                             (q == RX0 ? D_WRITE : 0));
            }
            vd_kick(&d, q);
        }
    uint8_t frame[60] = {2};
    for (unsigned i = 0; i < 30; i++)
        fake_net_give(d.net, 0, NULL, frame, 60);
    fake_run_loop(d.m);
    vd_drain(&d);
    d.brk = 0x10000;
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}

/* A ring of one place, chained to itself (CVE-2026-16457). */
TEST(hostile_packed_ring_of_one)
{
    struct vd d = {.qsize = 1};
    vd_up(&d, true, 0);
    for (unsigned i = 0; i < 20; i++)
        vd_check_tx(&d, i, 60);
    const struct vd_raw r = {BUF, 100, D_NEXT, 0};
    vd_raw(&d.q[TX0], &r, 1);
    vd_kick(&d, TX0);
    vd_check_broken(&d);
    vd_free(&d);
}

/* ----------------------------------------------------------------- floods */

/* A driver that never takes used buffers back. */
BOTH_RINGS(hostile_used_ring_never_reaped)
{
    struct vd d = {0};
    uint8_t frame[60] = {2};
    up(&d, packed, false);
    for (unsigned i = 0; i < 16; i++)
        vd_post(&d, RX0, 100);
    vd_kick(&d, RX0);
    for (unsigned i = 0; i < 50; i++) {
        fake_net_give(d.net, 0, NULL, frame, 60);
        REQUIRE(fake_run_loop(d.m) < 20);
    }
    CHECK_EQ(fake_run_loop(d.m), 0); /* starved, and asleep */
    CHECK_EQ(vd_reap(&d.q[RX0]), 16);
    CHECK_EQ(vd_status(&d), 0x0f);
    vd_free(&d);
}

BOTH_RINGS(hostile_kick_storm)
{
    struct vd d = {0};
    up(&d, packed, false);
    for (unsigned i = 0; i < 20000; i++)
        drv_w16(d.m, d.notify + d.mult * (i % d.nq), (uint16_t)i);
    CHECK(fake_run_loop(d.m) < 10);
    vd_check_alive(&d);
    vd_free(&d);
}

/* --------------------------------------------------------------- overlaps */

/* Rings on top of each other, of the other queue, and of the buffers. */
BOTH_RINGS(hostile_rings_over_each_other)
{
    struct vd d = {.packed = packed, .qsize = 16};
    uint8_t frame[60] = {2};
    vd_new(&d);
    for (unsigned shift = 0; shift < 12; shift++) {
        REQUIRE(vd_negotiate(&d, F(VIRTIO_F_VERSION_1) |
                                     (packed ? F(VIRTIO_F_RING_PACKED) : 0)));
        memset(vd_ram(&d, 0x10000, 4096), (int)(shift * 37), 4096);
        for (unsigned q = 0; q < 2; q++) {
            d.q[q].size = 16;
            d.q[q].desc = 0x10000;
            d.q[q].avail = 0x10000 + (shift & 3) * 16;
            d.q[q].used = 0x10000 + (shift >> 2) * 32;
            vd_queue_write(&d.q[q]);
            vd_set(&d, C_QUEUE_ENABLE, 2, 1);
        }
        vd_status_or(&d, VIRTIO_DRIVER_OK);
        fake_net_give(d.net, 0, NULL, frame, 60);
        for (unsigned i = 0; i < 50; i++) {
            struct vd_desc *p = vd_desc(&d.q[0], i % 16);
            *p = (struct vd_desc){0x10000, 0x100, {{i & 3, 1}}};
            if (packed)
                p->packed.flags = (uint16_t)(D_AVAIL | (i & 2));
            else
                *vd_avail_word(&d.q[0], 1) = (uint16_t)i;
            vd_kick(&d, i & 1);
        }
        vd_drain(&d);
    }
    vd_again(&d, 0);
    vd_drain(&d);
    vd_check_alive(&d);
    vd_free(&d);
}
