/* SPDX-License-Identifier: MIT */
/* Threads that do a disk's requests, one blocking call after the other. */
#ifndef BLOCK_POOL_H
#define BLOCK_POOL_H

#include <pthread.h>
#include <stdbool.h>

#include "base/thread.h"
#include "block/block.h"

#define POOL_THREADS_MAX 64

struct pool;
struct pool_thread {
    struct thread thread;
    struct pool *pool;
    unsigned char *bounce;
};

struct pool {
    /* On a thread of the pool: does `r`, with memory of its own. 0 or -errno.
     */
    int (*work)(void *ctx, const struct blk_req *r, unsigned char *bounce);
    void *ctx;
    int fd; /* an eventfd, the owner's: something is done */
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct blk_req *first, **last; /* not begun */
    struct blk_req *done, **done_last;
    unsigned idle;
    bool quit;
    unsigned n;
    struct pool_thread *thread;
};

/* All of it for the loop's thread. The caller has set work, ctx and fd. `n`
 * threads, each with `bounce` bytes (a page's alignment). 0 or -errno (said);
 * pool_end() either way. */
int pool_begin(struct pool *p, unsigned n, size_t bounce, const char *name);
/* `n` requests, linked. */
void pool_give(struct pool *p, struct blk_req *list, unsigned n);
/* Those that are done, each with its err; linked. */
struct blk_req *pool_done(struct pool *p);
/* Takes those back that are not begun. */
struct blk_req *pool_cancel(struct pool *p);
/* Ends the threads; nothing is under way. */
void pool_end(struct pool *p, size_t bounce);

#endif
