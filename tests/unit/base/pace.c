/* SPDX-License-Identifier: MIT */
/* A loop's pace without a loop. The tests' clock stands still while the cost of
 * a signal is measured, so every limit is the least there is: 20 us. */
#include "base/pace.h"

#include "base/clock.h"
#include "tests/unit/fake.h"

#define LEAST 20000

TEST(pace_short_sleeps_double_the_window_a_long_one_closes_it)
{
    struct pace p = {0};
    static const uint64_t window[] = {LEAST / 8, LEAST / 4, LEAST / 2, LEAST,
                                      LEAST};
    for (unsigned i = 0; i < ARRAY_LEN(window); i++) {
        pace_slept(&p, LEAST);
        CHECK_EQ(pace_look(&p), window[i]);
    }
    pace_slept(&p, LEAST + 1);
    CHECK_EQ(pace_look(&p), 0);
}

TEST(pace_a_long_sleep_measures_nothing)
{
    struct pace p = {0};
    pace_slept(&p, 1000000);
    CHECK_EQ(p.window_max, 0);
    CHECK_EQ(pace_look(&p), 0);
}

TEST(pace_what_was_asked_for_is_the_window_and_no_naps)
{
    struct pace p = {0};
    pace_ask(&p, 800000);
    pace_ask(&p, 400000);
    for (int i = 0; i < 4; i++)
        pace_slept(&p, 700000);
    CHECK_EQ(pace_look(&p), 800000);
    pace_worked(&p, 1000);
    CHECK(!p.naps);
}

TEST(pace_looks_for_an_answer_while_the_last_one_came_soon)
{
    struct pace p = {.given = true};
    pace_answered(&p, LEAST / 2);
    CHECK_EQ(pace_look(&p), 0); /* nothing was given since */
    p.given = true;
    CHECK_EQ(pace_look(&p), LEAST);
    pace_answered(&p, LEAST + 1);
    p.given = true;
    CHECK_EQ(pace_look(&p), 0);
}

TEST(pace_naps_while_naps_find_something)
{
    struct pace p = {.since = now_ns()};
    pace_worked(&p, 15);
    CHECK(!p.naps);
    pace_worked(&p, 1);
    CHECK(p.naps);
    pace_worked(&p, 3);
    pace_napped(&p, true);
    CHECK(p.naps);
    pace_worked(&p, 2);
    pace_napped(&p, false); /* an event ended it: it is not over */
    CHECK(p.naps);
    pace_napped(&p, true);
    CHECK(!p.naps);
    pace_worked(&p, 16); /* once in doubt, twice as many are wanted */
    CHECK(!p.naps);
    pace_worked(&p, 16);
    CHECK(p.naps);
}
