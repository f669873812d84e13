/* SPDX-License-Identifier: MIT */
/* Firecracker's PUT /snapshot/load: what it says, and what the state file says
 * there is to be. */
#ifndef FCLOAD_H
#define FCLOAD_H

#include "base/parts.h"
#include "control/fcparts.h"

/* In this order. What a body, compact, asks for; nothing is opened. 0 or
 * -EINVAL (said). */
int fcload_read(const char *body);
/* Reads the state file; *config becomes what is kept in it of the machine's
 * parts, as a config file has them, compact. 0 or -errno (said). */
int fcload_open(struct text *config);
/* Appends one of them to *out, with what replaces its path. */
void fcload_item(const struct fcpart *p, const char *json, size_t len,
                 struct text *out);
/* May what it names be opened? 0 or -EACCES (said). */
int fcload_allows(const struct item *it);
/* Has all that replaces something been found? 0 or -ENOENT (said). */
int fcload_check(void);
void fcload_forget(void);

/* Is it one that a state file keeps? And those, in one. */
bool fcload_keeps(const struct fcpart *p);
void fcload_put(struct parts *out, const struct text *config);

#endif
