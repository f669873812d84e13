/* SPDX-License-Identifier: MIT */
/* Counters on their way to who shows them. */
#ifndef TALLY_H
#define TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

/* One, while it is told of. */
struct count {
    const char *id;   /* what it is of: "net0", "vcpu1" */
    const char *name; /* "rx_frames" */
    const char *help; /* what it counts; NULL: not said */
    uint64_t val;
    bool level; /* goes up and down: not how often something happened */
};

/* Who takes them, one at a time; first in its own struct. */
struct tally {
    void (*take)(struct tally *t, const struct count *c);
};
static inline void tally_add(struct tally *t, const char *id, const char *name,
                             const char *help, uint64_t val)
{
    struct count c = {id, name, help, val, false};
    t->take(t, &c);
}
static inline void tally_level(struct tally *t, const char *id,
                               const char *name, const char *help, uint64_t val)
{
    struct count c = {id, name, help, val, true};
    t->take(t, &c);
}

/* As lines, "ID.name value". */
struct tally_lines {
    struct tally t;
    struct text *out;
};
struct tally *tally_lines(struct tally_lines *l, struct text *out);

#endif
