/* SPDX-License-Identifier: MIT */
/* The driver's side of a split and of a packed virtqueue (virtio 1.2 §2.7,
 * §2.8), in a fake machine's RAM: for tests that want every byte in hand. */
#ifndef RING_H
#define RING_H

#include "tests/unit/fake.h"

enum { D_NEXT = 1, D_WRITE = 2, D_INDIRECT = 4 };
enum { P_AVAIL = 1 << 7, P_USED = 1 << 15 };

struct ring {
    struct machine *m;
    uint64_t desc, avail, used; /* guest-physical */
    uint16_t size;
    uint16_t avail_idx; /* split: next; packed: next slot */
    uint16_t used_idx;
    bool avail_wrap, used_wrap; /* packed */
};

/* Rings at `base` (page aligned; takes three areas of 16 * size bytes). */
static inline struct ring ring_at(struct machine *m, uint64_t base,
                                  uint16_t size)
{
    uint64_t area = (16ull * size + 4095) & ~4095ull;
    return (struct ring){.m = m,
                         .desc = base,
                         .avail = base + area,
                         .used = base + 2 * area,
                         .size = size,
                         .avail_wrap = true,
                         .used_wrap = true};
}

static inline uint16_t ring_get16(struct ring *r, uint64_t at)
{
    uint16_t v;
    memcpy(&v, fake_ram(r->m, at, 2), 2);
    return v;
}
static inline uint32_t ring_get32(struct ring *r, uint64_t at)
{
    uint32_t v;
    memcpy(&v, fake_ram(r->m, at, 4), 4);
    return v;
}
static inline void ring_put16(struct ring *r, uint64_t at, uint16_t v)
{
    memcpy(fake_ram(r->m, at, 2), &v, 2);
}

/* ------------------------------------------------------------------- split */

/* A descriptor at a guest-physical address: in the table or an indirect one. */
static inline void desc_put(struct machine *m, uint64_t at, uint64_t addr,
                            uint32_t len, uint16_t flags, uint16_t next)
{
    uint8_t *d = fake_ram(m, at, 16);
    memcpy(d, &addr, 8);
    memcpy(d + 8, &len, 4);
    memcpy(d + 12, &flags, 2);
    memcpy(d + 14, &next, 2);
}

static inline void ring_desc(struct ring *r, unsigned i, uint64_t addr,
                             uint32_t len, uint16_t flags, uint16_t next)
{
    desc_put(r->m, r->desc + 16ull * i, addr, len, flags, next);
}

/* Makes a chain available. */
static inline void ring_offer(struct ring *r, uint16_t head)
{
    ring_put16(r, r->avail + 4 + 2ull * (r->avail_idx % r->size), head);
    ring_put16(r, r->avail + 2, ++r->avail_idx);
}

/* The next used entry, if there is one. */
static inline bool ring_take(struct ring *r, uint32_t *id, uint32_t *len)
{
    uint64_t at = r->used + 4 + 8ull * (r->used_idx % r->size);
    if (ring_get16(r, r->used + 2) == r->used_idx)
        return false;
    *id = ring_get32(r, at);
    *len = ring_get32(r, at + 4);
    r->used_idx++;
    return true;
}

static inline void ring_used_event(struct ring *r, uint16_t at)
{
    ring_put16(r, r->avail + 4 + 2ull * r->size, at);
}
static inline uint16_t ring_avail_event(struct ring *r)
{
    return ring_get16(r, r->used + 4 + 8ull * r->size);
}

/* ------------------------------------------------------------------ packed */

/* Puts the next descriptor; its flags word makes it available at once. */
static inline void packed_offer(struct ring *r, uint64_t addr, uint32_t len,
                                uint16_t id, uint16_t flags)
{
    flags |= r->avail_wrap ? P_AVAIL : P_USED;
    desc_put(r->m, r->desc + 16ull * r->avail_idx, addr, len, id, flags);
    if (++r->avail_idx == r->size) {
        r->avail_idx = 0;
        r->avail_wrap = !r->avail_wrap;
    }
}

/* The next used element; it covered `n` descriptors. */
static inline bool packed_take(struct ring *r, uint32_t *id, uint32_t *len,
                               uint16_t n)
{
    uint64_t at = r->desc + 16ull * r->used_idx;
    uint16_t flags = ring_get16(r, at + 14);
    bool avail = flags & P_AVAIL, used = flags & P_USED;
    if (avail != used || used != r->used_wrap)
        return false;
    *len = ring_get32(r, at + 8);
    *id = ring_get16(r, at + 12);
    r->used_idx = (uint16_t)(r->used_idx + n);
    if (r->used_idx >= r->size) {
        r->used_idx = (uint16_t)(r->used_idx - r->size);
        r->used_wrap = !r->used_wrap;
    }
    return true;
}

#endif
