/* SPDX-License-Identifier: MIT */
/* Token buckets: how much may go in how much time. */
#ifndef BUCKET_H
#define BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/field.h"

/* One: `size` tokens at most, which come back in refill_ns, evenly. */
struct bucket {
    uint64_t size, refill_ns; /* 0, one of them: no limit */
    uint64_t burst;           /* used first, and never comes back */
    /* bucket.c's own */
    uint64_t full; /* ns, when it will be full again */
    uint64_t rest; /* what of a token's time is smaller than a nanosecond */
};
/* Full, from now on. */
void bucket_set(struct bucket *b, uint64_t size, uint64_t refill_ns,
                uint64_t burst);

/* Bytes and operations together. Its owner locks. */
struct limit {
    struct bucket bytes, ops;
};
bool limit_is_on(const struct limit *l);
/* For one operation of so many bytes: 0, it may go now, or the ns until it
 * may, exactly. One that is larger than the bucket waits until that is full,
 * and what follows waits longer. */
uint64_t limit_wait(const struct limit *l, uint64_t bytes, uint64_t now);
/* It went; also one that was not asked for, which others then wait for. */
void limit_take(struct limit *l, uint64_t bytes, uint64_t now);

/* What an operator says of one: the keys size, one_time_burst and refill_time
 * (ms) of "bandwidth" and "ops". */
struct bucket_told {
    uint64_t size, one_time_burst;
    uint32_t refill_time; /* UINT32_MAX: nothing is said of this bucket */
};
struct limit_told {
    struct bucket_told bandwidth, ops;
};
extern const struct field limit_fields[]; /* of a struct limit_told */
/* A size without a time? 0 or -EINVAL (said). */
int limit_check(const struct limit_told *told);
extern const struct field bucket_fields[]; /* of a struct bucket_told */
/* A bucket that nothing is said of stays as it is; one of size 0, or that comes
 * back in 0 ms, is none. */
void limit_set(struct limit *l, const struct limit_told *told);

/* The same as options at the start have it: bytes and operations a second (0:
 * no limit), and how many at once (0: a fifth of that). */
struct rate {
    uint64_t rate, burst;
    uint32_t ops, ops_burst;
};
/* Some at once of none? 0 or -EINVAL (said, with PREFIXburst=). */
int rate_check(const struct rate *r, const char *what, const char *prefix);
void limit_rate(struct limit *l, const struct rate *r);

#endif
