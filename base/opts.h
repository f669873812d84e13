/* SPDX-License-Identifier: MIT */
/* key=value options, as QEMU's users write them: "tap,id=n0,ifname=tap0". */
#ifndef OPTS_H
#define OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTS_MAX 64

/* What an operator says of one thing: keys and their values, in order. A table
 * of fields (base/field.h) says what they mean. */
struct opts {
    char what[80]; /* "-netdev tap": opens each error line */
    struct {
        char *key;       /* one piece of memory with the value */
        const char *val; /* stays where it is when the struct moves */
    } * kv;
    int n;
};

/* Cuts `text` at commas (",," is a literal comma). A first word without "=" is
 * the value of `first` (NULL: no such word); a later one is KEY=on.
 * 0, or -EINVAL/-ENOMEM (said). Free with opts_free. */
int opts_parse(struct opts *o, const char *what, const char *text,
               const char *first);
void opts_free(struct opts *o);
/* All of it, which another struct has from now on; `o` is empty. */
struct opts opts_taken(struct opts *o);

/* The same from a program: opts_init, then one key after the other. 0, or
 * -EINVAL/-ENOMEM (said). */
void opts_init(struct opts *o, const char *what);
int opts_add(struct opts *o, const char *key, const char *val);
/* Moves all of one key (under another name, unless NULL) to the end of `to`, or
 * (NULL) away. */
int opts_move(struct opts *to, struct opts *from, const char *key,
              const char *as);

/* The value, or `def`. The last of repeated keys wins. The string lives as
 * long as `o`. */
const char *opts_str(const struct opts *o, const char *key, const char *def);
/* Value k (from 0) of a key that may be repeated, or NULL. */
const char *opts_nth(const struct opts *o, const char *key, int k);
/* A key that needs nothing done as long as its value is one of the words of
 * `ok` (NULL: whatever it is; yes, true and 1 are on, and so on). */
struct opts_quiet {
    const char *key, *ok, *why; /* why another value is refused */
};
/* The row of a key, or NULL; `rows` end with one without a key. */
const struct opts_quiet *opts_quiet_row(const struct opts_quiet *rows,
                                        const char *key);
/* May it have this value? 0, or -EINVAL (said, with the row's reason; `what`
 * begins the line and names the key). */
int opts_quiet_value(const struct opts_quiet *row, const char *what,
                     const char *val);
/* Puts KEY=VAL before all others, so that it is a default; as opts_add. */
int opts_default(struct opts *o, const char *key, const char *val);

/* Is `word` one of the words of `list`, which blanks separate? */
bool word_among(const char *word, const char *list);

/* Values, of which `what` begins the line that says what is wrong: 0 or -EINVAL
 * (said). Bytes; suffix k, M, G, T; none means `unit` bytes. */
int parse_size(const char *what, const char *text, uint64_t unit,
               uint64_t *out);
/* min..max inclusive; decimal or 0x. */
int parse_u64(const char *what, const char *text, uint64_t min, uint64_t max,
              uint64_t *out);
/* aa:bb:cc:dd:ee:ff, unicast and not all zero. */
int parse_mac(const char *what, const char *text, uint8_t mac[6]);
/* 8-4-4-4-12 hexadecimal digits. */
int parse_uuid(const char *what, const char *text, uint8_t uuid[16]);

/* Pieces of a text, which move *p behind them. Decimal digits, up to `max`;
 * false: there are none, or they are more. Characters of `set`, perhaps none;
 * false: more than fit. */
bool scan_number(const char **p, uint64_t max, uint64_t *out);
bool scan_set(const char **p, const char *set, char *out, size_t size);

/* The closest of a NULL-terminated list to `word`, or NULL if none is near:
 * "unknown option -kernl; did you mean -kernel?" */
const char *closest(const char *word, const char *const *list);

#endif
