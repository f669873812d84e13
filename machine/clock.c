/* SPDX-License-Identifier: MIT */
/* The clock of loops and timers; a file of its own so that tests can bring
 * another one. */
#include "machine/loop.h"

#include <time.h>

uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
