/* SPDX-License-Identifier: MIT */
/* The log as Firecracker's clients read it. */
#ifndef FCLOG_H
#define FCLOG_H

#include <stdint.h>

#define FC_VERSION "1.9.0" /* of Firecracker, whose API it is */

/* As PUT /logger says it; NULL: not said. */
struct fclog {
    const char *path, *level, *module;
    uint8_t show_level, show_origin;
};
/* The machine's id, for each line; before the rest. It lives on. */
void fclog_id(const char *name);
/* Lines have this form, and go to `path` where one is said, which is a file or
 * a FIFO. 0 or -errno (said, beginning with `what`). Before the guest runs. */
int fclog_set(const char *what, const struct fclog *l);

#endif
