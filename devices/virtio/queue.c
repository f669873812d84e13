/* SPDX-License-Identifier: MIT */
/* Virtqueues: the verbs, on a split or a packed ring (virtio 1.2 §2.6-2.8).
 *
 * Theory of operation
 * -------------------
 * The rings lie in guest memory, which the guest may change at any moment.
 * vq_enable checks where they are and how long, once, and the registers are
 * frozen from then on; the pointers exist only while the queue is READY. Every
 * descriptor is copied to a local before anything is decided on it, and what
 * the guest can write (flags, avail.idx, used_event) is read once for each
 * decision. Indices the device owns (avail_next, used_next) are never read
 * back from guest memory.
 *
 * Publishing: entries are written first, then the index (split) or the flags of
 * the first entry (packed) with release order, in vq_flush; the driver's
 * matching acquire is in its used-index read. Popping is the mirror image.
 * Suppression needs full barriers: vq_rearm stores "kick me" and then looks at
 * the ring again, the driver publishes and then looks at "kick me"
 * (§2.7.13.4.1); vq_irq_wanted likewise after vq_flush (§2.7.7.2). */
#include "devices/virtio/queue.h"

#include <errno.h>

#include "devices/virtio/walk.h"

/* ---------------------------------------------------------- enable, reset */

static void *vq_area(const struct ram *ram, uint64_t at, uint64_t len,
                     unsigned align)
{
    return at % align ? NULL : ram_ptr(ram, gpa(at), len);
}

int vq_enable(struct virtqueue *vq, const struct ram *ram, uint64_t features)
{
    uint64_t n = vq->size;
    bool packed = has(features, VIRTIO_F_RING_PACKED);
    if (vq->state != VQ_OFF || !n || n > vq->size_max ||
        (!packed && (n & (n - 1))))
        return -EINVAL;
    /* §2.7: alignments 16, 2, 4; §2.8.10: 16, 4, 4. The event words at the end
     * of the split rings are part of them whether negotiated or not. */
    vq->desc = vq_area(ram, vq->desc_gpa, 16 * n, 16);
    vq->avail =
        vq_area(ram, vq->avail_gpa, packed ? 4 : 6 + 2 * n, packed ? 4 : 2);
    vq->used = vq_area(ram, vq->used_gpa, packed ? 4 : 6 + 8 * n, 4);
    if (!vq->desc || !vq->avail || !vq->used)
        return -EINVAL;
    vq->ram = ram;
    vq->packed = packed;
    vq->event_idx = has(features, VIRTIO_F_EVENT_IDX);
    vq->indirect = has(features, VIRTIO_F_INDIRECT_DESC);
    vq->avail_next = vq->avail_seen = vq->used_next = vq->moved = 0;
    vq->avail_wrap = vq->used_wrap = true;
    vq->held = false;
    vq->inflight = 0;
    vq->fault = NULL;
    vq->state = VQ_READY;
    return 0;
}

void vq_reset(struct virtqueue *vq)
{
    vq->state = VQ_OFF;
    fields_reset(vq_fields, vq, STATE);
    vq->size = vq->size_max;
    vq->desc = vq->avail = vq->used = NULL;
    vq->inflight = 0;
}

/* --------------------------------------------------------- position, state */

uint32_t vq_position(const struct virtqueue *vq)
{
    uint32_t at = vq->used_next;
    if (!vq->packed)
        return at;
    at |= (uint32_t)vq->used_wrap << 15;
    return at | at << 16;
}

/* Split: used.idx. Packed: of the first entry, VIRTQ_DESC_F_USED, which is 0
 * before (virtio 1.2 §2.7.8, §2.8.1). */
bool vq_any_used(const struct virtqueue *vq)
{
    const uint8_t *at = vq->packed ? vq->desc : vq->used;
    if (vq->state != VQ_READY)
        return false;
    le16 v = __atomic_load_n((const le16 *)(at + (vq->packed ? 14 : 2)),
                             __ATOMIC_RELAXED);
    return vq->packed ? v & 0x8000 : v;
}

void vq_rewind(struct virtqueue *vq)
{
    vq->avail_next = vq->avail_seen = vq->used_next;
    vq->avail_wrap = vq->used_wrap;
    vq->inflight = 0;
}

void vq_go_on(struct virtqueue *vq, uint32_t position)
{
    vq->used_next = vq->packed ? position & 0x7fff : (uint16_t)position;
    vq->used_wrap = vq->packed && position >> 15 & 1;
    vq->moved = 0;
    vq->held = false;
    vq_rewind(vq);
}

#define VQ(uses, kind, key, member, ...)                                       \
    FIELD_AS(STATE | (uses), kind, key, struct virtqueue, member, __VA_ARGS__)
const struct field vq_fields[] = {
    VQ(KEPT, NUMBER, "size", size, .min = 1, .max = VQ_SIZE_MAX),
    VQ(0, NUMBER, "desc", desc_gpa),
    VQ(0, NUMBER, "avail", avail_gpa),
    VQ(0, NUMBER, "used", used_gpa),
    VQ(0, NUMBER, "vector", vector, .def = 0xffff),
    VQ(0, NUMBER, "state", state, .max = VQ_BROKEN),
    VQ(SPARE, NUMBER, "position", used_next),
    VQ(SPARE, FLAG, "wrap", used_wrap),
    VQ(SPARE, NUMBER, "moved", moved),
    VQ(SPARE, FLAG, "held", held),
    VQ(SPARE, NUMBER, "held_at", held_at, .max = VQ_SIZE_MAX - 1),
    VQ(SPARE, NUMBER, "held_flags", held_flags),
    {.name = ""},
};

int vq_loaded(struct virtqueue *vq, const struct ram *ram, uint64_t features)
{
    struct virtqueue was = *vq;
    vq->state = VQ_OFF;
    if (was.size > vq->size_max)
        return -EINVAL;
    if (was.state == VQ_OFF)
        return was.used_next || was.moved || was.held ? -EINVAL : 0;
    int err = vq_enable(vq, ram, features);
    if (!err && vq->packed &&
        (was.used_next >= vq->size || was.held_at >= vq->size))
        err = -EINVAL;
    vq->used_next = was.used_next;
    vq->used_wrap = was.used_wrap;
    vq->moved = was.moved;
    vq->held = was.held;
    vq_rewind(vq);
    vq->state = err ? VQ_OFF : was.state;
    vq->fault = "it was broken before it was saved";
    return err;
}

/* ------------------------------------------------------------------ verbs */

enum vq_got vq_pop(struct virtqueue *vq, struct vq_chain *c, struct iovec *iov,
                   int max)
{
    if (vq->state != VQ_READY)
        return vq->state == VQ_OFF ? VQ_EMPTY : VQ_FAULT;
    if (vq->inflight >= vq->size) {
        /* Every entry is in the device's hands: nothing can be available,
         * unless the driver offers one twice. */
        return vq_more(vq) ? vq_broken(vq, "a buffer was made available twice")
                           : VQ_EMPTY;
    }
    return vq->packed ? packed_pop(vq, c, iov, max)
                      : split_pop(vq, c, iov, max);
}

bool vq_pop_head(struct virtqueue *vq, uint16_t *head)
{
    if (vq->state != VQ_READY || !split_pop_head(vq, head))
        return false;
    vq->inflight++;
    return true;
}

void vq_undo_pop(struct virtqueue *vq, const struct vq_chain *c)
{
    if (vq->state != VQ_READY)
        return;
    vq->inflight--;
    if (vq->packed)
        packed_undo(vq, c);
    else
        split_undo(vq);
}

void vq_push(struct virtqueue *vq, const struct vq_chain *c, uint32_t len)
{
    if (vq->state != VQ_READY)
        return;
    vq->inflight--;
    if (vq->packed)
        packed_push(vq, c, len);
    else
        split_push(vq, c, len);
}

void vq_flush(struct virtqueue *vq)
{
    if (vq->state != VQ_READY)
        return;
    if (vq->packed)
        packed_flush(vq);
    else
        split_flush(vq);
}

bool vq_more(struct virtqueue *vq)
{
    if (vq->state != VQ_READY)
        return false;
    return vq->packed ? packed_available(vq) : split_available(vq);
}

bool vq_rearm(struct virtqueue *vq)
{
    if (vq->state != VQ_READY)
        return false;
    return vq->packed ? packed_rearm(vq) : split_rearm(vq);
}

void vq_kicks_off(struct virtqueue *vq)
{
    if (vq->state != VQ_READY)
        return;
    if (vq->packed)
        packed_kicks_off(vq);
    else
        split_kicks_off(vq);
}

bool vq_irq_wanted(struct virtqueue *vq)
{
    uint16_t moved = vq->moved;
    if (vq->state != VQ_READY || !moved)
        return false;
    vq->moved = 0;
    vq_fence();
    return vq->packed ? packed_irq_wanted(vq, moved)
                      : split_irq_wanted(vq, moved);
}
