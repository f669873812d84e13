/* SPDX-License-Identifier: MIT */
/* Token buckets: exact times, bursts, overdraft, keys. */
#include "base/bucket.h"

#include <errno.h>

#include "base/bytes.h"
#include "tests/unit/test.h"

#define MS 1000000ull
#define SECOND (1000 * MS)
#define T0 (5 * SECOND)

/* Sends operations of `bytes` as soon as each may; ns until the last went. */
static uint64_t send_all(struct limit *l, unsigned n, uint64_t bytes)
{
    uint64_t now = T0;
    while (n--) {
        now += limit_wait(l, bytes, now);
        CHECK_EQ(limit_wait(l, bytes, now), 0);
        limit_take(l, bytes, now);
    }
    return now - T0;
}

TEST(bucket_begins_full_and_comes_back_evenly_to_the_nanosecond)
{
    struct limit l = {0};
    bucket_set(&l.bytes, 1000, SECOND, 0);
    CHECK_EQ(limit_wait(&l, 1000, T0), 0);
    limit_take(&l, 1000, T0);
    CHECK_EQ(limit_wait(&l, 1, T0), MS);
    CHECK_EQ(limit_wait(&l, 250, T0), 250 * MS);
    CHECK_EQ(limit_wait(&l, 250, T0 + 249 * MS), MS);
    CHECK_EQ(limit_wait(&l, 250, T0 + 250 * MS - 1), 1);
    CHECK_EQ(limit_wait(&l, 250, T0 + 250 * MS), 0);
    limit_take(&l, 250, T0 + 250 * MS);
    CHECK_EQ(limit_wait(&l, 1, T0 + 250 * MS), MS);
    CHECK_EQ(limit_wait(&l, 1000, T0 + 250 * MS), SECOND);
    /* No more than the bucket holds, however long nobody takes. */
    CHECK_EQ(limit_wait(&l, 1000, T0 + 100 * SECOND), 0);
    limit_take(&l, 1000, T0 + 100 * SECOND);
    CHECK_EQ(limit_wait(&l, 1, T0 + 100 * SECOND), MS);
}

/* 10 in 10 ms are 1000 a second, and not 10 each time a tick comes. */
TEST(bucket_rates_hold_where_tokens_are_not_whole_nanoseconds)
{
    static const struct {
        uint64_t size, refill_ms, bytes;
        unsigned n;
    } rows[] = {
        {10, 10, 1, 5000},
        {3, 1, 1, 10000},
        {7, 1, 2, 10000},
        {125000000, 1000, 60, 400000},
        {1250000000, 1000, 1514, 100000},
        {1000000007, 100, 60, 400000},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct limit l = {0};
        bucket_set(&l.bytes, rows[i].size, rows[i].refill_ms * MS, 0);
        double took = (double)send_all(&l, rows[i].n, rows[i].bytes);
        double due =
            ((double)rows[i].n * (double)rows[i].bytes - (double)rows[i].size) *
            (double)(rows[i].refill_ms * MS) / (double)rows[i].size;
        due = due < 0 ? 0 : due;
        if (!CHECK(took >= due - 1 && took <= due + due / 1000 + 10))
            FAIL("row %zu: %.0f ns, %.0f are due", i, took, due);
    }
}

TEST(bucket_one_time_burst_is_used_first_and_never_comes_back)
{
    struct limit l = {0};
    bucket_set(&l.bytes, 100, 100 * MS, 1000);
    for (int i = 0; i < 11; i++) {
        CHECK_EQ(limit_wait(&l, 100, T0), 0);
        limit_take(&l, 100, T0);
    }
    CHECK_EQ(limit_wait(&l, 100, T0), 100 * MS);
    CHECK_EQ(limit_wait(&l, 100, T0 + 100 * SECOND), 0);
    limit_take(&l, 100, T0 + 100 * SECOND);
    CHECK_EQ(limit_wait(&l, 100, T0 + 100 * SECOND), 100 * MS);
    /* One that is larger than what is left of it has the rest of tokens. */
    bucket_set(&l.bytes, 100, 100 * MS, 50);
    limit_take(&l, 100, T0);
    CHECK_EQ(limit_wait(&l, 60, T0), 10 * MS);
}

TEST(bucket_one_that_is_larger_than_it_goes_once_and_is_paid_for)
{
    struct limit l = {0};
    bucket_set(&l.bytes, 100, 100 * MS, 0);
    CHECK_EQ(limit_wait(&l, 1000, T0), 0);
    limit_take(&l, 1000, T0);
    CHECK_EQ(limit_wait(&l, 1, T0), 901 * MS);
    CHECK_EQ(limit_wait(&l, 1000, T0), 1000 * MS);
    CHECK_EQ(limit_wait(&l, 1000, T0 + 1000 * MS), 0);
    CHECK_EQ(limit_wait(&l, UINT64_MAX, T0 + 1000 * MS), 0);
    limit_take(&l, UINT64_MAX, T0 + 1000 * MS);
    limit_take(&l, UINT64_MAX, T0 + 1000 * MS);
    CHECK(limit_wait(&l, 1, T0 + 1000 * MS) > 1000 * SECOND);
}

TEST(bucket_bytes_and_operations_both_count)
{
    struct limit l = {0};
    CHECK(!limit_is_on(&l));
    CHECK_EQ(limit_wait(&l, UINT64_MAX, T0), 0);
    bucket_set(&l.ops, 10, SECOND, 0);
    CHECK(limit_is_on(&l));
    CHECK_EQ(send_all(&l, 110, 1 << 30), 10 * SECOND);
    bucket_set(&l.ops, 10, SECOND, 0);
    bucket_set(&l.bytes, 1000, SECOND, 0);
    CHECK_EQ(send_all(&l, 110, 1), 10 * SECOND);
    bucket_set(&l.ops, 10, SECOND, 0);
    bucket_set(&l.bytes, 1000, SECOND, 0);
    CHECK_EQ(send_all(&l, 21, 1000), 20 * SECOND);
}

TEST(bucket_keys_change_what_is_said_and_no_more)
{
    struct limit l = {0};
    struct limit_told t;
    struct opts o;
    limit_rate(&l, &(struct rate){.rate = 1000000, .ops = 3});
    CHECK_EQ(l.bytes.size, 200000);
    CHECK_EQ(l.bytes.refill_ns, 200 * MS);
    CHECK_EQ(l.ops.size, 1);
    CHECK_EQ(l.ops.refill_ns, SECOND / 3);
    limit_rate(&l,
               &(struct rate){.rate = 1000000, .ops = 1000, .ops_burst = 4});
    CHECK_EQ(l.ops.size, 4);
    CHECK_EQ(l.ops.refill_ns, 4 * MS);
    REQUIRE_EQ(opts_parse(&o, "limit",
                          "ops.size=7,ops.refill_time=2,"
                          "ops.one_time_burst=3",
                          NULL),
               0);
    REQUIRE_EQ(fields_read(limit_fields, &t, &o), 0);
    CHECK_EQ(limit_check(&t), 0);
    limit_set(&l, &t);
    CHECK_EQ(l.ops.size, 7);
    CHECK_EQ(l.ops.burst, 3);
    CHECK_EQ(l.ops.refill_ns, 2 * MS);
    CHECK_EQ(l.bytes.size, 200000);
    opts_free(&o);
    REQUIRE_EQ(opts_parse(&o, "limit",
                          "bandwidth.size=0,"
                          "bandwidth.refill_time=2",
                          NULL),
               0);
    REQUIRE_EQ(fields_read(limit_fields, &t, &o), 0);
    limit_set(&l, &t);
    CHECK_EQ(limit_wait(&l, UINT64_MAX, T0), 0);
    opts_free(&o);
}

TEST(bucket_a_size_without_a_time_is_refused)
{
    struct limit_told t;
    struct opts o;
    REQUIRE_EQ(opts_parse(&o, "limit", "ops.size=7", NULL), 0);
    REQUIRE_EQ(fields_read(limit_fields, &t, &o), 0);
    CHECK_EQ(limit_check(&t), -EINVAL);
    CHECK_HAS(test_log(), "ops: missing field `refill_time`");
    opts_free(&o);
    CHECK_EQ(rate_check(&(struct rate){.burst = 1}, "-device x", "rx-"),
             -EINVAL);
    CHECK_HAS(test_log(), "-device x: rx-burst= needs rx-rate=");
    CHECK_EQ(rate_check(&(struct rate){.ops_burst = 1}, "-device x", ""),
             -EINVAL);
    CHECK_HAS(test_log(), "-device x: ops-burst= needs ops=");
}
