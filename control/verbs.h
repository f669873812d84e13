/* SPDX-License-Identifier: MIT */
/* What can be asked of a machine while it runs: one table, whoever asks and in
 * whatever words. */
#ifndef VERBS_H
#define VERBS_H

#include "base/verb.h"
#include "control/config.h"

/* What they are asked of. */
struct control {
    struct machine *m;
    const struct config *config;
    const char *dir; /* where a path begins that is not absolute; NULL: none */
    /* Set while a verb runs: who asked. One that answers later gives
     * -EINPROGRESS, and calls answer(who, …) once, with 0, or -errno and why.
     */
    void *who;
    void (*answer)(void *who, int err, const char *why);
};

/* Of the machine as a whole; their thing is a struct control. */
extern const struct verb verbs[];

/* One of them, or what a device can do (`o` says which by id=, if several can).
 * 0, -EINPROGRESS, or another -errno, said. Main loop's thread. */
int verbs_do(struct control *c, const char *name, struct opts *o,
             struct text *out);
/* Nobody is answered later any more. */
void verbs_end(void);
/* "Not started", "Running" or "Paused". */
const char *verbs_state(const struct machine *m);

#endif
