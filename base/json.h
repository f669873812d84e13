/* SPDX-License-Identifier: MIT */
/* JSON (RFC 8259) as options: what an object's members say, as keys and values.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/opts.h"
#include "base/text.h"

#define JSON_DEPTH 8    /* objects and arrays in each other */
#define JSON_TEXT 65536 /* bytes of a text, at most */

/* Adds what the object in text[0..len) says to *o, which is begun (opts_init):
 *
 *     {"a": "x", "b": true, "n": 3}    a=x  b=on  n=3
 *     {"backing": null}                backing=off
 *     {"addr": {"type": "unix"}}       addr.type=unix
 *     {"k": ["x", {"str": "y"}]}       k=x  k=y
 *
 * Numbers are kept as they are written. 0, or -EINVAL (said: what is wrong, and
 * at which byte); what was added until then stays. */
int json_opts(struct opts *o, const char *text, size_t len);

/* The same of a program's request, where null is not said. */
int json_request(struct opts *o, const char *text, size_t len);

/* The same, but for one member of the object, "apart", which is no option:
 * where its value is in the text, as it is written; NULL: there is none. */
struct json_piece {
    const char *p;
    size_t n;
};
int json_message(struct opts *o, const char *text, size_t len,
                 const char *apart, struct json_piece *piece);

/* Where an object or array ends in a stream that comes in pieces. Zeroes are
 * its beginning; text[0..n) is all of it that has come so far, of which each
 * byte is looked at once. Gives the bytes until there, 0: it goes on. A first
 * byte that opens nothing is an end by itself; brackets that do not match are
 * found by who reads it. */
struct json_scan {
    size_t at;
    unsigned depth;
    bool string, escape;
};
size_t json_scan(struct json_scan *s, const char *text, size_t n);
/* JSON that is kept as a text: the same without blanks, each string written in
 * one way, so that it need not be looked at again. Appends it to *out. 0, or
 * -EINVAL (said, beginning with `what`). */
#define JSON_NESTED 32
int json_compact(const char *what, const char *text, size_t len,
                 struct text *out);
/* Of such texts, which end where their value does: appends `target` as the
 * merge patch (RFC 7396) makes it, members by name. */
void json_merge(const char *target, const char *patch, struct text *out);
/* The members of an object, or elements of an array (key ""), in order, until
 * one does not give 0; gives that. A key is as it is written, so without
 * escapes where it is plain. Nothing where it is neither. */
int json_each(const char *value,
              int (*each)(void *ctx, const char *key, const char *val,
                          size_t len),
              void *ctx);
/* The value of a member, and how long it is; NULL: it has none. */
const char *json_member_of(const char *object, const char *key, size_t *len);

/* Is it meant as JSON? It begins with a brace. */
bool json_looks_like(const char *text);

#endif
