/* SPDX-License-Identifier: MIT */
/* A drive whose other side is the test: it keeps what it is asked until the
 * test has it done, in any order, well or not. */
#ifndef FAKEBLK_H
#define FAKEBLK_H

#include "block/block.h"
#include "tests/unit/fake.h"

#define FB_SIZE (1u << 20) /* bytes, unless told otherwise */
#define FB_SECTORS (FB_SIZE / 512)
#define FB_PENDING 4096

struct fake_blk {
    struct blockdev b; /* first */
    uint8_t *bytes;    /* what is on it; FB_SIZE of them */
    /* Under way, oldest first. */
    struct blk_req *req[FB_PENDING];
    bool begun[FB_PENDING]; /* a drain cannot cancel it any more */
    unsigned n;
    bool self; /* does all of it in the loop's next turn */
    struct event ev;
    /* So far, by op; and in order: the last of them. */
    unsigned submits, kicks, drains, ops[5];
    bool last_unmap;
};

/* Registered as id "d0", opened. `cache` and readonly may be changed before a
 * disk is made of it. */
struct fake_blk *fake_blk_new(const char *opts);
/* The i-th that is under way ends with `err`. */
void fake_blk_end(struct fake_blk *f, unsigned i, int err);
void fake_blk_end_all(struct fake_blk *f, int err);

/* virtio 1.2 §5.2.6; ST_NONE: what drivers put there before. */
enum { BLK_IN = 0, BLK_OUT = 1, BLK_T_FLUSH = 4, BLK_GET_ID = 8 };
enum { BLK_T_DISCARD = 11, BLK_T_ZEROES = 13 };
enum { ST_OK = 0, ST_IOERR = 1, ST_UNSUPP = 2, ST_NONE = 0xee };

#endif
