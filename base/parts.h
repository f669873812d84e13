/* SPDX-License-Identifier: MIT */
/* A file of named parts, with a version and a sum. */
#ifndef PARTS_H
#define PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARTS_VERSION 1
#define PART_NAME_MAX 63

/* One that is being made; zeroes are the beginning. */
struct parts {
    uint8_t *p;
    size_t n, room;
    bool lost; /* there was no memory */
};
/* `name`: printable, without blanks. */
void parts_put(struct parts *o, const char *name, const void *p, size_t len);
/* Puts the header and the sum to it. 0 or -ENOMEM. */
int parts_end(struct parts *o);
void parts_free(struct parts *o);

struct part {
    char name[PART_NAME_MAX + 1];
    const uint8_t *p; /* in the file */
    uint32_t len;
};
/* Bytes from anywhere: are they such a file, whole, of a version that is known
 * here? 0 or -EINVAL (said, beginning with `what`). */
int parts_check(const char *what, const uint8_t *p, size_t len);
/* Of a file that was checked: the part behind *at (0: the first), which moves
 * on. False: there is none. */
bool parts_next(const uint8_t *p, size_t len, size_t *at, struct part *part);
bool parts_find(const uint8_t *p, size_t len, const char *name,
                struct part *part);

#endif
