/* SPDX-License-Identifier: MIT */
/* A disk of nothing. */
#include "tests/unit/block/block_test.h"

TEST(null_co_answers_each_request_and_counts_it)
{
    unsigned char buf[1024];
    struct blockdev *b = disk_open("null-co,size=1M,discard=unmap");
    REQUIRE(b);
    CHECK_EQ(b->size, 1 << 20);
    CHECK(b->can_flush && b->can_discard && b->can_zero);
    memset(buf, 7, sizeof(buf));
    CHECK_EQ(disk_do(b, BLK_READ, 0, buf, sizeof(buf)), 0);
    CHECK_EQ(buf[0], 7);
    CHECK_EQ(disk_do(b, BLK_WRITE, 512, buf, 512), 0);
    CHECK_EQ(disk_do(b, BLK_FLUSH, 0, NULL, 0), 0);
    CHECK_EQ(disk_do(b, BLK_DISCARD, 0, NULL, 0), 0);
    CHECK_EQ(disk_do(b, BLK_WRITE_ZEROES, 0, NULL, 0), 0);
    CHECK_EQ(b->reads, 1);
    CHECK_EQ(b->read_bytes, 1024);
    CHECK_EQ(b->writes, 1);
    CHECK_EQ(b->written_bytes, 512);
    CHECK_EQ(b->flushes, 1);
    CHECK_EQ(b->discards, 1);
    CHECK_EQ(b->zeroes, 1);
    CHECK_EQ(b->in_flight, 0);
    disk_close();
}

TEST(null_co_read_zeroes_and_unsafe)
{
    unsigned char buf[1024], zero[1024] = {0};
    struct blockdev *b =
        disk_open("null-co,size=1000,read-zeroes=on,cache.no-flush=on");
    REQUIRE(b);
    CHECK_EQ(b->size, 512);
    CHECK(!b->can_flush && !b->can_discard);
    memset(buf, 7, sizeof(buf));
    CHECK_EQ(disk_do(b, BLK_READ, 0, buf, sizeof(buf)), 0);
    CHECK_MEM(buf, zero, sizeof(buf));
    disk_close();
}

TEST(null_co_drain_finishes_what_was_not_kicked)
{
    struct blockdev *b = disk_open("null-co");
    struct blk_req r[3];
    REQUIRE(b);
    for (int i = 0; i < 3; i++) {
        r[i] = (struct blk_req){.op = BLK_FLUSH, .done = disk_count};
        b->submit(b, &r[i]);
    }
    CHECK_EQ(b->in_flight, 3);
    b->kick(b);
    b->drain(b, true);
    CHECK_EQ(disk_done, 3);
    loop_poll(disk_loop, 0);
    CHECK_EQ(disk_done, 3);
    disk_close();
}
