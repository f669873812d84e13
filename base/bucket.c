/* SPDX-License-Identifier: MIT */
/* Token buckets: how much may go in how much time.
 *
 * A bucket is kept as the time at which it will be full: taking a token moves
 * that further away by the time in which a token comes back, and the passing of
 * time is what fills it. So nothing is to be added up as time goes by, and how
 * long something has to wait is a subtraction: exact, not a tick. */
#include "base/bucket.h"

#include <errno.h>

#include "base/log.h"

#define SECOND_NS 1000000000ull

/* ns in which n tokens come back; *rest: of one more, in `size`th parts. */
static uint64_t bucket_ns(const struct bucket *b, uint64_t n, uint64_t *rest)
{
    unsigned __int128 parts = (unsigned __int128)n * b->refill_ns + *rest;
    *rest = (uint64_t)(parts % b->size);
    parts /= b->size;
    return parts > INT64_MAX ? INT64_MAX : (uint64_t)parts;
}

static bool bucket_is_on(const struct bucket *b)
{
    return b->size && b->refill_ns;
}

static uint64_t bucket_wait(const struct bucket *b, uint64_t n, uint64_t now)
{
    uint64_t rest = b->rest;
    if (!bucket_is_on(b) || n <= b->burst || b->full <= now)
        return 0;
    n -= b->burst;
    uint64_t need = bucket_ns(b, n < b->size ? n : b->size, &rest) + (rest > 0);
    uint64_t missing = b->full - now;
    if (need > b->refill_ns)
        need = b->refill_ns;
    return missing + need <= b->refill_ns ? 0 : missing + need - b->refill_ns;
}

static void bucket_take(struct bucket *b, uint64_t n, uint64_t now)
{
    uint64_t burst = n < b->burst ? n : b->burst;
    if (!bucket_is_on(b))
        return;
    b->burst -= burst;
    if (b->full <= now) {
        b->full = now;
        b->rest = 0;
    }
    uint64_t ns = bucket_ns(b, n - burst, &b->rest);
    b->full = ns < INT64_MAX - b->full ? b->full + ns : INT64_MAX;
}

void bucket_set(struct bucket *b, uint64_t size, uint64_t refill_ns,
                uint64_t burst)
{
    *b = (struct bucket){.size = size, .refill_ns = refill_ns, .burst = burst};
}

static void bucket_rate(struct bucket *b, uint64_t rate, uint64_t most)
{
    uint64_t size = most ? most : rate / 5 ? rate / 5 : 1;
    unsigned __int128 ns =
        rate ? (unsigned __int128)size * SECOND_NS / rate : 0;
    bucket_set(b, size, ns > INT64_MAX ? INT64_MAX : (uint64_t)ns, 0);
}

bool limit_is_on(const struct limit *l)
{
    return bucket_is_on(&l->bytes) || bucket_is_on(&l->ops);
}

uint64_t limit_wait(const struct limit *l, uint64_t bytes, uint64_t now)
{
    uint64_t a = bucket_wait(&l->bytes, bytes, now);
    uint64_t b = bucket_wait(&l->ops, 1, now);
    return a > b ? a : b;
}

void limit_take(struct limit *l, uint64_t bytes, uint64_t now)
{
    bucket_take(&l->bytes, bytes, now);
    bucket_take(&l->ops, 1, now);
}

/* ------------------------------------------------------------------- told */

const struct field bucket_fields[] = {
    FIELD(SIZE, "size", struct bucket_told, size, .help = "tokens; 0: none"),
    FIELD(SIZE, "one_time_burst", struct bucket_told, one_time_burst,
          .help = "used before them, once"),
    FIELD(NUMBER, "refill_time", struct bucket_told, refill_time,
          .max = UINT32_MAX - 1, .def = UINT32_MAX,
          .help = "ms in which they come back"),
    {.name = ""},
};

const struct field limit_fields[] = {
    FIELDS_OF(bucket_fields, "bandwidth", struct limit_told, bandwidth),
    FIELDS_OF(bucket_fields, "ops", struct limit_told, ops),
    {.name = ""},
};

static int bucket_check(const struct bucket_told *t, const char *name)
{
    if (t->refill_time != UINT32_MAX || (!t->size && !t->one_time_burst))
        return 0;
    return fail(-EINVAL, "%s: missing field `refill_time`", name);
}

int limit_check(const struct limit_told *told)
{
    int err = bucket_check(&told->bandwidth, "bandwidth");
    return err ? err : bucket_check(&told->ops, "ops");
}

static void bucket_set_told(struct bucket *b, const struct bucket_told *t)
{
    if (t->refill_time != UINT32_MAX)
        bucket_set(b, t->size, t->refill_time * 1000000ull, t->one_time_burst);
}

void limit_set(struct limit *l, const struct limit_told *told)
{
    bucket_set_told(&l->bytes, &told->bandwidth);
    bucket_set_told(&l->ops, &told->ops);
}

/* ---------------------------------------------------------------- options */

int rate_check(const struct rate *r, const char *what, const char *prefix)
{
    bool bytes = r->burst && !r->rate;
    if (!bytes && (!r->ops_burst || r->ops))
        return 0;
    return fail(-EINVAL, "%s: %s%sburst= needs %s%s=", what, prefix,
                bytes ? "" : "ops-", prefix, bytes ? "rate" : "ops");
}

void limit_rate(struct limit *l, const struct rate *r)
{
    bucket_rate(&l->bytes, r->rate, r->burst);
    bucket_rate(&l->ops, r->ops, r->ops_burst);
}
