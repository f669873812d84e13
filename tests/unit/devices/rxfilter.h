/* SPDX-License-Identifier: MIT */
/* What the tests of NICs' receive filters share: who asks, and who is told. */
#ifndef TEST_RXFILTER_H
#define TEST_RXFILTER_H

#include <stdio.h>
#include <sys/eventfd.h>

#include "base/verb.h"
#include "tests/unit/fake.h"

/* What the NIC says of its filter. */
static inline const char *filter_of(struct device *dev)
{
    static char said[8192];
    struct text out = {0};
    const struct verb *v = verb_find(dev->cls->verbs, "rx-filter");
    REQUIRE(v != NULL);
    CHECK_EQ(v->run(dev, NULL, &out), 0);
    snprintf(said, sizeof(said), "%s", out.p);
    text_free(&out);
    return said;
}

/* Somebody listens from now on; filter_news: it was told since the last time.
 */
static inline void filter_listen(struct machine *m)
{
    m->news_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    REQUIRE(m->news_fd >= 0);
}

static inline bool filter_news(struct device *dev)
{
    return atomic_exchange(&dev->news, 0) >> NEWS_RX_FILTER & 1;
}

#endif
