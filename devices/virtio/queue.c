/* SPDX-License-Identifier: MIT */
/* Virtqueues: the verbs, and the split ring (virtio 1.2 §2.7).
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
#include <string.h>

#include "devices/virtio/ring.h"

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
_Static_assert(sizeof(struct vring_desc) == 16, "§2.7.5");
_Static_assert(sizeof(struct vring_used_elem) == 8, "§2.7.8");

enum vq_got vq_broken(struct virtqueue *vq, const char *why)
{
    vq->state = VQ_BROKEN;
    vq->fault = why;
    return VQ_FAULT;
}

/* ---------------------------------------------------------- enable, reset */

static void *area(const struct ram *ram, uint64_t at, uint64_t len,
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
    vq->desc = area(ram, vq->desc_gpa, 16 * n, 16);
    vq->avail =
        area(ram, vq->avail_gpa, packed ? 4 : 6 + 2 * n, packed ? 4 : 2);
    vq->used = area(ram, vq->used_gpa, packed ? 4 : 6 + 8 * n, 4);
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
    uint16_t max = vq->size_max;
    *vq = (struct virtqueue){
        .size = max, .size_max = max, .vector = 0xffff, .state = VQ_OFF};
}

/* ---------------------------------------------------------------- walking */

static bool vq_bad(struct virtqueue *vq, const char *why)
{
    vq_broken(vq, why);
    return false;
}

/* One piece of a chain onto the iovec: readable ones first. */
bool vq_add_piece(struct virtqueue *vq, struct vq_chain *c, struct iovec *iov,
                  const struct vring_desc *d)
{
    bool write = d->flags & VRING_DESC_WRITE;
    uint32_t *total = write ? &c->wlen : &c->rlen;
    if (!d->len)
        return true;
    void *p = ram_ptr(vq->ram, gpa(d->addr), d->len);
    if (!p)
        return vq_bad(vq, "a buffer is outside of guest memory");
    if (!write && c->nw)
        return vq_bad(vq, "a readable buffer follows a writable one");
    if (*total + d->len < *total)
        return vq_bad(vq, "a chain is longer than 4 GiB");
    iov[c->nr + c->nw] = (struct iovec){p, d->len};
    *total += d->len;
    if (write)
        c->nw++;
    else
        c->nr++;
    return true;
}

/* §2.7.5.3: where an indirect table is; NULL breaks the queue. */
const struct vring_desc *
vq_indirect_table(struct virtqueue *vq, const struct vring_desc *d, unsigned *n)
{
    const void *table = NULL;
    *n = d->len / sizeof(*d);
    if (!vq->indirect)
        vq_broken(vq, "an indirect descriptor was not negotiated");
    else if (d->flags & VRING_DESC_NEXT)
        vq_broken(vq, "an indirect descriptor has NEXT set");
    else if (!*n || d->len % sizeof(*d) || *n > VQ_SIZE_MAX)
        vq_broken(vq, "an indirect table has a wrong length");
    else if (!(table = ram_ptr(vq->ram, gpa(d->addr), d->len)))
        vq_broken(vq, "an indirect table is outside of guest memory");
    return table;
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
            table = vq_indirect_table(vq, &d, &n);
            if (!table)
                return VQ_FAULT;
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
        if (!vq_add_piece(vq, c, iov, &d))
            return VQ_FAULT;
        if (!(d.flags & VRING_DESC_NEXT))
            return VQ_CHAIN;
        i = d.next;
    }
}

/* ------------------------------------------------------------- split ring */

/* True when avail_next is available; refreshes the cached index only when the
 * cache is used up, since the driver writes that cache line. */
static bool split_available(struct virtqueue *vq)
{
    struct vring_avail *avail = vq->avail;
    if (vq->avail_next != vq->avail_seen)
        return true;
    /* Pairs with the driver's release of avail.idx (§2.7.13.3). */
    uint16_t idx = __atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE);
    if ((uint16_t)(idx - vq->avail_next) > vq->size) {
        vq_broken(vq, "avail.idx moved by more than the queue size");
        return false;
    }
    vq->avail_seen = idx;
    return idx != vq->avail_next;
}

static enum vq_got split_pop(struct virtqueue *vq, struct vq_chain *c,
                             struct iovec *iov, int max)
{
    const struct vring_avail *avail = vq->avail;
    if (!split_available(vq))
        return vq->state == VQ_READY ? VQ_EMPTY : VQ_FAULT;
    c->id = __atomic_load_n(&avail->ring[vq->avail_next & (vq->size - 1)],
                            __ATOMIC_RELAXED);
    c->ndesc = 1;
    enum vq_got got = split_walk(vq, c, iov, max);
    if (got == VQ_CHAIN)
        vq->avail_next++;
    return got;
}

static void split_push(struct virtqueue *vq, const struct vq_chain *c,
                       uint32_t len)
{
    struct vring_used *used = vq->used;
    struct vring_used_elem *e = &used->ring[vq->used_next & (vq->size - 1)];
    e->id = c->id;
    e->len = len;
    vq->used_next++;
    vq->moved++;
}

/* §2.7.7.2, §2.7.13.4.1 */
static bool split_irq_wanted(struct virtqueue *vq)
{
    const struct vring_avail *avail = vq->avail;
    if (!vq->event_idx)
        return !(__atomic_load_n(&avail->flags, __ATOMIC_RELAXED) &
                 SPLIT_AVAIL_NO_INTERRUPT);
    uint16_t event = __atomic_load_n(&avail->ring[vq->size], __ATOMIC_RELAXED);
    return (uint16_t)(vq->used_next - event - 1) < vq->moved;
}

static void split_kicks(struct virtqueue *vq, bool on)
{
    struct vring_used *used = vq->used;
    if (vq->event_idx) {
        /* avail_event: a stale one asks for nothing. */
        if (on)
            __atomic_store_n((le16 *)&used->ring[vq->size], vq->avail_next,
                             __ATOMIC_RELAXED);
        return;
    }
    __atomic_store_n(&used->flags, on ? 0 : SPLIT_USED_NO_NOTIFY,
                     __ATOMIC_RELAXED);
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
    *c = (struct vq_chain){0};
    enum vq_got got =
        vq->packed ? packed_pop(vq, c, iov, max) : split_pop(vq, c, iov, max);
    if (got == VQ_CHAIN) {
        vq->inflight++;
        TRACE(QUEUE, "pop id %u readable %u/%u writable %u/%u", c->id, c->nr,
              c->rlen, c->nw, c->wlen);
    }
    return got;
}

void vq_undo_pop(struct virtqueue *vq, const struct vq_chain *c)
{
    if (vq->state != VQ_READY)
        return;
    vq->inflight--;
    if (vq->packed)
        packed_undo(vq, c);
    else
        vq->avail_next--;
}

void vq_push(struct virtqueue *vq, const struct vq_chain *c, uint32_t len)
{
    if (vq->state != VQ_READY)
        return;
    TRACE(QUEUE, "push id %u len %u", c->id, len);
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
    if (vq->packed) {
        packed_flush(vq);
        return;
    }
    /* Pairs with the driver's acquire of used.idx. */
    struct vring_used *used = vq->used;
    __atomic_store_n(&used->idx, vq->used_next, __ATOMIC_RELEASE);
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
    if (vq->packed)
        packed_kicks(vq, true);
    else
        split_kicks(vq, true);
    /* Pairs with the driver's barrier between avail.idx and its look at the
     * kick condition: one of the two sees the other's store. */
    atomic_thread_fence(memory_order_seq_cst);
    return vq_more(vq);
}

void vq_kicks_off(struct virtqueue *vq)
{
    if (vq->state != VQ_READY)
        return;
    if (vq->packed)
        packed_kicks(vq, false);
    else
        split_kicks(vq, false);
}

bool vq_irq_wanted(struct virtqueue *vq)
{
    if (vq->state != VQ_READY || !vq->moved)
        return false;
    /* Pairs with the driver's barrier between its used_event (or flags) and
     * its look at the used index. */
    atomic_thread_fence(memory_order_seq_cst);
    bool wanted = vq->packed ? packed_irq_wanted(vq) : split_irq_wanted(vq);
    vq->moved = 0;
    return wanted;
}
