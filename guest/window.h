/* SPDX-License-Identifier: MIT */
/* Device memory above 4 GiB. */
#ifndef GUEST_WINDOW_H
#define GUEST_WINDOW_H

#include "lib.h"

/* Where the 2 MiB from gpa on can be reached; 0 if there is no room. The same
 * page takes room once. */
uptr window_open(u64 gpa);

#endif
