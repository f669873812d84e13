/* SPDX-License-Identifier: MIT */
/* Page tables: whether the loader's serve, and device memory above 4 GiB, where
 * they end: seen through a window of 2 MiB pages behind them. */

#include "window.h"

#define GIB 0x40000000ull
#define WINDOW (4 * GIB)
#define PAGE 0x200000ull
#define PAGE_FLAGS 0x9full /* present, writable, user, uncached, large */
#define TABLE_FLAGS 0x07ull
#define LARGE 0x80ull
#define USED 0x160ull        /* accessed, dirty, global: all the same */
#define GPA_MAX (1ull << 52) /* Intel SDM vol. 3 §4.5: bits of an entry */

extern u64 own_pdpt[512]; /* entry.S */

static u64 *pdpt = own_pdpt;
static NOINIT u64 pages[512] __attribute__((aligned(4096)));
static unsigned pages_used;

/* The table an entry leads to, if it lies below 4 GiB and is for all to use. */
static u64 *table(u64 entry)
{
    bool good =
        (entry & (TABLE_FLAGS | LARGE)) == TABLE_FLAGS && !(entry >> 32);

    return good ? (u64 *)(uptr)(entry & ~4095ull) : NULL;
}

static bool maps(u64 entry, u64 gpa)
{
    return (entry & ~USED) == (gpa | TABLE_FLAGS | LARGE);
}

bool tables_serve(const u64 *pml4)
{
    u64 *theirs = table(pml4[0]);

    for (u64 i = 0; i < 4; i++) {
        const u64 *dir = theirs ? table(theirs[i]) : NULL;
        if (!dir || !maps(dir[0], i * GIB) ||
            !maps(dir[511], (i + 1) * GIB - PAGE))
            return false;
    }
    pdpt = theirs;
    return true;
}

uptr window_open(u64 gpa)
{
    u64 entry = (gpa & ~(PAGE - 1)) | PAGE_FLAGS;
    unsigned i = 0;

    while (i < pages_used && pages[i] != entry)
        i += 2;
    if (i == pages_used) {
        if (gpa >= GPA_MAX - 2 * PAGE || i == ARRAY_LEN(pages))
            return 0;
        if (!i)
            memset(pages, 0, sizeof(pages));
        /* Absent entries are in no TLB (SDM vol. 3 §4.10.4.3). */
        pages[i] = entry;
        pages[i + 1] = entry + PAGE;
        pages_used += 2;
        pdpt[WINDOW / GIB] = (uptr)pages | TABLE_FLAGS;
        barrier_full();
    }
    return WINDOW + i * PAGE + (gpa & (PAGE - 1));
}
