/* SPDX-License-Identifier: MIT */
/* Threads: of which kind each is, made in one place. */
#ifndef THREAD_H
#define THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/use.h"

/* What a thread is for says what it may ask of the kernel. */
enum thread_kind {
    THREAD_LOOP,   /* main()'s: the main loop */
    THREAD_PAIR,   /* a loop for one pair of queues */
    THREAD_VCPU,   /* runs a guest's CPU */
    THREAD_WORKER, /* makes calls that take their time (base/worker.h) */
    THREAD_DISK,   /* makes a disk's transfers */
    THREAD_KINDS
};

/* Ends a KVM_RUN; thread_wake() sends it, and only a THREAD_VCPU takes it. */
#define WAKE_SIGNAL SIGRTMIN

/* Who gives us memory has gone: whatever the loop waits for, a THREAD_WORKER
 * takes it, and until there is one, main()'s. */
#define LOST_SIGNAL SIGIO

struct thread {
    enum thread_kind kind;
    char name[16]; /* for top(1) and perf(1); see threads_name */
    void (*run)(void *arg);
    void *arg;
    bool runs;         /* and is to be joined */
    _Atomic pid_t tid; /* 0: not yet */
    pthread_t id;
    struct thread *next; /* of those that wait for threads_begin() */
};

/* Runs `run(arg)` on a thread of its own, which takes no signal but what a
 * fault of ours raises. Between threads_hold() and threads_begin() it only
 * waits for the latter. 0 or -errno (said). Kind, name, run and arg are set by
 * the caller, the rest is zero; it stays where it is until thread_join(). */
int thread_start(struct thread *t);
/* Until it has ended; at once where it never ran. */
void thread_join(struct thread *t);
/* Interrupts a system call of a THREAD_VCPU. */
void thread_wake(struct thread *t);

/* For main(): no thread exists between the two, which is when a process can
 * still confine itself as a whole. threads_begin() makes those that were asked
 * for meanwhile, then confines the caller, which is the main loop's thread.
 * None can be made after it. 0 or -errno (said). */
void threads_hold(void);
int threads_begin(void);

/* From then on names begin with the machine's, as far as there is room:
 * "web1/vcpu0". It stays the caller's. */
void threads_name(const char *machine);
/* The calling thread's, without that; main()'s is "loop". */
const char *thread_name(void);
/* The signal `sig`, whose handler is the default one again, for this thread. */
void thread_raise(int sig);

/* If set: called by each thread first thing, by threads_begin()'s last. */
extern void (*thread_confine)(enum thread_kind kind);

#endif
