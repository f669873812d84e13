/* SPDX-License-Identifier: MIT */
/* What one VMM hands to the next one that goes on with its guest: descriptors
 * and numbers by name. A name means the same in each version. */
#ifndef HANDED_H
#define HANDED_H

#include <stdbool.h>
#include <stddef.h>

#include "base/parts.h"

#define HANDED_MAX 240 /* descriptors: one message has 253 (SCM_MAX_FD) */
#define HANDED_TEXT 16384

/* ------------------------------------------------------------- who has it */

/* Only where somebody may take over is anything kept. */
void handed_want(void);
/* Kept under a name, "KIND:ID" as printf() makes it: what is at `fd` when it is
 * handed over, which is nothing while it is -1, and is there until
 * handed_end(). By whoever opens it, or has taken it. */
void handed_keep(const int *fd, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void handed_keep_number(const unsigned *n, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* All of it: lines into `text`, which names the descriptors in fd[] in their
 * order. How many those are, or -ENOSPC: too many. */
int handed_list(char text[HANDED_TEXT], int fd[HANDED_MAX]);
/* What is open only for a while, connections, goes with the state that speaks
 * of it: gives the number that it has there. -1: it cannot be had, and nothing
 * is handed over. */
unsigned handed_late(int fd);
void handed_late_begin(void); /* of a state: there is none yet */
/* That, in a part of the state with what is to be known of it. */
void handed_part(struct parts *out, const char *name, int fd, const void *p,
                 size_t n);
/* Those from `at` on: how many, HANDED_MAX at most, or -ENOMEM. */
int handed_late_list(unsigned at, const int **fd);

/* ---------------------------------------------------------- who takes over */

/* What came, `n` descriptors among it, which are taken over. False: it is no
 * such list. */
bool handed_come(const char *text, const int *fd, int n);
/* The one of that name, which is the caller's then; -ENOENT: none came. */
int handed_take(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Did it come, taken or not? */
bool handed_has(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The number of that name, or `otherwise`. */
unsigned handed_number(unsigned otherwise, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The one that came with the state (by handed_late) under that number. */
int handed_late_take(unsigned i);
/* The one of a part that handed_part() made, and what is known of it, of which
 * there are `least` bytes; -EINVAL: it is none, or is taken. */
int handed_part_take(const struct part *part, size_t least, const uint8_t **p,
                     size_t *n);
/* A name that nobody has taken, or NULL. */
const char *handed_left(void);
/* Is the other one still the one that runs? What both have stays as it is. */
bool handed_waits(void);
void handed_mine(void); /* it is not any more; what nobody took is closed */
void handed_end(void);

#endif
