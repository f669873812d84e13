/* SPDX-License-Identifier: MIT */
/* Page tables, and device memory above 4 GiB. */
#ifndef GUEST_WINDOW_H
#define GUEST_WINDOW_H

#include "lib.h"

/* Whether a 64-bit loader's tables map the first 4 GiB one to one by 2 MiB
 * pages that ring 3 may use too: asked of the first and the last page of each
 * GiB. They are then the ones in use. Called by entry.S, before .bss is
 * cleared. */
bool tables_serve(const u64 *pml4);

/* Where the 2 MiB from gpa on can be reached; 0 if there is no room. The same
 * page takes room once. */
uptr window_open(u64 gpa);

#endif
