/* SPDX-License-Identifier: MIT */
/* The e1000's statistics registers: read-clear, 32 or 64 bits, sticking at
 * their maximum (SDM 13.7).
 *
 * The loop adds a burst up in plain memory and publishes it before it raises
 * the burst's interrupt; vCPUs read and clear the published values. Both sides
 * are atomic, so neither waits for the other. */
#include <string.h>

#include "devices/e1000/state.h"

static unsigned e1000_stats_index(uint32_t off)
{
    return (off & 0xff) / 4;
}

static bool e1000_stats_wide(unsigned i)
{
    return i == e1000_stats_index(GORCL) || i == e1000_stats_index(GOTCL) ||
           i == e1000_stats_index(TORL) || i == e1000_stats_index(TOTL);
}

static void e1000_stats_publish_one(struct e1000 *e, unsigned i)
{
    uint64_t max = e1000_stats_wide(i) ? UINT64_MAX : UINT32_MAX;
    uint64_t old = atomic_load(&e->stat[i]), sum;
    do {
        sum = e->acc[i] > max - old ? max : old + e->acc[i];
    } while (!atomic_compare_exchange_weak(&e->stat[i], &old, sum));
    e->acc[i] = 0;
}

void e1000_stats_publish(struct e1000 *e)
{
    while (e->dirty) {
        unsigned i = (unsigned)__builtin_ctzll(e->dirty);
        e->dirty &= e->dirty - 1;
        e1000_stats_publish_one(e, i);
    }
}

void e1000_stats_reset(struct e1000 *e)
{
    memset(e->acc, 0, sizeof(e->acc)); /* the others are fields */
    e->dirty = 0;
}

void e1000_stats_size(struct e1000 *e, unsigned first, uint32_t len, uint32_t n)
{
    static const uint16_t top[] = {64, 127, 255, 511, 1023};
    unsigned i = 0;
    while (i < ARRAY_LEN(top) && len > top[i])
        i++;
    if (n)
        stat_add(e, first + 4 * i, n);
}

uint32_t e1000_rd_stat(struct e1000 *e, uint32_t off)
{
    _Atomic uint64_t *s = &e->stat[e1000_stats_index(off)];
    return atomic_load(s) ? (uint32_t)atomic_exchange(s, 0) : 0;
}

/* SDM 13.7: read the low half first; reading the high one clears both. What is
 * counted in between stays for the next reading: the high half goes with the
 * low half that was read. */
uint32_t e1000_rd_stat_lo(struct e1000 *e, uint32_t off)
{
    unsigned i = e1000_stats_index(off);
    uint64_t v = atomic_load(&e->stat[i]);
    atomic_store(&e->seen[i], v);
    return (uint32_t)v;
}

uint32_t e1000_rd_stat_hi(struct e1000 *e, uint32_t off)
{
    unsigned i = e1000_stats_index(off) - 1;
    uint64_t v = atomic_exchange(&e->seen[i], 0);
    if (!v)
        return (uint32_t)(atomic_exchange(&e->stat[i], 0) >> 32);
    atomic_fetch_sub(&e->stat[i], v);
    return (uint32_t)(v >> 32);
}
