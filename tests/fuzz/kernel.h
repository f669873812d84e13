/* SPDX-License-Identifier: MIT */
/* The system calls of a fuzz target: see kernel.c. */
#ifndef FUZZ_KERNEL_H
#define FUZZ_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

/* Called when somebody would sleep until a descriptor is ready: the one moment
 * for whoever is at the other end. NULL: nobody is. */
extern void (*kernel_idle)(void);
/* The call after so many that would make a descriptor says EMFILE; 0: none. */
extern unsigned kernel_full;
/* Bytes that a stream socket holds at most. */
extern uint32_t kernel_room;
#define KERNEL_ROOM (128u << 10)
/* Gives the next answer of the helper's that is not given at once: of
 * helper_connect_port(), whose asker holds a lock. False: there is none. */
bool kernel_helped(void);

#endif
