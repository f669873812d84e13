/* SPDX-License-Identifier: MIT */
/* key=value options: parsing, typed getters, and errors that name the keys. */
#include "base/opts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* Cuts one item off *p at a comma that is not doubled; ",," becomes ",". */
static char *opts_cut_item(char **p)
{
    char *start = *p, *out = *p, *in = *p;
    while (*in) {
        if (*in == ',' && in[1] != ',')
            break;
        if (*in == ',')
            in++;
        *out++ = *in++;
    }
    bool more = *in == ',';
    *out = '\0';
    *p = more ? in + 1 : NULL;
    return start;
}

void opts_init(struct opts *o, const char *what)
{
    memset(o, 0, sizeof(*o));
    snprintf(o->what, sizeof(o->what), "%s", what);
}

/* Most have a few, and each device and backend keeps its own: room for them is
 * twice as much each time. */
static bool opts_grow(struct opts *o)
{
    if (o->n && (o->n < 4 || o->n & (o->n - 1)))
        return true;
    void *more = realloc(o->kv, sizeof(*o->kv) * (o->n ? 2 * (size_t)o->n : 4));
    if (more)
        o->kv = more;
    return more;
}

int opts_add(struct opts *o, const char *key, const char *val)
{
    size_t nkey = strlen(key) + 1, nval = strlen(val) + 1;
    if (o->n == OPTS_MAX)
        return fail(-EINVAL, "%s: more than %d keys", o->what, OPTS_MAX);
    char *own = opts_grow(o) ? malloc(nkey + nval) : NULL;
    if (!own)
        return fail(-ENOMEM, "%s: out of memory", o->what);
    memcpy(own, key, nkey);
    memcpy(own + nkey, val, nval);
    o->kv[o->n].key = own;
    o->kv[o->n].val = own + nkey;
    o->n++;
    return 0;
}

int opts_move(struct opts *to, struct opts *from, const char *key,
              const char *as)
{
    int err = 0, kept = 0;
    for (int i = 0; i < from->n; i++) {
        if (err || strcmp(from->kv[i].key, key)) {
            from->kv[kept++] = from->kv[i];
            continue;
        }
        if (to)
            err = opts_add(to, as ? as : key, from->kv[i].val);
        free(from->kv[i].key);
    }
    from->n = kept;
    if (!kept)
        opts_free(from);
    return err;
}

static int opts_add_item(struct opts *o, const char *text, char *item,
                         const char *first)
{
    char *eq = strchr(item, '=');
    if (!*item || eq == item)
        return fail(-EINVAL, "%s %s: empty key; write key=value,key=value",
                    o->what, text);
    if (eq)
        *eq = '\0';
    else if (first)
        return opts_add(o, first, item);
    return opts_add(o, item, eq ? eq + 1 : "on");
}

int opts_parse(struct opts *o, const char *what, const char *text,
               const char *first)
{
    opts_init(o, what);
    char *copy = strdup(text), *p = copy && *copy ? copy : NULL;
    int err = copy ? 0 : fail(-ENOMEM, "%s: out of memory", what);
    for (; p && !err; first = NULL) {
        char *item = opts_cut_item(&p);
        err = opts_add_item(o, text, item, first);
    }
    free(copy);
    if (err)
        opts_free(o);
    return err;
}

void opts_free(struct opts *o)
{
    for (int i = 0; i < o->n; i++)
        free(o->kv[i].key);
    free(o->kv);
    o->kv = NULL;
    o->n = 0;
}

struct opts opts_taken(struct opts *o)
{
    struct opts all = *o;
    o->kv = NULL;
    o->n = 0;
    return all;
}

const char *opts_nth(const struct opts *o, const char *key, int k)
{
    for (int i = 0; i < o->n; i++)
        if (!strcmp(o->kv[i].key, key) && k-- == 0)
            return o->kv[i].val;
    return NULL;
}

const char *opts_str(const struct opts *o, const char *key, const char *def)
{
    const char *val = def;
    for (int i = 0; i < o->n; i++)
        if (!strcmp(o->kv[i].key, key))
            val = o->kv[i].val;
    return val;
}

bool word_among(const char *word, const char *list)
{
    size_t len = strlen(word);
    for (const char *p = list; len && (p = strstr(p, word)); p += len)
        if ((p == list || p[-1] == ' ') && (!p[len] || p[len] == ' '))
            return true;
    return false;
}

/* "on" or "off" for any way to say so, else what it was given. */
static const char *opts_on_or_off(const char *val)
{
    if (word_among(val, "on yes true 1"))
        return "on";
    return word_among(val, "off no false 0") ? "off" : val;
}

const struct opts_quiet *opts_quiet_row(const struct opts_quiet *rows,
                                        const char *key)
{
    while (rows->key && strcmp(rows->key, key))
        rows++;
    return rows->key ? rows : NULL;
}

int opts_quiet_value(const struct opts_quiet *row, const char *what,
                     const char *val)
{
    if (!row->ok || word_among(val, row->ok) ||
        word_among(opts_on_or_off(val), row->ok))
        return 0;
    return fail(-EINVAL, "%s=%s: %s", what, val, row->why);
}

int opts_default(struct opts *o, const char *key, const char *val)
{
    int err = opts_add(o, key, val);
    if (err)
        return err;
    for (int i = o->n - 1; i > 0; i--) {
        __typeof__(o->kv[0]) last = o->kv[i];
        o->kv[i] = o->kv[i - 1];
        o->kv[i - 1] = last;
    }
    return 0;
}

/* Digits only: no sign, no blanks, no trailing text but *end. */
static bool opts_scan_u64(const char *text, uint64_t *out, const char **end)
{
    if (*text < '0' || *text > '9')
        return false;
    char *stop;
    errno = 0;
    *out = strtoull(text, &stop,
                    text[0] == '0' && (text[1] | 32) == 'x' ? 16 : 10);
    *end = stop;
    return errno == 0;
}

int parse_u64(const char *what, const char *text, uint64_t min, uint64_t max,
              uint64_t *out)
{
    uint64_t v;
    const char *end;
    if (!opts_scan_u64(text, &v, &end) || *end || v < min || v > max)
        return fail(-EINVAL, "%s %s: must be a number from %llu to %llu", what,
                    text, (unsigned long long)min, (unsigned long long)max);
    *out = v;
    return 0;
}

/* ".5" and so on, in millionths; moves *p behind it. */
static uint64_t opts_scan_millionths(const char **p)
{
    uint64_t v = 0, digit = 1000000;
    if (**p != '.')
        return 0;
    while (*++*p >= '0' && **p <= '9') {
        digit /= 10;
        v += digit * (uint64_t)(**p - '0');
    }
    return v;
}

int parse_size(const char *what, const char *text, uint64_t unit, uint64_t *out)
{
    static const char suffix[] = "bkmgt";
    uint64_t v, part;
    const char *end;
    if (!opts_scan_u64(text, &v, &end))
        goto bad;
    part = opts_scan_millionths(&end);
    if (*end) {
        const char *s = strchr(suffix, *end | 32);
        if (!s || end[1])
            goto bad;
        unit = 1ull << (10 * (s - suffix));
    }
    if (v > UINT64_MAX / unit) /* a part is less than a unit */
        goto bad;
    *out = v * unit + part * unit / 1000000;
    return 0;
bad:
    return fail(-EINVAL, "%s %s: must be a size such as 64M or 1.5G", what,
                text);
}

bool scan_number(const char **p, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    const char *s = *p;
    for (; *s >= '0' && *s <= '9'; s++) {
        unsigned digit = (unsigned)(*s - '0');
        if (digit > max || v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    bool some = s > *p;
    *p = s;
    *out = v;
    return some;
}

bool scan_set(const char **p, const char *set, char *out, size_t size)
{
    size_t n = strspn(*p, set);
    if (n >= size)
        return false;
    memcpy(out, *p, n);
    out[n] = '\0';
    *p += n;
    return true;
}

/* Two hex digits and nothing else; -1: they are not. */
static int opts_hex_byte(const char *p)
{
    int v = 0;
    for (int i = 0; i < 2; i++) {
        int c = (unsigned char)p[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            v = v << 4 | ((c | 32) - 'a' + 10);
        else
            return -1;
    }
    return v;
}

int parse_mac(const char *what, const char *text, uint8_t mac[6])
{
    int b[6] = {0};
    bool good = strlen(text) == 17;
    for (int i = 0; good && i < 6; i++) {
        b[i] = opts_hex_byte(text + 3 * i);
        good = b[i] >= 0 && (i == 5 || text[3 * i + 2] == ':');
    }
    if (!good)
        return fail(-EINVAL,
                    "%s %s: not a MAC address; write 52:54:00:12:34:56", what,
                    text);
    if (b[0] & 1)
        return fail(-EINVAL,
                    "%s %s: is a multicast address; the first byte of a NIC's "
                    "must be even",
                    what, text);
    if (!(b[0] | b[1] | b[2] | b[3] | b[4] | b[5]))
        return fail(-EINVAL, "%s %s: all zero", what, text);
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)b[i];
    return 0;
}

int parse_uuid(const char *what, const char *text, uint8_t uuid[16])
{
    const char *p = text;
    int b = 0;
    for (int i = 0; i < 16 && b >= 0; i++, p += 2) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
            b = -1;
        b = b < 0 ? b : opts_hex_byte(p);
        uuid[i] = (uint8_t)b;
    }
    if (b >= 0 && !*p)
        return 0;
    return fail(-EINVAL,
                "%s %s: not a UUID; write "
                "12345678-9abc-def0-1234-56789abcdef0",
                what, text);
}

#define WORD_MAX 64

/* Levenshtein distance of two short words. */
static unsigned opts_distance(const char *a, const char *b)
{
    unsigned row[WORD_MAX];
    size_t nb = strlen(b);
    if (nb >= WORD_MAX || strlen(a) >= WORD_MAX)
        return WORD_MAX;
    for (unsigned j = 0; j <= nb; j++)
        row[j] = j;
    for (unsigned i = 1; *a; i++, a++) {
        unsigned diag = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned sub = diag + (*a != b[j - 1]);
            diag = row[j];
            unsigned best = row[j] < row[j - 1] ? row[j] : row[j - 1];
            row[j] = best + 1 < sub ? best + 1 : sub;
        }
    }
    return row[nb];
}

const char *closest(const char *word, const char *const *list)
{
    const char *best = NULL;
    unsigned least = (unsigned)strlen(word) / 3 + 2;
    if (least > WORD_MAX) /* opts_distance() gives no more */
        least = WORD_MAX;
    for (; *list; list++) {
        unsigned d = opts_distance(word, *list);
        if (d < least) {
            least = d;
            best = *list;
        }
    }
    return best;
}
