/* SPDX-License-Identifier: MIT */
/* Time since the first call, and a few timers. */
#ifndef GUEST_CLOCK_H
#define GUEST_CLOCK_H

#include "lib.h"

enum timer_id { TIMER_DHCP, TIMER_TEST, TIMER_FLOOD, TIMER_SINK, TIMERS };

/* Microseconds; the first call finds the TSC's rate, which may take 10 ms. */
u64 clock_us(void);

/* Calls fn once, ms from now, from clock_run(). NULL cancels. */
void clock_timer(enum timer_id id, u32 ms, void (*fn)(void));

/* Runs the timers that are due. Costs nothing while none is set. */
void clock_run(void);

/* Has the PIT interrupt before the next timer is due; without one, nothing:
 * an idle guest then causes no exits at all. */
void clock_arm(void);

#endif
