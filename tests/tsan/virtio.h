/* SPDX-License-Identifier: MIT */
/* A virtio driver that keeps to the memory rules (virtio 1.2 §2.7.13, §2.8):
 * what it publishes it releases, what it takes it acquires, and ring memory is
 * its own from the moment a reset has returned. So each race that is reported
 * is the device's. A chain is one or two descriptors; slot i of a split ring
 * uses descriptors i and i + size / 2. */
#ifndef TSAN_VIRTIO_H
#define TSAN_VIRTIO_H

#include "devices/virtio/pci.h"
#include "tests/tsan/rig.h"

#define QUEUES_MAX 9
#define QSIZE_MAX 64
#define RING_AT(q, life) (0x100000u + (q)*0x20000u + ((life)&1) * 0x10000u)
#define AVAIL_OFF 0x4000
#define USED_OFF 0x8000
#define BUF_AT(q) (0x800000u + (q)*0x40000u)
#define BUF_LEN 2048
#define COMMON(d) (bar_at((d)->c->slot, 4))

enum {
    D_NEXT = 1,
    D_WRITE = 2,
    P_AVAIL = 1 << 7,
    P_USED = 1 << 15,
};

struct queue {
    unsigned index, size, life;
    uint64_t desc, avail, used;
    uint16_t add, seen; /* split: free-running; packed: places */
    bool add_wrap, seen_wrap;
    uint8_t count[QSIZE_MAX]; /* descriptors of a slot in flight, 0: free */
    unsigned out;             /* slots in flight */
    uint64_t since;           /* when the oldest of them was likely added */
};

struct drv {
    struct vcpu *c;
    bool packed;
    unsigned pairs, nq, hdr_len;
    uint64_t features;
    struct queue q[QUEUES_MAX];
};

/* All of them give false when the machine was reset meanwhile.
 *
 * Writes a register until it reads back: the BAR may be away for a moment. */
bool set(struct drv *d, unsigned off, unsigned width, uint64_t val);
bool status(struct drv *d, uint8_t bits);
/* Reset, and those of the features that are offered. */
bool negotiate(struct drv *d, uint64_t want);
bool make_queue(struct drv *d, unsigned n);
bool reset_queue(struct drv *d, unsigned n);
void kick(struct drv *d, unsigned n);
/* A chain in a free slot, the buffers at BUF_AT; false: all are in flight. */
bool add(struct drv *d, struct queue *q, unsigned n, const uint32_t *len,
         const bool *write);
unsigned reap(struct drv *d, struct queue *q);
/* What the device looks at before it interrupts (§2.7.7, §2.8.10). */
void suppress(struct drv *d, struct queue *q);

#endif
