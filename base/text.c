/* SPDX-License-Identifier: MIT */
/* A text that grows as it is written, up to a bound. */
#include "base/text.h"

#include <stdint.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_FIRST 512

/* Room for n more bytes and a NUL. */
static bool text_grow(struct text *t, size_t n)
{
    size_t room = t->room ? t->room : TEXT_FIRST;
    if (t->cut || n >= TEXT_MAX - t->n) {
        t->cut = true;
        return false;
    }
    while (room <= t->n + n)
        room *= 2;
    if (room == t->room)
        return true;
    char *p = realloc(t->p, room);
    if (!p) {
        t->cut = true;
        return false;
    }
    t->p = p;
    t->room = room;
    return true;
}

void text_add(struct text *t, const void *p, size_t n)
{
    if (!text_grow(t, n))
        return;
    memcpy(t->p + t->n, p, n);
    t->n += n;
    t->p[t->n] = '\0';
}

void text_put(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !text_grow(t, (size_t)n))
        return;
    va_start(ap, fmt);
    vsnprintf(t->p + t->n, t->room - t->n, fmt, ap);
    va_end(ap);
    t->n += (size_t)n;
}

size_t text_character(const char *s)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)s;
    size_t n = *p < 0x80   ? 1
               : *p < 0xc0 ? 0
               : *p < 0xe0 ? 2
               : *p < 0xf0 ? 3
               : *p < 0xf8 ? 4
                           : 0;
    uint32_t c = n > 1 ? *p & (0x7fu >> n) : *p;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    return n && c >= least[n] && c <= 0x10ffff && (c & ~0x7ffu) != 0xd800 ? n
                                                                          : 0;
}

void text_quote(struct text *t, const char *s)
{
    text_add(t, "\"", 1);
    for (; *s; s++) {
        size_t plain = 0, n;
        while (s[plain] && s[plain] != '"' && s[plain] != '\\' &&
               (unsigned char)s[plain] >= 0x20 &&
               (n = text_character(s + plain)))
            plain += n;
        text_add(t, s, plain);
        s += plain;
        if (!*s)
            break;
        if ((unsigned char)*s < 0x20)
            text_put(t, "\\u%04x", (unsigned char)*s);
        else if ((unsigned char)*s >= 0x80)
            text_put(t, "\\ufffd");
        else
            text_put(t, "\\%c", *s);
    }
    text_add(t, "\"", 1);
}

void text_free(struct text *t)
{
    free(t->p);
    *t = (struct text){0};
}
