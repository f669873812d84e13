/* SPDX-License-Identifier: MIT */
/* A virtqueue, split or packed, seen from the device (virtio 1.2 §2.6-2.8). */
#ifndef VIRTQUEUE_H
#define VIRTQUEUE_H

#include <sys/uio.h>

#include "machine/machine.h"

#define VQ_SIZE_MAX 1024

/* Ring features, as negotiated (virtio 1.2 §6); bit numbers. */
enum {
    VIRTIO_F_NOTIFY_ON_EMPTY = 24,
    VIRTIO_F_ANY_LAYOUT = 27,
    VIRTIO_F_INDIRECT_DESC = 28,
    VIRTIO_F_EVENT_IDX = 29,
    VIRTIO_F_VERSION_1 = 32,
    VIRTIO_F_ACCESS_PLATFORM = 33,
    VIRTIO_F_RING_PACKED = 34,
    VIRTIO_F_IN_ORDER = 35,
    VIRTIO_F_ORDER_PLATFORM = 36,
    VIRTIO_F_NOTIFICATION_DATA = 38,
    VIRTIO_F_RING_RESET = 40,
};
static inline bool has(uint64_t features, unsigned bit)
{
    return features >> bit & 1;
}

/* OFF: no ring pointers. READY: rings checked for their whole size, registers
 * frozen. BROKEN: a guest fault was seen; nothing is touched until reset. */
enum vq_state { VQ_OFF, VQ_READY, VQ_BROKEN };

/* One popped request: device-readable pieces first, then writable ones. */
struct vq_chain {
    uint16_t id;         /* head (split) or buffer id (packed) */
    uint16_t ndesc;      /* ring entries it uses */
    uint16_t nr, nw;     /* pieces readable, writable */
    uint32_t rlen, wlen; /* their bytes */
};

enum vq_got { VQ_CHAIN, VQ_EMPTY, VQ_FULL_IOV, VQ_FAULT };

struct virtqueue {
    /* the transport's registers; frozen while state != VQ_OFF */
    uint16_t size, size_max;
    uint64_t desc_gpa, avail_gpa, used_gpa; /* packed: desc, driver, device */
    /* MSI-X, 0xffff: none. Loops read it while vCPUs write it. */
    _Atomic uint16_t vector;

    /* Set by the loop when it finds the ring broken; registers show it. */
    _Atomic enum vq_state state;
    const struct ram *ram;
    bool packed, event_idx, indirect, in_order;
    const char *fault; /* why it is BROKEN */

    void *desc, *avail, *used; /* hva, only in READY */
    uint16_t avail_next;       /* next entry to pop (packed: ring index) */
    uint16_t avail_seen;       /* cached avail.idx (split) */
    uint16_t used_next;        /* where the next used entry goes */
    uint16_t moved; /* ring entries used since the last vq_irq_wanted */
    bool avail_wrap, used_wrap;   /* packed */
    bool held;                    /* packed: flags of the first entry pushed */
    uint16_t held_at, held_flags; /* since vq_flush are still to be written */
    uint16_t inflight;            /* chains popped and not pushed */
    uint32_t walked; /* descriptors looked at, for whoever bounds his work */
};

/* OFF → READY: checks size, alignment and that every ring lies in RAM. 0 or
 * -EINVAL. features: as negotiated. Under the device's lock. */
int vq_enable(struct virtqueue *vq, const struct ram *ram, uint64_t features);
/* Back to OFF with the power-on registers. */
void vq_reset(struct virtqueue *vq);

/* Takes the next available chain, appending its pieces to iov[] (at most
 * `max` of them, readable ones first). VQ_EMPTY: nothing available;
 * VQ_FULL_IOV: more pieces than max, nothing taken; VQ_FAULT: malformed, the
 * queue is BROKEN now. The loop's thread of this queue only. */
enum vq_got vq_pop(struct virtqueue *vq, struct vq_chain *c, struct iovec *iov,
                   int max);
/* Gives the last popped, not yet pushed chain back to the ring. */
void vq_undo_pop(struct virtqueue *vq, const struct vq_chain *c);
/* Returns a chain with `len` bytes written. Not visible to the driver before
 * vq_flush, so that all buffers of one packet appear together. */
void vq_push(struct virtqueue *vq, const struct vq_chain *c, uint32_t len);
void vq_flush(struct virtqueue *vq);
/* Is anything available? Cheap. */
bool vq_more(struct virtqueue *vq);
/* Kicks wanted again; true: something became available meanwhile (the caller
 * goes on popping, kicks stay on or off as vq_kicks_off says next). */
bool vq_rearm(struct virtqueue *vq);
/* No kicks wanted: the caller is polling. */
void vq_kicks_off(struct virtqueue *vq);
/* After vq_flush: does the driver want an interrupt for what was pushed since
 * the last call? */
bool vq_irq_wanted(struct virtqueue *vq);

#endif
