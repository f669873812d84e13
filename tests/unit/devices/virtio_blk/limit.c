/* SPDX-License-Identifier: MIT */
/* virtio-blk's rate limit: requests stay in the ring until the moment they may
 * go, and none is lost. */
#include <errno.h>

#include "tests/unit/fakedisk.h"

#define MS 1000000ull

static int limit(struct bd *b, const char *told)
{
    struct opts o;
    struct text out = {0};
    REQUIRE_EQ(opts_parse(&o, "limit", told, NULL), 0);
    int err = machine_do(b->d.m, NULL, "limit", &o, &out);
    opts_free(&o);
    fake_run_loop(b->d.m);
    return err;
}

BOTH_RINGS(vblk_limit_lets_requests_go_at_the_exact_time)
{
    struct bd b = {.d.opts = "ops=10,ops-burst=2"};
    struct bd_req r[5];
    bd_up(&b, packed, 0);
    for (unsigned i = 0; i < 5; i++)
        r[i] = bd_put(&b, 0, BLK_IN, i, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->submits, 2);
    vd_kick(&b.d, 0); /* that changes nothing */
    CHECK_EQ(b.f->submits, 2);
    CHECK_EQ(vd_count(&b.d, "limited"), 1);
    for (unsigned i = 3; i <= 5; i++) {
        fake_sleep_ns(b.d.m, 100 * MS - 1);
        CHECK_EQ(b.f->submits, i - 1);
        fake_sleep_ns(b.d.m, 1);
        CHECK_EQ(b.f->submits, i);
    }
    fake_blk_end_all(b.f, 0);
    fake_run_loop(b.d.m);
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(bd_status(&b, &r[i]), ST_OK);
    CHECK_EQ(vd_count(&b.d, "failed"), 0);
    bd_free(&b);
}

/* Bytes, of data alone; what is not data costs none. */
BOTH_RINGS(vblk_limit_counts_the_bytes_of_data)
{
    struct bd b = {.d.opts = "rate=10240,burst=1024"};
    bd_up(&b, packed, 0);
    bd_put(&b, 0, BLK_OUT, 0, 512);
    bd_put(&b, 0, BLK_IN, 0, 512);
    bd_put(&b, 0, BLK_T_FLUSH, 0, 0);
    bd_put(&b, 0, BLK_IN, 0, 512);
    bd_put(&b, 0, BLK_IN, 0, 1024);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->submits, 3);
    fake_sleep_ns(b.d.m, 50 * MS);
    CHECK_EQ(b.f->submits, 4);
    fake_sleep_ns(b.d.m, 100 * MS - 1);
    CHECK_EQ(b.f->submits, 4);
    fake_sleep_ns(b.d.m, 1);
    CHECK_EQ(b.f->submits, 5);
    bd_free(&b);
}

/* What a request has the drive write is paid for, once it is known. */
TEST(vblk_limit_counts_what_is_zeroed)
{
    struct bd b = {.d.opts = "rate=10240,burst=1024"};
    bd_up(&b, false, F(VIRTIO_BLK_F_WRITE_ZEROES));
    bd_put_seg(&b, BLK_T_ZEROES, 0, 20, 0);
    bd_put(&b, 0, BLK_IN, 0, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->submits, 1);
    fake_sleep_ns(b.d.m, 900 * MS);
    CHECK_EQ(b.f->submits, 1);
    fake_sleep_ns(b.d.m, 200 * MS);
    CHECK_EQ(b.f->submits, 2);
    bd_free(&b);
}

/* One that is larger than all of the bucket goes, and is paid for. */
TEST(vblk_limit_lets_a_large_request_go_once)
{
    struct bd b = {.d.opts = "rate=10240,burst=1024"};
    bd_up(&b, false, 0);
    bd_put(&b, 0, BLK_IN, 0, 4096);
    bd_put(&b, 0, BLK_IN, 0, 1024);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->submits, 1);
    fake_sleep_ns(b.d.m, 400 * MS - 1);
    CHECK_EQ(b.f->submits, 1);
    fake_sleep_ns(b.d.m, 1);
    CHECK_EQ(b.f->submits, 2);
    bd_free(&b);
}

/* No queue waits for ever behind one that always has something. */
TEST(vblk_limit_queues_take_turns)
{
    struct bd b = {.d.opts = "num-queues=3,ops=10,ops-burst=1"};
    struct bd_req r[3][4];
    bd_up(&b, false, F(VIRTIO_BLK_F_MQ));
    b.f->self = true;
    for (unsigned q = 0; q < 3; q++)
        for (unsigned i = 0; i < (q == 1 ? 1 : 4); i++)
            r[q][i] = bd_put(&b, q, BLK_IN, i, 512);
    for (unsigned q = 0; q < 3; q++)
        vd_kick(&b.d, q);
    for (int i = 0; i < 4; i++)
        fake_sleep_ns(b.d.m, 100 * MS);
    CHECK_EQ(b.f->submits, 5);
    CHECK_EQ(bd_status(&b, &r[0][1]), ST_OK);
    CHECK_EQ(bd_status(&b, &r[1][0]), ST_OK);
    CHECK_EQ(bd_status(&b, &r[2][1]), ST_OK);
    CHECK_EQ(bd_status(&b, &r[0][2]), ST_NONE);
    bd_free(&b);
}

/* The operator changes his mind while requests wait. */
TEST(vblk_limit_becomes_another_while_requests_wait)
{
    struct bd b = {.d.opts = "ops=1"};
    bd_up(&b, false, 0);
    for (unsigned i = 0; i < 6; i++)
        bd_put(&b, 0, BLK_IN, i, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->submits, 1);
    CHECK_EQ(limit(&b, "ops.size=1"), -EINVAL);
    CHECK_HAS(test_log(), "missing field `refill_time`");
    CHECK_EQ(b.f->submits, 1);
    CHECK_EQ(limit(&b, "ops.size=2,ops.refill_time=10"), 0);
    CHECK_EQ(b.f->submits, 3);
    fake_sleep_ns(b.d.m, 5 * MS);
    CHECK_EQ(b.f->submits, 4);
    CHECK_EQ(limit(&b, "ops.size=0,ops.refill_time=0"), 0);
    CHECK_EQ(b.f->submits, 6);
    fake_blk_end_all(b.f, 0);
    fake_run_loop(b.d.m);
    CHECK_EQ(vd_reap(&b.d.q[0]), 6);
    b.f->self = true;
    bd_check_alive(&b);
    CHECK_EQ(limit(&b, "ops.size=1,ops.refill_time=1000"), 0);
    bd_put(&b, 0, BLK_IN, 0, 512);
    bd_put(&b, 0, BLK_IN, 0, 512);
    unsigned before = b.f->submits;
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->submits, before + 1);
    bd_free(&b);
}

/* A reset, a rest and the end find requests that wait. */
BOTH_RINGS(vblk_limit_what_waits_is_the_rings)
{
    struct bd b = {.d.opts = "ops=1"};
    bd_up(&b, packed, 0);
    b.f->self = true;
    for (unsigned i = 0; i < 3; i++)
        bd_put(&b, 0, BLK_IN, i, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->submits, 1);
    device_hold(b.d.dev);
    fake_sleep_ns(b.d.m, 5000 * MS);
    CHECK_EQ(b.f->submits, 1);
    device_resume(b.d.dev);
    fake_run_loop(b.d.m);
    CHECK_EQ(b.f->submits, 2);
    vd_set(&b.d, C_STATUS, 1, 0);
    fake_sleep_ns(b.d.m, 5000 * MS);
    CHECK_EQ(b.f->submits, 2);
    b.d.brk = 0x10000;
    vd_again(&b.d, 0);
    bd_put(&b, 0, BLK_IN, 0, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->submits, 3);
    bd_put(&b, 0, BLK_IN, 0, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->submits, 3);
    bd_free(&b);
}
