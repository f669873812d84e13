/* SPDX-License-Identifier: MIT */
/* The split ring (virtio 1.2 §2.7): a table of descriptors, the ring of what is
 * available, which the driver writes, and the ring of what is used, ours. */
#include <string.h>

#include "devices/virtio/walk.h"

#define SPLIT_USED_NO_NOTIFY 1     /* §2.7.8 */
#define SPLIT_AVAIL_NO_INTERRUPT 1 /* §2.7.6 */

struct vring_avail {
    le16 flags, idx, ring[];
};
struct vring_used_elem {
    le32 id, len;
};
struct vring_used {
    le16 flags, idx;
    struct vring_used_elem ring[];
};
_Static_assert(sizeof(struct vring_used_elem) == 8, "§2.7.8");

/* A word of what is available: entry `at`, or used_event, behind them all. */
static inline uint16_t split_avail(const struct virtqueue *vq, unsigned at)
{
    const struct vring_avail *avail = vq->avail;
    const le16 *word = avail->ring + at;
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* The head of the next chain. */
static inline uint16_t split_head(const struct virtqueue *vq)
{
    return split_avail(vq, vq->avail_next & (vq->size - 1u));
}

static enum vq_got split_walk(struct virtqueue *vq, struct vq_chain *c,
                              struct iovec *iov, int max)
{
    const struct vring_desc *table = vq->desc;
    unsigned n = vq->size, i = c->id, steps = 0, direct = 0;
    bool inside = false;
    for (;;) {
        struct vring_desc d;
        if (i >= n)
            return vq_broken(vq, "a descriptor index is out of range");
        if (steps++ >= n)
            return vq_broken(vq, "a descriptor chain loops");
        vq->walked++;
        memcpy(&d, &table[i], sizeof(d));
        if (d.flags & VRING_DESC_INDIRECT) {
            if (inside)
                return vq_broken(vq, "an indirect table is nested");
            table = vq_indirect_table(vq, d);
            if (!table)
                return VQ_FAULT;
            n = d.len / sizeof(d);
            inside = true;
            direct = steps - 1;
            i = steps = 0;
            continue;
        }
        /* §2.7.5.3.1: no chain is longer than its queue, table included. */
        if (direct + steps > VQ_SIZE_MAX)
            return vq_broken(vq, "a descriptor chain is too long");
        if (c->nr + c->nw >= max && d.len)
            return VQ_FULL_IOV;
        if (!vq_add_piece(vq, c, iov, d))
            return VQ_FAULT;
        if (!(d.flags & VRING_DESC_NEXT))
            return VQ_CHAIN;
        i = d.next;
    }
}

/* The driver writes that cache line: it is read only when what it said is used
 * up. */
static SELDOM bool split_look(struct virtqueue *vq)
{
    struct vring_avail *avail = vq->avail;
    /* Pairs with the driver's release of avail.idx (§2.7.13.3). */
    uint16_t idx = __atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE);
    if ((uint16_t)(idx - vq->avail_next) > vq->size) {
        vq_broken(vq, "avail.idx moved by more than the queue size");
        return false;
    }
    vq->avail_seen = idx;
    return idx != vq->avail_next;
}

static bool split_seen(const struct virtqueue *vq)
{
    return vq->avail_next != vq->avail_seen;
}

/* True when avail_next is available. */
bool split_available(struct virtqueue *vq)
{
    return split_seen(vq) || split_look(vq);
}

static SELDOM enum vq_got split_pop_any(struct virtqueue *vq,
                                        struct vq_chain *c, struct iovec *iov,
                                        int max)
{
    *c = (struct vq_chain){.id = c->id, .ndesc = 1};
    enum vq_got got = split_walk(vq, c, iov, max);
    if (got != VQ_CHAIN)
        return got;
    vq->avail_next++;
    return vq_popped(vq, c);
}

static SELDOM enum vq_got split_look_and_pop(struct virtqueue *vq,
                                             struct vq_chain *c,
                                             struct iovec *iov, int max)
{
    if (split_look(vq))
        return split_pop(vq, c, iov, max);
    return vq->state == VQ_READY ? VQ_EMPTY : VQ_FAULT;
}

enum vq_got split_pop(struct virtqueue *vq, struct vq_chain *c,
                      struct iovec *iov, int max)
{
    const struct vring_desc *table = vq->desc;
    if (!split_seen(vq))
        return split_look_and_pop(vq, c, iov, max);
    uint16_t id = split_head(vq);
    c->id = id;
    if (id >= vq->size || !vq_single(vq, c, iov, max, vq_desc(&table[id])))
        return split_pop_any(vq, c, iov, max);
    vq->avail_next++;
    return vq_popped(vq, c);
}

bool split_pop_head(struct virtqueue *vq, uint16_t *head)
{
    if (!split_available(vq))
        return false;
    *head = split_head(vq);
    if (*head >= vq->size) {
        vq_broken(vq, "a descriptor index is out of range");
        return false;
    }
    vq->avail_next++;
    return true;
}

void split_undo(struct virtqueue *vq)
{
    vq->avail_next--;
}

void split_push(struct virtqueue *vq, const struct vq_chain *c, uint32_t len)
{
    struct vring_used *used = vq->used;
    struct vring_used_elem *e = &used->ring[vq->used_next & (vq->size - 1)];
    e->id = c->id;
    e->len = len;
    vq->used_next++;
    vq->moved++;
    vq_pushed(c, len);
}

void split_flush(struct virtqueue *vq)
{
    /* Pairs with the driver's acquire of used.idx. */
    struct vring_used *used = vq->used;
    __atomic_store_n(&used->idx, vq->used_next, __ATOMIC_RELEASE);
}

/* §2.7.7.2, §2.7.13.4.1 */
bool split_irq_wanted(const struct virtqueue *vq, uint16_t moved)
{
    const struct vring_avail *avail = vq->avail;
    if (!vq->event_idx)
        return !(__atomic_load_n(&avail->flags, __ATOMIC_RELAXED) &
                 SPLIT_AVAIL_NO_INTERRUPT);
    uint16_t event = split_avail(vq, vq->size);
    return (uint16_t)(vq->used_next - event - 1) < moved;
}

void split_kicks_off(struct virtqueue *vq)
{
    struct vring_used *used = vq->used;
    if (!vq->event_idx) /* else a stale avail_event asks for nothing */
        __atomic_store_n(&used->flags, SPLIT_USED_NO_NOTIFY, __ATOMIC_RELAXED);
}

bool split_rearm(struct virtqueue *vq)
{
    struct vring_used *used = vq->used;
    if (vq->event_idx) /* avail_event */
        __atomic_store_n((le16 *)&used->ring[vq->size], vq->avail_next,
                         __ATOMIC_RELAXED);
    else
        __atomic_store_n(&used->flags, 0, __ATOMIC_RELAXED);
    vq_fence();
    return split_available(vq);
}
