/* SPDX-License-Identifier: MIT */
/* What a virtqueue is, split or packed (virtio 1.2 §2.6-2.8). */
#ifndef VIRTQUEUE_RING_H
#define VIRTQUEUE_RING_H

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
static inline uint64_t bit(unsigned n)
{
    return 1ull << n;
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
    bool packed, event_idx, indirect;
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

/* Marks the queue BROKEN; gives VQ_FAULT. For what a device finds in a chain,
 * too: one that it cannot answer. The loop's thread of this queue only. */
enum vq_got vq_broken(struct virtqueue *vq, const char *why);

#endif
