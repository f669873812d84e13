/* SPDX-License-Identifier: MIT */
/* What the verbs and the two rings share inside. */
#ifndef VIRTQUEUE_WALK_H
#define VIRTQUEUE_WALK_H

#include "devices/virtio/ring.h"

enum { VRING_DESC_NEXT = 1, VRING_DESC_WRITE = 2, VRING_DESC_INDIRECT = 4 };

struct vring_desc { /* §2.7.5 */
    le64 addr;
    le32 len;
    le16 flags, next;
};

/* An entry of a ring, each of its bytes read once: {addr, len, flags, next}; a
 * packed ring's has its id before its flags. Aligned, unlike those of a table.
 */
static inline struct vring_desc vq_desc(const void *entry)
{
    const le64 *at = entry;
    uint64_t a = __atomic_load_n(&at[0], __ATOMIC_RELAXED);
    uint64_t b = __atomic_load_n(&at[1], __ATOMIC_RELAXED);
    return (struct vring_desc){a, (uint32_t)b, (uint16_t)(b >> 32),
                               (uint16_t)(b >> 48)};
}

/* Breaks the queue, whose chain has a piece that cannot be; false. */
bool vq_bad_piece(struct virtqueue *vq, const void *p, bool readable_late);
/* Appends a descriptor's buffer to a chain, readable ones first; false: the
 * queue broke. */
static inline bool vq_add_piece(struct virtqueue *vq, struct vq_chain *c,
                                struct iovec *iov, struct vring_desc d)
{
    bool write = d.flags & VRING_DESC_WRITE;
    uint32_t sum = (write ? c->wlen : c->rlen) + d.len;
    if (!d.len)
        return true;
    void *p = ram_ptr(vq->ram, gpa(d.addr), d.len);
    if (!p || (!write && c->nw) || sum < d.len)
        return vq_bad_piece(vq, p, !write && c->nw);
    iov[c->nr + c->nw] = (struct iovec){p, d.len};
    *(write ? &c->wlen : &c->rlen) = sum;
    *(write ? &c->nw : &c->nr) += 1;
    return true;
}
/* The table an indirect descriptor points to, of its length / 16 entries; NULL:
 * the queue broke. */
const struct vring_desc *vq_indirect_table(struct virtqueue *vq,
                                           struct vring_desc d);

/* A chain of one descriptor with a buffer, which most are. False: it is none
 * of these, or a wrong one: nothing is done, the walk finds out. */
static inline bool vq_single(struct virtqueue *vq, struct vq_chain *c,
                             struct iovec *iov, int max, struct vring_desc d)
{
    if (d.flags & (VRING_DESC_NEXT | VRING_DESC_INDIRECT) || !d.len || max < 1)
        return false;
    void *p = ram_ptr(vq->ram, gpa(d.addr), d.len);
    if (!p)
        return false;
    vq->walked++;
    iov[0] = (struct iovec){p, d.len};
    if (d.flags & VRING_DESC_WRITE)
        *c = (struct vq_chain){.id = c->id, .ndesc = 1, .nw = 1, .wlen = d.len};
    else
        *c = (struct vq_chain){.id = c->id, .ndesc = 1, .nr = 1, .rlen = d.len};
    return true;
}

/* A chain was popped, and pushed: the last thing that is done with it, so that
 * whoever is not traced has nothing to keep for after it. */
enum vq_got vq_popped_traced(const struct vq_chain *c);
static inline enum vq_got vq_popped(struct virtqueue *vq,
                                    const struct vq_chain *c)
{
    vq->inflight++;
    if (__builtin_expect(trace_mask & TRACE_QUEUE, 0))
        return vq_popped_traced(c);
    return VQ_CHAIN;
}
static inline void vq_pushed(const struct vq_chain *c, uint32_t len)
{
    TRACE(QUEUE, "push id %u len %u", c->id, len);
}

/* Between what is told to the driver and a look at what it told: full, and
 * pairs with the same of the driver's, so one of the two sees the other's. */
static inline void vq_fence(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

/* split.c, packed.c: the verbs of queue.h on each ring. */
bool split_available(struct virtqueue *vq);
enum vq_got split_pop(struct virtqueue *vq, struct vq_chain *c,
                      struct iovec *iov, int max);
bool split_pop_head(struct virtqueue *vq, uint16_t *head);
void split_undo(struct virtqueue *vq);
void split_push(struct virtqueue *vq, const struct vq_chain *c, uint32_t len);
void split_flush(struct virtqueue *vq);
void split_kicks_off(struct virtqueue *vq);
bool split_rearm(struct virtqueue *vq);
bool split_irq_wanted(const struct virtqueue *vq, uint16_t moved);

bool packed_available(struct virtqueue *vq);
enum vq_got packed_pop(struct virtqueue *vq, struct vq_chain *c,
                       struct iovec *iov, int max);
void packed_undo(struct virtqueue *vq, const struct vq_chain *c);
void packed_push(struct virtqueue *vq, const struct vq_chain *c, uint32_t len);
void packed_flush(struct virtqueue *vq);
void packed_kicks_off(struct virtqueue *vq);
bool packed_rearm(struct virtqueue *vq);
bool packed_irq_wanted(const struct virtqueue *vq, uint16_t moved);

#endif
