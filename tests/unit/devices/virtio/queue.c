/* SPDX-License-Identifier: MIT */
/* Virtqueues, split and packed: virtio 1.2 sections in the names. */
#include "devices/virtio/queue.h"

#include <errno.h>

#include "tests/unit/devices/virtio/ring.h"

#define RAM (1u << 20)
#define BASE 0x10000
#define BUF 0x80000
#define SIZE 8

#define F(bit) (1ull << VIRTIO_F_##bit)

static struct virtqueue vq;
static struct ring r;
static struct iovec iov[64];
static struct vq_chain c;

static struct machine *start(uint64_t features, uint16_t size)
{
    struct machine *m = fake_new(RAM);
    vq = (struct virtqueue){.size = size, .size_max = 256};
    r = ring_at(m, BASE, size);
    vq.desc_gpa = r.desc;
    vq.avail_gpa = r.avail;
    vq.used_gpa = r.used;
    REQUIRE_EQ(vq_enable(&vq, &m->ram, features), 0);
    return m;
}

static enum vq_got pop(void)
{
    return vq_pop(&vq, &c, iov, (int)ARRAY_LEN(iov));
}

/* ------------------------------------------------------------------ enable */

TEST(virtqueue_2_7_enable_checks_size_alignment_and_place)
{
    struct machine *m = fake_new(RAM);
    static const struct {
        uint16_t size;
        uint64_t desc, avail, used;
        int err;
    } rows[] = {
        {8, 0x1000, 0x2000, 0x3000, 0},
        {0, 0x1000, 0x2000, 0x3000, -EINVAL},
        {7, 0x1000, 0x2000, 0x3000, -EINVAL},
        {512, 0x1000, 0x4000, 0x5000, -EINVAL}, /* over size_max */
        {8, 0x1008, 0x2000, 0x3000, -EINVAL},
        {8, 0x1000, 0x2001, 0x3000, -EINVAL},
        {8, 0x1000, 0x2000, 0x3002, -EINVAL},
        {8, RAM - 112, 0x2000, 0x3000, -EINVAL},
        {8, RAM - 128, 0x2000, 0x3000, 0},
        {8, 0x1000, RAM - 20, 0x3000, -EINVAL}, /* used_event counts */
        {8, 0x1000, 0x2000, RAM - 68, -EINVAL},
        {8, ~0ull - 15, 0x2000, 0x3000, -EINVAL},
        {8, 0x1000, ~1ull, 0x3000, -EINVAL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        vq = (struct virtqueue){.size = rows[i].size,
                                .size_max = 256,
                                .desc_gpa = rows[i].desc,
                                .avail_gpa = rows[i].avail,
                                .used_gpa = rows[i].used};
        if (vq_enable(&vq, &m->ram, 0) != rows[i].err)
            FAIL("row %zu", i);
    }
    fake_free(m);
}

TEST(virtqueue_enable_twice_is_refused)
{
    struct machine *m = start(0, SIZE);
    CHECK_EQ(vq_enable(&vq, &m->ram, 0), -EINVAL);
    vq_reset(&vq);
    CHECK_EQ(vq.state, VQ_OFF);
    CHECK_EQ(vq.size, 256);
    CHECK_EQ(pop(), VQ_EMPTY);
    CHECK(!vq_more(&vq));
    fake_free(m);
}

TEST(virtqueue_2_8_10_packed_takes_any_size)
{
    struct machine *m = start(F(RING_PACKED), 7);
    CHECK_EQ(vq.state, VQ_READY);
    fake_free(m);
}

/* ---------------------------------------------------------- split: popping */

TEST(virtqueue_2_7_13_pop_push_and_used_index)
{
    struct machine *m = start(0, SIZE);
    uint32_t id, len;
    CHECK_EQ(pop(), VQ_EMPTY);
    ring_desc(&r, 3, BUF, 100, D_NEXT, 5);
    ring_desc(&r, 5, BUF + 1000, 200, D_WRITE, 0);
    ring_offer(&r, 3);
    REQUIRE_EQ(pop(), VQ_CHAIN);
    CHECK_EQ(c.id, 3);
    CHECK_EQ(c.nr, 1);
    CHECK_EQ(c.nw, 1);
    CHECK_EQ(c.rlen, 100);
    CHECK_EQ(c.wlen, 200);
    CHECK(iov[0].iov_base == fake_ram(m, BUF, 100));
    CHECK(iov[1].iov_base == fake_ram(m, BUF + 1000, 200));
    vq_push(&vq, &c, 42);
    CHECK(!ring_take(&r, &id, &len)); /* not before the flush */
    vq_flush(&vq);
    REQUIRE(ring_take(&r, &id, &len));
    CHECK_EQ(id, 3);
    CHECK_EQ(len, 42);
    CHECK_EQ(pop(), VQ_EMPTY);
    fake_free(m);
}

TEST(virtqueue_undo_gives_the_same_chain_again)
{
    struct machine *m = start(0, SIZE);
    for (uint16_t i = 0; i < 2; i++) {
        ring_desc(&r, i, BUF, 10, 0, 0);
        ring_offer(&r, i);
    }
    REQUIRE_EQ(pop(), VQ_CHAIN);
    vq_undo_pop(&vq, &c);
    CHECK_EQ(vq.inflight, 0);
    REQUIRE_EQ(pop(), VQ_CHAIN);
    CHECK_EQ(c.id, 0);
    fake_free(m);
}

TEST(virtqueue_indices_wrap_at_65536)
{
    struct machine *m = start(0, SIZE);
    uint32_t id, len;
    ring_desc(&r, 1, BUF, 10, 0, 0);
    for (int i = 0; i < 70000; i++) {
        ring_offer(&r, 1);
        REQUIRE_EQ(pop(), VQ_CHAIN);
        vq_push(&vq, &c, 0);
        vq_flush(&vq);
        REQUIRE(ring_take(&r, &id, &len));
    }
    CHECK_EQ(vq.state, VQ_READY);
    fake_free(m);
}

TEST(virtqueue_2_7_4_more_pieces_than_fit_takes_nothing)
{
    struct machine *m = start(0, SIZE);
    for (uint16_t i = 0; i < 4; i++)
        ring_desc(&r, i, BUF, 10, i < 3 ? D_NEXT : 0, i + 1);
    ring_offer(&r, 0);
    CHECK_EQ(vq_pop(&vq, &c, iov, 3), VQ_FULL_IOV);
    CHECK_EQ(vq.state, VQ_READY);
    CHECK_EQ(vq.inflight, 0);
    CHECK_EQ(vq_pop(&vq, &c, iov, 4), VQ_CHAIN);
    CHECK_EQ(c.nr, 4);
    fake_free(m);
}

TEST(virtqueue_2_7_5_3_indirect)
{
    struct machine *m = start(F(INDIRECT_DESC), SIZE);
    uint64_t table = 0x40000;
    desc_put(m, table, BUF, 1, D_NEXT, 2);
    desc_put(m, table + 32, BUF + 1, 2, D_NEXT | D_WRITE, 1);
    desc_put(m, table + 16, BUF + 3, 3, D_WRITE, 77);
    ring_desc(&r, 0, table, 48, D_INDIRECT, 0);
    ring_offer(&r, 0);
    REQUIRE_EQ(pop(), VQ_CHAIN);
    CHECK_EQ(c.nr, 1);
    CHECK_EQ(c.nw, 2);
    CHECK_EQ(iov[1].iov_len, 2);
    CHECK_EQ(iov[2].iov_len, 3);
    CHECK_EQ(c.ndesc, 1);
    fake_free(m);
}

/* A table entry before the indirect one is allowed on the device's side. */
TEST(virtqueue_zero_length_pieces_are_skipped)
{
    struct machine *m = start(0, SIZE);
    ring_desc(&r, 0, 0, 0, D_NEXT, 1);
    ring_desc(&r, 1, BUF, 5, D_NEXT, 2);
    ring_desc(&r, 2, ~0ull, 0, 0, 0);
    ring_offer(&r, 0);
    REQUIRE_EQ(pop(), VQ_CHAIN);
    CHECK_EQ(c.nr, 1);
    CHECK_EQ(c.rlen, 5);
    fake_free(m);
}

/* ------------------------------------------------- split: what breaks it */

struct breakage {
    const char *name;
    uint64_t features;
    void (*offer)(struct machine *m);
};

static void b_head(struct machine *m)
{
    (void)m;
    ring_offer(&r, SIZE);
}
static void b_next(struct machine *m)
{
    (void)m;
    ring_desc(&r, 0, BUF, 1, D_NEXT, SIZE);
    ring_offer(&r, 0);
}
static void b_loop(struct machine *m)
{
    (void)m;
    ring_desc(&r, 0, BUF, 1, D_NEXT, 1);
    ring_desc(&r, 1, BUF, 1, D_NEXT, 0);
    ring_offer(&r, 0);
}
static void b_self_loop_empty(struct machine *m)
{
    (void)m;
    ring_desc(&r, 0, BUF, 0, D_NEXT, 0);
    ring_offer(&r, 0);
}
static void b_outside(struct machine *m)
{
    (void)m;
    ring_desc(&r, 0, RAM - 4, 5, 0, 0);
    ring_offer(&r, 0);
}
static void b_wraps(struct machine *m)
{
    (void)m;
    ring_desc(&r, 0, ~0ull - 3, 8, 0, 0);
    ring_offer(&r, 0);
}
static void b_order(struct machine *m)
{
    (void)m;
    ring_desc(&r, 0, BUF, 1, D_NEXT | D_WRITE, 1);
    ring_desc(&r, 1, BUF, 1, 0, 0);
    ring_offer(&r, 0);
}
static void b_jump(struct machine *m)
{
    (void)m;
    ring_put16(&r, r.avail + 2, SIZE + 1);
}
static void b_indirect(struct machine *m)
{
    desc_put(m, 0x40000, BUF, 1, 0, 0);
    ring_desc(&r, 0, 0x40000, 16, D_INDIRECT, 0);
    ring_offer(&r, 0);
}
static void b_indirect_next(struct machine *m)
{
    desc_put(m, 0x40000, BUF, 1, 0, 0);
    ring_desc(&r, 0, 0x40000, 16, D_INDIRECT | D_NEXT, 1);
    ring_offer(&r, 0);
}
static void b_indirect_length(struct machine *m)
{
    (void)m;
    ring_desc(&r, 0, 0x40000, 24, D_INDIRECT, 0);
    ring_offer(&r, 0);
}
static void b_indirect_empty(struct machine *m)
{
    (void)m;
    ring_desc(&r, 0, 0x40000, 0, D_INDIRECT, 0);
    ring_offer(&r, 0);
}
static void b_indirect_outside(struct machine *m)
{
    (void)m;
    ring_desc(&r, 0, RAM - 16, 32, D_INDIRECT, 0);
    ring_offer(&r, 0);
}
static void b_indirect_nested(struct machine *m)
{
    desc_put(m, 0x40000, 0x40000, 16, D_INDIRECT, 0);
    ring_desc(&r, 0, 0x40000, 16, D_INDIRECT, 0);
    ring_offer(&r, 0);
}
static void b_indirect_index(struct machine *m)
{
    desc_put(m, 0x40000, BUF, 1, D_NEXT, 2);
    desc_put(m, 0x40010, BUF, 1, 0, 0);
    ring_desc(&r, 0, 0x40000, 32, D_INDIRECT, 0);
    ring_offer(&r, 0);
}
static void b_indirect_loop(struct machine *m)
{
    desc_put(m, 0x40000, BUF, 0, D_NEXT, 1);
    desc_put(m, 0x40010, BUF, 0, D_NEXT, 0);
    ring_desc(&r, 0, 0x40000, 32, D_INDIRECT, 0);
    ring_offer(&r, 0);
}

static const struct breakage breakages[] = {
    {"head out of range", 0, b_head},
    {"next out of range", 0, b_next},
    {"loop", 0, b_loop},
    {"loop of empty pieces", 0, b_self_loop_empty},
    {"outside of RAM", 0, b_outside},
    {"address wraps", 0, b_wraps},
    {"readable after writable", 0, b_order},
    {"avail.idx jumps", 0, b_jump},
    {"indirect not negotiated", 0, b_indirect},
    {"indirect and NEXT", F(INDIRECT_DESC), b_indirect_next},
    {"indirect, odd length", F(INDIRECT_DESC), b_indirect_length},
    {"indirect, empty", F(INDIRECT_DESC), b_indirect_empty},
    {"indirect outside of RAM", F(INDIRECT_DESC), b_indirect_outside},
    {"indirect nested", F(INDIRECT_DESC), b_indirect_nested},
    {"indirect index", F(INDIRECT_DESC), b_indirect_index},
    {"indirect loop", F(INDIRECT_DESC), b_indirect_loop},
};

TEST(virtqueue_h_guest_faults_break_the_queue_for_good)
{
    for (size_t i = 0; i < ARRAY_LEN(breakages); i++) {
        struct machine *m = start(breakages[i].features, SIZE);
        breakages[i].offer(m);
        if (pop() != VQ_FAULT || vq.state != VQ_BROKEN || !vq.fault)
            FAIL("%s: not noticed", breakages[i].name);
        /* nothing is touched any more */
        ring_desc(&r, 0, BUF, 1, 0, 0);
        ring_offer(&r, 0);
        CHECK_EQ(pop(), VQ_FAULT);
        CHECK(!vq_more(&vq));
        CHECK(!vq_rearm(&vq));
        CHECK(!vq_irq_wanted(&vq));
        vq_flush(&vq);
        CHECK_EQ(ring_get16(&r, r.used + 2), 0);
        vq_reset(&vq);
        CHECK_EQ(vq.state, VQ_OFF);
        fake_free(m);
    }
}

TEST(virtqueue_h_one_buffer_offered_for_ever_is_bounded)
{
    struct machine *m = start(0, SIZE);
    ring_desc(&r, 0, BUF, 1, 0, 0);
    int n = 0;
    for (int i = 0; i < 100; i++) {
        ring_offer(&r, 0); /* never waits for the used ring */
        if (pop() != VQ_CHAIN)
            break;
        n++;
    }
    CHECK(n <= SIZE);
    fake_free(m);
}

/* --------------------------------------------------- split: notifications */

static void one(void)
{
    ring_desc(&r, 0, BUF, 1, 0, 0);
    ring_offer(&r, 0);
    REQUIRE_EQ(pop(), VQ_CHAIN);
    vq_push(&vq, &c, 0);
}

TEST(virtqueue_2_7_7_1_flag_suppresses_irqs)
{
    struct machine *m = start(0, SIZE);
    CHECK(!vq_irq_wanted(&vq)); /* nothing was pushed */
    one();
    vq_flush(&vq);
    CHECK(vq_irq_wanted(&vq));
    CHECK(!vq_irq_wanted(&vq));
    ring_put16(&r, r.avail, 1);
    one();
    vq_flush(&vq);
    CHECK(!vq_irq_wanted(&vq));
    fake_free(m);
}

TEST(virtqueue_2_7_7_2_used_event_holds_irq)
{
    struct machine *m = start(F(EVENT_IDX), SIZE);
    ring_put16(&r, r.avail, 1); /* the flag counts no more */
    ring_used_event(&r, 2);
    for (int i = 0; i < 2; i++) {
        one();
        vq_flush(&vq);
        CHECK(!vq_irq_wanted(&vq));
    }
    one(); /* the entry 2 */
    vq_flush(&vq);
    CHECK(vq_irq_wanted(&vq));
    one();
    vq_flush(&vq);
    CHECK(!vq_irq_wanted(&vq));
    fake_free(m);
}

TEST(virtqueue_2_7_7_2_used_event_inside_a_batch_and_across_the_wrap)
{
    struct machine *m = start(F(EVENT_IDX), SIZE);
    for (unsigned done = 0; done < 65536 * 2; done += 4) {
        ring_used_event(&r, (uint16_t)(done + 2));
        for (int i = 0; i < 4; i++)
            one();
        vq_flush(&vq);
        REQUIRE(vq_irq_wanted(&vq));
        ring_used_event(&r, (uint16_t)(done + 3 - 4)); /* passed before */
        REQUIRE(!vq_irq_wanted(&vq));
    }
    fake_free(m);
}

TEST(virtqueue_2_7_10_kicks_off_and_on)
{
    struct machine *m = start(0, SIZE);
    vq_kicks_off(&vq);
    CHECK_EQ(ring_get16(&r, r.used), 1);
    CHECK(!vq_rearm(&vq));
    CHECK_EQ(ring_get16(&r, r.used), 0);
    ring_desc(&r, 0, BUF, 1, 0, 0);
    ring_offer(&r, 0);
    CHECK(vq_rearm(&vq)); /* a wake-up that came in between */
    fake_free(m);
}

TEST(virtqueue_2_7_10_avail_event_asks_for_the_next)
{
    struct machine *m = start(F(EVENT_IDX), SIZE);
    one();
    one();
    CHECK(!vq_rearm(&vq));
    CHECK_EQ(ring_avail_event(&r), 2);
    vq_kicks_off(&vq);
    CHECK_EQ(ring_get16(&r, r.used), 0); /* §2.7.10.2: flags stay 0 */
    fake_free(m);
}

/* ------------------------------------------------------------------ packed */

TEST(virtqueue_2_8_packed_goes_round_with_wrap_counters)
{
    struct machine *m = start(F(RING_PACKED), 5);
    uint32_t id, len;
    for (uint16_t i = 0; i < 1000; i++) {
        CHECK_EQ(pop(), VQ_EMPTY);
        packed_offer(&r, BUF, 10, i, D_NEXT);
        packed_offer(&r, BUF + 10, 20, i, D_WRITE);
        REQUIRE_EQ(pop(), VQ_CHAIN);
        REQUIRE_EQ(c.id, i);
        CHECK_EQ(c.ndesc, 2);
        CHECK_EQ(c.nr, 1);
        CHECK_EQ(c.nw, 1);
        vq_push(&vq, &c, 7);
        REQUIRE(!packed_take(&r, &id, &len, 2));
        vq_flush(&vq);
        REQUIRE(packed_take(&r, &id, &len, 2));
        CHECK_EQ(id, i);
        CHECK_EQ(len, 7);
    }
    fake_free(m);
}

TEST(virtqueue_2_8_packed_batch_is_published_by_its_first_entry)
{
    struct machine *m = start(F(RING_PACKED), 8);
    uint32_t id, len;
    for (uint16_t i = 0; i < 3; i++)
        packed_offer(&r, BUF, 10, i, D_WRITE);
    for (int i = 0; i < 3; i++) {
        REQUIRE_EQ(pop(), VQ_CHAIN);
        vq_push(&vq, &c, 1);
    }
    CHECK(!packed_take(&r, &id, &len, 1));
    vq_flush(&vq);
    for (uint32_t i = 0; i < 3; i++) {
        REQUIRE(packed_take(&r, &id, &len, 1));
        CHECK_EQ(id, i);
    }
    fake_free(m);
}

TEST(virtqueue_2_8_packed_undo)
{
    struct machine *m = start(F(RING_PACKED), 3);
    for (int turn = 0; turn < 10; turn++) {
        uint32_t id, len;
        packed_offer(&r, BUF, 1, 9, D_NEXT);
        packed_offer(&r, BUF, 1, 9, 0);
        REQUIRE_EQ(pop(), VQ_CHAIN);
        vq_undo_pop(&vq, &c);
        REQUIRE_EQ(pop(), VQ_CHAIN);
        CHECK_EQ(c.id, 9);
        vq_push(&vq, &c, 0);
        vq_flush(&vq);
        REQUIRE(packed_take(&r, &id, &len, 2));
    }
    fake_free(m);
}

TEST(virtqueue_2_8_packed_faults_break_the_queue)
{
    static const struct {
        uint64_t addr;
        uint32_t len;
        uint16_t flags;
    } rows[] = {
        {RAM, 1, 0},
        {~0ull, 2, 0},
        {0x40000, 16, D_INDIRECT}, /* not negotiated */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct machine *m = start(F(RING_PACKED), 4);
        packed_offer(&r, rows[i].addr, rows[i].len, 0, rows[i].flags);
        CHECK_EQ(pop(), VQ_FAULT);
        CHECK_EQ(vq.state, VQ_BROKEN);
        fake_free(m);
    }
}

TEST(virtqueue_2_8_packed_chain_without_end)
{
    struct machine *m = start(F(RING_PACKED), 4);
    for (int i = 0; i < 4; i++)
        packed_offer(&r, BUF, 1, 0, D_NEXT);
    enum vq_got got = pop();
    CHECK(got == VQ_FAULT || got == VQ_EMPTY); /* not a loop, not a crash */
    fake_free(m);
}

TEST(virtqueue_2_8_7_packed_indirect)
{
    struct machine *m = start(F(RING_PACKED) | F(INDIRECT_DESC), 4);
    desc_put(m, 0x40000, BUF, 1, 0, 0);
    desc_put(m, 0x40010, BUF + 1, 2, 0, D_WRITE);
    packed_offer(&r, 0x40000, 32, 3, D_INDIRECT);
    REQUIRE_EQ(pop(), VQ_CHAIN);
    CHECK_EQ(c.id, 3);
    CHECK_EQ(c.ndesc, 1);
    CHECK_EQ(c.nr, 1);
    CHECK_EQ(c.nw, 1);
    fake_free(m);
}

TEST(virtqueue_2_8_10_packed_event_suppression)
{
    struct machine *m = start(F(RING_PACKED) | F(EVENT_IDX), 4);
    packed_offer(&r, BUF, 1, 0, 0);
    ring_put16(&r, r.avail + 2, 1); /* driver area: disable */
    REQUIRE_EQ(pop(), VQ_CHAIN);
    vq_push(&vq, &c, 0);
    vq_flush(&vq);
    CHECK(!vq_irq_wanted(&vq));
    ring_put16(&r, r.avail + 2, 2);       /* at a descriptor: */
    ring_put16(&r, r.avail, 1 << 15 | 2); /* slot 2, this round */
    packed_offer(&r, BUF, 1, 1, 0);
    REQUIRE_EQ(pop(), VQ_CHAIN);
    vq_push(&vq, &c, 0);
    vq_flush(&vq);
    CHECK(!vq_irq_wanted(&vq));
    packed_offer(&r, BUF, 1, 2, 0);
    REQUIRE_EQ(pop(), VQ_CHAIN);
    vq_push(&vq, &c, 0);
    vq_flush(&vq);
    CHECK(vq_irq_wanted(&vq));
    vq_kicks_off(&vq);
    CHECK_EQ(ring_get16(&r, r.used + 2), 1);
    CHECK(!vq_rearm(&vq));
    CHECK_NE(ring_get16(&r, r.used + 2), 1);
    fake_free(m);
}
