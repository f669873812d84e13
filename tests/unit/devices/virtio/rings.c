/* SPDX-License-Identifier: MIT */
/* What a driver may expect of split and packed rings (virtio 1.2 §2.6-2.8). */
#include "tests/unit/fakevirtio.h"

/* ----------------------------------------------------------------- layout */

/* Enables queue 0 with these addresses; does the device take it? */
static bool enables(struct vd *d, uint64_t desc, uint64_t avail, uint64_t used)
{
    struct vd_queue *q = &d->q[RX0];
    REQUIRE(vd_negotiate(d, F(VIRTIO_F_VERSION_1) |
                                (d->packed ? F(VIRTIO_F_RING_PACKED) : 0)));
    q->size = 16;
    q->desc = desc;
    q->avail = avail;
    q->used = used;
    vd_queue_write(q);
    vd_set(d, C_QUEUE_ENABLE, 2, 1);
    return vd_get(d, C_QUEUE_ENABLE, 2);
}

BOTH_RINGS(virtqueue_2_6_ring_alignment_is_checked)
{
    struct vd d = {.packed = packed};
    unsigned avail = packed ? 4 : 2;
    vd_new(&d);
    CHECK(enables(&d, 0x10000, 0x20000, 0x30000));
    for (unsigned i = 1; i < 16; i++)
        CHECK(!enables(&d, 0x10000 + i, 0x20000, 0x30000));
    for (unsigned i = 1; i < 8; i++)
        CHECK_EQ(enables(&d, 0x10000, 0x20000 + i, 0x30000), i % avail == 0);
    for (unsigned i = 1; i < 8; i++)
        CHECK_EQ(enables(&d, 0x10000, 0x20000, 0x30000 + i), i % 4 == 0);
    vd_free(&d);
}

/* Sizes of a ring of 16: 256; split 38 and 134, packed 4 and 4. */
BOTH_RINGS(virtqueue_2_6_rings_end_with_ram)
{
    struct vd d = {.packed = packed};
    uint64_t end = VD_LOW_RAM, high = VD_HIGH_BASE + VD_HIGH_RAM;
    unsigned avail = packed ? 4 : 38, used = packed ? 4 : 134;
    vd_new(&d);
    CHECK(enables(&d, end - 256, 0x20000, 0x30000));
    CHECK(!enables(&d, end - 240, 0x20000, 0x30000));
    CHECK(enables(&d, high - 256, 0x20000, 0x30000));
    CHECK(!enables(&d, high - 240, 0x20000, 0x30000));
    CHECK(enables(&d, 0x10000, (end - avail) & ~3ull, 0x30000));
    CHECK(!enables(&d, 0x10000, ((end - avail) & ~3ull) + 4, 0x30000));
    CHECK(enables(&d, 0x10000, 0x20000, (end - used) & ~3ull));
    CHECK(!enables(&d, 0x10000, 0x20000, ((end - used) & ~3ull) + 4));
    vd_free(&d);
}

BOTH_RINGS(virtqueue_2_6_rings_outside_of_ram_stay_off)
{
    struct vd d = {.packed = packed};
    vd_new(&d);
    const uint64_t bad[] = {VD_LOW_RAM,    VD_HIGH_BASE - 16,  d.bar,
                            PCI_ECAM_BASE, 0xfee00000,         0xfffff000,
                            1ull << 63,    0xfffffffffffffff0, ~0ull};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK(!enables(&d, bad[i], 0x20000, 0x30000));
        CHECK(!enables(&d, 0x10000, bad[i], 0x30000));
        CHECK(!enables(&d, 0x10000, 0x20000, bad[i]));
    }
    CHECK(enables(&d, 0x10000, 0x20000, 0x30000));
    vd_free(&d);
}

BOTH_RINGS(virtqueue_2_6_a_queue_that_stayed_off_moves_nothing)
{
    struct vd d = {.packed = packed};
    vd_new(&d);
    enables(&d, ~0xfull, ~0xfull, ~0xfull);
    vd_status_or(&d, VIRTIO_DRIVER_OK);
    uint8_t frame[60] = {0};
    fake_net_give(d.net, 0, NULL, frame, sizeof(frame));
    for (unsigned q = 0; q < d.nq; q++)
        vd_kick(&d, q);
    CHECK_EQ(fake_net_recvs(d.net), 0);
    CHECK_EQ(vd_status(&d) & VIRTIO_NEEDS_RESET, 0);
    vd_free(&d);
}

BOTH_RINGS(virtqueue_2_6_every_size_a_driver_may_choose)
{
    struct vd d = {.packed = packed};
    vd_new(&d);
    for (uint16_t size = packed ? 1 : 2; size <= 256; size *= 2) {
        d.qsize = size;
        d.brk = 0x10000;
        vd_again(&d, 0);
        for (unsigned i = 0; i < 40; i++)
            vd_check_tx(&d, i, 60 + i);
        for (unsigned i = 0; i < 40; i++)
            vd_check_rx(&d, i, 60 + i);
    }
    vd_free(&d);
}

/* §2.8.10.1: packed rings need no power of two. */
TEST(virtqueue_2_8_10_packed_sizes_that_are_no_power_of_two)
{
    static const uint16_t sizes[] = {1, 3, 5, 7, 100, 255};
    struct vd d = {.packed = true};
    vd_new(&d);
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        d.qsize = sizes[s];
        d.brk = 0x10000;
        vd_again(&d, F(VIRTIO_F_EVENT_IDX));
        for (unsigned i = 0; i < 300; i++) {
            vd_check_tx(&d, i, 60);
            d.brk = 0x40000;
        }
    }
    vd_free(&d);
}

/* ----------------------------------------------------------------- chains */

/* A packet cut into pieces of `step` bytes, direct or indirect. */
static int send_cut(struct vd *d, const uint8_t *frame, size_t len,
                    unsigned step, bool indirect)
{
    struct vd_buf b[256];
    unsigned n = 0;
    uint32_t total = (uint32_t)(NET_HDR_LEN + len);
    uint64_t at = vd_alloc(d, total, 1);
    memcpy((uint8_t *)vd_ram(d, at, total) + NET_HDR_LEN, frame, len);
    for (uint32_t off = 0; off < total; off += step, n++) {
        REQUIRE(n < ARRAY_LEN(b));
        b[n] = (struct vd_buf){at + off,
                               total - off < step ? total - off : step, false};
    }
    int id =
        indirect ? vd_put_indirect(&d->q[TX0], b, n) : vd_put(&d->q[TX0], b, n);
    vd_publish(&d->q[TX0]);
    return id;
}

static void framing(struct vd *d, bool indirect)
{
    static const unsigned steps[] = {1, 2, 3, 5, 11, 12, 13, 14, 20, 63, 200};
    uint8_t frame[150], got[200];
    int id;
    uint32_t len;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        vd_frame(frame, sizeof(frame), (unsigned)i);
        int sent = send_cut(d, frame, sizeof(frame), steps[i], indirect);
        REQUIRE(sent >= 0);
        vd_kick(d, TX0);
        CHECK_EQ(fake_net_take(d->net, 0, NULL, got, 200), sizeof(frame));
        CHECK_MEM(got, frame, sizeof(frame));
        REQUIRE(vd_used(&d->q[TX0], &id, &len));
        CHECK_EQ(id, sent);
        CHECK_EQ(len, 0);
    }
}

BOTH_RINGS(virtqueue_2_7_4_1_no_framing_is_assumed_when_sending)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    framing(&d, false);
    vd_free(&d);
}

BOTH_RINGS(virtqueue_2_7_5_3_no_framing_is_assumed_in_indirect_tables)
{
    struct vd d = {0};
    vd_up(&d, packed, F(VIRTIO_F_INDIRECT_DESC));
    framing(&d, true);
    vd_free(&d);
}

BOTH_RINGS(virtqueue_2_7_4_1_no_framing_is_assumed_when_receiving)
{
    static const unsigned steps[] = {1, 2, 7, 11, 12, 13, 26, 100};
    struct vd d = {0};
    uint8_t frame[90];
    int id;
    uint32_t len;
    vd_up(&d, packed, 0);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct vd_buf b[110];
        unsigned n = 0;
        uint64_t at = vd_alloc(&d, 102, 1);
        for (unsigned off = 0; off < 102; off += steps[i])
            b[n++] = (struct vd_buf){
                at + off, 102 - off < steps[i] ? 102 - off : steps[i], true};
        REQUIRE(vd_add(&d.q[RX0], b, n) >= 0);
        vd_kick(&d, RX0);
        vd_frame(frame, sizeof(frame), (unsigned)i);
        fake_net_give(d.net, 0, NULL, frame, sizeof(frame));
        fake_run_loop(d.m);
        REQUIRE(vd_used(&d.q[RX0], &id, &len));
        CHECK_EQ(len, 102);
        const uint8_t *got = vd_ram(&d, at, 102);
        CHECK_MEM(got + 12, frame, sizeof(frame));
        CHECK_EQ(got[10], 1); /* num_buffers, cut as well */
        CHECK_EQ(got[11], 0);
    }
    vd_free(&d);
}

/* §2.8.7: in tables too it is the flags that say what is writable. */
BOTH_RINGS(virtqueue_2_7_5_3_indirect_tables_of_receive_buffers)
{
    struct vd d = {0};
    uint8_t frame[60];
    int id;
    uint32_t len;
    vd_up(&d, packed, F(VIRTIO_F_INDIRECT_DESC));
    uint64_t hdr = vd_alloc(&d, 12, 1), data = vd_alloc(&d, 1514, 1);
    const struct vd_buf b[] = {
        {hdr, 12, true}, {data, 30, true}, {data + 30, 1484, true}};
    REQUIRE(vd_put_indirect(&d.q[RX0], b, 3) >= 0);
    vd_publish(&d.q[RX0]);
    vd_kick(&d, RX0);
    vd_frame(frame, 60, 2);
    fake_net_give(d.net, 0, NULL, frame, 60);
    fake_run_loop(d.m);
    REQUIRE(vd_used(&d.q[RX0], &id, &len));
    CHECK_EQ(len, 72);
    CHECK_MEM(vd_ram(&d, data, 60), frame, 60);
    vd_free(&d);
}

/* As many descriptors as the ring has, and empty ones in between. */
BOTH_RINGS(virtqueue_2_7_5_a_chain_as_long_as_the_ring)
{
    struct vd d = {.qsize = 64};
    uint8_t frame[52], got[100];
    vd_up(&d, packed, 0);
    for (int lap = 0; lap < 3; lap++) {
        vd_frame(frame, sizeof(frame), (unsigned)lap);
        REQUIRE(send_cut(&d, frame, sizeof(frame), 1, false) >= 0);
        vd_kick(&d, TX0);
        CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 100), sizeof(frame));
        CHECK_MEM(got, frame, sizeof(frame));
        CHECK_EQ(vd_reap(&d.q[TX0]), 1);
    }
    vd_check_alive(&d);
    vd_free(&d);
}

BOTH_RINGS(virtqueue_2_7_5_pieces_without_bytes_are_nothing)
{
    struct vd d = {0};
    uint8_t got[100];
    vd_up(&d, packed, 0);
    uint64_t at = vd_alloc(&d, 72, 1);
    const struct vd_buf b[] = {{at, 0, false},       {~0ull, 0, false},
                               {at, 12, false},      {0, 0, false},
                               {at + 12, 60, false}, {at, 0, false}};
    REQUIRE(vd_add(&d.q[TX0], b, 6) >= 0);
    vd_kick(&d, TX0);
    CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 100), 60);
    CHECK_EQ(vd_reap(&d.q[TX0]), 1);
    vd_check_alive(&d);
    vd_free(&d);
}

/* Direct descriptors, then one indirect. Packed rings have no such
 * chains (§2.8.7: INDIRECT alone). */
TEST(virtqueue_2_7_5_3_direct_descriptors_then_an_indirect_one)
{
    struct vd d = {0};
    uint8_t frame[60], got[100];
    vd_up(&d, false, F(VIRTIO_F_INDIRECT_DESC));
    struct vd_queue *q = &d.q[TX0];
    uint64_t hdr = vd_alloc(&d, 12, 1), table = vd_alloc(&d, 32, 16);
    uint64_t data = vd_alloc(&d, 60, 1);
    vd_frame(frame, 60, 5);
    memcpy(vd_ram(&d, data, 60), frame, 60);
    struct vd_desc *t = vd_ram(&d, table, 32);
    t[0] = (struct vd_desc){data, 20, {{D_NEXT, 1}}};
    t[1] = (struct vd_desc){data + 20, 40, {{0, 0}}};
    const struct vd_raw r[] = {{hdr, 12, D_NEXT, 1},
                               {table, 32, D_INDIRECT, 0}};
    vd_raw(q, r, 2);
    vd_kick(&d, TX0);
    CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 100), 60);
    CHECK_MEM(got, frame, 60);
    CHECK_EQ(*vd_used_word(q, 1), 1);
    vd_free(&d);
}

/* WRITE means nothing on the descriptor of a table itself. */
BOTH_RINGS(virtqueue_2_7_5_3_2_write_flag_of_an_indirect_descriptor_is_ignored)
{
    struct vd d = {0};
    uint8_t got[100];
    vd_up(&d, packed, F(VIRTIO_F_INDIRECT_DESC));
    struct vd_queue *q = &d.q[TX0];
    uint64_t table = vd_alloc(&d, 16, 16), data = vd_alloc(&d, 72, 1);
    struct vd_desc *t = vd_ram(&d, table, 16);
    *t = (struct vd_desc){data, 72, {{0, 0}}};
    const struct vd_raw r = {table, 16, D_INDIRECT | D_WRITE, 0};
    vd_raw(q, &r, 1);
    vd_kick(&d, TX0);
    CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 100), 60);
    CHECK_EQ(vd_status(&d), 0x0f);
    vd_free(&d);
}

/* §2.8.7: order of the table, whatever its entries' NEXT and next say. */
TEST(virtqueue_2_8_7_packed_tables_are_used_in_order)
{
    struct vd d = {0};
    uint8_t frame[60], got[100];
    vd_up(&d, true, F(VIRTIO_F_INDIRECT_DESC));
    uint64_t table = vd_alloc(&d, 48, 16), data = vd_alloc(&d, 72, 1);
    vd_frame(frame, 60, 9);
    memcpy((uint8_t *)vd_ram(&d, data, 72) + 12, frame, 60);
    struct vd_desc *t = vd_ram(&d, table, 48);
    for (unsigned i = 0; i < 3; i++) {
        t[i] = (struct vd_desc){data + 24 * i, 24, {{0, 0}}};
        t[i].packed.id = 0xffff;
    }
    const struct vd_raw r = {table, 48, D_INDIRECT, 0};
    vd_raw(&d.q[TX0], &r, 1);
    vd_kick(&d, TX0);
    CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 100), 60);
    CHECK_MEM(got, frame, 60);
    vd_free(&d);
}

/* The device reads descriptors and never writes them (split), nor the
 * available ring, nor buffers it shall read. */
TEST(virtqueue_2_7_5_1_driver_memory_is_not_written)
{
    struct vd d = {0};
    static uint8_t desc[4096], avail[518];
    uint8_t before[112];
    vd_up(&d, false, 0);
    struct vd_queue *q = &d.q[TX0];
    uint8_t frame[100];
    vd_frame(frame, 100, 1);
    vd_send(&d, TX0, NULL, frame, 100);
    struct net_hdr bad = {.flags = 0xff, .gso_type = 0, .num_buffers = 0xaaaa};
    vd_send(&d, TX0, &bad, frame, 100);
    uint64_t buf = vd_desc(q, q->free[q->nfree])->addr;
    memcpy(desc, vd_ram(&d, q->desc, 4096), 4096);
    memcpy(avail, vd_ram(&d, q->avail, 518), 518);
    memcpy(before, vd_ram(&d, buf, 112), 112);
    vd_kick(&d, TX0);
    CHECK_EQ(vd_reap(q), 2);
    CHECK_MEM(vd_ram(&d, q->desc, 4096), desc, 4096);
    CHECK_MEM(vd_ram(&d, q->avail, 518), avail, 518);
    CHECK_MEM(vd_ram(&d, buf, 112), before, 112);
    vd_free(&d);
}

/* Nothing is written beyond what the used length says, and that is
 * everything up to it. */
BOTH_RINGS(virtqueue_2_7_8_2_used_length_is_what_was_written)
{
    struct vd d = {0};
    uint8_t frame[61];
    int id;
    uint32_t len;
    vd_up(&d, packed, 0);
    uint64_t at = vd_alloc(&d, 2048, 1);
    memset(vd_ram(&d, at, 2048), 0xa5, 2048);
    const struct vd_buf b = {at, 2048, true};
    vd_add(&d.q[RX0], &b, 1);
    vd_kick(&d, RX0);
    vd_frame(frame, sizeof(frame), 3);
    fake_net_give(d.net, 0, NULL, frame, sizeof(frame));
    fake_run_loop(d.m);
    REQUIRE(vd_used(&d.q[RX0], &id, &len));
    CHECK_EQ(len, 73);
    const uint8_t *p = vd_ram(&d, at, 2048);
    CHECK_MEM(p + 12, frame, sizeof(frame));
    for (unsigned i = 73; i < 2048; i++)
        REQUIRE_EQ(p[i], 0xa5);
    vd_free(&d);
}

/* Far beyond the wrap of every index. */
BOTH_RINGS(virtqueue_2_7_6_indices_run_freely)
{
    struct vd d = {.qsize = 4};
    uint8_t frame[20], got[64];
    test_timeout(60);
    vd_up(&d, packed, F(VIRTIO_F_EVENT_IDX));
    struct vd_queue *q = &d.q[TX0];
    const struct vd_buf b = {vd_alloc(&d, 32, 1), 32, false};
    vd_frame(frame, 20, 0);
    memcpy((uint8_t *)vd_ram(&d, b.at, 32) + 12, frame, 20);
    for (unsigned i = 0; i < 66000; i += 3) {
        bool kick = false;
        for (int k = 0; k < 3; k++)
            REQUIRE(vd_put(q, &b, 1) >= 0);
        vd_publish(q);
        kick = vd_kick_wanted(q, 3);
        REQUIRE(kick); /* the device had gone to sleep */
        vd_kick(&d, TX0);
        for (int k = 0; k < 3; k++)
            REQUIRE_EQ(fake_net_take(d.net, 0, NULL, got, 64), 20);
        REQUIRE_EQ(vd_reap(q), 3);
    }
    vd_free(&d);
}

/* With IN_ORDER buffers come back in the order they were shown, whatever
 * became of what was in them. */
BOTH_RINGS(virtqueue_2_7_9_in_order)
{
    struct vd d = {.opts = "in_order=on", .qsize = 64};
    uint8_t frame[600], got[700];
    int ids[32], id;
    uint32_t len;
    vd_up(&d, packed, F(VIRTIO_F_IN_ORDER));
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 32; i++) {
            /* every third one is no packet, or has an offload nobody asked
             * for; chains of one and of two pieces */
            struct net_hdr h = {.gso_type = i % 6 == 1 ? NET_GSO_TCPV4 : 0};
            struct vd_buf b[2] = {{vd_alloc(&d, 700, 1), 12, false}};
            uint32_t n = i % 6 == 4 ? 0 : 60 + 10 * i;
            vd_frame(frame, sizeof(frame), i);
            memcpy(vd_ram(&d, b[0].at, 12), &h, sizeof(h));
            memcpy(vd_ram(&d, b[0].at + 12, n), frame, n);
            b[1] = (struct vd_buf){b[0].at + 12, n, false};
            if (i & 1 || !n)
                b[0].len += n;
            ids[i] = vd_put(&d.q[TX0], b, i & 1 || !n ? 1 : 2);
            REQUIRE(ids[i] >= 0);
        }
        vd_publish(&d.q[TX0]);
        vd_kick(&d, TX0);
        for (unsigned i = 0; i < 32; i++) {
            REQUIRE(vd_used(&d.q[TX0], &id, &len));
            CHECK_EQ(id, ids[i]);
            if (i % 3 != 1)
                CHECK_EQ(fake_net_take(d.net, 0, NULL, got, sizeof(got)),
                         60 + 10 * i);
        }
    }
    CHECK_EQ(vd_status(&d), 15);
    vd_free(&d);
}

/* The words the device writes are in guest memory, and not believed. */
TEST(virtqueue_2_7_8_used_ring_words_are_never_read_back)
{
    struct vd d = {0};
    vd_up(&d, false, F(VIRTIO_F_EVENT_IDX));
    for (unsigned q = 0; q < 2; q++) {
        *vd_used_word(&d.q[q], 1) = 0x4321;
        *vd_used_word(&d.q[q], 0) = 0xffff;
        *vd_used_word(&d.q[q], 2u + 4u * d.q[q].size) = 0x1234;
    }
    uint8_t frame[60];
    vd_frame(frame, 60, 1);
    vd_send(&d, TX0, NULL, frame, 60);
    vd_kick(&d, TX0);
    CHECK_EQ(*vd_used_word(&d.q[TX0], 1), 1);
    CHECK_EQ(vd_reap(&d.q[TX0]), 1);
    *vd_used_word(&d.q[TX0], 1) = 0;
    d.q[TX0].seen = 0;
    vd_send(&d, TX0, NULL, frame, 60);
    vd_kick(&d, TX0);
    CHECK_EQ(*vd_used_word(&d.q[TX0], 1), 2);
    vd_free(&d);
}

/* §2.8.6: the id of a chain is that of its last descriptor; the used one goes
 * to the chain's first place, and the rest of the places are skipped. */
TEST(virtqueue_2_8_6_packed_id_is_the_last_descriptors)
{
    struct vd d = {.qsize = 8};
    vd_up(&d, true, 0);
    struct vd_queue *q = &d.q[TX0];
    uint64_t at = vd_alloc(&d, 72, 1);
    const struct vd_raw r[] = {
        {at, 12, D_NEXT, 0}, {at + 12, 20, D_NEXT, 0}, {at + 32, 40, 0, 0}};
    vd_raw(q, r, 3);
    vd_desc(q, 0)->packed.id = 111;
    vd_desc(q, 1)->packed.id = 222;
    vd_desc(q, 2)->packed.id = 3;
    struct vd_desc second = *vd_desc(q, 1), third = *vd_desc(q, 2);
    vd_kick(&d, TX0);
    CHECK_EQ(vd_desc(q, 0)->packed.id, 3);
    CHECK_EQ(vd_desc(q, 0)->packed.flags & (D_AVAIL | D_USED),
             D_AVAIL | D_USED);
    CHECK_MEM(vd_desc(q, 1), &second, 16);
    CHECK_MEM(vd_desc(q, 2), &third, 16);
    uint8_t got[64];
    CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
    const struct vd_raw next = {at, 72, 0, 0}; /* at the fourth place */
    vd_raw(q, &next, 1);
    vd_kick(&d, TX0);
    CHECK_EQ(vd_desc(q, 3)->packed.flags & (D_AVAIL | D_USED),
             D_AVAIL | D_USED);
    vd_free(&d);
}

/* §2.8.1: a descriptor whose AVAIL and USED are the same, or that is a
 * lap away, is not available. */
TEST(virtqueue_2_8_1_packed_wrap_counters_start_at_one)
{
    struct vd d = {.qsize = 4};
    vd_up(&d, true, 0);
    struct vd_queue *q = &d.q[TX0];
    uint64_t at = vd_alloc(&d, 72, 1);
    static const uint16_t not_yet[] = {0, D_USED, D_AVAIL | D_USED};
    for (size_t i = 0; i < ARRAY_LEN(not_yet); i++) {
        *vd_desc(q, 0) = (struct vd_desc){.addr = at, .len = 72};
        vd_desc(q, 0)->packed.flags = not_yet[i];
        vd_kick(&d, TX0);
        CHECK_EQ(fake_net_sends(d.net), 0);
        CHECK_EQ(vd_desc(q, 0)->packed.flags, not_yet[i]);
    }
    vd_desc(q, 0)->packed.flags = D_AVAIL;
    vd_kick(&d, TX0);
    CHECK_EQ(fake_net_sends(d.net), 1);
    CHECK_EQ(vd_desc(q, 0)->packed.flags, D_AVAIL | D_USED);
    vd_free(&d);
}
