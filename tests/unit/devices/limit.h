/* SPDX-License-Identifier: MIT */
/* What the tests of limited NICs share. */
#ifndef TEST_LIMIT_H
#define TEST_LIMIT_H

#include "base/verb.h"
#include "tests/unit/fake.h"

/* The loop has nothing to do until a timer is due. */
static inline void check_quiet(struct machine *m)
{
    fake_run_loop(m);
    CHECK_EQ(loop_poll(m->loop, 0), 0);
}

static inline unsigned taken(struct fake_net *net)
{
    uint8_t frame[2048];
    unsigned n = 0;
    while (fake_net_take(net, 0, NULL, frame, sizeof(frame)) >= 0)
        n++;
    return n;
}

/* Passes `ms`, one by one; how many packets come out. */
static inline unsigned pass(struct machine *m, struct fake_net *net,
                            unsigned ms)
{
    unsigned n = 0;
    while (ms--) {
        fake_advance_ns(1000000);
        check_quiet(m);
        n += taken(net);
    }
    return n;
}

static inline int limit(struct device *dev, const char *keys)
{
    struct opts o;
    struct text out = {0};
    const struct verb *v = verb_find(dev->cls->verbs, "limit");
    REQUIRE(v != NULL);
    REQUIRE_EQ(opts_parse(&o, "limit", keys, NULL), 0);
    int err = verb_do(v, dev, &o, &out);
    text_free(&out);
    opts_free(&o);
    return err;
}

#endif
