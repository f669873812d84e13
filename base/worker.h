/* SPDX-License-Identifier: MIT */
/* A thread for calls that take their time. */
#ifndef WORKER_H
#define WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/thread.h"

struct worker {
    struct thread thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void (*job)(void *arg); /* NULL: nothing to do */
    void *arg;
    bool quit;
};

/* All of it for one thread, the owner's. 0 or -errno (said). */
int worker_start(struct worker *w, const char *name);
/* Has `job(arg)` done; one after the other: while one is under way the caller
 * waits for it. */
void worker_do(struct worker *w, void (*job)(void *arg), void *arg);
/* Waits `ns` (0: as long as it takes) for the job to be done. False: it is
 * not. */
bool worker_wait(struct worker *w, uint64_t ns);
/* Ends it, once its job is done. */
void worker_end(struct worker *w);

#endif
