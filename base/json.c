/* SPDX-License-Identifier: MIT */
/* JSON as options. The text may be hostile: its length, depth and number of
 * members are bounded, every byte is looked at once, and nothing is allocated
 * but the options. */
#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define KEY_MAX 128 /* with its prefixes */
#define VALUE_MAX 4096

struct json {
    struct opts *o;
    const char *at, *end, *begin;
    unsigned depth;
    char value[VALUE_MAX];
};

static int value(struct json *j, const char *key, bool in_array);

static int bad(const struct json *j, const char *why)
{
    return fail(-EINVAL, "%s: JSON, byte %zu: %s", j->o->what,
                (size_t)(j->at - j->begin) + 1, why);
}

static void blanks(struct json *j)
{
    while (j->at < j->end && memchr(" \t\r\n", *j->at, 4))
        j->at++;
}

/* The next byte that is not blank, or -1. */
static int peek(struct json *j)
{
    blanks(j);
    return j->at < j->end ? (unsigned char)*j->at : -1;
}

static bool take(struct json *j, char c)
{
    if (peek(j) != (unsigned char)c)
        return false;
    j->at++;
    return true;
}

/* ----------------------------------------------------------------- strings */

/* Four hex digits after \u, or -1. */
static int hex4(struct json *j)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        if (j->at == j->end)
            return -1;
        int c = (unsigned char)*j->at++;
        if (c >= '0' && c <= '9')
            c -= '0';
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            c = (c | 32) - 'a' + 10;
        else
            return -1;
        v = v << 4 | c;
    }
    return v;
}

/* A code point behind \u, with the second half of a surrogate pair; -1: none.
 */
static int32_t code_point(struct json *j)
{
    int32_t c = hex4(j);
    if (c < 0xd800 || c > 0xdfff)
        return c;
    if (c > 0xdbff || j->end - j->at < 2 || *j->at++ != '\\' || *j->at++ != 'u')
        return -1;
    int32_t low = hex4(j);
    if (low < 0xdc00 || low > 0xdfff)
        return -1;
    return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
}

static size_t utf8(char out[4], int32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((0xf00 >> n & 0xff) | c);
    return n;
}

/* One character of a string, escaped or not: its bytes, 0 on an error. */
static size_t character(struct json *j, char out[4])
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *esc;
    out[0] = *j->at++;
    if ((unsigned char)out[0] < 0x20)
        return 0;
    if (out[0] != '\\')
        return 1;
    if (j->at == j->end)
        return 0;
    char c = *j->at++;
    if (c == 'u') {
        int32_t code = code_point(j);
        return code > 0 ? utf8(out, code) : 0; /* \0 would end the text */
    }
    esc = c ? strchr(from, c) : NULL;
    if (!esc)
        return 0;
    out[0] = to[esc - from];
    return 1;
}

/* The string at hand into out[size]. */
static int string(struct json *j, char *out, size_t size)
{
    char c[4];
    size_t n = 0;
    if (!take(j, '"'))
        return bad(j, "a string in double quotes belongs here");
    while (j->at < j->end && *j->at != '"') {
        size_t k = character(j, c);
        if (!k)
            return bad(j, "no character of a string");
        if (n + k >= size)
            return bad(j, "too long");
        memcpy(out + n, c, k);
        n += k;
    }
    out[n] = '\0';
    return take(j, '"') ? 0 : bad(j, "the string does not end");
}

/* ------------------------------------------------------------------ values */

/* true, false or a number, as it is written. */
static int word(struct json *j, const char *key)
{
    static const char letters[] = "+-.0123456789Eaeflrstu";
    size_t n = 0;
    for (; j->at < j->end && n < 64 && *j->at && strchr(letters, *j->at); n++)
        j->value[n] = *j->at++;
    j->value[n] = '\0';
    bool digit = j->value[0] >= '0' && j->value[0] <= '9';
    if (!strcmp(j->value, "true"))
        return opts_add(j->o, key, "on");
    if (!strcmp(j->value, "false"))
        return opts_add(j->o, key, "off");
    if (digit || (j->value[0] == '-' && n > 1))
        return opts_add(j->o, key, j->value);
    return bad(j, "no value that is understood");
}

static int member(struct json *j, const char *prefix, bool in_array)
{
    char key[KEY_MAX];
    size_t n = 0;
    if (prefix)
        n = (size_t)snprintf(key, sizeof(key), "%s.", prefix);
    if (n >= sizeof(key))
        return bad(j, "keys in keys, too long");
    int err = string(j, key + n, sizeof(key) - n);
    if (err)
        return err;
    if (!key[n])
        return bad(j, "an empty key");
    if (!take(j, ':'))
        return bad(j, "a colon belongs here");
    /* QEMU's lists of strings: [{"str": "x"}] */
    return value(j, in_array && !strcmp(key + n, "str") ? prefix : key, false);
}

static int object(struct json *j, const char *prefix, bool in_array)
{
    int err;
    if (take(j, '}'))
        return 0;
    do {
        err = member(j, prefix, in_array);
    } while (!err && take(j, ','));
    return err || take(j, '}') ? err : bad(j, "a comma or } belongs here");
}

static int array(struct json *j, const char *key)
{
    int err;
    if (take(j, ']'))
        return 0;
    do {
        err = value(j, key, true);
    } while (!err && take(j, ','));
    return err || take(j, ']') ? err : bad(j, "a comma or ] belongs here");
}

static int value(struct json *j, const char *key, bool in_array)
{
    int c = peek(j), err;
    if (c == '"') {
        err = string(j, j->value, sizeof(j->value));
        return err ? err : opts_add(j->o, key, j->value);
    }
    if (c != '{' && c != '[')
        return word(j, key);
    if (j->depth == JSON_DEPTH)
        return bad(j, "too deep");
    j->depth++;
    j->at++;
    err = c == '{' ? object(j, key, in_array) : array(j, key);
    j->depth--;
    return err;
}

int json_opts(struct opts *o, const char *text, size_t len)
{
    struct json j = {.o = o, .at = text, .begin = text, .end = text + len};
    if (len > JSON_TEXT)
        return bad(&j, "too long");
    if (!take(&j, '{'))
        return bad(&j, "an object, {...}, belongs here");
    j.depth = 1;
    int err = object(&j, NULL, false);
    if (!err && peek(&j) >= 0)
        err = bad(&j, "nothing more belongs here");
    return err;
}

bool json_looks_like(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '{';
}
