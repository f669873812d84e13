/* SPDX-License-Identifier: MIT */
/* The e1000's statistics registers: read-clear, 32 or 64 bits, sticking at
 * their maximum (SDM 13.7).
 *
 * Reading clears, and the loop counts without a locked instruction: so each
 * side has a number of its own that only grows, what was counted and how much
 * of it was told, and the register is their difference. */
#include "devices/e1000/state.h"

static unsigned e1000_stats_index(uint32_t off)
{
    return (off & 0xff) / 4;
}

const uint8_t *e1000_to_copied(const struct iovec *iov, int n, uint8_t copy[6])
{
    iov_read(iov, (unsigned)n, 0, copy, 6);
    return copy;
}

/* What stands in a register, and is told and cleared by it. */
static uint64_t e1000_stats_take(struct e1000 *e, unsigned i)
{
    uint64_t told = atomic_load(&e->told[i]), n;
    do {
        n = atomic_load(&e->stat[i]);
    } while (n != told && !atomic_compare_exchange_weak(&e->told[i], &told, n));
    return n - told;
}

void e1000_stats_reset(struct e1000 *e)
{
    for (unsigned i = 0; i < ARRAY_LEN(e->told); i++) /* others are fields */
        atomic_store(&e->told[i], 0);
}

void e1000_stats_rest(struct e1000 *e)
{
    for (unsigned i = 0; i < ARRAY_LEN(e->stat); i++)
        e->stat[i] -= e->told[i];
    e1000_stats_reset(e);
}

uint32_t e1000_rd_stat(struct e1000 *e, uint32_t off)
{
    uint64_t n = e1000_stats_take(e, e1000_stats_index(off));
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

/* SDM 13.7: read the low half first; reading the high one clears both. What is
 * counted in between stays for the next reading: the high half goes with the
 * low half that was read. */
uint32_t e1000_rd_stat_lo(struct e1000 *e, uint32_t off)
{
    unsigned i = e1000_stats_index(off);
    uint64_t v = atomic_load(&e->stat[i]) - atomic_load(&e->told[i]);
    atomic_store(&e->seen[i], v);
    return (uint32_t)v;
}

uint32_t e1000_rd_stat_hi(struct e1000 *e, uint32_t off)
{
    unsigned i = e1000_stats_index(off) - 1;
    uint64_t v = atomic_exchange(&e->seen[i], 0);
    if (!v)
        return (uint32_t)(e1000_stats_take(e, i) >> 32);
    atomic_fetch_add(&e->told[i], v);
    return (uint32_t)(v >> 32);
}
