/* SPDX-License-Identifier: MIT */
/* A lock for what is taken per packet: a word, and the kernel only where two
 * threads meet. The C library's does the same, and asks each time for its kind,
 * its owner and its priority: 75 instructions against 13. */
#ifndef LOCK_H
#define LOCK_H

#include <stdbool.h>

/* All zeroes: free. Not to be moved while somebody waits; not recursive. */
struct lock {
    _Atomic int state;
};
void lock_take(struct lock *l);
bool lock_try(struct lock *l); /* taken? */
void lock_give(struct lock *l);

#endif
