/* SPDX-License-Identifier: MIT */
/* A running machine is saved into two files. */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include "base/verb.h"
#include "machine/machine.h"

/* What it is told. */
struct snapshot_told {
    const char *state, *mem;
    uint8_t type;
};
extern const struct field snapshot_fields[];

/* For main(), before the sandbox is entered: `base` is the file that memory is
 * a private copy of, or -1; it stays the caller's. `more` puts what else the
 * state file is to keep. 0 or -errno (said). */
struct parts;
int snapshot_open(struct machine *m, int base, void (*more)(struct parts *out));
void snapshot_close(void);
/* Saves it: files below an -allow-path, which are there when all is well, and
 * else are as before; `dir` is where a path begins that is not absolute (NULL:
 * none). One that runs is paused meanwhile. -EINPROGRESS, and then
 * answer(who, …) once, with 0, or -errno and why; or another -errno (said). */
int snapshot_begin(const struct snapshot_told *t, const char *dir, void *who,
                   void (*answer)(void *who, int err, const char *why));
/* Nobody is answered any more. */
void snapshot_abandon(void);
/* Is the memory being written? It must stand still. */
bool snapshot_writes(void);
/* Does it stand still for that alone, and go on by itself? Then `then` is
 * called, once, when it does. */
bool snapshot_then(void (*then)(struct machine *m));
/* It was asked to stand still meanwhile: it stays so. */
void snapshot_stay(void);

#endif
