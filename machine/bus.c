/* SPDX-License-Identifier: MIT */
/* Port and memory buses: a sorted array of regions that each exit searches
 * without a lock. Who changes it holds one, and makes `turn` odd meanwhile; who
 * finds another turn after his search than before searches once more, with the
 * lock (a sequence lock; Boehm, "Can Seqlocks Get Along With Programming
 * Language Memory Models?", 2012). What is read beside a change is of no use,
 * but whole: each word of it is atomic, and a load is not done before an
 * earlier one. */
#include "machine/machine.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define REGIONS_MAX 512

/* Where a region is; its own `base` is its owner's, who moves it while it is
 * on no bus. */
struct slot {
    _Atomic uint64_t base, len;
    struct region *_Atomic region;
};

struct bus {
    pthread_mutex_t lock; /* of who changes it */
    _Atomic unsigned turn;
    const char *name;
    struct slot slot[REGIONS_MAX]; /* by base, none overlapping */
    _Atomic int n;
    struct fault unclaimed;
};

struct bus *bus_new(const char *name)
{
    struct bus *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    pthread_mutex_init(&b->lock, NULL);
    b->name = name;
    return b;
}

void bus_free(struct bus *b)
{
    if (!b)
        return;
    pthread_mutex_destroy(&b->lock);
    free(b);
}

uint64_t bus_unclaimed(const struct bus *b)
{
    return __atomic_load_n(&b->unclaimed.count, __ATOMIC_RELAXED);
}

/* Index of the first region whose base is above addr. */
static int bus_upper(const struct bus *b, uint64_t addr)
{
    int lo = 0, hi = atomic_load_explicit(&b->n, memory_order_acquire);
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (atomic_load_explicit(&b->slot[mid].base, memory_order_acquire) <=
            addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* ---------------------------------------------------------------- changes */

static void bus_begin(struct bus *b)
{
    pthread_mutex_lock(&b->lock);
    atomic_store_explicit(&b->turn, b->turn + 1, memory_order_relaxed);
}

static void bus_end(struct bus *b)
{
    atomic_store_explicit(&b->turn, b->turn + 1, memory_order_release);
    pthread_mutex_unlock(&b->lock);
}

/* Not before the turn is odd. */
static void bus_put(struct bus *b, int i, uint64_t base, uint64_t len,
                    struct region *r)
{
    struct slot *s = &b->slot[i];
    atomic_store_explicit(&s->base, base, memory_order_release);
    atomic_store_explicit(&s->len, len, memory_order_release);
    atomic_store_explicit(&s->region, r, memory_order_release);
}

static void bus_move(struct bus *b, int to, int from)
{
    const struct slot *s = &b->slot[from];
    bus_put(b, to, s->base, s->len, s->region);
}

RARE int bus_add(struct bus *b, struct region *r)
{
    int err = 0;
    uint64_t last = r->base + (r->len - 1);
    if (!r->len || last < r->base)
        return -EINVAL;
    bus_begin(b);
    int i = bus_upper(b, r->base), n = b->n;
    if (i && r->base - b->slot[i - 1].base < b->slot[i - 1].len)
        err = -EEXIST;
    else if (i < n && b->slot[i].base <= last)
        err = -EEXIST;
    else if (n == REGIONS_MAX)
        err = -ENOSPC;
    if (!err) {
        for (int k = n; k > i; k--)
            bus_move(b, k, k - 1);
        bus_put(b, i, r->base, r->len, r);
        atomic_store_explicit(&b->n, n + 1, memory_order_release);
    }
    bus_end(b);
    return err;
}

RARE void bus_del(struct bus *b, struct region *r)
{
    bus_begin(b);
    int i = 0, n = b->n;
    while (i < n && b->slot[i].region != r)
        i++;
    for (int k = i + 1; k < n; k++)
        bus_move(b, k - 1, k);
    if (i < n)
        atomic_store_explicit(&b->n, n - 1, memory_order_release);
    bus_end(b);
}

/* --------------------------------------------------------------- accesses */

/* The region that holds all `width` bytes at addr, and the offset inside; of
 * the array as it may be in the midst of a change. */
static inline struct region *bus_look(const struct bus *b, uint64_t addr,
                                      unsigned width, uint64_t *off)
{
    int i = bus_upper(b, addr);
    if (!i)
        return NULL;
    const struct slot *s = &b->slot[i - 1];
    uint64_t len = atomic_load_explicit(&s->len, memory_order_acquire);
    *off = addr - atomic_load_explicit(&s->base, memory_order_acquire);
    if (*off >= len || width > len - *off)
        return NULL;
    return atomic_load_explicit(&s->region, memory_order_acquire);
}

/* The same of one that is changed now: after that. */
static RARE struct region *bus_look_locked(struct bus *b, uint64_t addr,
                                           unsigned width, uint64_t *off)
{
    pthread_mutex_lock(&b->lock);
    struct region *r = bus_look(b, addr, width, off);
    pthread_mutex_unlock(&b->lock);
    return r;
}

/* bus_look() of a whole array. Owners outlive the machine's run, so what it
 * finds may be used after a change. */
static struct region *bus_find(struct bus *b, uint64_t addr, unsigned width,
                               uint64_t *off)
{
    unsigned turn = atomic_load_explicit(&b->turn, memory_order_acquire);
    struct region *r = bus_look(b, addr, width, off);
    if (turn & 1 ||
        atomic_load_explicit(&b->turn, memory_order_relaxed) != turn)
        r = bus_look_locked(b, addr, width, off);
    return r;
}

static uint64_t bus_ones(unsigned width)
{
    return width >= 8 ? ~0ull : (1ull << (8 * width)) - 1;
}

static void bus_count_unclaimed(struct bus *b)
{
    __atomic_fetch_add(&b->unclaimed.count, 1, __ATOMIC_RELAXED);
}

uint64_t bus_read(struct bus *b, uint64_t addr, unsigned width)
{
    uint64_t off = 0, val = bus_ones(width);
    struct region *r = bus_find(b, addr, width, &off);
    if (r && r->read)
        val = r->read(r->owner, off, width) & bus_ones(width);
    else
        bus_count_unclaimed(b);
    TRACE(BUS, "%s read  %s %#llx/%u = %#llx", b->name, r ? r->name : "?",
          (unsigned long long)addr, width, (unsigned long long)val);
    return val;
}

void bus_write(struct bus *b, uint64_t addr, unsigned width, uint64_t val)
{
    uint64_t off = 0;
    struct region *r = bus_find(b, addr, width, &off);
    TRACE(BUS, "%s write %s %#llx/%u = %#llx", b->name, r ? r->name : "?",
          (unsigned long long)addr, width, (unsigned long long)val);
    if (r && r->write)
        r->write(r->owner, off, width, val & bus_ones(width));
    else
        bus_count_unclaimed(b);
}
