/* SPDX-License-Identifier: MIT */
/* A file of named parts, with a version and a sum.
 *
 * Format, all numbers little-endian:
 *     "vmm state\n"            10 bytes
 *     u16 version              of all of this, the parts' own format as well
 *     u32 bytes of the parts
 *     parts, one after the other:
 *         u8  length of the name     its bytes, printable ASCII
 *         u32 how many bytes         the bytes
 *     u64 sum_of() all before it
 *
 * What a part means its name says; who reads one may meet parts that it does
 * not know, or miss some, and says which. */
#include "base/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/sum.h"

static const char magic[] = "vmm state\n";
#define MAGIC_LEN (sizeof(magic) - 1)
#define HEAD_LEN (MAGIC_LEN + 2 + 4)
#define SUM_LEN 8

/* ------------------------------------------------------------------ making */

static void parts_add(struct parts *o, const void *p, size_t n)
{
    size_t want = o->n + n + SUM_LEN;
    if (want > o->room) {
        size_t room = want + want / 2;
        uint8_t *bigger = realloc(o->p, room);
        if (!bigger) {
            o->lost = true;
            return;
        }
        o->p = bigger;
        o->room = room;
    }
    memcpy(o->p + o->n, p, n);
    o->n += n;
}

static void parts_head(struct parts *o)
{
    static const uint8_t head[HEAD_LEN];
    if (!o->n)
        parts_add(o, head, sizeof(head));
}

void parts_put(struct parts *o, const char *name, const void *p, size_t len)
{
    uint8_t n = (uint8_t)strnlen(name, PART_NAME_MAX);
    uint32_t bytes = (uint32_t)len;
    parts_head(o);
    parts_add(o, &n, 1);
    parts_add(o, name, n);
    parts_add(o, &bytes, 4);
    parts_add(o, p, len);
}

int parts_end(struct parts *o)
{
    parts_head(o);
    if (o->lost)
        return -ENOMEM;
    const uint16_t version = PARTS_VERSION;
    uint32_t bytes = (uint32_t)(o->n - HEAD_LEN);
    memcpy(o->p, magic, MAGIC_LEN);
    memcpy(o->p + MAGIC_LEN, &version, 2);
    memcpy(o->p + MAGIC_LEN + 2, &bytes, 4);
    uint64_t sum = sum_of(o->p, o->n);
    parts_add(o, &sum, sizeof(sum));
    return o->lost ? -ENOMEM : 0;
}

void parts_free(struct parts *o)
{
    free(o->p);
    *o = (struct parts){0};
}

/* ----------------------------------------------------------------- reading */

/* The part at `at` of `left` bytes, if it is whole: its length; else 0. */
static size_t parts_at(const uint8_t *p, size_t left, struct part *part)
{
    if (left < 1 || !p[0] || p[0] > PART_NAME_MAX || left - 1 < p[0] + 4u)
        return 0;
    size_t n = p[0];
    memcpy(part->name, p + 1, n);
    part->name[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if (part->name[i] <= ' ' || part->name[i] > '~')
            return 0;
    memcpy(&part->len, p + 1 + n, 4);
    part->p = p + 1 + n + 4;
    return part->len <= left - 1 - n - 4 ? 1 + n + 4 + part->len : 0;
}

int parts_check(const char *what, const uint8_t *p, size_t len)
{
    uint16_t version;
    uint32_t bytes;
    uint64_t sum;
    struct part part;
    if (len < HEAD_LEN + SUM_LEN || memcmp(p, magic, MAGIC_LEN) != 0)
        return fail(-EINVAL, "%s: is no state of a machine", what);
    memcpy(&version, p + MAGIC_LEN, 2);
    memcpy(&bytes, p + MAGIC_LEN + 2, 4);
    if (version != PARTS_VERSION)
        return fail(-EINVAL, "%s: has format %u, this program knows %u", what,
                    version, PARTS_VERSION);
    if (bytes != len - HEAD_LEN - SUM_LEN)
        return fail(-EINVAL, "%s: has %zu bytes, of %zu", what, len,
                    bytes + HEAD_LEN + SUM_LEN);
    memcpy(&sum, p + len - SUM_LEN, SUM_LEN);
    if (sum != sum_of(p, len - SUM_LEN))
        return fail(-EINVAL, "%s: is damaged: its sum is another", what);
    for (size_t at = HEAD_LEN, n; at < len - SUM_LEN; at += n) {
        n = parts_at(p + at, len - SUM_LEN - at, &part);
        if (!n)
            return fail(-EINVAL, "%s: no part at byte %zu", what, at);
    }
    return 0;
}

bool parts_next(const uint8_t *p, size_t len, size_t *at, struct part *part)
{
    if (!*at)
        *at = HEAD_LEN;
    size_t n = parts_at(p + *at, len - SUM_LEN - *at, part);
    *at += n;
    return n;
}

bool parts_find(const uint8_t *p, size_t len, const char *name,
                struct part *part)
{
    for (size_t at = 0; parts_next(p, len, &at, part);)
        if (!strcmp(part->name, name))
            return true;
    return false;
}
