/* SPDX-License-Identifier: MIT */
/* What an operator can have a thing do while the machine runs. */
#ifndef VERB_H
#define VERB_H

#include "base/field.h"
#include "base/text.h"

#define VERB_TOLD 256 /* bytes of what one is told, at most */

/* A row; one without a name ends the table. */
struct verb {
    const char *name, *help;
    const struct field *fields; /* OPTION rows of what it is told; NULL: none */
    size_t size;                /* of their struct */
    /* On the main loop's thread; never waits. `out`: what there is to answer,
     * JSON or text, mostly nothing. 0 or -errno (said); what is said goes to
     * who asked. */
    int (*run)(void *thing, const void *told, struct text *out);
};

/* NULL: there is none of that name; `table` may be NULL. */
const struct verb *verb_find(const struct verb *table, const char *name);
/* Has `thing` do it, as `o` says. 0 or -errno (said). */
int verb_do(const struct verb *v, void *thing, struct opts *o,
            struct text *out);

#endif
