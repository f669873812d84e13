/* SPDX-License-Identifier: MIT */
/* JSON that is kept as a text: what json_compact has let through is whole, has
 * no blanks, and needs only to be stepped over. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define KEY_MAX 128

/* A member: where its key is, in quotes, and its value. */
struct member {
    const char *key, *val;
    size_t nkey, nval;
};
struct members {
    struct member *all;
    size_t n, room;
};

/* ------------------------------------------------------------------- steps */

static const char *json_text_string_end(const char *p)
{
    for (p++; *p != '"'; p++)
        p += *p == '\\';
    return p + 1;
}

static const char *json_text_end(const char *p)
{
    unsigned depth = 0;
    if (*p != '{' && *p != '[')
        return *p == '"' ? json_text_string_end(p) : p + strcspn(p, ",]}");
    do {
        if (*p == '"') {
            p = json_text_string_end(p);
            continue;
        }
        depth += *p == '{' || *p == '[';
        depth -= *p == '}' || *p == ']';
        p++;
    } while (depth);
    return p;
}

/* The next one at *p, which is behind a brace, a bracket or a comma; false:
 * there is none. */
static bool json_text_next(const char **p, bool keys, struct member *m)
{
    if (**p == '}' || **p == ']')
        return false;
    *m = (struct member){.key = "\"\"", .nkey = 2, .val = *p};
    if (keys) {
        m->key = *p;
        m->val = json_text_string_end(*p);
        m->nkey = (size_t)(m->val++ - m->key);
    }
    const char *end = json_text_end(m->val);
    m->nval = (size_t)(end - m->val);
    *p = end + (*end == ',');
    return true;
}

int json_each(const char *value,
              int (*each)(void *ctx, const char *key, const char *val,
                          size_t len),
              void *ctx)
{
    char key[KEY_MAX];
    struct member m;
    int err = 0;
    const char *p = value + 1;
    if (*value != '{' && *value != '[')
        return 0;
    while (!err && json_text_next(&p, *value == '{', &m)) {
        size_t n = m.nkey - 2 < KEY_MAX ? m.nkey - 2 : KEY_MAX - 1;
        memcpy(key, m.key + 1, n);
        key[n] = '\0';
        err = each(ctx, key, m.val, m.nval);
    }
    return err;
}

const char *json_member_of(const char *object, const char *key, size_t *len)
{
    struct member m;
    const char *p = object + 1;
    size_t n = strlen(key);
    while (*object == '{' && json_text_next(&p, true, &m)) {
        if (m.nkey != n + 2 || memcmp(m.key + 1, key, n) != 0)
            continue;
        *len = m.nval;
        return m.val;
    }
    return NULL;
}

/* ------------------------------------------------------------------- merge */

static int json_text_compare(const struct member *a, const struct member *b)
{
    size_t n = a->nkey < b->nkey ? a->nkey : b->nkey;
    int by = memcmp(a->key, b->key, n);
    return by ? by : (a->nkey > b->nkey) - (a->nkey < b->nkey);
}

/* Of one name, in their order. */
static int json_text_order(const void *x, const void *y)
{
    const struct member *a = x, *b = y;
    int by = json_text_compare(a, b);
    return by ? by : (a->key > b->key) - (a->key < b->key);
}

/* Those of an object, by name; of several of one name the last. */
static bool json_text_members(const char *object, struct members *s)
{
    struct member m;
    const char *p = object + 1;
    *s = (struct members){0};
    while (*object == '{' && json_text_next(&p, true, &m)) {
        if (s->n == s->room) {
            size_t room = s->room ? 2 * s->room : 16;
            struct member *all = realloc(s->all, room * sizeof(*all));
            if (!all)
                return false;
            s->all = all;
            s->room = room;
        }
        s->all[s->n++] = m;
    }
    if (!s->n)
        return true;
    qsort(s->all, s->n, sizeof(*s->all), json_text_order);
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i++) {
        kept += kept && json_text_compare(&s->all[kept - 1], &s->all[i]) != 0;
        kept += !kept;
        s->all[kept - 1] = s->all[i];
    }
    s->n = kept;
    return true;
}

static void json_text_put(const struct member *m, const char *target,
                          bool *first, struct text *out)
{
    text_put(out, "%s%.*s:", *first ? "" : ",", (int)m->nkey, m->key);
    if (target)
        json_merge(target, m->val, out);
    else
        text_add(out, m->val, m->nval);
    *first = false;
}

static void json_text_merge(const struct members *t, const struct members *p,
                            struct text *out)
{
    size_t i = 0, j = 0;
    bool first = true;
    while (i < t->n || j < p->n) {
        int by = i == t->n   ? 1
                 : j == p->n ? -1
                             : json_text_compare(&t->all[i], &p->all[j]);
        if (by < 0)
            json_text_put(&t->all[i], NULL, &first, out);
        else if (*p->all[j].val != 'n') /* null */
            json_text_put(&p->all[j], by ? "{}" : t->all[i].val, &first, out);
        i += by <= 0;
        j += by >= 0;
    }
}

void json_merge(const char *target, const char *patch, struct text *out)
{
    struct members t, p = {0};
    if (*patch != '{') {
        text_add(out, patch, (size_t)(json_text_end(patch) - patch));
        return;
    }
    bool good = json_text_members(target, &t) && json_text_members(patch, &p);
    out->cut |= !good;
    text_add(out, "{", 1);
    if (good)
        json_text_merge(&t, &p, out);
    text_add(out, "}", 1);
    free(t.all);
    free(p.all);
}
