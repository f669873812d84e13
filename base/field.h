/* SPDX-License-Identifier: MIT */
/* One table for what a thing can be told, remembers, and counts. */
#ifndef FIELD_H
#define FIELD_H

#include <stddef.h>
#include <stdint.h>

#include "base/opts.h"

enum field_use {
    OPTION = 1,  /* told at the start: KEY=VALUE, JSON, help */
    STATE = 2,   /* remembered; at a reset it is `def` again */
    COUNTER = 4, /* counted: -stats */
    LIVE = 8,    /* an option that may change while the machine runs */
};

/* How a value is written, and what holds it. Unsigned members of any size. */
enum field_type {
    FIELD_NUMBER, /* min to max; decimal or 0x */
    FIELD_SIZE,   /* the same in bytes, with k, M, G, T */
    FIELD_FLAG,   /* on or off; auto, too, where max is AUTO */
    FIELD_BIT,    /* bit number `min` of the member: on, off */
    FIELD_WORD,   /* the index of one of `words` */
    FIELD_TEXT,   /* const char *, lives as long as the opts */
    FIELD_LIST,   /* text under a key that may be repeated; read it with
                     opts_nth, there is no member */
    FIELD_MAC,    /* uint8_t[6]; all zero: not said */
    FIELD_PART,   /* the rows of `part`, for what is at this offset; their keys
                     are NAME.KEY where this row has a name */
};
enum { OFF, ON, AUTO }; /* values of a flag */

/* One row; one without a name that is no PART ends the table. A default
 * outside min..max means "not said"; max 0: whatever the member holds. The name
 * is in the row: a pointer takes four times its own room in a program that can
 * be loaded anywhere. */
struct field {
    char name[20];
    uint8_t type, use;
    uint16_t size; /* of the member */
    uint32_t offset, def, min, max;
    const char *help;
    union {
        const char *const *words; /* NULL-terminated */
        const char *arg;          /* TEXT, LIST: what the help calls it */
        const struct field *part;
    };
};

/* A row: its key, the struct and the member, the rest by name. */
#define FIELD(kind, key, what, member, ...)                                    \
    {                                                                          \
        .name = key, .type = FIELD_##kind, .use = OPTION,                      \
        .size = sizeof(((what *)0)->member), .offset = offsetof(what, member), \
        __VA_ARGS__                                                            \
    }
/* The rows of another table, for a member; all uses. */
#define FIELDS_OF(table, prefix, what, member)                                 \
    {                                                                          \
        .name = prefix, .type = FIELD_PART, .use = 0xff,                       \
        .offset = offsetof(what, member), .part = table                        \
    }
/* A counter: uint64_t, atomic, or a struct fault. */
#define COUNT(key, what, member, text)                                         \
    {                                                                          \
        .name = key, .use = COUNTER, .size = sizeof(((what *)0)->member),      \
        .offset = offsetof(what, member), .help = text                         \
    }

/* A table may be NULL: no rows.
 *
 * OPTION rows: each becomes its default, then what `o` says. -EINVAL (said) for
 * a key that is not in the table or a value out of its bounds. */
int fields_read(const struct field *table, void *obj, struct opts *o);
/* The same for one key alone: always -EINVAL (said). */
int fields_unknown(const struct field *table, const char *what,
                   const char *key);
/* The row of an OPTION, or NULL. */
const struct field *fields_find(const struct field *table, const char *key);
/* Rows of a use become their default. */
void fields_reset(const struct field *table, void *obj, enum field_use use);
/* OPTION rows with ranges, defaults and meaning, on stdout. */
void fields_help(const struct field *table);
/* "ID.name value", a line for each COUNTER row, to `fd`. Any thread. */
void fields_count(const struct field *table, const void *obj, const char *id,
                  int fd);

#endif
