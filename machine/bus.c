/* SPDX-License-Identifier: MIT */
/* Port and memory buses: a sorted array of regions under a readers' lock that
 * is never held while a region's owner runs. */
#include "machine/machine.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define REGIONS_MAX 512

struct bus {
    pthread_rwlock_t lock;
    const char *name;
    struct region *region[REGIONS_MAX]; /* by base, none overlapping */
    int n;
    struct fault unclaimed;
};

struct bus *bus_new(const char *name)
{
    struct bus *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    pthread_rwlock_init(&b->lock, NULL);
    b->name = name;
    return b;
}

void bus_free(struct bus *b)
{
    if (!b)
        return;
    pthread_rwlock_destroy(&b->lock);
    free(b);
}

uint64_t bus_unclaimed(const struct bus *b)
{
    return __atomic_load_n(&b->unclaimed.count, __ATOMIC_RELAXED);
}

/* Index of the first region whose base is above addr. */
static int bus_upper(const struct bus *b, uint64_t addr)
{
    int lo = 0, hi = b->n;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (b->region[mid]->base <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

int bus_add(struct bus *b, struct region *r)
{
    int err = 0;
    uint64_t last = r->base + (r->len - 1);
    if (!r->len || last < r->base)
        return -EINVAL;
    pthread_rwlock_wrlock(&b->lock);
    int i = bus_upper(b, r->base);
    if (i && r->base - b->region[i - 1]->base < b->region[i - 1]->len)
        err = -EEXIST;
    else if (i < b->n && b->region[i]->base <= last)
        err = -EEXIST;
    else if (b->n == REGIONS_MAX)
        err = -ENOSPC;
    if (!err) {
        memmove(&b->region[i + 1], &b->region[i],
                (size_t)(b->n - i) * sizeof(b->region[0]));
        b->region[i] = r;
        b->n++;
    }
    pthread_rwlock_unlock(&b->lock);
    return err;
}

void bus_del(struct bus *b, struct region *r)
{
    pthread_rwlock_wrlock(&b->lock);
    for (int i = 0; i < b->n; i++)
        if (b->region[i] == r) {
            b->n--;
            memmove(&b->region[i], &b->region[i + 1],
                    (size_t)(b->n - i) * sizeof(b->region[0]));
            break;
        }
    pthread_rwlock_unlock(&b->lock);
}

/* The region that holds all `width` bytes at addr, and the offset inside.
 * Owners outlive the machine's run, so it may be used after the unlock. */
static struct region *bus_find(struct bus *b, uint64_t addr, unsigned width,
                               uint64_t *off)
{
    struct region *r = NULL;
    pthread_rwlock_rdlock(&b->lock);
    int i = bus_upper(b, addr);
    if (i) {
        r = b->region[i - 1];
        *off = addr - r->base;
        if (*off >= r->len || width > r->len - *off)
            r = NULL;
    }
    pthread_rwlock_unlock(&b->lock);
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
