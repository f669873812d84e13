/* SPDX-License-Identifier: MIT */
/* A text that grows as it is written, up to a bound. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>

#define TEXT_MAX (1u << 20)

/* Zeroes are an empty one. */
struct text {
    char *p;  /* NUL-terminated; NULL: nothing yet */
    size_t n; /* bytes without it */
    size_t room;
    bool cut; /* something did not fit: TEXT_MAX, or there is no memory */
};

void text_add(struct text *t, const void *p, size_t n);
void text_put(struct text *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Bytes of the UTF-8 character that a NUL-terminated text begins with (RFC 3629
 * §4); 0: it is none. */
size_t text_character(const char *s);
/* In double quotes, as JSON wants it (RFC 8259 §7, §8.1): a byte that is not
 * UTF-8 becomes U+FFFD. */
void text_quote(struct text *t, const char *s);
void text_free(struct text *t);

#endif
