/* SPDX-License-Identifier: MIT */
/* Running in ring 3, and stepping into ring 0 where it must be. */
#ifndef GUEST_RING_H
#define GUEST_RING_H

#include "irq.h"

/* Goes on in ring 3, on the same stack. */
void ring_enter3(void);

/* In ring 3: counts in vector registers, and panics where they are not as they
 * were left. */
void vectors_count(void);

/* Runs fn in ring 0; before ring_enter3() just calls it. */
void ring0(void (*fn)(void));

/* From irq_dispatch(): was this exception ring0()'s? Then fn has been run. */
bool ring_trapped(struct trap_frame *f);

/* entry.S */
void ring0_trap(void (*fn)(void));
void ring3_return(void);

#endif
