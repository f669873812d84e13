/* SPDX-License-Identifier: MIT */
/* The packed ring (virtio 1.2 §2.8): one ring of descriptors both sides write,
 * told apart by two flag bits and each side's wrap counter. */
#include <string.h>

#include "devices/virtio/walk.h"

#define DESC_AVAIL (1 << 7)
#define DESC_USED (1 << 15)

struct packed_desc { /* §2.8.13 */
    le64 addr;
    le32 len;
    le16 id, flags;
};
_Static_assert(sizeof(struct packed_desc) == 16, "§2.8.13");

struct packed_event { /* §2.8.14 */
    le16 off_wrap, flags;
};
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESC = 2 };

static void packed_advance(const struct virtqueue *vq, uint16_t *at, bool *wrap,
                           unsigned n)
{
    unsigned next = *at + n;
    if (next >= vq->size) {
        next -= vq->size;
        *wrap = !*wrap;
    }
    *at = (uint16_t)next;
}

/* §2.8.1: available when AVAIL equals the wrap counter and USED does not. */
bool packed_available(struct virtqueue *vq)
{
    struct packed_desc *ring = vq->desc;
    uint16_t flags =
        __atomic_load_n(&ring[vq->avail_next].flags, __ATOMIC_ACQUIRE);
    bool avail = flags & DESC_AVAIL, used = flags & DESC_USED;
    return avail == vq->avail_wrap && used != vq->avail_wrap;
}

/* §2.8.7: every entry of an indirect table is used, in order; only WRITE
 * means something in its flags. */
static enum vq_got packed_walk_table(struct virtqueue *vq, struct vq_chain *c,
                                     struct iovec *iov, int max,
                                     struct vring_desc at)
{
    const struct packed_desc *table = (const void *)vq_indirect_table(vq, at);
    unsigned n = at.len / sizeof(at);
    if (!table)
        return VQ_FAULT;
    for (unsigned i = 0; i < n; i++) {
        struct packed_desc p;
        memcpy(&p, &table[i], sizeof(p));
        struct vring_desc d = {p.addr, p.len, p.flags, 0};
        vq->walked++;
        if (c->nr + c->nw >= max && d.len)
            return VQ_FULL_IOV;
        if (!vq_add_piece(vq, c, iov, d))
            return VQ_FAULT;
    }
    return VQ_CHAIN;
}

static SELDOM enum vq_got packed_walk(struct virtqueue *vq, struct vq_chain *c,
                                      struct iovec *iov, int max)
{
    const struct packed_desc *ring = vq->desc;
    uint16_t at = vq->avail_next;
    bool wrap = vq->avail_wrap;
    *c = (struct vq_chain){0};
    for (;;) {
        struct packed_desc p;
        if (c->ndesc >= vq->size)
            return vq_broken(vq, "a descriptor chain never ends");
        memcpy(&p, &ring[at], sizeof(p));
        struct vring_desc d = {p.addr, p.len, p.flags, 0};
        c->id = p.id; /* §2.8.6: the last descriptor's counts */
        c->ndesc++;
        vq->walked++;
        packed_advance(vq, &at, &wrap, 1);
        if (d.flags & VRING_DESC_INDIRECT) {
            if (c->ndesc > 1)
                return vq_broken(vq, "an indirect descriptor inside a chain");
            enum vq_got got = packed_walk_table(vq, c, iov, max, d);
            if (got != VQ_CHAIN)
                return got;
            break;
        }
        if (c->nr + c->nw >= max && d.len)
            return VQ_FULL_IOV;
        if (!vq_add_piece(vq, c, iov, d))
            return VQ_FAULT;
        if (!(d.flags & VRING_DESC_NEXT))
            break;
    }
    vq->avail_next = at;
    vq->avail_wrap = wrap;
    return vq_popped(vq, c);
}

enum vq_got packed_pop(struct virtqueue *vq, struct vq_chain *c,
                       struct iovec *iov, int max)
{
    const struct packed_desc *ring = vq->desc;
    if (!packed_available(vq))
        return VQ_EMPTY;
    struct vring_desc d = vq_desc(&ring[vq->avail_next]);
    c->id = d.flags;
    d.flags = d.next;
    if (!vq_single(vq, c, iov, max, d))
        return packed_walk(vq, c, iov, max);
    packed_advance(vq, &vq->avail_next, &vq->avail_wrap, 1);
    return vq_popped(vq, c);
}

void packed_undo(struct virtqueue *vq, const struct vq_chain *c)
{
    int at = vq->avail_next - c->ndesc;
    if (at < 0) {
        at += vq->size;
        vq->avail_wrap = !vq->avail_wrap;
    }
    vq->avail_next = (uint16_t)at;
}

/* The first entry since the last flush gets its flags last, so the driver,
 * which looks at entries in ring order, sees none before the flush. */
void packed_push(struct virtqueue *vq, const struct vq_chain *c, uint32_t len)
{
    struct packed_desc *d = (struct packed_desc *)vq->desc + vq->used_next;
    uint16_t flags = vq->used_wrap ? DESC_AVAIL | DESC_USED : 0;
    if (len)
        flags |= VRING_DESC_WRITE;
    d->id = c->id;
    d->len = len;
    if (!vq->held) {
        vq->held = true;
        vq->held_at = vq->used_next;
        vq->held_flags = flags;
    } else {
        __atomic_store_n(&d->flags, flags, __ATOMIC_RELEASE);
    }
    packed_advance(vq, &vq->used_next, &vq->used_wrap, c->ndesc);
    vq->moved = (uint16_t)(vq->moved + c->ndesc);
    vq_pushed(c, len);
}

void packed_flush(struct virtqueue *vq)
{
    struct packed_desc *ring = vq->desc;
    if (!vq->held)
        return;
    /* Pairs with the driver's acquire of these flags. */
    __atomic_store_n(&ring[vq->held_at].flags, vq->held_flags,
                     __ATOMIC_RELEASE);
    vq->held = false;
}

void packed_kicks_off(struct virtqueue *vq)
{
    struct packed_event *e = vq->used;
    __atomic_store_n(&e->flags, EVENT_DISABLE, __ATOMIC_RELEASE);
}

bool packed_rearm(struct virtqueue *vq)
{
    struct packed_event *e = vq->used;
    if (vq->event_idx)
        __atomic_store_n(&e->off_wrap,
                         (uint16_t)(vq->avail_next | vq->avail_wrap << 15),
                         __ATOMIC_RELAXED);
    __atomic_store_n(&e->flags, vq->event_idx ? EVENT_DESC : EVENT_ENABLE,
                     __ATOMIC_RELEASE);
    vq_fence();
    return packed_available(vq);
}

/* §2.8.14: with EVENT_DESC, when the descriptor at the named place was written
 * since the last decision. Places count back from used_next; one with the other
 * wrap counter lies a lap behind. */
bool packed_irq_wanted(const struct virtqueue *vq, uint16_t moved)
{
    const struct packed_event *e = vq->avail;
    uint16_t flags = __atomic_load_n(&e->flags, __ATOMIC_ACQUIRE);
    if (flags == EVENT_DISABLE)
        return false;
    if (flags != EVENT_DESC || !vq->event_idx)
        return true;
    uint16_t off_wrap = __atomic_load_n(&e->off_wrap, __ATOMIC_RELAXED);
    int at = off_wrap & 0x7fff;
    if ((off_wrap >> 15 & 1) != vq->used_wrap)
        at -= vq->size;
    int lag = vq->used_next - at;
    return lag > 0 && lag <= moved;
}
