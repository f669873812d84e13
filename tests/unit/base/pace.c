/* SPDX-License-Identifier: MIT */
/* A loop's pace without a loop. The tests' clock stands still while the cost of
 * a signal is measured, so that is the least there is, 250 ticks. */
#include "base/pace.h"

#include "base/clock.h"
#include "tests/unit/fake.h"

#define COST 250
#define WINDOW (8 * COST)
#define SOON (32 * COST)

static bool looks_after(struct pace *p, uint64_t slept)
{
    p->slept = slept;
    return pace_looks(p);
}

TEST(pace_looks_where_a_look_would_have_saved_the_sleep)
{
    struct pace p = PACE_NEW;
    CHECK(!pace_looks(&p));
    CHECK(!looks_after(&p, SOON + 1));
    CHECK(looks_after(&p, SOON));
    CHECK_EQ(p.window, WINDOW);
    CHECK(pace_looks(&p)); /* it found work: no sleep between */
    pace_looked(&p);
    CHECK(!pace_looks(&p)); /* the same sleep says nothing twice */
    CHECK(looks_after(&p, 1));
}

TEST(pace_a_long_sleep_measures_nothing)
{
    struct pace p = PACE_NEW;
    CHECK(!looks_after(&p, 10000000));
    CHECK_EQ(p.window, 0);
}

TEST(pace_what_was_asked_for_is_the_window_and_no_naps)
{
    struct pace p = PACE_NEW;
    pace_ask(&p, 800000);
    pace_ask(&p, 400000);
    CHECK(looks_after(&p, 50000000));
    CHECK_EQ(p.window, 800001);
    CHECK_EQ(p.blind, WINDOW); /* file descriptors do not wait as long */
    pace_looked(&p);
    CHECK(pace_looks(&p));
    pace_worked(&p, 1000);
    CHECK(!p.naps);
}

/* ------------------------------------------------------------- whole loads */

/* What a load costs: the guest's packets come, each so many ticks after the
 * loop was done with the one before; a wake-up takes some more. */
#define WAKE_UP (10 * COST)
struct load {
    unsigned found, slept;
    uint64_t looked_in_vain; /* ticks */
};

static struct load play(struct pace *p, const uint64_t *gap, unsigned n,
                        unsigned times)
{
    struct load l = {0};
    for (unsigned i = 0; i < n * times; i++) {
        uint64_t left = gap[i % n];
        if (pace_looks(p)) {
            if (left < p->window) {
                l.found++;
                continue;
            }
            l.looked_in_vain += p->window;
            left -= p->window;
            pace_looked(p);
        }
        l.slept++;
        p->slept = left + WAKE_UP;
    }
    return l;
}

TEST(pace_of_an_idle_guest_and_of_pings_is_to_sleep)
{
    static const uint64_t idle[] = {3000000000, 900000000};
    static const uint64_t ping[] = {60000000, 300000, 60000000, 450000};
    struct pace p = PACE_NEW;
    struct load l = play(&p, idle, ARRAY_LEN(idle), 100);
    CHECK_EQ(l.slept, 200);
    CHECK_EQ(l.looked_in_vain, 0);
    l = play(&p, ping, ARRAY_LEN(ping), 100);
    CHECK_EQ(l.slept, 400);
    CHECK_EQ(l.looked_in_vain, 0);
}

/* A request goes out, its answer is far away: the next packet comes in pairs
 * (the acknowledgement, the next request) or alone. */
TEST(pace_of_requests_and_responses_looks_in_vain_once_for_each_that_paid)
{
    static const uint64_t gap[] = {100000, COST, 150000, 2 * COST};
    struct pace p = PACE_NEW;
    struct load l = play(&p, gap, ARRAY_LEN(gap), 100);
    CHECK(l.looked_in_vain <= (uint64_t)(l.found + l.slept / 2) * WINDOW);
    static const uint64_t alone[] = {100000, 150000};
    pace_looks(&p);
    l = play(&p, alone, ARRAY_LEN(alone), 100);
    CHECK(l.looked_in_vain <= WINDOW);
}

/* Bulk: most packets come one after the other, a few wait for the network. */
TEST(pace_of_bulk_finds_nearly_all_without_a_sleep)
{
    static const uint64_t gap[] = {COST,     COST / 2, 2 * COST, COST,
                                   3 * COST, COST,     COST,     60 * COST};
    struct pace p = PACE_NEW;
    struct load l = play(&p, gap, ARRAY_LEN(gap), 100);
    CHECK(l.found >= 600 - 2);
    CHECK(l.looked_in_vain <= 100 * WINDOW);
}

/* A flood of small packets: it naps, whatever looking would find. */
TEST(pace_of_a_flood_is_to_nap)
{
    static const uint64_t gap[] = {COST};
    struct pace p = {.slept = UINT64_MAX, .since = now_ns()};
    play(&p, gap, 1, 10);
    for (unsigned i = 0; i < 20; i++)
        pace_worked(&p, 1);
    CHECK(p.naps);
}

TEST(pace_naps_while_naps_find_something)
{
    struct pace p = {.slept = UINT64_MAX, .since = now_ns()};
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
