/* SPDX-License-Identifier: MIT */
/* Walks tables of fields: options, help, reset, counters. */
#include "base/field.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"

#define KEYS_MAX 128
#define KEY_LEN 48

static bool field_last(const struct field *f)
{
    return !f || (!f->name[0] && f->type != FIELD_PART);
}

/* Little-endian, as all this VMM runs on. */
static void field_put_value(void *at, unsigned size, uint64_t val)
{
    memcpy(at, &val, size);
}

static uint64_t field_get_value(const void *at, unsigned size)
{
    uint64_t val = 0;
    memcpy(&val, at, size);
    return val;
}

static void field_put_bit(void *at, const struct field *f, bool on)
{
    uint64_t bit = 1ull << f->min;
    field_put_value(at, f->size,
                    (field_get_value(at, f->size) & ~bit) | (on ? bit : 0));
}

/* ----------------------------------------------------------------- walks */

#define NAME_LEN 64

struct walk {
    enum field_use use;
    int (*visit)(void *ctx, const struct field_at *fa);
    void *ctx;
    bool named; /* else names stay empty: they are most of the time it takes */
};

static int field_each(const struct walk *w, const struct field *f, uint8_t *obj,
                      const char *prefix);

/* By hand: each record of a state that is loaded is looked for by one. */
static void field_name(char *out, const char *prefix, const struct field *f)
{
    size_t n = 0;
    while (*prefix && n < NAME_LEN - 2)
        out[n++] = *prefix++;
    for (const char *p = f->name; *p && n < NAME_LEN - 2;)
        out[n++] = *p++;
    if (f->type == FIELD_PART && f->name[0])
        out[n++] = '.';
    out[n] = '\0';
}

static int field_each_part(const struct walk *w, const struct field *f,
                           uint8_t *at, const char *name)
{
    unsigned n;
    int err = 0;
    memcpy(&n, at + (int32_t)f->def, sizeof(n));
    uint8_t *first = at, *part = NULL;
    if (f->min == 1)
        memcpy(&first, at, sizeof(first));
    for (unsigned i = 0; !err && i < n; i++) {
        char sub[NAME_LEN] = "";
        if (w->named)
            snprintf(sub, sizeof(sub), "%.40s.%u.", name, i);
        part = first + (size_t)i * f->size;
        if (f->min == 2)
            memcpy(&part, first + i * sizeof(part), sizeof(part));
        err = field_each(w, f->part, part, sub);
    }
    return err;
}

static int field_each_made(const struct walk *w, const struct field *f,
                           uint8_t *obj, const char *prefix)
{
    struct field made[2];
    int err = 0;
    memset(made, 0, sizeof(made));
    for (unsigned i = 0; !err && f->row(i, &made[0]); i++) {
        if (made[0].use & w->use)
            err = field_each(w, made, obj, prefix);
        memset(made, 0, sizeof(made));
    }
    return err;
}

static int field_each(const struct walk *w, const struct field *f, uint8_t *obj,
                      const char *prefix)
{
    char name[NAME_LEN];
    int err = 0;
    *name = '\0';
    for (; !err && !field_last(f); f++) {
        uint8_t *at = obj + f->offset;
        if (!(f->use & w->use))
            continue;
        if (w->named)
            field_name(name, prefix, f);
        if (f->type == FIELD_PART)
            err = field_each(w, f->part, at, name);
        else if (f->type == FIELD_PARTS)
            err = field_each_part(w, f, at, name);
        else if (f->type == FIELD_ROWS)
            err = field_each_made(w, f, obj, prefix);
        else
            err = w->visit(w->ctx, &(struct field_at){f, name, at});
    }
    return err;
}

int fields_each(const struct field *table, void *obj, enum field_use use,
                int (*visit)(void *ctx, const struct field_at *fa), void *ctx)
{
    struct walk w = {use, visit, ctx, true};
    return field_each(&w, table, obj, "");
}

static uint8_t *field_member(const struct field_at *fa, uint32_t i)
{
    const struct field *f = fa->f;
    return fa->at + (size_t)i * (f->n && f->step ? f->step : f->size);
}

uint64_t field_get(const struct field_at *fa, uint32_t i)
{
    return field_get_value(field_member(fa, i), fa->f->size);
}

void field_put(const struct field_at *fa, uint32_t i, uint64_t val)
{
    uint8_t *at = field_member(fa, i);
    unsigned size = fa->f->size;
    if ((uintptr_t)at % size) /* of a packed struct */
        field_put_value(at, size, val);
    else if (size == 1)
        __atomic_store_n(at, (uint8_t)val, __ATOMIC_RELAXED);
    else if (size == 2)
        __atomic_store_n((uint16_t *)(void *)at, (uint16_t)val,
                         __ATOMIC_RELAXED);
    else if (size == 4)
        __atomic_store_n((uint32_t *)(void *)at, (uint32_t)val,
                         __ATOMIC_RELAXED);
    else
        __atomic_store_n((uint64_t *)(void *)at, val, __ATOMIC_RELAXED);
}

/* ----------------------------------------------------------------- reset */

/* Each member of a row; zeroes that lie close by the word: a guest resets as
 * often as it likes, and a NIC has some thousand bytes of filters. */
static void field_reset_members(const struct field_at *fa)
{
    const struct field *f = fa->f;
    const uint32_t n = field_count(f), word = sizeof(uint64_t) / f->size;
    uint32_t i = 0;
    if (!f->def && (!f->step || f->step == f->size) &&
        word * f->size == sizeof(uint64_t)) {
        while (i < n && (uintptr_t)field_member(fa, i) % sizeof(uint64_t))
            field_put(fa, i++, 0);
        for (uint64_t *at = (void *)field_member(fa, i); n - i >= word;
             i += word)
            __atomic_store_n(at++, 0, __ATOMIC_RELAXED);
    }
    while (i < n)
        field_put(fa, i++, f->def);
}

static int field_reset_one(void *ctx, const struct field_at *fa)
{
    const struct field *f = fa->f;
    (void)ctx;
    if (f->use & KEPT || f->type == FIELD_LIST || f->type == FIELD_QUIET)
        return 0;
    if (f->type == FIELD_BIT)
        field_put_bit(fa->at, f, f->def);
    else if (f->type == FIELD_BLOB)
        field_put_value(fa->at + (int32_t)f->def, sizeof(uint32_t), 0);
    else if (!(f->use & STATE))
        field_put_value(fa->at, f->size, f->def);
    else
        field_reset_members(fa);
    return 0;
}

void fields_reset(const struct field *table, void *obj, enum field_use use)
{
    struct walk w = {use, field_reset_one, NULL, false};
    field_each(&w, table, obj, "");
}

/* --------------------------------------------------------------- options */

/* The row of a key, and where its PARTs lead. */
static const struct field *field_find(const struct field *f, const char *key,
                                      size_t *offset)
{
    for (; !field_last(f); f++) {
        const struct field *row = f;
        size_t n = strlen(f->name), at = f->offset;
        if (f->type == FIELD_QUIET) {
            if (!opts_quiet_row(f->quiet, key))
                continue;
        } else if (f->type != FIELD_PART) {
            if (!(f->use & OPTION) || strcmp(f->name, key))
                continue;
        } else if (n && (strncmp(key, f->name, n) || key[n] != '.')) {
            continue;
        } else if (!(row = field_find(f->part, key + n + (n != 0), &at))) {
            continue;
        } else {
            at += f->offset;
        }
        *offset = at;
        return row;
    }
    return NULL;
}

const struct field *fields_find(const struct field *table, const char *key)
{
    size_t offset;
    return field_find(table, key, &offset);
}

static int field_word(const struct field *f, const char *what, const char *val,
                      void *at)
{
    char list[160] = "";
    for (int i = 0; f->words[i]; i++) {
        if (!strcmp(f->words[i], val)) {
            field_put_value(at, f->size, (uint64_t)i);
            return 0;
        }
        size_t n = strlen(list);
        snprintf(list + n, sizeof(list) - n, "%s%s", i ? ", " : "",
                 f->words[i]);
    }
    return fail(-EINVAL, "%s=%s: must be one of %s", what, val, list);
}

static int field_flag(const struct field *f, const char *what, const char *val,
                      void *at)
{
    static const char *const words[] = {"off",   "on",   "no", "yes",
                                        "false", "true", "0",  "1"};
    unsigned v = 0;
    if (f->type == FIELD_FLAG && f->max == AUTO && !strcmp(val, "auto")) {
        field_put_value(at, f->size, AUTO);
        return 0;
    }
    while (v < ARRAY_LEN(words) && strcmp(words[v], val))
        v++;
    if (v == ARRAY_LEN(words))
        return fail(-EINVAL, "%s=%s: must be on%s off%s", what, val,
                    f->max == AUTO ? "," : " or",
                    f->max == AUTO ? " or auto" : "");
    if (f->type == FIELD_BIT)
        field_put_bit(at, f, v & 1);
    else
        field_put_value(at, f->size, v & 1);
    return 0;
}

static int field_number(const struct field *f, const char *what,
                        const char *val, void *at)
{
    uint64_t v = 0, max = f->size < 8 ? (1ull << 8 * f->size) - 1 : UINT64_MAX;
    if (f->max && f->max < max)
        max = f->max;
    int err = f->type == FIELD_NUMBER ? parse_u64(what, val, f->min, max, &v)
                                      : parse_size(what, val, 1, &v);
    if (!err && (v < f->min || v > max))
        err = fail(-EINVAL, "%s=%s: must be from %u to %llu bytes", what, val,
                   f->min, (unsigned long long)max);
    if (!err)
        field_put_value(at, f->size, v);
    return err;
}

static int field_set(const struct field *f, const char *what, const char *val,
                     void *at)
{
    switch (f->type) {
    case FIELD_NUMBER:
    case FIELD_SIZE:
        return field_number(f, what, val, at);
    case FIELD_FLAG:
    case FIELD_BIT:
        return field_flag(f, what, val, at);
    case FIELD_WORD:
        return field_word(f, what, val, at);
    case FIELD_MAC:
        return parse_mac(what, val, at);
    case FIELD_TEXT:
        memcpy(at, &val, sizeof(val));
        return 0;
    default: /* FIELD_LIST */
        return 0;
    }
}

struct keys {
    char key[KEYS_MAX][KEY_LEN];
    const char *list[KEYS_MAX + 1]; /* NULL-terminated */
    int n;
};

static void field_collect(const struct field *f, const char *prefix,
                          struct keys *k)
{
    char sub[KEY_LEN];
    for (; !field_last(f); f++) {
        if (f->type == FIELD_PART) {
            snprintf(sub, sizeof(sub), "%s%s", f->name, f->name[0] ? "." : "");
            field_collect(f->part, f->name[0] ? sub : prefix, k);
        } else if (f->use & OPTION && f->type != FIELD_QUIET &&
                   k->n < KEYS_MAX) {
            snprintf(k->key[k->n], KEY_LEN, "%s%s", prefix, f->name);
            k->list[k->n] = k->key[k->n];
            k->n++;
        }
    }
}

int fields_unknown(const struct field *table, const char *what, const char *key)
{
    static struct keys k;
    char list[900] = "";
    memset(&k, 0, sizeof(k));
    field_collect(table, "", &k);
    const char *near = closest(key, k.list);
    if (near)
        return fail(-EINVAL, "%s: no key \"%s\"; did you mean \"%s\"?", what,
                    key, near);
    for (int i = 0; i < k.n; i++) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof(list) - n, " %s", k.key[i]);
    }
    return fail(-EINVAL, "%s: no key \"%s\"; %s%s", what, key,
                k.n ? "the keys are" : "there are none", list);
}

int fields_read(const struct field *table, void *obj, struct opts *o)
{
    char what[160];
    fields_reset(table, obj, OPTION);
    for (int i = 0; i < o->n; i++) {
        const char *key = o->kv[i].key;
        size_t offset;
        const struct field *f = field_find(table, key, &offset);
        if (!f)
            return fields_unknown(table, o->what, key);
        const char *val = o->kv[i].val;
        snprintf(what, sizeof(what), "%s: %s", o->what, key);
        int err =
            f->type == FIELD_QUIET
                ? opts_quiet_value(opts_quiet_row(f->quiet, key), what, val)
                : field_set(f, what, val, (uint8_t *)obj + offset);
        if (err)
            return err;
    }
    return 0;
}

/* ------------------------------------------------------------------ help */

/* 262144: "256K" */
static const char *field_size_text(char *out, size_t size, uint32_t v)
{
    int unit = 0;
    for (; v && v % 1024 == 0; v /= 1024)
        unit++;
    snprintf(out, size, "%u%.*s", v, unit > 0, &" KMG"[unit]);
    return out;
}

/* "64-1024", "on|off": what may stand behind KEY=. */
static void field_values(const struct field *f, char *out, size_t size)
{
    char lo[16], hi[16];
    *out = '\0';
    switch (f->type) {
    case FIELD_NUMBER:
        snprintf(out, size, f->max ? "%u-%u" : "N", f->min, f->max);
        return;
    case FIELD_SIZE:
        snprintf(out, size, f->max ? "%s-%s" : "SIZE",
                 field_size_text(lo, sizeof(lo), f->min),
                 field_size_text(hi, sizeof(hi), f->max));
        return;
    case FIELD_FLAG:
    case FIELD_BIT:
        snprintf(out, size, "on|off%s", f->max == AUTO ? "|auto" : "");
        return;
    case FIELD_WORD:
        for (int i = 0; f->words[i]; i++) {
            size_t n = strlen(out);
            snprintf(out + n, size - n, "%s%s", i ? "|" : "", f->words[i]);
        }
        return;
    case FIELD_TEXT:
    case FIELD_LIST:
        snprintf(out, size, "%s", f->arg);
        return;
    default:
        snprintf(out, size, "MAC");
    }
}

/* " (256)", or nothing where the default says "not said". */
static void field_default_of(const struct field *f, char *out, size_t size)
{
    static const char *const flags[] = {"off", "on", "auto"};
    char text[16];
    *out = '\0';
    switch (f->type) {
    case FIELD_FLAG:
    case FIELD_BIT:
        snprintf(out, size, " (%s)", flags[f->def]);
        return;
    case FIELD_WORD:
        if (f->words[f->def]) /* the end: not said */
            snprintf(out, size, " (%s)", f->words[f->def]);
        return;
    case FIELD_NUMBER:
    case FIELD_SIZE:
        if (f->def < f->min || (f->max && f->def > f->max))
            return;
        if (f->type == FIELD_SIZE)
            field_size_text(text, sizeof(text), f->def);
        else
            snprintf(text, sizeof(text), "%u", f->def);
        snprintf(out, size, " (%s)", text);
    }
}

/* Flags that say nothing but their name share lines, those of parts too. */
static void field_help_flags(const struct field *f, bool on, int *column)
{
    for (; !field_last(f); f++) {
        if (f->type == FIELD_PART)
            field_help_flags(f->part, on, column);
        if (f->type == FIELD_PART || f->type == FIELD_QUIET || f->help ||
            !(f->use & OPTION) || !f->def == on)
            continue;
        if (!*column || *column + (int)strlen(f->name) > 76)
            *column = printf(*column ? "\n    " : "  %s:\n    ",
                             on ? "on unless off" : "off unless on");
        *column += printf("%s ", f->name);
    }
}

static void field_help_rows(const struct field *f, const char *prefix)
{
    char left[96], val[64], def[32], sub[KEY_LEN];
    for (; !field_last(f); f++) {
        if (f->type == FIELD_PART) {
            snprintf(sub, sizeof(sub), "%s%s", f->name, f->name[0] ? "." : "");
            field_help_rows(f->part, f->name[0] ? sub : prefix);
            continue;
        }
        if (!(f->use & OPTION) || !f->help)
            continue;
        field_values(f, val, sizeof(val));
        field_default_of(f, def, sizeof(def));
        snprintf(left, sizeof(left), "%s%s=%s", prefix, f->name, val);
        printf("  %-25s %s%s\n", left, f->help, def);
    }
}

/* Those of all tables share lines, too. */
static void field_help_quiet(const struct field *f, int *column)
{
    for (; !field_last(f); f++) {
        if (f->type == FIELD_PART)
            field_help_quiet(f->part, column);
        if (f->type != FIELD_QUIET)
            continue;
        for (const struct opts_quiet *r = f->quiet; r->key; r++) {
            int width = (int)(strlen(r->key) + (r->ok ? strlen(r->ok) : 0)) + 3;
            if (!*column)
                printf("  taken, as there is nothing to do:");
            if (!*column || *column + width > 76)
                *column = printf("\n   ");
            *column += printf(" %s=%s", r->key, r->ok ? r->ok : "");
        }
    }
}

static void field_help_counters(const struct field *f, bool *some)
{
    for (; !field_last(f); f++) {
        if (f->type == FIELD_PART) {
            field_help_counters(f->part, some);
        } else if (f->use & COUNTER) {
            if (!*some)
                puts("counters:");
            *some = true;
            printf("  %-25s %s\n", f->name, f->help);
        }
    }
}

void fields_help(const struct field *table)
{
    bool some = false;
    int column = 0;
    field_help_rows(table, "");
    for (int on = 1; on >= 0; on--) {
        column = 0;
        field_help_flags(table, on, &column);
        if (column)
            putchar('\n');
    }
    column = 0;
    field_help_quiet(table, &column);
    if (column)
        putchar('\n');
    field_help_counters(table, &some);
}

/* -------------------------------------------------------------- counters */

struct counts {
    const char *id;
    struct tally *t;
};

static int field_count_one(void *ctx, const struct field_at *fa)
{
    const struct counts *c = ctx;
    const uint64_t *at = (const void *)fa->at;
    struct count n = {.id = c->id,
                      .name = fa->name,
                      .help = fa->f->help,
                      .val = __atomic_load_n(at, __ATOMIC_RELAXED),
                      .level = fa->f->use & LEVEL};
    c->t->take(c->t, &n);
    return 0;
}

void fields_count(const struct field *table, const void *obj, const char *id,
                  struct tally *t)
{
    struct counts c = {id, t};
    fields_each(table, (void *)(uintptr_t)obj, COUNTER, field_count_one, &c);
}
