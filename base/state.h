/* SPDX-License-Identifier: MIT */
/* STATE rows of a table into bytes, and back. */
#ifndef STATE_H
#define STATE_H

#include <stddef.h>

#include "base/field.h"

/* A record for each STATE row, by its name (state.c has the format): what is
 * remembered of `obj`. Gives the bytes it takes; none are written beyond
 * `room`. */
size_t state_save(const struct field *table, const void *obj, void *out,
                  size_t room);
/* Takes the records in p[0..len), whoever wrote them. Every one must be of a
 * row, once, of its size, with values the row allows; every row but a SPARE one
 * must have its record. 0; or -EINVAL (said, beginning with `what`): nothing of
 * obj has changed then. */
int state_load(const struct field *table, void *obj, const char *what,
               const void *p, size_t len);

#endif
