/* SPDX-License-Identifier: MIT */
/* Locks: one thread at a time, and nobody sleeps for ever. */
#include <pthread.h>
#include <sched.h>

#include "base/lock.h"
#include "tests/unit/test.h"

#define THREADS 4
#define ROUNDS 20000

static struct lock lock;
static unsigned plain; /* what the lock is for: no atomic */

static void *many(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        lock_take(&lock);
        unsigned was = plain;
        if (i % 64 == 0) /* others run into it, some of them go to sleep */
            sched_yield();
        plain = was + 1;
        lock_give(&lock);
    }
    return NULL;
}

TEST(lock_one_thread_at_a_time_and_all_come_by)
{
    pthread_t t[THREADS];
    plain = 0;
    for (unsigned i = 0; i < THREADS; i++)
        REQUIRE_EQ(pthread_create(&t[i], NULL, many, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        REQUIRE_EQ(pthread_join(t[i], NULL), 0);
    CHECK_EQ(plain, THREADS * ROUNDS);
}

static void *one(void *arg)
{
    lock_take(&lock);
    *(unsigned *)arg = plain;
    lock_give(&lock);
    return NULL;
}

/* Held for so long that who waits sleeps in the kernel. */
TEST(lock_who_sleeps_is_woken)
{
    pthread_t t;
    unsigned seen = 0;
    plain = 1;
    lock_take(&lock);
    CHECK(!lock_try(&lock));
    REQUIRE_EQ(pthread_create(&t, NULL, one, &seen), 0);
    while (lock.state != 2) /* it says that it is about to */
        sched_yield();
    plain = 2;
    lock_give(&lock);
    REQUIRE_EQ(pthread_join(t, NULL), 0);
    CHECK_EQ(seen, 2);
    CHECK(lock_try(&lock));
    lock_give(&lock);
}
