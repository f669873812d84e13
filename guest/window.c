/* SPDX-License-Identifier: MIT */
/* Device memory above 4 GiB, where the page tables of entry.S end: seen
 * through a window of 2 MiB pages behind them. */

#include "window.h"

#define WINDOW 0x100000000ull
#define PAGE 0x200000ull
#define PAGE_FLAGS 0x9full /* present, writable, user, uncached, large */
#define TABLE_FLAGS 0x07ull
#define GPA_MAX (1ull << 52) /* Intel SDM vol. 3 §4.5: bits of an entry */

extern u64 pdpt[512]; /* entry.S */

static NOINIT u64 pages[512] __attribute__((aligned(4096)));
static unsigned pages_used;

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
        pdpt[WINDOW >> 30] = (uptr)pages | TABLE_FLAGS;
        barrier_full();
    }
    return WINDOW + i * PAGE + (gpa & (PAGE - 1));
}
