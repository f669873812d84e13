/* SPDX-License-Identifier: MIT */
/* io_uring, as far as a disk needs one: reads and writes of one file. */
#ifndef BLOCK_RING_H
#define BLOCK_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/block.h"

#define RING_ENTRIES 128
#define RING_PIECES_MAX 1024 /* of memory: UIO_MAXIOV */

struct io_uring_sqe;
struct io_uring_cqe;

/* All of it is the loop's thread's. */
struct ring {
    int fd; /* -1: there is none */
    unsigned queued, under_way;
    void *memory;
    size_t size;
    uint32_t *sq_tail, sq_mask, *sq_array, *cq_head, *cq_tail, cq_mask;
    struct io_uring_sqe *sqe;
    struct io_uring_cqe *cqe;
};

/* One for `file`, that signals `event` when something is done; from here on it
 * can do nothing but this. 0 or -errno (not said), fd is -1 then. */
int ring_begin(struct ring *q, int file, int event);
/* Another file in its place; nothing is under way. 0 or -errno. */
int ring_file(struct ring *q, int file);
bool ring_full(const struct ring *q);
/* A read or write, with flags as preadv2 has them; then all of them are begun.
 * Gives back those that the kernel does not take, linked. */
void ring_put(struct ring *q, struct blk_req *r, int flags);
struct blk_req *ring_submit(struct ring *q);
/* Is something done? One that is, with bytes or -errno in *got; NULL: none. */
bool ring_has(const struct ring *q);
struct blk_req *ring_take(struct ring *q, int64_t *got);
void ring_end(struct ring *q);

#endif
