/* SPDX-License-Identifier: MIT */
/* A loop's pace: from sleeps and counts to how long it looks around before the
 * next sleep, and whether it naps. One thread's. Times are ticks (now_ticks)
 * but where they are said to be ns. */
#ifndef PACE_H
#define PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    bool pays;       /* looking found work the last time, or would have */
    uint64_t window; /* to look for; 0: not measured */
    uint64_t blind;  /* the longest without a look at file descriptors */
    uint64_t gap;    /* a turn this long: somebody else had the processor */
    uint64_t asked;  /* ns the operator wants it to look, or 0 */
    uint64_t slept;  /* for how long, and no work was found since */
    bool naps;       /* sleeps, signals off */
    uint64_t nap;    /* ns, for so long; 0: not measured */
    unsigned found;  /* small packets since `since` */
    uint64_t since;  /* ns */
    unsigned doubt;  /* naps that found little, lately */
};

/* A pace before the first sleep. */
#define PACE_NEW                                                               \
    {                                                                          \
        .slept = UINT64_MAX                                                    \
    }

/* The operator wants it to look for up to `ns` after each event, and not to
 * nap. Of several wishes the longest counts. */
void pace_ask(struct pace *p, uint64_t ns);
/* So many small packets were done: it naps when more come than naps would end.
 */
void pace_worked(struct pace *p, unsigned small);
/* A ring had work, and has no more: is it to be looked at now? */
bool pace_looks(struct pace *p);
/* A look found nothing, till its end. */
void pace_looked(struct pace *p);
/* A nap is over; `whole`: no event ended it early. */
void pace_napped(struct pace *p, bool whole);

#endif
