/* SPDX-License-Identifier: MIT */
/* The time. Alone in base/clock.c, because tests bring a clock of their own
 * (tests/unit/fake.c). */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);
/* CLOCK_REALTIME in nanoseconds (UTC since 1970). */
uint64_t wall_ns(void);

#endif
