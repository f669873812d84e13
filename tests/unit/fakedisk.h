/* SPDX-License-Identifier: MIT */
/* A driver of virtio-blk on the fake machine, with a fake drive. */
#ifndef FAKEDISK_H
#define FAKEDISK_H

#include "devices/virtio_blk/state.h"
#include "tests/unit/fakeblk.h"
#include "tests/unit/fakevirtio.h"

struct bd {
    struct vd d;                      /* first; opts may be set before */
    const char *drive;                /* options of the drive */
    void (*bend)(struct fake_blk *f); /* before the disk is made */
    struct fake_blk *f;
};
/* A request as it lies in the guest's memory. */
struct bd_req {
    uint64_t head, status, data;
    uint32_t len;
    int id;
};

/* vd_new with a drive; vd_up. */
void bd_new(struct bd *b);
void bd_up(struct bd *b, bool packed, uint64_t want);
void bd_free(struct bd *b);
/* Header, data (len may be 0), status: makes it available, unkicked. */
struct bd_req bd_put(struct bd *b, unsigned q, uint32_t type, uint64_t sector,
                     uint32_t len);
/* A segment of DISCARD or WRITE_ZEROES. */
struct bd_req bd_put_seg(struct bd *b, uint32_t type, uint64_t sector,
                         uint32_t num, uint32_t flags);
uint8_t bd_status(struct bd *b, const struct bd_req *r); /* ST_NONE: not yet */
/* Kicks, the drive does all, the driver takes it: its status. *len: used. */
uint8_t bd_finish(struct bd *b, const struct bd_req *r, uint32_t *len);
/* put and finish on queue 0. */
uint8_t bd_do(struct bd *b, uint32_t type, uint64_t sector, uint32_t len);
/* A pattern is written, read back and compared: the disk works. */
void bd_check_alive(struct bd *b);
/* The device configuration. */
uint64_t bd_config(struct bd *b, unsigned off, unsigned width);

#endif
