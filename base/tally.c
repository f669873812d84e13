/* SPDX-License-Identifier: MIT */
/* Counters on their way to who shows them: as lines. */
#include "base/tally.h"

static void tally_take_line(struct tally *t, const struct count *c)
{
    text_put(((struct tally_lines *)t)->out, "%s.%s %llu\n", c->id, c->name,
             (unsigned long long)c->val);
}

struct tally *tally_lines(struct tally_lines *l, struct text *out)
{
    *l = (struct tally_lines){.t.take = tally_take_line, .out = out};
    return &l->t;
}
