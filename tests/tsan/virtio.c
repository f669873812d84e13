/* SPDX-License-Identifier: MIT */
/* The virtio driver: see virtio.h. */
#include "tests/tsan/virtio.h"

#include <assert.h>
#include <string.h>

/* --------------------------------------------------------------- registers */

/* Until it reads back: the BAR may be away for a moment. */
bool set(struct drv *d, unsigned off, unsigned width, uint64_t val)
{
    for (;;) {
        wr(COMMON(d) + off, width, val);
        if (rd(COMMON(d) + off, width) == val)
            return true;
        if (!vcpu_step(d->c))
            return false;
    }
}

bool status(struct drv *d, uint8_t bits)
{
    uint64_t start = now_ns();
    while (now_ns() - start < PATIENCE_NS) {
        wr(COMMON(d) + 0x14, 1, bits);
        if ((rd(COMMON(d) + 0x14, 1) & 0xbf) == bits)
            return true;
        if (!vcpu_step(d->c))
            return false;
    }
    rig_fail("status %#x is not taken", bits);
}

static bool offered(struct drv *d, uint64_t *f)
{
    *f = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (!set(d, 0x00, 4, i))
            return false;
        uint32_t part = (uint32_t)rd(COMMON(d) + 0x04, 4);
        if (part == UINT32_MAX)
            return false;
        *f |= (uint64_t)part << 32 * i;
    }
    return true;
}

bool negotiate(struct drv *d, uint64_t want)
{
    uint64_t can;
    if (!status(d, 0) || !status(d, 1) || !status(d, 3) || !offered(d, &can))
        return false;
    d->features = want & can;
    if (!has(d->features, VIRTIO_F_VERSION_1))
        return false; /* the BAR was away */
    for (unsigned i = 0; i < 2; i++)
        if (!set(d, 0x08, 4, i) ||
            !set(d, 0x0c, 4, (uint32_t)(d->features >> 32 * i)))
            return false;
    d->packed = has(d->features, VIRTIO_F_RING_PACKED);
    return status(d, 11);
}

/* ------------------------------------------------------------------- rings */

/* Nobody but us has it now. */
bool make_queue(struct drv *d, unsigned n)
{
    struct queue *q = &d->q[n];
    unsigned life = q->life + 1;
    *q = (struct queue){.index = n,
                        .life = life,
                        .size = 4u << rnd(d->c, 5),
                        .desc = RING_AT(n, life),
                        .add_wrap = true,
                        .seen_wrap = true};
    q->avail = q->desc + AVAIL_OFF;
    q->used = q->desc + USED_OFF;
    memset(ram_at(q->desc), 0, USED_OFF + 0x1000);
    if (!set(d, 0x16, 2, n) || !set(d, 0x18, 2, q->size))
        return false;
    for (unsigned i = 0; i < 3; i++) {
        uint64_t at = i == 0 ? q->desc : i == 1 ? q->avail : q->used;
        if (!set(d, 0x20 + 8 * i, 4, at) || !set(d, 0x24 + 8 * i, 4, 0))
            return false;
    }
    wr(COMMON(d) + 0x1a, 2, rnd(d->c, 12));
    return set(d, 0x1c, 2, 1);
}

bool reset_queue(struct drv *d, unsigned n)
{
    if (!has(d->features, VIRTIO_F_RING_RESET) || !set(d, 0x16, 2, n))
        return true;
    do {
        wr(COMMON(d) + 0x3a, 2, 1);
        if (!vcpu_step(d->c))
            return false;
    } while (rd(COMMON(d) + 0x1c, 2) != 0);
    return make_queue(d, n);
}

void kick(struct drv *d, unsigned n)
{
    wr(COMMON(d) + 0x3000 + 4 * n, 2, n);
}

static void write_desc(uint64_t at, uint64_t addr, uint32_t len)
{
    memcpy(ram_at(at), &addr, 8);
    memcpy(ram_at(at + 8), &len, 4);
}

static void split_add(struct queue *q, unsigned slot, unsigned n,
                      const uint32_t *len, const bool *write)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned at = slot + i * (q->size / 2);
        uint16_t w[2] = {write[i] ? D_WRITE : 0, 0};
        if (i + 1 < n) {
            w[0] |= D_NEXT;
            w[1] = (uint16_t)(slot + q->size / 2);
        }
        write_desc(q->desc + 16 * at,
                   BUF_AT(q->index) + (slot * 2 + i) * BUF_LEN, len[i]);
        memcpy(ram_at(q->desc + 16 * at + 12), w, 4);
    }
    put(uint16_t, q->avail + 4 + 2 * (q->add % q->size), slot);
    q->add++;
    put_release(uint16_t, q->avail + 2, q->add);
}

static void place_next(const struct queue *q, uint16_t *at, bool *wrap)
{
    *at = (uint16_t)((*at + 1) % q->size);
    *wrap = *at ? *wrap : !*wrap;
}

/* The first descriptor's flags last (§2.8.6). */
static void packed_add(struct queue *q, unsigned slot, unsigned n,
                       const uint32_t *len, const bool *write)
{
    uint16_t id = (uint16_t)slot, first_flags = 0;
    uint64_t first = q->desc + 16 * q->add;
    for (unsigned i = 0; i < n; i++) {
        uint64_t at = q->desc + 16 * q->add;
        uint16_t flags = q->add_wrap ? P_AVAIL : P_USED;
        flags |= write[i] ? D_WRITE : 0;
        flags |= i + 1 < n ? D_NEXT : 0;
        write_desc(at, BUF_AT(q->index) + (slot * 2 + i) * BUF_LEN, len[i]);
        memcpy(ram_at(at + 12), &id, 2);
        if (i)
            put(uint16_t, at + 14, flags);
        else
            first_flags = flags;
        place_next(q, &q->add, &q->add_wrap);
    }
    put_release(uint16_t, first + 14, first_flags);
}

/* A chain in a free slot; false: all are in flight. */
bool add(struct drv *d, struct queue *q, unsigned n, const uint32_t *len,
         const bool *write)
{
    unsigned slot = 0;
    assert(n && n <= 2);
    while (slot < q->size / 2 && q->count[slot])
        slot++;
    if (slot == q->size / 2)
        return false;
    q->count[slot] = (uint8_t)n;
    if (!q->out++)
        q->since = now_ns();
    if (d->packed)
        packed_add(q, slot, n, len, write);
    else
        split_add(q, slot, n, len, write);
    return true;
}

static bool next_used(struct drv *d, struct queue *q, uint32_t *id)
{
    if (!d->packed) {
        if (get_acquire(uint16_t, q->used + 2) == q->seen)
            return false;
        memcpy(id, ram_at(q->used + 4 + 8 * (q->seen % q->size)), 4);
        q->seen++;
        return true;
    }
    uint64_t at = q->desc + 16 * q->seen;
    uint16_t flags = get_acquire(uint16_t, at + 14), id16;
    if (!!(flags & P_AVAIL) != q->seen_wrap ||
        !!(flags & P_USED) != q->seen_wrap)
        return false;
    memcpy(&id16, ram_at(at + 12), 2);
    *id = id16;
    for (unsigned i = 0; *id < q->size / 2 && i < q->count[*id]; i++)
        place_next(q, &q->seen, &q->seen_wrap);
    return true;
}

unsigned reap(struct drv *d, struct queue *q)
{
    unsigned n = 0;
    uint32_t id;
    while (next_used(d, q, &id)) {
        if (id >= q->size / 2 || !q->count[id])
            rig_fail("queue %u: %u was used, but is not in flight", q->index,
                     id);
        q->count[id] = 0;
        q->out--;
        n++;
    }
    if (n || !q->out)
        q->since = now_ns();
    return n;
}

/* What the device looks at before it interrupts (§2.7.7, §2.8.10). */
void suppress(struct drv *d, struct queue *q)
{
    if (d->packed) {
        put(uint16_t, q->avail, q->seen | q->seen_wrap << 15);
        put_release(uint16_t, q->avail + 2, rnd(d->c, 3));
    } else {
        put(uint16_t, q->avail, rnd(d->c, 2));
        put(uint16_t, q->avail + 4 + 2 * q->size, q->seen);
    }
}
