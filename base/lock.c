/* SPDX-License-Identifier: MIT */
/* Locks: see lock.h. Drepper, "Futexes Are Tricky", the second mutex. */
#include "base/lock.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FREE, HELD, WANTED };

#define LOOKS 100 /* before it sleeps: what is locked is done soon */

bool lock_try(struct lock *l)
{
    int was = FREE;
    return atomic_compare_exchange_strong_explicit(
        &l->state, &was, HELD, memory_order_acquire, memory_order_relaxed);
}

/* Whoever gets it here may have left others asleep, and says so.
 *
 * syscalls all: futex */
static __attribute__((noinline)) void lock_wait(struct lock *l)
{
    for (int i = 0; i < LOOKS; i++) {
        if (lock_try(l))
            return;
        __builtin_ia32_pause();
    }
    while (atomic_exchange_explicit(&l->state, WANTED, memory_order_acquire))
        syscall(SYS_futex, &l->state, FUTEX_WAIT_PRIVATE, WANTED, NULL);
}

void lock_take(struct lock *l)
{
    if (!lock_try(l))
        lock_wait(l);
}

static __attribute__((noinline)) void lock_wake(struct lock *l)
{
    syscall(SYS_futex, &l->state, FUTEX_WAKE_PRIVATE, 1);
}

/* The word may be gone once it is free: the kernel looks for who waits at the
 * address alone. */
void lock_give(struct lock *l)
{
    if (atomic_exchange_explicit(&l->state, FREE, memory_order_release) ==
        WANTED)
        lock_wake(l);
}
