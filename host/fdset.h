/* SPDX-License-Identifier: MIT */
/* Sets of descriptors, by which a file is named that somebody else has opened:
 * -add-fd, QMP's add-fd, and then /dev/fdset/N for a path. */
#ifndef FDSET_H
#define FDSET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/parts.h"
#include "base/text.h"

#define FDSET_FDS 64         /* in all of them */
#define FDSET_NEW UINT32_MAX /* a set that is not there yet */
#define FDSET_ALL UINT32_MAX

/* Main loop's thread, or before it runs.
 *
 * The option, of a descriptor that we were started with. 0; 1: help is out;
 * -EINVAL (said). */
int fdset_option(const char *arg);
/* `fd` becomes one of `*set`, and is ours then; `opaque` (or NULL) is kept for
 * who asks. 0, or -ENFILE or -ENOMEM (said). */
int fdset_add(uint32_t *set, int fd, const char *opaque);
/* One of a set, or (FDSET_ALL) all of it, is closed; who has opened it keeps
 * what it has. 0, or -ENOENT (said). */
int fdset_remove(uint32_t set, uint32_t fd);
/* All sets, as QMP's query-fdsets gives them. */
void fdset_put(struct text *out);
void fdset_free(void);
/* All of them go to another process: the option's are kept for that, the others
 * go with the state, and come there. */
#define FDSET_PART "fdset"
void fdset_keep(void);
void fdset_leave(struct parts *out);
void fdset_arrive(const struct part *part);

/* Is it a set's? */
bool fdset_names(const char *path);
/* As open(2) and stat(2), of any path; of a set the open file is one of its
 * own, that may be read or written as `flags` want it (EACCES: none may). */
int fdset_open(const char *path, int flags);
int fdset_stat(const char *path, struct stat *st);

#endif
