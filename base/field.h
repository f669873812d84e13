/* SPDX-License-Identifier: MIT */
/* One table for what a thing can be told, remembers, and counts. */
#ifndef FIELD_H
#define FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/opts.h"
#include "base/tally.h"

enum field_use {
    OPTION = 1,  /* told at the start: KEY=VALUE, JSON, help */
    STATE = 2,   /* remembered; at a reset it is `def` again */
    COUNTER = 4, /* counted: -stats */
    KEPT = 8,    /* STATE that a reset leaves as it is */
    SPARE = 16,  /* STATE that a record may lack: `def` then */
    LEVEL = 32,  /* COUNTER of what there is now: it goes down, too */
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
    FIELD_QUIET,  /* keys that need nothing done: those of `quiet` */
    FIELD_PART,   /* the rows of `part`, for what is at this offset; their keys
                     are NAME.KEY where this row has a name */
    /* of STATE only: */
    FIELD_MASK,  /* bits of `max` */
    FIELD_UNDER, /* bytes; a record may differ from what is there in bits of
                    the bytes that lie `def` behind them */
    FIELD_BLOB,  /* uint8_t *: up to `max` bytes; how many says the uint32_t
                    that lies `def` behind the pointer */
    FIELD_PARTS, /* PARTs NAME.0.KEY, NAME.1.KEY …, `size` bytes each, of an
                    array (`min` 0), one behind a pointer (1), or of pointers
                    (2); how many says the unsigned that lies `def` behind */
    FIELD_ROWS,  /* what `row` makes, with the offsets of this table */
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
        const struct opts_quiet *quiet;
        struct {
            uint32_t n, step; /* STATE: an array of so many (0: one), so many
                                 bytes apart (0: `size`) */
        };
        /* Makes row i; false: there are no more. One without a use is none. */
        bool (*row)(unsigned i, struct field *f);
    };
};

/* A row: its key, the struct and the member, the rest by name. */
#define FIELD(kind, key, what, member, ...)                                    \
    FIELD_AS(OPTION, kind, key, what, member, __VA_ARGS__)
/* The same for other uses, and for each member of an array. */
#define FIELD_AS(uses, kind, key, what, member, ...)                           \
    {                                                                          \
        .name = key, .type = FIELD_##kind, .use = uses,                        \
        .size = sizeof(((what *)0)->member), .offset = offsetof(what, member), \
        __VA_ARGS__                                                            \
    }
#define FIELD_EACH(uses, kind, key, what, member, ...)                         \
    {                                                                          \
        .name = key, .type = FIELD_##kind, .use = uses,                        \
        .size = sizeof(((what *)0)->member[0]),                                \
        .offset = offsetof(what, member),                                      \
        .n = sizeof(((what *)0)->member) / sizeof(((what *)0)->member[0]),     \
        __VA_ARGS__                                                            \
    }
/* The bytes of a member. */
#define FIELD_BYTES(uses, key, what, member, ...)                              \
    {                                                                          \
        .name = key, .type = FIELD_NUMBER, .use = uses, .size = 1,             \
        .offset = offsetof(what, member), .n = sizeof(((what *)0)->member),    \
        __VA_ARGS__                                                            \
    }
/* How far one member lies behind another, as `def` wants it. */
#define FIELD_BEHIND(what, member, other)                                      \
    (uint32_t)(offsetof(what, other) - offsetof(what, member))
/* The rows of another table, for a member; all uses. */
#define FIELDS_OF(table, prefix, what, member)                                 \
    {                                                                          \
        .name = prefix, .type = FIELD_PART, .use = 0xff,                       \
        .offset = offsetof(what, member), .part = table                        \
    }
/* Keys of QEMU's that are taken, as there is nothing to do. */
#define FIELDS_QUIET(rows)                                                     \
    {                                                                          \
        .name = "*", .type = FIELD_QUIET, .use = OPTION, .quiet = rows         \
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
/* The row of an OPTION (or that QUIET has it), or NULL. */
const struct field *fields_find(const struct field *table, const char *key);
/* Rows of a use become their default, but for KEPT ones; members that other
 * threads read are stored whole. */
void fields_reset(const struct field *table, void *obj, enum field_use use);
/* Calls `visit` for each row of a use that is no PART: with its full name and
 * where its member is. Ends with the first that does not give 0, and gives
 * that. */
struct field_at {
    const struct field *f;
    const char *name;
    uint8_t *at;
};
int fields_each(const struct field *table, void *obj, enum field_use use,
                int (*visit)(void *ctx, const struct field_at *fa), void *ctx);
/* Member i of a row's array, as a number; and one stored. */
uint64_t field_get(const struct field_at *fa, uint32_t i);
void field_put(const struct field_at *fa, uint32_t i, uint64_t val);
static inline uint32_t field_count(const struct field *f)
{
    return f->n ? f->n : 1;
}
/* OPTION rows with ranges, defaults and meaning, on stdout. */
void fields_help(const struct field *table);
/* Each COUNTER row, as a count of `id`. Any thread. */
void fields_count(const struct field *table, const void *obj, const char *id,
                  struct tally *t);

#endif
