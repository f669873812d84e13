/* SPDX-License-Identifier: MIT */
/* The other files that an image names. */
#ifndef BLOCK_NAMES_H
#define BLOCK_NAMES_H

#include <stdbool.h>

/* While options are looked at: may whoever reads the image at `path` open what
 * it names, and what that names in turn? A backing file may be if `trusted`, or
 * if it lies below an -allow-path; one for its data never. 0 or -errno (said;
 * `what` begins the line). */
int names_check(const char *what, const char *path, const char *format,
                bool trusted);

#endif
