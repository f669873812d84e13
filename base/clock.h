/* SPDX-License-Identifier: MIT */
/* The time. Alone in base/clock.c, because tests bring a clock of their own
 * (tests/unit/fake.c). */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);
/* The time stamp counter: how much passed between two looks, in a unit that
 * only this says. Never a system call, whatever clock the kernel has. */
uint64_t now_ticks(void);
/* CLOCK_REALTIME in nanoseconds (UTC since 1970). */
uint64_t wall_ns(void);

/* Milliseconds that pass while this process waits, whatever a test's clock
 * says: for who must be done in time. */
static inline int64_t real_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#endif
