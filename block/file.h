/* SPDX-License-Identifier: MIT */
/* A file or a block device as a disk: what its parts share. */
#ifndef BLOCK_FILE_H
#define BLOCK_FILE_H

#include <stdatomic.h>

#include "block/block.h"
#include "block/pool.h"
#include "block/ring.h"

#define FILE_BOUNCE (64u * 1024) /* a thread's; of whole blocks of any size */

/* What a descriptor leads to. */
struct backing {
    int fd;
    bool device;       /* a block device, else a regular file */
    uint64_t dev, ino; /* which it is; of a device its own number and 0 */
    uint64_t size;     /* bytes, all of them */
    uint32_t block;    /* a device's logical block; of a file 1 */
    uint32_t physical, optimal;
    /* What a transfer's offset and length, and its memory, must be multiples
     * of: 1 but where it is direct. */
    uint32_t align, mem_align;
    bool can_discard, can_zero;
};

struct file {
    struct blockdev b;
    /* told */
    const char *path;
    uint8_t auto_read_only, aio, locking;
    uint8_t threads;
    /* open */
    struct backing at;
    char *own_path;       /* swapped in */
    _Atomic bool resized; /* and not on stable storage */
    _Atomic bool lost;    /* a flush has failed: what came before is gone */
    struct event ev;      /* something is done */
    struct pool pool;
    struct ring ring; /* aio=io_uring: reads and writes */
    /* Not begun: behind one that must run alone. */
    struct blk_req *first, **last;
    unsigned running;
    bool alone;
    struct blk_req *now; /* done, and not told yet */
    bool never_now;      /* its file system cannot say that it would wait */
};

/* backing.c, on the loop's thread: `who` begins each line. */

/* What `at->fd` is, and the way it is to be used. 0 or -errno (said). */
int backing_look(struct backing *at, const char *who, bool direct, bool write);
/* Does this descriptor lead there, too? */
bool backing_is(const struct backing *at, int fd);
/* Its size again. 0 or -errno (said). */
int backing_size(struct backing *at, const char *who);
/* Nobody else writes to it: an OFD lock, of the same bytes that QEMU locks; one
 * that is still there may be waited for. 0 or -errno (said). */
int backing_lock(const struct backing *at, const char *who, bool write,
                 bool must, bool wait);

/* transfer.c, on a thread of the pool: does one request. 0 or -errno. */
int transfer_do(void *ctx, const struct blk_req *r, unsigned char *bounce);
/* Any thread: must it run while no other does? Can the file take it from where
 * its memory is? What flags has it, as preadv2 knows them? */
bool transfer_alone(const struct file *f, const struct blk_req *r);
bool transfer_fits(const struct file *f, const struct blk_req *r);
int transfer_flags(const struct file *f, bool write);
/* Reads without waiting, if it can: 1, 0, or -EOPNOTSUPP: it never can. */
int transfer_now(const struct file *f, const struct blk_req *r);

#endif
