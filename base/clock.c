/* SPDX-License-Identifier: MIT */
/* The clock of loops and timers; a file of its own so that tests can bring
 * another one. */
#include "base/clock.h"

#include <time.h>

static uint64_t clock_read(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t now_ns(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

uint64_t now_ticks(void)
{
    return __builtin_ia32_rdtsc();
}

uint64_t wall_ns(void)
{
    return clock_read(CLOCK_REALTIME);
}
