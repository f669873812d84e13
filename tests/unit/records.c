/* SPDX-License-Identifier: MIT */
/* Saved records, looked at and bent: see records.h. */
#include "tests/unit/records.h"

#include <errno.h>
#include <sanitizer/lsan_interface.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/handed.h"
#include "base/parts.h"
#include "devices/pci/pci.h"

static struct records block(size_t len)
{
    struct records r = {malloc(len ? len : 1), len};
    REQUIRE(r.p != NULL);
    return r;
}

struct records records_of(struct device *dev)
{
    struct records r = block(device_save(dev, NULL, 0));
    CHECK(dev->held);
    CHECK_EQ(device_save(dev, r.p, r.len), r.len);
    return r;
}

struct records records_copy(const struct records *r, size_t len)
{
    struct records c = block(len);
    memcpy(c.p, r->p, len);
    return c;
}

void records_free(struct records *r)
{
    free(r->p);
    r->p = NULL;
}

int records_load(struct device *dev, const struct records *r)
{
    test_log();
    int err = device_load(dev, r->p, r->len);
    const char *log = test_log();
    if (err) {
        CHECK_EQ(err, -EINVAL);
        CHECK_HAS(log, dev->id);
        fputs(log, stderr);
        return err;
    }
    /* Shorter, if records for defaults were there. */
    struct records again = records_of(dev);
    CHECK(again.len <= r->len);
    if (again.len == r->len)
        CHECK_MEM(again.p, r->p, r->len);
    CHECK_EQ(device_load(dev, again.p, again.len), 0);
    struct records third = records_of(dev);
    if (CHECK_EQ(third.len, again.len))
        CHECK_MEM(third.p, again.p, again.len);
    records_free(&third);
    records_free(&again);
    return 0;
}

bool records_find(const struct records *r, const char *name,
                  struct one_record *one)
{
    for (size_t at = 0; at < r->len;) {
        const uint8_t *p = r->p + at;
        bool it = p[0] == strlen(name) && !memcmp(p + 1, name, p[0]);
        p += 1 + p[0];
        one->size = p[0];
        memcpy(&one->n, p + 1, 4);
        one->val = r->p + (p - r->p) + 5;
        if (it)
            return true;
        at = (size_t)(one->val - r->p) + (size_t)one->n * one->size;
    }
    return false;
}

uint64_t records_get(const struct records *r, const char *name, uint32_t i)
{
    struct one_record one;
    uint64_t val = 0;
    if (!records_find(r, name, &one) || i >= one.n)
        FAIL("there is no record %s", name);
    else
        memcpy(&val, one.val + (size_t)i * one.size, one.size);
    return val;
}

void records_set(struct records *r, const char *name, uint32_t i, uint64_t val)
{
    struct one_record one;
    if (!records_find(r, name, &one) || i >= one.n)
        FAIL("there is no record %s", name);
    else
        memcpy(one.val + (size_t)i * one.size, &val, one.size);
}

void records_bend(struct device *dev, const struct records *r,
                  const struct bend *b)
{
    struct records c = records_copy(r, r->len);
    records_set(&c, b->row, b->i, b->val);
    test_log();
    int err = device_load(dev, c.p, c.len);
    if (!CHECK_EQ(err, b->log ? -EINVAL : 0))
        FAIL("%s", b->row);
    if (b->log)
        CHECK_HAS(test_log(), b->log);
    records_free(&c);
}

/* ------------------------------------------------------------- every row */

struct tries {
    struct device *dev;
    const struct records *r;
};

/* One member of one row at a value; `good`: within the row's bounds. What spans
 * rows may refuse it still. */
static void try_value(const struct tries *t, const struct field_at *fa,
                      uint32_t i, uint64_t val, bool good)
{
    struct records c = records_copy(t->r, t->r->len);
    records_set(&c, fa->name, i, val);
    test_log();
    int err = device_load(t->dev, c.p, c.len);
    const char *log = test_log();
    if (err)
        CHECK_HAS(log, t->dev->id);
    if (!good && (err != -EINVAL || !strstr(log, fa->name)))
        FAIL("%s: %s[%u] %llu is taken, or not named: %s", t->dev->id, fa->name,
             i, (unsigned long long)val, log);
    if (!err && records_load(t->dev, &c))
        FAIL("%s: %s %llu loads but once", t->dev->id, fa->name,
             (unsigned long long)val);
    records_free(&c);
}

static int try_row(void *ctx, const struct field_at *fa)
{
    const struct tries *t = ctx;
    const struct field *f = fa->f;
    struct one_record one;
    if (!records_find(t->r, fa->name, &one)) {
        CHECK(f->use & SPARE);
        return 0;
    }
    if (f->type == FIELD_BLOB)
        return 0;
    CHECK(one.size == f->size && one.n == field_count(f));
    uint64_t whole = f->size < 8 ? (1ull << 8 * f->size) - 1 : UINT64_MAX;
    uint64_t max = f->max ? f->max : f->type == FIELD_FLAG ? 1 : whole;
    uint32_t i = test_random() % one.n;
    CHECK(max <= whole && f->min <= max);
    if (f->type == FIELD_UNDER) {
        const uint8_t *mask = fa->at + (int32_t)f->def;
        for (i = 0; i < one.n; i++)
            try_value(t, fa, i, one.val[i] ^ 0x11u,
                      !(0x11u & ~(unsigned)mask[i]));
        return 0;
    }
    if (f->type == FIELD_MASK) {
        for (unsigned bit = 0; bit < 8 * f->size; bit++)
            try_value(t, fa, i, 1ull << bit, max >> bit & 1);
        return 0;
    }
    CHECK(f->use & KEPT || (f->def >= f->min && f->def <= max));
    try_value(t, fa, i, f->min, true);
    try_value(t, fa, i, max, true);
    try_value(t, fa, i, f->min + (max - f->min) / 2, true);
    if (f->min)
        try_value(t, fa, i, f->min - 1, false);
    if (max < whole)
        try_value(t, fa, i, max + 1, false);
    return 0;
}

static void try_cuts_and_flips(struct device *dev, const struct records *r,
                               unsigned step)
{
    for (size_t n = 0; n < r->len; n++) {
        struct records c = records_copy(r, n);
        device_load(dev, c.p, n);
        records_free(&c);
        test_log();
    }
    for (size_t bit = test_random() % step; bit < 8 * r->len; bit += step) {
        struct records c = records_copy(r, r->len);
        c.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        device_load(dev, c.p, c.len);
        records_free(&c);
        test_log();
        device_resume(dev);
        device_hold(dev);
    }
}

void records_try_all(struct device *dev, unsigned step)
{
    struct records r = records_of(dev);
    struct tries t = {dev, &r};
    REQUIRE(r.len > 0);
    dev->reset(dev);
    CHECK_EQ(records_load(dev, &r), 0);
    fields_each(dev->cls->fields, dev, STATE, try_row, &t);
    try_cuts_and_flips(dev, &r, step);
    CHECK_EQ(records_load(dev, &r), 0);
    records_free(&r);
}

/* ------------------------------------------------------------------ moving */

static struct parts leave(struct device *dev)
{
    struct parts out = {0};
    if (dev->m->leaving && dev->cls->leave)
        CHECK_EQ(dev->cls->leave(dev, &out), 0);
    CHECK_EQ(parts_end(&out), 0);
    return out;
}

/* Sockets that leave are open twice for a while. */
static void keep_late(void)
{
    const int *fd;
    int own[HANDED_MAX], n = handed_late_list(0, &fd);
    for (int i = 0; i < n; i++)
        own[i] = dup(fd[i]);
    handed_late_begin();
    for (int i = 0; i < n; i++)
        handed_late(own[i]);
}

static void arrive(struct device *dev, struct parts *in)
{
    struct part part;
    size_t at = 0;
    CHECK_EQ(parts_check("parts", in->p, in->n), 0);
    while (parts_next(in->p, in->n, &at, &part))
        CHECK_EQ(dev->cls->arrive(dev, &part), 0);
    parts_free(in);
}

static void each_held(struct machine *m, bool held)
{
    for (struct device *dev = m->devices; dev; dev = dev->next)
        held ? device_hold(dev) : device_resume(dev);
}

struct machine *records_move(struct machine *m,
                             void (*make)(struct machine *m, void *ctx),
                             void (*between)(struct machine *m, void *ctx),
                             void *ctx)
{
    struct ram ram = m->ram;
    struct records kept[8];
    struct parts more[8];
    unsigned n = 0;
    each_held(m, true);
    if (between)
        between(m, ctx);
    handed_late_begin();
    for (struct device *dev = m->devices; dev; dev = dev->next) {
        REQUIRE(n < ARRAY_LEN(kept));
        more[n] = leave(dev);
        kept[n++] = records_of(dev);
    }
    keep_late();
    for (int i = 0; i < ram.n; i++) {
        ram.region[i].hva = malloc(ram.region[i].size);
        REQUIRE(ram.region[i].hva != NULL);
        memcpy(ram.region[i].hva, m->ram.region[i].hva, ram.region[i].size);
    }
    for (struct device *dev = m->devices; dev; dev = dev->next)
        __lsan_ignore_object(dev); /* they live as long as their machine */
    fake_free(m);
    m = fake_new2(ram.region[0].size, ram.n > 1 ? ram.region[1].gpa : 0,
                  ram.n > 1 ? ram.region[1].size : 0);
    REQUIRE_EQ(pci_bus_new(m), 0);
    make(m, ctx);
    each_held(m, true);
    for (int i = 0; i < ram.n; i++) {
        memcpy(m->ram.region[i].hva, ram.region[i].hva, ram.region[i].size);
        free(ram.region[i].hva);
    }
    n = 0;
    for (struct device *dev = m->devices; dev; dev = dev->next) {
        REQUIRE_EQ(records_load(dev, &kept[n]), 0);
        records_free(&kept[n]);
        arrive(dev, &more[n++]);
    }
    if (between)
        between(m, ctx);
    each_held(m, false);
    return m;
}
