/* SPDX-License-Identifier: MIT */
/* A loop's pace: from sleeps and counts to how long it looks around before the
 * next sleep, and whether it naps. One thread's. */
#ifndef PACE_H
#define PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint64_t window;     /* ns to look before a sleep, 0: none */
    uint64_t window_max; /* a sleep up to this is short; 0: not measured */
    uint64_t asked;      /* window_max as the operator wants it, or 0 */
    bool given;          /* the guest has something to answer */
    uint64_t answer;     /* ns to look for its answer, 0: do not */
    uint64_t answer_max; /* 0: not measured */
    bool naps;           /* sleeps, signals off */
    uint64_t nap;        /* for so long; 0: not measured */
    unsigned found;      /* small packets since `since` */
    uint64_t since;
    unsigned doubt; /* naps that found little, lately */
};

/* How long to look before the next sleep. */
static inline uint64_t pace_look(const struct pace *p)
{
    return p->given && p->answer > p->window ? p->answer : p->window;
}

/* The operator wants it to look for up to `ns` after each event, and not to
 * nap. Of several wishes the longest counts. */
void pace_ask(struct pace *p, uint64_t ns);
/* So many small packets were done: it naps when more come than naps would end.
 */
void pace_worked(struct pace *p, unsigned small);
/* The wait for an answer has ended, after so many ns. */
void pace_answered(struct pace *p, uint64_t took);
/* It slept for so many ns. */
void pace_slept(struct pace *p, uint64_t slept);
/* A nap is over; `whole`: no event ended it early. */
void pace_napped(struct pace *p, bool whole);

#endif
