/* SPDX-License-Identifier: MIT */
/* Files of named parts. */
#include "base/parts.h"

#include <errno.h>
#include <stdlib.h>

#include "base/sum.h"
#include "tests/unit/test.h"

/* Two parts, and none. */
static struct parts two(void)
{
    struct parts o = {0};
    parts_put(&o, "one", "abc", 3);
    parts_put(&o, "two", "", 0);
    REQUIRE_EQ(parts_end(&o), 0);
    return o;
}

TEST(parts_are_found_again_by_their_names)
{
    struct parts o = two();
    struct part part;
    size_t at = 0;
    CHECK_EQ(parts_check("f", o.p, o.n), 0);
    CHECK(parts_find(o.p, o.n, "one", &part));
    CHECK_EQ(part.len, 3);
    CHECK_MEM(part.p, "abc", 3);
    CHECK(parts_find(o.p, o.n, "two", &part));
    CHECK_EQ(part.len, 0);
    CHECK(!parts_find(o.p, o.n, "three", &part));
    CHECK(parts_next(o.p, o.n, &at, &part) && !strcmp(part.name, "one"));
    CHECK(parts_next(o.p, o.n, &at, &part) && !strcmp(part.name, "two"));
    CHECK(!parts_next(o.p, o.n, &at, &part));
    parts_free(&o);
}

TEST(parts_of_a_file_without_any)
{
    struct parts o = {0};
    struct part part;
    size_t at = 0;
    REQUIRE_EQ(parts_end(&o), 0);
    CHECK_EQ(parts_check("f", o.p, o.n), 0);
    CHECK(!parts_next(o.p, o.n, &at, &part));
    parts_free(&o);
}

TEST(parts_each_damaged_bit_and_each_lost_byte_is_found)
{
    struct parts o = two();
    for (size_t bit = 0; bit < o.n * 8; bit++) {
        o.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK_EQ(parts_check("f", o.p, o.n), -EINVAL);
        o.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t n = 0; n < o.n; n++)
        CHECK_EQ(parts_check("f", o.p, n), -EINVAL);
    CHECK_EQ(parts_check("f", o.p, o.n), 0);
    parts_free(&o);
}

/* Whoever means it makes the sum right. */
static int seal_and_check(uint8_t *p, size_t n)
{
    uint64_t sum = sum_of(p, n - 8);
    memcpy(p + n - 8, &sum, 8);
    return parts_check("f", p, n);
}

TEST(parts_with_a_right_sum_are_looked_at_all_the_same)
{
    struct parts o = two();
    uint32_t len = 4;
    CHECK_EQ(seal_and_check(o.p, o.n), 0);
    o.p[10] = 2;
    CHECK_EQ(seal_and_check(o.p, o.n), -EINVAL);
    CHECK_HAS(test_log(), "f: has format 2, this program knows 1");
    o.p[10] = PARTS_VERSION;
    o.p[16] = 0; /* a name of no length */
    CHECK_EQ(seal_and_check(o.p, o.n), -EINVAL);
    CHECK_HAS(test_log(), "f: no part at byte 16");
    o.p[16] = 200;
    CHECK_EQ(seal_and_check(o.p, o.n), -EINVAL);
    o.p[16] = 3;
    o.p[17] = ' ';
    CHECK_EQ(seal_and_check(o.p, o.n), -EINVAL);
    o.p[17] = 'o';
    memcpy(o.p + 20, &len, 4); /* the next one is not whole then */
    CHECK_EQ(seal_and_check(o.p, o.n), -EINVAL);
    len = 0xffffffff;
    memcpy(o.p + 20, &len, 4);
    CHECK_EQ(seal_and_check(o.p, o.n), -EINVAL);
    parts_free(&o);
}

TEST(sum_is_another_for_other_bytes_order_and_length)
{
    uint8_t p[100] = {0};
    uint64_t zero = sum_of(p, 64);
    CHECK_NE(zero, 0);
    CHECK_NE(zero, sum_of(p, 63));
    CHECK_NE(zero, sum_of(p, 96));
    for (unsigned bit = 0; bit < 64 * 8; bit++) {
        p[bit / 8] = (uint8_t)(1 << bit % 8);
        CHECK_NE(sum_of(p, 64), zero);
        p[bit / 8] = 0;
    }
    p[0] = 1;
    uint64_t first = sum_of(p, 64);
    p[0] = 0;
    p[32] = 1;
    CHECK_NE(sum_of(p, 64), first);
}
