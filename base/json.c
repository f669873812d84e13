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
    const char *null;  /* what it means: a word, or "" for nothing said */
    const char *apart; /* a member of the outermost object: kept as it is */
    struct json_piece *piece;
    char value[VALUE_MAX];
};

static int json_value(struct json *j, const char *key, bool in_array);

static int json_bad(const struct json *j, const char *why)
{
    return fail(-EINVAL, "%s: JSON, byte %zu: %s", j->o->what,
                (size_t)(j->at - j->begin) + 1, why);
}

static void json_blanks(struct json *j)
{
    while (j->at < j->end && memchr(" \t\r\n", *j->at, 4))
        j->at++;
}

/* The next byte that is not blank, or -1. */
static int json_peek(struct json *j)
{
    json_blanks(j);
    return j->at < j->end ? (unsigned char)*j->at : -1;
}

static bool json_take(struct json *j, char c)
{
    if (json_peek(j) != (unsigned char)c)
        return false;
    j->at++;
    return true;
}

/* ----------------------------------------------------------------- strings */

/* Four hex digits after \u, or -1. */
static int json_hex4(struct json *j)
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
static int32_t json_code_point(struct json *j)
{
    int32_t c = json_hex4(j);
    if (c < 0xd800 || c > 0xdfff)
        return c;
    if (c > 0xdbff || j->end - j->at < 2 || *j->at++ != '\\' || *j->at++ != 'u')
        return -1;
    int32_t low = json_hex4(j);
    if (low < 0xdc00 || low > 0xdfff)
        return -1;
    return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
}

static size_t json_utf8(char out[4], int32_t c)
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
static size_t json_character(struct json *j, char out[4])
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
        int32_t code = json_code_point(j);
        return code > 0 ? json_utf8(out, code) : 0; /* \0 would end the text */
    }
    esc = c ? strchr(from, c) : NULL;
    if (!esc)
        return 0;
    out[0] = to[esc - from];
    return 1;
}

/* The string at hand into out[size]. */
static int json_string(struct json *j, char *out, size_t size)
{
    char c[4];
    size_t n = 0;
    if (!json_take(j, '"'))
        return json_bad(j, "a string in double quotes belongs here");
    while (j->at < j->end && *j->at != '"') {
        size_t k = json_character(j, c);
        if (!k)
            return json_bad(j, "no character of a string");
        if (n + k >= size)
            return json_bad(j, "too long");
        memcpy(out + n, c, k);
        n += k;
    }
    out[n] = '\0';
    return json_take(j, '"') ? 0 : json_bad(j, "the string does not end");
}

/* ------------------------------------------------------------------ values */

/* true, false or a number, as it is written. */
static int json_word(struct json *j, const char *key)
{
    static const char letters[] = "+-.0123456789Eaeflnrstu";
    size_t n = 0;
    for (; j->at < j->end && n < 64 && *j->at && strchr(letters, *j->at); n++)
        j->value[n] = *j->at++;
    j->value[n] = '\0';
    bool digit = j->value[0] >= '0' && j->value[0] <= '9';
    if (!strcmp(j->value, "true"))
        return opts_add(j->o, key, "on");
    if (!strcmp(j->value, "false"))
        return opts_add(j->o, key, "off");
    if (!strcmp(j->value, "null"))
        return *j->null ? opts_add(j->o, key, j->null) : 0;
    if (digit || (j->value[0] == '-' && n > 1))
        return opts_add(j->o, key, j->value);
    return json_bad(j, "no value that is understood");
}

/* The value at hand is looked at as the others are, and only its place kept. */
static int json_apart(struct json *j)
{
    struct opts *o = j->o, none;
    opts_init(&none, o->what);
    json_blanks(j);
    j->piece->p = j->at;
    j->o = &none;
    int err = json_value(j, "-", false);
    j->o = o;
    opts_free(&none);
    j->piece->n = (size_t)(j->at - j->piece->p);
    return err;
}

static int json_member(struct json *j, const char *prefix, bool in_array)
{
    char key[KEY_MAX];
    size_t n = 0;
    if (prefix)
        n = (size_t)snprintf(key, sizeof(key), "%s.", prefix);
    if (n >= sizeof(key))
        return json_bad(j, "keys in keys, too long");
    int err = json_string(j, key + n, sizeof(key) - n);
    if (err)
        return err;
    if (!key[n])
        return json_bad(j, "an empty key");
    if (!json_take(j, ':'))
        return json_bad(j, "a colon belongs here");
    if (!prefix && j->apart && !strcmp(key, j->apart))
        return json_apart(j);
    /* QEMU's lists of strings: [{"str": "x"}] */
    return json_value(j, in_array && !strcmp(key + n, "str") ? prefix : key,
                      false);
}

static int json_object(struct json *j, const char *prefix, bool in_array)
{
    int err;
    if (json_take(j, '}'))
        return 0;
    do {
        err = json_member(j, prefix, in_array);
    } while (!err && json_take(j, ','));
    return err || json_take(j, '}') ? err
                                    : json_bad(j, "a comma or } belongs here");
}

static int json_array(struct json *j, const char *key)
{
    int err;
    if (json_take(j, ']'))
        return 0;
    do {
        err = json_value(j, key, true);
    } while (!err && json_take(j, ','));
    return err || json_take(j, ']') ? err
                                    : json_bad(j, "a comma or ] belongs here");
}

static int json_value(struct json *j, const char *key, bool in_array)
{
    int c = json_peek(j), err;
    if (c == '"') {
        err = json_string(j, j->value, sizeof(j->value));
        return err ? err : opts_add(j->o, key, j->value);
    }
    if (c != '{' && c != '[')
        return json_word(j, key);
    if (j->depth == JSON_DEPTH)
        return json_bad(j, "too deep");
    j->depth++;
    j->at++;
    err = c == '{' ? json_object(j, key, in_array) : json_array(j, key);
    j->depth--;
    return err;
}

static int json_read(struct json *j, struct opts *o, const char *text,
                     size_t len)
{
    j->o = o;
    j->at = j->begin = text;
    j->end = text + len;
    if (len > JSON_TEXT)
        return json_bad(j, "too long");
    if (!json_take(j, '{'))
        return json_bad(j, "an object, {...}, belongs here");
    j->depth = 1;
    int err = json_object(j, NULL, false);
    if (!err && json_peek(j) >= 0)
        err = json_bad(j, "nothing more belongs here");
    return err;
}

/* -------------------------------------------------------------------- text */

static int json_copy_string(struct json *j, struct text *out)
{
    char c[5];
    j->at++;
    text_add(out, "\"", 1);
    while (j->at < j->end && *j->at != '"') {
        size_t k = json_character(j, c);
        if (!k)
            return json_bad(j, "no character of a string");
        if ((unsigned char)*c < 0x20)
            text_put(out, "\\u%04x", (unsigned char)*c);
        else if (*c == '"' || *c == '\\')
            text_put(out, "\\%c", *c);
        else
            text_add(out, c, k);
    }
    text_add(out, "\"", 1);
    return json_take(j, '"') ? 0 : json_bad(j, "the string does not end");
}

static size_t json_digits(const char *p)
{
    return strspn(p, "0123456789");
}

/* RFC 8259 §6 */
static bool json_is_number(const char *p)
{
    p += *p == '-';
    size_t n = json_digits(p);
    if (!n || (*p == '0' && n > 1))
        return false;
    p += n;
    if (*p == '.') {
        n = json_digits(++p);
        p += n;
    }
    if (n && (*p | 32) == 'e') {
        p++;
        p += *p == '-' || *p == '+';
        n = json_digits(p);
        p += n;
    }
    return n && !*p;
}

static int json_copy_word(struct json *j, struct text *out)
{
    size_t n = 0;
    while (j->at < j->end && n < sizeof(j->value) - 1 && *j->at &&
           !strchr(",]}: \t\r\n\"{[", *j->at))
        j->value[n++] = *j->at++;
    j->value[n] = '\0';
    if (!word_among(j->value, "true false null") && !json_is_number(j->value))
        return json_bad(j, "no value that is understood");
    text_add(out, j->value, n);
    return 0;
}

static int json_copy(struct json *j, struct text *out);

/* What is between a brace or a bracket and its end. */
static int json_copy_members(struct json *j, char end, struct text *out)
{
    int err = 0;
    if (json_take(j, end))
        return 0;
    do {
        if (out->p[out->n - 1] != '{' && out->p[out->n - 1] != '[')
            text_add(out, ",", 1);
        if (end == '}') {
            err = json_peek(j) == '"'
                      ? json_copy_string(j, out)
                      : json_bad(j, "a string in double quotes belongs here");
            if (!err && !json_take(j, ':'))
                err = json_bad(j, "a colon belongs here");
            text_add(out, ":", 1);
        }
        if (!err)
            err = json_copy(j, out);
    } while (!err && !out->cut && json_take(j, ','));
    return err || json_take(j, end) ? err
                                    : json_bad(j, "a comma or its end is "
                                                  "missing");
}

static int json_copy(struct json *j, struct text *out)
{
    int c = json_peek(j);
    if (c == '"')
        return json_copy_string(j, out);
    if (c != '{' && c != '[')
        return json_copy_word(j, out);
    if (j->depth == JSON_NESTED)
        return json_bad(j, "too deep");
    j->depth++;
    text_add(out, j->at++, 1);
    int err = out->cut ? 0 : json_copy_members(j, c == '{' ? '}' : ']', out);
    text_add(out, c == '{' ? "}" : "]", 1);
    j->depth--;
    return err;
}

int json_compact(const char *what, const char *text, size_t len,
                 struct text *out)
{
    struct opts o;
    struct json j = {.o = &o, .at = text, .begin = text, .end = text + len};
    opts_init(&o, what);
    int err = json_copy(&j, out);
    if (!err && !out->cut && json_peek(&j) >= 0)
        err = json_bad(&j, "nothing more belongs here");
    if (!err && out->cut)
        err = json_bad(&j, "too long");
    return err;
}

int json_opts(struct opts *o, const char *text, size_t len)
{
    struct json j = {.null = "off"};
    return json_read(&j, o, text, len);
}

int json_request(struct opts *o, const char *text, size_t len)
{
    struct json j = {.null = ""};
    return json_read(&j, o, text, len);
}

int json_message(struct opts *o, const char *text, size_t len,
                 const char *apart, struct json_piece *piece)
{
    struct json j = {.null = "", .apart = apart, .piece = piece};
    *piece = (struct json_piece){0};
    return json_read(&j, o, text, len);
}

size_t json_scan(struct json_scan *s, const char *text, size_t n)
{
    while (s->at < n) {
        char c = text[s->at++];
        if (s->string) {
            s->string = s->escape || c != '"';
            s->escape = !s->escape && c == '\\';
        } else if (c == '"' && s->depth) {
            s->string = true;
        } else if (c == '{' || c == '[') {
            s->depth++;
        } else if (c == '}' || c == ']') {
            if (s->depth)
                s->depth--;
        }
        if (!s->depth && !s->string)
            return s->at;
    }
    return 0;
}

bool json_looks_like(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '{';
}
