/* SPDX-License-Identifier: MIT */
/* virtio-blk's requests (virtio 1.2 §5.2.6): what each does, in any layout, and
 * what is refused; how they are shown. */
#include <errno.h>

#include "tests/unit/fakedisk.h"

#define EVENT_IDX F(VIRTIO_F_EVENT_IDX)
#define INDIRECT F(VIRTIO_F_INDIRECT_DESC)
#define FLUSH F(VIRTIO_BLK_F_FLUSH)
#define WCE F(VIRTIO_BLK_F_CONFIG_WCE)
#define WRITEBACK 32 /* in the configuration */

/* ------------------------------------------------------------- each kind */

BOTH_RINGS(vblk_5_2_6_in_and_out_move_data_and_say_how_much)
{
    struct bd b = {0};
    bd_up(&b, packed, FLUSH);
    bd_check_alive(&b);
    CHECK_EQ(b.f->ops[BLK_WRITE], 1);
    CHECK_EQ(b.f->ops[BLK_READ], 1);
    CHECK_EQ(b.f->ops[BLK_FLUSH], 0);
    bd_free(&b);
}

BOTH_RINGS(vblk_5_2_6_flush_reaches_the_drive_and_fails_with_it)
{
    struct bd b = {0};
    bd_up(&b, packed, FLUSH);
    struct bd_req r = bd_put(&b, 0, BLK_T_FLUSH, 0, 0);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->ops[BLK_FLUSH], 1);
    CHECK_EQ(bd_status(&b, &r), ST_NONE); /* not before it is done */
    CHECK_EQ(vd_reap(&b.d.q[0]), 0);
    fake_blk_end(b.f, 0, 0);
    CHECK_EQ(bd_status(&b, &r), ST_OK);
    CHECK_EQ(vd_reap(&b.d.q[0]), 1);
    r = bd_put(&b, 0, BLK_T_FLUSH, 0, 0);
    vd_kick(&b.d, 0);
    fake_blk_end(b.f, 0, -EIO);
    CHECK_EQ(bd_status(&b, &r), ST_IOERR);
    bd_free(&b);
}

/* 20 bytes, with no end mark where all of them are letters. */
TEST(vblk_5_2_6_get_id_is_the_serial)
{
    static const struct {
        const char *disk, *drive, *want;
        uint32_t room;
    } rows[] = {
        {"serial=abc", NULL, "abc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20},
        {NULL, NULL, "fake-serial\0\0\0\0\0\0\0\0\0", 20},
        {NULL, "serial=of-the-drive", "of-the-drive\0\0\0\0\0\0\0\0", 20},
        {"serial=01234567890123456789", NULL, "01234567890123456789", 20},
        {"serial=0123456789012345678901234", NULL, "01234567890123456789", 20},
        {"serial=01234567890123456789", NULL, "0123456", 7},
        {"serial=abc", NULL, "abc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xaa", 21},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bd b = {.d.opts = rows[i].disk, .drive = rows[i].drive};
        uint32_t used;
        bd_up(&b, false, 0);
        struct bd_req r = bd_put(&b, 0, BLK_GET_ID, 0, rows[i].room);
        memset(vd_ram(&b.d, r.data, rows[i].room), 0xaa, rows[i].room);
        CHECK_EQ(bd_finish(&b, &r, &used), ST_OK);
        CHECK_EQ(used, 1 + (rows[i].room < 20 ? rows[i].room : 20));
        CHECK_MEM(vd_ram(&b.d, r.data, rows[i].room), rows[i].want,
                  rows[i].room);
        CHECK_EQ(b.f->submits, 0);
        bd_free(&b);
    }
}

BOTH_RINGS(vblk_5_2_6_discard_and_write_zeroes_reach_the_drive)
{
    struct bd b = {0};
    uint32_t used;
    bd_up(&b, packed, F(VIRTIO_BLK_F_DISCARD) | F(VIRTIO_BLK_F_WRITE_ZEROES));
    memset(b.f->bytes, 0x11, FB_SIZE);
    struct bd_req r = bd_put_seg(&b, BLK_T_DISCARD, 8, 8, 0);
    CHECK_EQ(bd_finish(&b, &r, &used), ST_OK);
    CHECK_EQ(used, 1);
    CHECK_EQ(b.f->bytes[8 * 512 - 1], 0x11);
    CHECK_EQ(b.f->bytes[8 * 512], 0xdd);
    CHECK_EQ(b.f->bytes[16 * 512 - 1], 0xdd);
    CHECK_EQ(b.f->bytes[16 * 512], 0x11);
    for (uint32_t unmap = 0; unmap < 2; unmap++) {
        r = bd_put_seg(&b, BLK_T_ZEROES, 32, 3, unmap);
        CHECK_EQ(bd_finish(&b, &r, NULL), ST_OK);
        CHECK_EQ(b.f->bytes[32 * 512], 0);
        CHECK_EQ(b.f->bytes[35 * 512 - 1], 0);
        CHECK_EQ(b.f->bytes[35 * 512], 0x11);
        CHECK_EQ(b.f->last_unmap, unmap);
    }
    CHECK_EQ(b.f->ops[BLK_DISCARD], 1);
    CHECK_EQ(b.f->ops[BLK_READ] + b.f->ops[BLK_WRITE], 0);
    bd_free(&b);
}

static void no_unmap(struct fake_blk *f)
{
    f->b.zero_may_unmap = false;
}

TEST(vblk_5_2_6_unmap_of_a_drive_that_cannot_is_left_out)
{
    struct bd b = {.bend = no_unmap};
    bd_up(&b, false, F(VIRTIO_BLK_F_WRITE_ZEROES));
    CHECK_EQ(bd_config(&b, 56, 1), 0);
    struct bd_req r = bd_put_seg(&b, BLK_T_ZEROES, 0, 8, 1);
    CHECK_EQ(bd_finish(&b, &r, NULL), ST_OK);
    CHECK(!b.f->last_unmap);
    bd_free(&b);
}

/* An unknown one is not a read. Nothing reaches the drive. */
BOTH_RINGS(vblk_5_2_6_unknown_types_are_unsupported)
{
    static const uint32_t types[] = {2,  3,  5,  6,   7,          9,
                                     10, 12, 14, 255, 0x80000000, UINT32_MAX};
    struct bd b = {0};
    bd_up(&b, packed, 0);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        uint32_t used;
        struct bd_req r = bd_put(&b, 0, types[i], 0, 512);
        memset(vd_ram(&b.d, r.data, 512), 0xaa, 512);
        CHECK_EQ(bd_finish(&b, &r, &used), ST_UNSUPP);
        CHECK_EQ(used, 1);
        CHECK_EQ(*(uint8_t *)vd_ram(&b.d, r.data, 1), 0xaa);
    }
    CHECK_EQ(b.f->submits, 0);
    CHECK_EQ(vd_count(&b.d, "unsupported"), ARRAY_LEN(types));
    bd_free(&b);
}

/* -------------------------------------------------------------- what fails */

/* Beyond the end, by any arithmetic; not whole sectors. */
BOTH_RINGS(vblk_5_2_6_ranges_are_checked_without_overflow)
{
    static const struct {
        uint64_t sector;
        uint32_t len;
        uint8_t status;
    } rows[] = {
        {FB_SECTORS - 1, 512, ST_OK},
        {FB_SECTORS - 1, 1024, ST_IOERR},
        {FB_SECTORS, 512, ST_IOERR},
        {FB_SECTORS, 0, ST_OK},
        {FB_SECTORS + 1, 0, ST_IOERR},
        {0, FB_SIZE, ST_OK},
        {0, FB_SIZE + 512, ST_IOERR},
        {UINT64_MAX, 512, ST_IOERR},
        {UINT64_MAX / 512, 512, ST_IOERR},
        {UINT64_MAX / 512 + 1, 512, ST_IOERR},
        {1ull << 55, 512, ST_IOERR},
        {0, 511, ST_IOERR},
        {0, 513, ST_IOERR},
        {0, 1, ST_IOERR},
    };
    struct bd b = {0};
    unsigned done = 0, refused = 0;
    bd_up(&b, packed, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (uint32_t type = BLK_IN; type <= BLK_OUT; type++) {
            uint64_t brk = b.d.brk;
            struct bd_req r = bd_put(&b, 0, type, rows[i].sector, rows[i].len);
            CHECK_EQ(bd_finish(&b, &r, NULL), rows[i].status);
            done += rows[i].status == ST_OK && rows[i].len;
            refused += rows[i].status != ST_OK;
            b.d.brk = brk;
        }
    CHECK_EQ(b.f->ops[BLK_READ] + b.f->ops[BLK_WRITE], done);
    CHECK_EQ(vd_count(&b.d, "failed"), refused);
    bd_free(&b);
}

TEST(vblk_5_2_6_2_ranges_and_flags_of_discard_and_write_zeroes)
{
    static const struct {
        uint64_t sector;
        uint32_t num, flags;
        uint8_t discard, zeroes;
    } rows[] = {
        {0, 8, 0, ST_OK, ST_OK},
        {0, 0, 0, ST_OK, ST_OK},
        {0, 8, 1, ST_UNSUPP, ST_OK},
        {0, 8, 2, ST_UNSUPP, ST_UNSUPP},
        {0, 8, 0x80000000, ST_UNSUPP, ST_UNSUPP},
        {FB_SECTORS - 8, 8, 0, ST_OK, ST_OK},
        {FB_SECTORS - 8, 9, 0, ST_IOERR, ST_IOERR},
        {FB_SECTORS, 1, 0, ST_IOERR, ST_IOERR},
        {UINT64_MAX, 8, 0, ST_IOERR, ST_IOERR},
        {UINT64_MAX / 512 + 1, 8, 0, ST_IOERR, ST_IOERR},
        {8, UINT32_MAX, 0, ST_IOERR, ST_IOERR},
    };
    struct bd b = {0};
    bd_up(&b, false, F(VIRTIO_BLK_F_DISCARD) | F(VIRTIO_BLK_F_WRITE_ZEROES));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bd_req r = bd_put_seg(&b, BLK_T_DISCARD, rows[i].sector,
                                     rows[i].num, rows[i].flags);
        CHECK_EQ(bd_finish(&b, &r, NULL), rows[i].discard);
        r = bd_put_seg(&b, BLK_T_ZEROES, rows[i].sector, rows[i].num,
                       rows[i].flags);
        CHECK_EQ(bd_finish(&b, &r, NULL), rows[i].zeroes);
    }
    bd_free(&b);
}

static void small_limits(struct fake_blk *f)
{
    f->b.max_discard = 16 * 512;
    f->b.max_zero = 4 * 512;
}

/* As many sectors, and segments, as was said. */
TEST(vblk_5_2_6_2_limits_of_discard_and_write_zeroes)
{
    struct bd b = {.bend = small_limits};
    bd_up(&b, false, F(VIRTIO_BLK_F_DISCARD) | F(VIRTIO_BLK_F_WRITE_ZEROES));
    CHECK_EQ(bd_config(&b, 36, 4), 16);
    CHECK_EQ(bd_config(&b, 48, 4), 4);
    struct bd_req r = bd_put_seg(&b, BLK_T_DISCARD, 0, 16, 0);
    CHECK_EQ(bd_finish(&b, &r, NULL), ST_OK);
    r = bd_put_seg(&b, BLK_T_DISCARD, 0, 17, 0);
    CHECK_EQ(bd_finish(&b, &r, NULL), ST_IOERR);
    r = bd_put_seg(&b, BLK_T_ZEROES, 0, 5, 0);
    CHECK_EQ(bd_finish(&b, &r, NULL), ST_IOERR);
    for (uint32_t len = 0; len <= 32; len += 8) { /* segments of 16 bytes */
        if (len == 16)
            continue;
        r = bd_put(&b, 0, BLK_OUT, 0, len);
        *(uint8_t *)vd_ram(&b.d, r.head, 1) = BLK_T_DISCARD;
        CHECK_EQ(bd_finish(&b, &r, NULL), ST_IOERR);
    }
    CHECK_EQ(b.f->submits, 1);
    bd_free(&b);
}

static void no_discard(struct fake_blk *f)
{
    f->b.can_discard = f->b.can_zero = false;
}

TEST(vblk_5_2_6_discard_of_a_drive_that_cannot_is_unsupported)
{
    struct bd b = {.bend = no_discard};
    bd_up(&b, false, 0);
    CHECK_EQ(vd_offered(&b.d) &
                 (F(VIRTIO_BLK_F_DISCARD) | F(VIRTIO_BLK_F_WRITE_ZEROES)),
             0);
    struct bd_req r = bd_put_seg(&b, BLK_T_DISCARD, 0, 8, 0);
    CHECK_EQ(bd_finish(&b, &r, NULL), ST_UNSUPP);
    r = bd_put_seg(&b, BLK_T_ZEROES, 0, 8, 0);
    CHECK_EQ(bd_finish(&b, &r, NULL), ST_UNSUPP);
    CHECK_EQ(b.f->submits, 0);
    bd_free(&b);
}

/* It turned out only now that it cannot. */
TEST(vblk_5_2_6_what_the_drive_does_not_support_is_said_so)
{
    struct bd b = {0};
    bd_up(&b, false, F(VIRTIO_BLK_F_DISCARD));
    struct bd_req r = bd_put_seg(&b, BLK_T_DISCARD, 0, 8, 0);
    vd_kick(&b.d, 0);
    fake_blk_end(b.f, 0, -EOPNOTSUPP);
    CHECK_EQ(bd_status(&b, &r), ST_UNSUPP);
    bd_free(&b);
}

/* Though the driver did not accept RO. A flush is no write. */
BOTH_RINGS(vblk_5_2_6_2_read_only_refuses_writes_and_takes_flushes)
{
    struct bd b = {.drive = "read-only=on"};
    bd_up(&b, packed, 0);
    CHECK_EQ(vd_offered(&b.d) & F(VIRTIO_BLK_F_RO), F(VIRTIO_BLK_F_RO));
    CHECK_EQ(vd_offered(&b.d) &
                 (F(VIRTIO_BLK_F_DISCARD) | F(VIRTIO_BLK_F_WRITE_ZEROES)),
             0);
    CHECK_EQ(bd_do(&b, BLK_OUT, 0, 512), ST_IOERR);
    CHECK_EQ(bd_do(&b, BLK_OUT, 0, 0), ST_IOERR);
    struct bd_req r = bd_put_seg(&b, BLK_T_DISCARD, 0, 8, 0);
    CHECK_EQ(bd_finish(&b, &r, NULL), ST_IOERR);
    r = bd_put_seg(&b, BLK_T_ZEROES, 0, 8, 0);
    CHECK_EQ(bd_finish(&b, &r, NULL), ST_IOERR);
    CHECK_EQ(b.f->submits, 0);
    CHECK_EQ(bd_do(&b, BLK_IN, 0, 512), ST_OK);
    CHECK_EQ(bd_do(&b, BLK_T_FLUSH, 0, 0), ST_OK);
    CHECK_EQ(b.f->submits, 2);
    bd_free(&b);
}

BOTH_RINGS(vblk_5_2_6_errors_of_the_drive_reach_the_driver)
{
    struct bd b = {0};
    bd_up(&b, packed, FLUSH);
    for (uint32_t type = BLK_IN; type <= BLK_OUT; type++) {
        int id;
        uint32_t used;
        struct bd_req r = bd_put(&b, 0, type, 0, 512);
        vd_kick(&b.d, 0);
        fake_blk_end(b.f, 0, type ? -ENOSPC : -EIO);
        CHECK_EQ(bd_status(&b, &r), ST_IOERR);
        REQUIRE(vd_used(&b.d.q[0], &id, &used));
        CHECK_EQ(used, 1); /* what is certain */
    }
    CHECK_EQ(vd_count(&b.d, "failed"), 2);
    bd_free(&b);
}

/* ------------------------------------------------------------------ layout */

/* Header, data and status cut anywhere: one piece each, byte by byte, and
 * pieces that belong to two of them. */
static void try_layout(struct bd *b, uint32_t type, uint32_t piece,
                       bool indirect)
{
    enum { HEAD = 16, DATA = 1024 };
    struct vd_buf buf[HEAD + DATA + 1];
    uint32_t readable = HEAD + (type == BLK_OUT ? DATA : 0);
    uint32_t writable = 1 + (type == BLK_IN ? DATA : 0), n = 0;
    uint64_t brk = b->d.brk, in = vd_alloc(&b->d, readable, 1);
    uint64_t out = vd_alloc(&b->d, writable, 1);
    uint8_t *p = vd_ram(&b->d, in, readable);
    uint8_t *w = vd_ram(&b->d, out, writable);
    p[0] = (uint8_t)type;
    p[8] = 5; /* the sector */
    for (unsigned i = HEAD; i < readable; i++)
        p[i] = (uint8_t)(i * 3 + piece);
    memset(w, 0xee, writable);
    for (uint32_t at = 0; at < readable; at += piece)
        buf[n++] = (struct vd_buf){
            in + at, readable - at < piece ? readable - at : piece, false};
    for (uint32_t at = 0; at < writable; at += piece)
        buf[n++] = (struct vd_buf){
            out + at, writable - at < piece ? writable - at : piece, true};
    struct bd_req r = {.status = out + writable - 1};
    struct vd_queue *q = &b->d.q[0];
    r.id = indirect ? vd_put_indirect(q, buf, n) : vd_put(q, buf, n);
    REQUIRE(r.id >= 0);
    vd_publish(q);
    uint32_t used;
    CHECK_EQ(bd_finish(b, &r, &used), ST_OK);
    CHECK_EQ(used, writable);
    if (type == BLK_IN)
        CHECK_MEM(w, b->f->bytes + 5 * 512, DATA);
    else
        CHECK_MEM(b->f->bytes + 5 * 512, p + HEAD, DATA);
    b->d.brk = brk;
}

BOTH_RINGS(vblk_2_7_4_requests_are_cut_anywhere)
{
    struct bd b = {.d.opts = "queue-size=1024"};
    bd_up(&b, packed, INDIRECT);
    for (uint32_t piece = 1; piece < 1100; piece += piece < 40 ? 1 : 97) {
        if (1041 / piece + 3 > 1024)
            continue;
        for (unsigned indirect = 0; indirect < 2; indirect++) {
            try_layout(&b, BLK_OUT, piece, indirect);
            try_layout(&b, BLK_IN, piece, indirect);
        }
    }
    bd_free(&b);
}

/* Bytes of the other direction that a request has no use for. */
TEST(vblk_2_7_4_more_than_a_request_needs)
{
    struct bd b = {0};
    bd_up(&b, false, 0);
    uint64_t head = vd_alloc(&b.d, 1024, 16), data = vd_alloc(&b.d, 1024, 16);
    struct vd_buf buf[] = {{head, 16 + 512, false}, {data, 513, true}};
    struct bd_req r = {.status = data + 512};
    memset(vd_ram(&b.d, data, 1024), 0xaa, 1024);
    for (unsigned type = BLK_IN; type <= BLK_OUT; type++) {
        *(uint8_t *)vd_ram(&b.d, head, 1) = (uint8_t)type;
        r.id = vd_add(&b.d.q[0], buf, 2);
        CHECK_EQ(bd_finish(&b, &r, NULL), ST_OK);
    }
    CHECK_EQ(*(uint8_t *)vd_ram(&b.d, data + 513, 1), 0xaa);
    bd_free(&b);
}

/* What cannot be answered: the device waits for a reset, and works then. */
BOTH_RINGS(vblk_2_1_2_malformed_requests_need_a_reset)
{
    static const struct {
        uint32_t readable, writable;
        const char *say;
    } rows[] = {
        {16, 0, "a byte for its status"}, {528, 0, "a byte for its status"},
        {15, 1, "a whole header"},        {0, 513, "a whole header"},
        {1, 0, "a whole header"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bd b = {0};
        bd_up(&b, packed, 0);
        uint64_t at = vd_alloc(&b.d, 2048, 16);
        struct vd_buf buf[2] = {{at, rows[i].readable, false},
                                {at + 1024, rows[i].writable, true}};
        vd_add(&b.d.q[0], rows[i].readable ? buf : buf + 1,
               !!rows[i].readable + !!rows[i].writable);
        vd_kick(&b.d, 0);
        CHECK_HAS(test_log(), rows[i].say);
        CHECK_EQ(vd_count(&b.d, "guest_faults"), 1);
        vd_kick(&b.d, 0);
        CHECK_EQ(vd_count(&b.d, "guest_faults"), 1);
        vd_check_broken(&b.d);
        bd_check_alive(&b);
        bd_free(&b);
    }
}

/* §2.7.5.3.1: in more pieces than the ring has entries. */
TEST(vblk_2_7_5_3_1_a_request_longer_than_its_queue_needs_a_reset)
{
    struct bd b = {.d.opts = "queue-size=8"};
    struct vd_buf buf[9];
    bd_up(&b, false, INDIRECT);
    CHECK_EQ(bd_config(&b, 12, 4), 6); /* seg_max */
    uint64_t at = vd_alloc(&b.d, 4096, 16);
    for (unsigned n = 8; n <= 9; n++) {
        for (unsigned i = 0; i < n; i++)
            buf[i] = (struct vd_buf){at + 512ull * i, 512, true};
        buf[0] = (struct vd_buf){at + 1, 16, false};
        buf[n - 1].len = 1;
        vd_put_indirect(&b.d.q[0], buf, n);
        vd_publish(&b.d.q[0]);
        vd_kick(&b.d, 0);
        fake_blk_end_all(b.f, 0);
        CHECK_EQ(vd_reap(&b.d.q[0]), n == 8);
    }
    CHECK_HAS(test_log(), "more pieces than its queue has entries");
    vd_check_broken(&b.d);
    bd_free(&b);
}

/* A ring that lies, found between two requests: what the drive has is not
 * given back to it. */
TEST(vblk_2_1_2_a_ring_that_breaks_with_requests_under_way)
{
    struct bd b = {0};
    bd_up(&b, false, FLUSH);
    struct bd_req r = bd_put(&b, 0, BLK_IN, 0, 512);
    vd_kick(&b.d, 0);
    REQUIRE_EQ(b.f->n, 1);
    *vd_avail_word(&b.d.q[0], 1) += 1000;
    vd_kick(&b.d, 0);
    CHECK_EQ(vd_status(&b.d), 0x0f | VIRTIO_NEEDS_RESET);
    fake_blk_end(b.f, 0, 0);
    fake_run_loop(b.d.m);
    CHECK_EQ(bd_status(&b, &r), ST_NONE);
    CHECK_EQ(vd_reap(&b.d.q[0]), 0);
    vd_check_broken(&b.d);
    bd_check_alive(&b);
    bd_free(&b);
}

/* --------------------------------------------------- caches, §5.2.6.2 */

/* A write, and what of it the drive sees before the driver hears of it. */
static void check_write(struct bd *b, bool through)
{
    int id;
    uint32_t used;
    unsigned before = b->f->ops[BLK_FLUSH];
    struct bd_req r = bd_put(b, 0, BLK_OUT, 0, 512);
    vd_kick(&b->d, 0);
    CHECK_EQ(b->f->ops[BLK_FLUSH], before);
    fake_blk_end(b->f, 0, 0);
    fake_run_loop(b->d.m);
    CHECK_EQ(b->f->ops[BLK_FLUSH], before + through);
    CHECK_EQ(bd_status(b, &r), through ? ST_NONE : ST_OK);
    if (through)
        fake_blk_end(b->f, 0, 0);
    fake_run_loop(b->d.m);
    CHECK_EQ(bd_status(b, &r), ST_OK);
    REQUIRE(vd_used(&b->d.q[0], &id, &used));
    CHECK_EQ(used, 1);
    CHECK_EQ(b->f->n, 0);
}

TEST(vblk_5_2_6_2_a_driver_without_a_cache_hears_of_stable_writes)
{
    static const struct {
        const char *drive, *disk;
        uint64_t features;
        bool through;
    } rows[] = {
        {NULL, NULL, FLUSH, false},
        {NULL, NULL, 0, true},
        {NULL, NULL, FLUSH | WCE, false},
        {NULL, NULL, WCE, true}, /* §5.2.5.2: writeback is 0 then */
        {NULL, "write-cache=off", FLUSH | WCE, true},
        {NULL, "write-cache=off", FLUSH, false},
        {NULL, "write-cache=off,config-wce=off", 0, false},
        {"cache.writeback=off", NULL, 0, false}, /* they are */
        {"cache.writeback=off,cache.direct=on", NULL, FLUSH | WCE, false},
        {"cache.no-flush=on", NULL, 0, false}, /* none was promised */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bd b = {.drive = rows[i].drive, .d.opts = rows[i].disk};
        bd_up(&b, false, rows[i].features);
        check_write(&b, rows[i].through);
        bd_free(&b);
    }
}

static void zeroes_through(struct bd *b)
{
    struct bd_req r = bd_put_seg(b, BLK_T_ZEROES, 0, 8, 0);
    vd_kick(&b->d, 0);
    fake_blk_end(b->f, 0, 0);
    CHECK_EQ(bd_status(b, &r), ST_NONE);
    fake_blk_end(b->f, 0, 0);
    CHECK_EQ(bd_status(b, &r), ST_OK);
}

/* The driver switches the cache while it works. */
BOTH_RINGS(vblk_5_2_5_writeback_is_the_drivers_if_negotiated)
{
    struct bd b = {0};
    bd_up(&b, packed, FLUSH | WCE);
    CHECK_EQ(bd_config(&b, WRITEBACK, 1), 1);
    check_write(&b, false);
    guest_write(b.d.m, false, b.d.config + WRITEBACK, 1, 0);
    CHECK_EQ(bd_config(&b, WRITEBACK, 1), 0);
    check_write(&b, true);
    zeroes_through(&b);
    guest_write(b.d.m, false, b.d.config + WRITEBACK, 1, 1);
    check_write(&b, false);
    guest_write(b.d.m, false, b.d.config + WRITEBACK, 1, 0);
    guest_write(b.d.m, false, b.d.config, 4, 0); /* and nothing else */
    CHECK_EQ(bd_config(&b, 0, 8), FB_SECTORS);
    vd_again(&b.d, FLUSH); /* a reset turns it on again */
    CHECK_EQ(bd_config(&b, WRITEBACK, 1), 1);
    guest_write(b.d.m, false, b.d.config + WRITEBACK, 1, 0);
    CHECK_EQ(bd_config(&b, WRITEBACK, 1), 1);
    bd_free(&b);
}

/* The write is there, what makes it last is not. */
TEST(vblk_5_2_6_2_a_flush_that_fails_fails_its_write)
{
    struct bd b = {0};
    bd_up(&b, false, 0);
    struct bd_req r = bd_put(&b, 0, BLK_OUT, 0, 512);
    vd_kick(&b.d, 0);
    fake_blk_end(b.f, 0, 0);
    fake_blk_end(b.f, 0, -EIO);
    CHECK_EQ(bd_status(&b, &r), ST_IOERR);
    r = bd_put(&b, 0, BLK_OUT, 0, 512);
    vd_kick(&b.d, 0);
    fake_blk_end(b.f, 0, -EIO); /* no flush follows */
    CHECK_EQ(b.f->n, 0);
    CHECK_EQ(bd_status(&b, &r), ST_IOERR);
    bd_free(&b);
}

/* cache=unsafe: nothing is promised, and a flush is done when asked. */
TEST(vblk_5_2_3_no_flush_is_offered_where_none_is_done)
{
    struct bd b = {.drive = "cache.no-flush=on"};
    bd_up(&b, false, 0);
    CHECK_EQ(vd_offered(&b.d) & (FLUSH | WCE), 0);
    b.f->b.can_flush = false;
    CHECK_EQ(bd_do(&b, BLK_T_FLUSH, 0, 0), ST_OK);
    CHECK_EQ(b.f->submits, 0);
    bd_free(&b);
}

/* --------------------------------------------------- batches, interrupts */

/* The drive does them in its order; so are they given back. */
BOTH_RINGS(vblk_requests_end_in_any_order)
{
    struct bd b = {0};
    struct bd_req r[20];
    int id;
    uint32_t used;
    bd_up(&b, packed, FLUSH);
    for (unsigned i = 0; i < 20; i++)
        r[i] = bd_put(&b, 0, i & 1 ? BLK_OUT : BLK_IN, i, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->n, 20);
    for (unsigned i = 20; i--;) {
        unsigned k = i * 7 % (i + 1);
        struct vblk_req *v = container_of(b.f->req[k], struct vblk_req, b);
        int want = v->chain.id;
        fake_blk_end(b.f, k, 0);
        fake_run_loop(b.d.m);
        REQUIRE(vd_used(&b.d.q[0], &id, &used));
        CHECK_EQ(id, want);
    }
    for (unsigned i = 0; i < 20; i++)
        CHECK_EQ(bd_status(&b, &r[i]), ST_OK);
    bd_free(&b);
}

/* As many as the ring holds, again and again: none is lost, and no memory is
 * asked for. */
BOTH_RINGS(vblk_a_full_ring_again_and_again)
{
    struct bd b = {.d.opts = "queue-size=16"};
    bd_up(&b, packed, INDIRECT | FLUSH);
    uint64_t at = vd_alloc(&b.d, 4096, 512), brk = b.d.brk;
    struct vd_buf buf[] = {
        {at, 16, false}, {at + 512, 512, true}, {at + 1024, 1, true}};
    for (unsigned round = 0; round < 50; round++) {
        b.d.brk = brk;
        for (unsigned i = 0; i < 16; i++)
            REQUIRE(vd_put_indirect(&b.d.q[0], buf, 3) >= 0);
        CHECK_EQ(vd_put_indirect(&b.d.q[0], buf, 3), -1);
        vd_publish(&b.d.q[0]);
        vd_kick(&b.d, 0);
        REQUIRE_EQ(b.f->n, 16);
        while (b.f->n)
            fake_blk_end(b.f, test_random() % b.f->n, 0);
        fake_run_loop(b.d.m);
        CHECK_EQ(vd_reap(&b.d.q[0]), 16);
    }
    struct vblk *d = container_of(b.d.dev, struct vblk, v.dev);
    CHECK(d->q[0].fresh <= 17);
    bd_free(&b);
}

/* §2.7.7.2: what ends together is shown together, with one interrupt. */
BOTH_RINGS(vblk_one_interrupt_for_what_ends_in_a_turn)
{
    struct bd b = {0};
    bd_up(&b, packed, EVENT_IDX | FLUSH);
    uint64_t kicks = vd_count(&b.d, "kicks");
    b.f->self = true;
    vd_irq_after(&b.d.q[0], 1);
    for (unsigned i = 0; i < 10; i++)
        bd_put(&b, 0, BLK_IN, i, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->kicks, 1); /* the drive is told once, too */
    CHECK_EQ(vd_reap(&b.d.q[0]), 10);
    CHECK_EQ(vd_irqs(&b.d, 0), 1);
    CHECK_EQ(vd_count(&b.d, "irqs"), 1);
    CHECK_EQ(vd_count(&b.d, "kicks"), kicks + 1);
    vd_irq_never(&b.d.q[0]);
    bd_put(&b, 0, BLK_IN, 0, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(vd_reap(&b.d.q[0]), 1);
    CHECK_EQ(vd_irqs(&b.d, 0), 0);
    bd_free(&b);
}

/* One of several: shown in this turn, not when the others end. */
BOTH_RINGS(vblk_what_ends_alone_is_shown_soon)
{
    struct bd b = {0};
    bd_up(&b, packed, FLUSH);
    bd_put(&b, 0, BLK_IN, 0, 512);
    bd_put(&b, 0, BLK_IN, 1, 512);
    vd_kick(&b.d, 0);
    fake_blk_end(b.f, 1, 0);
    CHECK_EQ(vd_reap(&b.d.q[0]), 0); /* others may end in this turn */
    fake_run_loop(b.d.m);
    CHECK_EQ(vd_reap(&b.d.q[0]), 1);
    fake_blk_end(b.f, 0, 0);
    CHECK_EQ(vd_reap(&b.d.q[0]), 1); /* at once: nothing else can */
    CHECK_EQ(vd_irqs(&b.d, 0), 2);
    bd_free(&b);
}

BOTH_RINGS(vblk_intx_interrupts)
{
    struct bd b = {.d.intx = true, .d.opts = "vectors=0"};
    bd_up(&b, packed, FLUSH);
    bd_put(&b, 0, BLK_IN, 0, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(vd_irqs(&b.d, 0), 0);
    fake_blk_end_all(b.f, 0);
    CHECK_EQ(vd_irqs(&b.d, 0), 1);
    CHECK_EQ(vd_irqs(&b.d, 0), 0); /* reading ISR lowered it */
    bd_free(&b);
}

/* Kicks are wanted when the ring was found empty, wherever it is. */
BOTH_RINGS(vblk_kicks_are_wanted_when_it_waits)
{
    struct bd b = {0};
    bd_up(&b, packed, EVENT_IDX | FLUSH);
    for (unsigned i = 0; i < 600; i++) {
        bd_put(&b, 0, BLK_IN, 0, 512);
        CHECK(vd_kick_wanted(&b.d.q[0], packed ? 3 : 1));
        vd_kick(&b.d, 0);
        fake_blk_end_all(b.f, 0);
        fake_run_loop(b.d.m);
        CHECK_EQ(vd_reap(&b.d.q[0]), 1);
        b.d.brk = 0x10000 + 0x40000;
    }
    bd_free(&b);
}

/* The ring never ends the loop's turn: others have theirs between. */
TEST(vblk_one_turn_takes_a_burst)
{
    struct bd b = {.d.opts = "queue-size=1024"};
    bd_up(&b, false, INDIRECT | FLUSH);
    for (unsigned i = 0; i < 300; i++)
        bd_put(&b, 0, BLK_IN, 0, 512);
    vd_set(&b.d, C_QUEUE_SEL, 2, 0);
    guest_write(b.d.m, false, b.d.notify, 2, 0);
    unsigned turns = 0, before = 0;
    while (b.f->n < 300 && turns < 100) {
        loop_poll(b.d.m->loop, 0);
        CHECK(b.f->n - before <= 2 * 64); /* the turn, and its second half */
        before = b.f->n;
        turns++;
    }
    CHECK_EQ(b.f->n, 300);
    CHECK(turns > 1);
    fake_blk_end_all(b.f, 0);
    bd_free(&b);
}

/* With as many queues as there can be, as long as they can be, requests have so
 * much memory and no more; what there is none for waits in the ring. */
BOTH_RINGS(vblk_memory_of_requests_is_bounded)
{
    struct bd b = {.d.opts = "num-queues=32,queue-size=1024"};
    bd_up(&b, packed, INDIRECT | FLUSH);
    const struct vblk_queue *q = ((struct vblk *)b.d.dev)->q;
    const size_t most = q->most,
                 each = sizeof(struct vblk_req) + 1024 * sizeof(struct iovec);
    CHECK(most >= 32);
    CHECK(32 * most * each <= 32 << 20);
    struct bd_req r[200];
    REQUIRE(most + 8 < ARRAY_LEN(r));
    for (size_t i = 0; i < most + 8; i++)
        r[i] = bd_put(&b, 0, BLK_IN, i, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->n, most);
    fake_run_loop(b.d.m); /* nor later, unless one ends */
    CHECK_EQ(b.f->n, most);
    CHECK_EQ(fake_run_loop(b.d.m), 0);
    fake_blk_end(b.f, 3, 0);
    fake_run_loop(b.d.m);
    CHECK_EQ(b.f->n, most);
    CHECK_EQ(bd_status(&b, &r[3]), ST_OK);
    while (b.f->n) {
        fake_blk_end_all(b.f, 0);
        fake_run_loop(b.d.m);
    }
    for (size_t i = 0; i < most + 8; i++)
        CHECK_EQ(bd_status(&b, &r[i]), ST_OK);
    /* a queue that is full is stopped like any other */
    for (size_t i = 0; i < most + 8; i++)
        bd_put(&b, 0, BLK_IN, i, 512);
    vd_kick(&b.d, 0);
    vd_again(&b.d, INDIRECT | FLUSH);
    CHECK_EQ(b.f->n, 0);
    bd_check_alive(&b);
    bd_free(&b);
}

/* What came while the function may not touch memory is done when it may. */
BOTH_RINGS(vblk_nothing_is_taken_while_bus_mastering_is_off)
{
    struct bd b = {0};
    bd_up(&b, packed, FLUSH);
    drv_cfg_write(b.d.m, b.d.slot, PCI_COMMAND, 2, PCI_CMD_MEM);
    bd_put(&b, 0, BLK_IN, 0, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->n, 0);
    drv_cfg_write(b.d.m, b.d.slot, PCI_COMMAND, 2,
                  PCI_CMD_MEM | PCI_CMD_MASTER);
    fake_run_loop(b.d.m);
    CHECK_EQ(b.f->n, 1);
    fake_blk_end_all(b.f, 0);
    bd_free(&b);
}

/* Each queue has its ring, its requests and its vector. */
BOTH_RINGS(vblk_5_2_2_several_queues)
{
    struct bd b = {.d.opts = "num-queues=4"};
    bd_up(&b, packed, FLUSH | F(VIRTIO_BLK_F_MQ));
    CHECK_EQ(b.d.nq, 4);
    CHECK_EQ(bd_config(&b, 34, 2), 4);
    for (unsigned q = 0; q < 4; q++) {
        bd_put(&b, q, BLK_IN, q, 512);
        vd_kick(&b.d, q);
    }
    CHECK_EQ(b.f->n, 4);
    for (unsigned q = 4; q--;) {
        fake_blk_end(b.f, q, 0);
        CHECK_EQ(vd_irqs(&b.d, q), 1);
        CHECK_EQ(vd_reap(&b.d.q[q]), 1);
        for (unsigned k = 0; k < q; k++)
            CHECK_EQ(vd_irqs(&b.d, k), 0);
    }
    bd_free(&b);
}
