/* SPDX-License-Identifier: MIT */
/* JSON (RFC 8259) as options: what an object's members say, as keys and values.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/opts.h"

#define JSON_DEPTH 8    /* objects and arrays in each other */
#define JSON_TEXT 65536 /* bytes of a text, at most */

/* Adds what the object in text[0..len) says to *o, which is begun (opts_init):
 *
 *     {"a": "x", "b": true, "n": 3}    a=x  b=on  n=3
 *     {"addr": {"type": "unix"}}       addr.type=unix
 *     {"k": ["x", {"str": "y"}]}       k=x  k=y
 *
 * Numbers are kept as they are written. 0, or -EINVAL (said: what is wrong, and
 * at which byte); what was added until then stays. */
int json_opts(struct opts *o, const char *text, size_t len);

/* The same of a program's request, where null is not said. */
int json_request(struct opts *o, const char *text, size_t len);

/* Is it meant as JSON? It begins with a brace. */
bool json_looks_like(const char *text);

#endif
