/* SPDX-License-Identifier: MIT */
/* STATE rows of a table into bytes, and back.
 *
 * Format: records, one after the other, in any order:
 *     u8  length of the name     its bytes, printable ASCII
 *     u8  bytes of a member      1, 2, 4 or 8
 *     u32 how many members       the members; all numbers little-endian
 * A record names what it is, so there is no version: a program that remembers
 * more, or less, or otherwise, finds that out by the names and says which.
 *
 * Loading goes over everything twice: first it only checks, then it stores. */
#include "base/state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* ------------------------------------------------------------------ saving */

struct out {
    uint8_t *p;
    size_t room, n;
};

static void state_out_put(struct out *o, const void *p, size_t n)
{
    if (o->n <= o->room && n <= o->room - o->n)
        memcpy(o->p + o->n, p, n);
    o->n += n;
}

static uint32_t state_blob_len(const struct field_at *fa)
{
    uint32_t n;
    memcpy(&n, fa->at + (int32_t)fa->f->def, sizeof(n));
    return n;
}

static uint8_t *state_blob_bytes(const struct field_at *fa)
{
    uint8_t *p;
    memcpy(&p, fa->at, sizeof(p));
    return p;
}

static bool state_is_default(const struct field_at *fa)
{
    if (fa->f->type == FIELD_BLOB)
        return !state_blob_len(fa);
    for (uint32_t i = 0; i < field_count(fa->f); i++)
        if (field_get(fa, i) != fa->f->def)
            return false;
    return true;
}

static int state_save_one(void *ctx, const struct field_at *fa)
{
    struct out *o = ctx;
    const struct field *f = fa->f;
    bool blob = f->type == FIELD_BLOB;
    uint8_t name = (uint8_t)strlen(fa->name),
            size = blob ? 1 : (uint8_t)f->size;
    uint32_t n = blob ? state_blob_len(fa) : field_count(f);
    if (f->use & SPARE && state_is_default(fa))
        return 0;
    state_out_put(o, &name, 1);
    state_out_put(o, fa->name, name);
    state_out_put(o, &size, 1);
    state_out_put(o, &n, 4);
    if (blob) {
        state_out_put(o, state_blob_bytes(fa), n);
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t val = field_get(fa, i);
        state_out_put(o, &val, size);
    }
    return 0;
}

size_t state_save(const struct field *table, const void *obj, void *out,
                  size_t room)
{
    struct out o = {out, room, 0};
    fields_each(table, (void *)(uintptr_t)obj, STATE, state_save_one, &o);
    return o.n;
}

/* ----------------------------------------------------------------- loading */

struct record {
    const char *name; /* not terminated */
    unsigned name_len, size;
    uint32_t n;
    const uint8_t *val;
    size_t end; /* where the next one begins */
};

struct in {
    const char *what;
    const uint8_t *p;
    size_t len;
    size_t next;   /* where the next row's record probably is */
    unsigned rows; /* that had a record */
    bool store;
};

/* The record at `at`, if there is a whole one. */
static bool state_record_at(const struct in *in, size_t at, struct record *r)
{
    const uint8_t *p = in->p + at;
    size_t left = in->len - at;
    if (left < 1 || left - 1 < p[0] + 5u || !p[0])
        return false;
    r->name = (const char *)p + 1;
    r->name_len = p[0];
    p += 1 + r->name_len;
    left -= 1 + r->name_len + 5;
    r->size = p[0];
    memcpy(&r->n, p + 1, 4);
    r->val = p + 5;
    if ((r->size != 1 && r->size != 2 && r->size != 4 && r->size != 8) ||
        r->n > left / r->size)
        return false;
    r->end = in->len - left + (size_t)r->n * r->size;
    return true;
}

static bool state_is_printable(const struct record *r)
{
    unsigned n = r->name_len;
    while (n && r->name[n - 1] > ' ' && r->name[n - 1] <= '~')
        n--;
    return !n;
}

static bool state_is_named(const struct record *r, const char *name)
{
    return r->name_len == strlen(name) && !memcmp(r->name, name, r->name_len);
}

/* Records come in the order of the rows, mostly: from `next` on, and round. */
static bool state_find(struct in *in, const char *name, struct record *r)
{
    size_t from = in->next;
    for (size_t at = from; at < in->len && state_record_at(in, at, r);
         at = r->end)
        if (state_is_named(r, name))
            goto found;
    for (size_t at = 0; at < from && state_record_at(in, at, r); at = r->end)
        if (state_is_named(r, name))
            goto found;
    return false;
found:
    in->next = r->end;
    return true;
}

static uint64_t state_most(const struct field *f)
{
    if (f->type == FIELD_FLAG)
        return f->max ? f->max : ON;
    if (f->max)
        return f->max;
    return f->size < 8 ? (1ull << 8 * f->size) - 1 : UINT64_MAX;
}

static int state_check(const struct in *in, const struct field_at *fa,
                       uint32_t i, uint64_t val)
{
    const struct field *f = fa->f;
    uint64_t now, mask;
    switch (f->type) {
    case FIELD_MASK:
        if (val & ~(uint64_t)f->max)
            return fail(-EINVAL, "%s: %s: 0x%llx has bits beside 0x%x",
                        in->what, fa->name, (unsigned long long)val, f->max);
        return 0;
    case FIELD_UNDER:
        now = field_get(fa, i);
        mask = fa->at[(int32_t)f->def + (int32_t)i];
        if ((val ^ now) & ~mask)
            return fail(-EINVAL, "%s: %s: byte %u is 0x%llx, here 0x%llx",
                        in->what, fa->name, i, (unsigned long long)val,
                        (unsigned long long)now);
        return 0;
    default:
        if (val < f->min || val > state_most(f))
            return fail(-EINVAL, "%s: %s: %llu is not from %u to %llu",
                        in->what, fa->name, (unsigned long long)val, f->min,
                        (unsigned long long)state_most(f));
        return 0;
    }
}

static int state_load_values(const struct in *in, const struct field_at *fa,
                             const struct record *r)
{
    const struct field *f = fa->f;
    bool any = f->type == FIELD_NUMBER && !f->min && !f->max;
    if (any && !in->store)
        return 0; /* most are bytes, and many */
    for (uint32_t i = 0; i < r->n; i++) {
        uint64_t val = 0;
        memcpy(&val, r->val + (size_t)i * r->size, r->size);
        int err = any ? 0 : state_check(in, fa, i, val);
        if (err)
            return err;
        if (in->store)
            field_put(fa, i, val);
    }
    return 0;
}

static int state_load_blob(const struct in *in, const struct field_at *fa,
                           const struct record *r)
{
    if (r->size != 1 || r->n > fa->f->max)
        return fail(-EINVAL, "%s: %s: %u of %u bytes, here at most %u of 1",
                    in->what, fa->name, r->n, r->size, fa->f->max);
    if (in->store) {
        memcpy(fa->at + (int32_t)fa->f->def, &r->n, sizeof(r->n));
        memcpy(state_blob_bytes(fa), r->val, r->n);
    }
    return 0;
}

static int state_load_nothing(const struct in *in, const struct field_at *fa)
{
    const uint32_t none = 0;
    if (!(fa->f->use & SPARE))
        return fail(-EINVAL, "%s: %s is missing", in->what, fa->name);
    if (!in->store)
        return 0;
    if (fa->f->type == FIELD_BLOB)
        memcpy(fa->at + (int32_t)fa->f->def, &none, sizeof(none));
    else
        for (uint32_t i = 0; i < field_count(fa->f); i++)
            field_put(fa, i, fa->f->def);
    return 0;
}

static int state_load_one(void *ctx, const struct field_at *fa)
{
    struct in *in = ctx;
    const struct field *f = fa->f;
    struct record r = {0};
    if (!state_find(in, fa->name, &r))
        return state_load_nothing(in, fa);
    in->rows++;
    if (f->type == FIELD_BLOB)
        return state_load_blob(in, fa, &r);
    if (r.size != f->size || r.n != field_count(f))
        return fail(-EINVAL, "%s: %s: %u of %u bytes, here %u of %u", in->what,
                    fa->name, r.n, r.size, field_count(f), f->size);
    return state_load_values(in, fa, &r);
}

static int state_same_name(void *ctx, const struct field_at *fa)
{
    return state_is_named(ctx, fa->name);
}

/* There are more records than rows had one: which is the first too many? */
static int state_too_many(const struct in *in, const struct field *table,
                          void *obj)
{
    struct record r = {0}, first = {0};
    bool known = true, twice = false;
    for (size_t at = 0; at < in->len && known && !twice; at = r.end) {
        state_record_at(in, at, &r);
        known = fields_each(table, obj, STATE, state_same_name, &r);
        for (size_t b = 0; b < at && !twice; b = first.end)
            twice = state_record_at(in, b, &first) &&
                    first.name_len == r.name_len &&
                    !memcmp(first.name, r.name, r.name_len);
    }
    return fail(-EINVAL, "%s: %.*s %s", in->what, (int)r.name_len, r.name,
                known ? "is there twice" : "is nothing this has");
}

int state_load(const struct field *table, void *obj, const char *what,
               const void *p, size_t len)
{
    struct in in = {.what = what, .p = p, .len = len};
    struct record r = {0};
    unsigned records = 0;
    for (size_t at = 0; at < len; at = r.end, records++)
        if (!state_record_at(&in, at, &r) || !state_is_printable(&r))
            return fail(-EINVAL, "%s: no record at byte %zu of %zu", what, at,
                        len);
    int err = fields_each(table, obj, STATE, state_load_one, &in);
    if (!err && in.rows != records)
        err = state_too_many(&in, table, obj);
    if (err)
        return err;
    in.store = true;
    in.next = 0;
    return fields_each(table, obj, STATE, state_load_one, &in);
}
