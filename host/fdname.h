/* SPDX-License-Identifier: MIT */
/* Descriptors under names: QMP's getfd. */
#ifndef FDNAME_H
#define FDNAME_H

#include "base/parts.h"

#define FDNAME_FDS 64  /* in all */
#define FDNAME_SIZE 64 /* of a name, with its end */

struct fdname {
    char name[FDNAME_SIZE]; /* "": nobody's */
    int fd;
};

/* Main loop's thread, or before it runs.
 *
 * The one of that name, or ("") one that is nobody's; NULL: there is none. */
struct fdname *fdname_find(const char *name);
/* All are closed. */
void fdname_free(void);
/* They go to another process with the state, and come there. */
#define FDNAME_PART "getfd"
void fdname_leave(struct parts *out);
void fdname_arrive(const struct part *part);

#endif
