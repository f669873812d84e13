/* SPDX-License-Identifier: MIT */
/* The server's side of HTTP/1.1, without its sockets.
 *
 * A client may be anybody who was let in, and need not be in its right mind:
 * what it sends is kept in one buffer of a fixed size, each byte is looked at
 * once, and what is not understood ends the connection, as nobody knows where
 * the next request would begin. The rules are those of Firecracker's server
 * where clients depend on them: a body needs Content-Length, its type does not
 * matter, an answer without a body has no length. */
#include "control/http.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"

const char *const http_methods[] = {"GET", "PUT", "PATCH", "DELETE"};

const char http_continue[] = "HTTP/1.1 100 Continue\r\n\r\n";

void http_init(struct http *h, char *buf, size_t body_max)
{
    *h = (struct http){.buf = buf, .most = body_max};
}

char *http_room(struct http *h, size_t *room)
{
    *room = HTTP_ROOM(h->most) - h->n;
    return h->buf + h->n;
}

/* -------------------------------------------------------------------- head */

/* "GET /path HTTP/1.1" */
static const char *http_request_line(struct http *h, char *line)
{
    char *path = strchr(line, ' ');
    char *version = path ? strchr(path + 1, ' ') : NULL;
    unsigned m = 0;
    if (!version)
        return "The request line is no METHOD PATH VERSION.";
    *path++ = *version++ = '\0';
    while (m < ARRAY_LEN(http_methods) && strcmp(http_methods[m], line))
        m++;
    if (m == ARRAY_LEN(http_methods))
        return "Invalid HTTP Method: there are GET, PUT, PATCH and DELETE.";
    if (strcmp(version, "HTTP/1.1") && strcmp(version, "HTTP/1.0"))
        return "Unsupported HTTP version: there are HTTP/1.1 and HTTP/1.0.";
    if (*path != '/')
        return "Invalid URI: it begins with a slash.";
    path[strcspn(path, "?#")] = '\0';
    h->method = (enum http_method)m;
    h->path = path;
    h->last = version[7] == '0';
    return NULL;
}

static const char *http_length(struct http *h, const char *val, bool *given)
{
    size_t n = 0, digits = strspn(val, "0123456789");
    if (!digits || val[digits])
        return "Invalid Content-Length.";
    for (; *val; val++) {
        n = n * 10 + (size_t)(*val - '0');
        if (n > h->most)
            return h->most == HTTP_BODY_MAX
                       ? "The body is longer than 51200 bytes."
                       : "The body is longer than "
                         "--http-api-max-payload-size.";
    }
    if (*given && n != h->body)
        return "Two different Content-Length headers.";
    *given = true;
    h->body = n;
    return NULL;
}

static bool http_says(const char *val, const char *word)
{
    size_t n = strlen(word);
    for (; *val; val += strcspn(val, ","), val += *val == ',') {
        val += strspn(val, " \t");
        if (!strncasecmp(val, word, n) && strchr(", \t", val[n]))
            return true;
    }
    return false;
}

static const char *http_header(struct http *h, char *line, bool *length)
{
    char *val = strchr(line, ':');
    if (!val || val == line || strcspn(line, " \t") < (size_t)(val - line))
        return "A header is no NAME: VALUE.";
    *val++ = '\0';
    val += strspn(val, " \t");
    size_t n = strlen(val);
    while (n && strchr(" \t", val[n - 1]))
        val[--n] = '\0';
    if (!strcasecmp(line, "Content-Length"))
        return http_length(h, val, length);
    if (!strcasecmp(line, "Transfer-Encoding"))
        return "Transfer-Encoding is not understood; send Content-Length.";
    if (!strcasecmp(line, "Expect"))
        h->expects = !strcasecmp(val, "100-continue");
    else if (!strcasecmp(line, "Connection") && http_says(val, "close"))
        h->last = true;
    else if (!strcasecmp(line, "Connection") && http_says(val, "keep-alive"))
        h->last = false;
    return NULL;
}

/* The head, which is buf[at..h->head), in lines. NULL, or what is wrong. */
static const char *http_parse_head(struct http *h, size_t at)
{
    const char *bad = NULL;
    bool first = true, length = false;
    h->body = 0;
    h->expects = h->last = h->deprecated = false;
    while (!bad) {
        char *line = h->buf + at;
        char *end = memchr(line, '\n', h->head - at);
        at += (size_t)(end - line) + 1;
        if (end > line && end[-1] == '\r')
            end--;
        if (end == line)
            break;
        for (const char *p = line; p < end; p++)
            if ((unsigned char)*p < 0x20 && *p != '\t')
                return "A control character in the head.";
        *end = '\0';
        bad =
            first ? http_request_line(h, line) : http_header(h, line, &length);
        first = false;
    }
    return bad;
}

/* Where the head's blank line ends; 0: not there. Lines end with LF, with CR
 * before it or without (RFC 9112 §2.2). */
static size_t http_find_end(struct http *h, size_t from)
{
    while (h->looked < h->n) {
        const char *nl = memchr(h->buf + h->looked, '\n', h->n - h->looked);
        if (!nl) {
            h->looked = h->n;
            return 0;
        }
        size_t at = (size_t)(nl - h->buf);
        h->looked = at + 1;
        size_t line = at;
        if (line > from && h->buf[line - 1] == '\r')
            line--;
        if (line > from && h->buf[line - 1] == '\n')
            return at + 1;
    }
    return 0;
}

static enum http_event http_is_bad(struct http *h, const char *why)
{
    h->bad = why;
    return HTTP_BAD;
}

/* Blank lines before a request are passed over (RFC 9112 §2.2). */
static size_t http_begin(const struct http *h)
{
    size_t at = 0;
    while (at < h->n && (h->buf[at] == '\r' || h->buf[at] == '\n'))
        at++;
    return at;
}

enum http_event http_next(struct http *h)
{
    if (h->bad)
        return HTTP_BAD;
    if (!h->head) {
        size_t from = http_begin(h);
        if (h->looked < from)
            h->looked = from;
        h->head = http_find_end(h, from);
        if (h->head > HTTP_HEAD_MAX || (!h->head && h->n >= HTTP_HEAD_MAX))
            return http_is_bad(h, "The head is longer than 8192 bytes.");
        if (!h->head)
            return HTTP_MORE;
        const char *bad = http_parse_head(h, from);
        if (bad)
            return http_is_bad(h, bad);
    }
    if (h->n - h->head >= h->body)
        return HTTP_REQUEST;
    bool expects = h->expects && h->n == h->head;
    h->expects = false;
    return expects ? HTTP_CONTINUE : HTTP_MORE;
}

void http_done(struct http *h)
{
    size_t used = h->head + h->body;
    memmove(h->buf, h->buf + used, h->n - used);
    h->n -= used;
    h->looked = h->head = h->body = 0;
    h->path = NULL;
}

void http_again(const struct http *h, bool begun, struct text *out)
{
    size_t from = begun ? h->head + h->body : h->head;
    if (h->head && !begun)
        text_put(out, "%s %s HTTP/1.%d\r\nContent-Length: %zu\r\n\r\n",
                 http_methods[h->method], h->path, !h->last, h->body);
    text_add(out, h->buf + from, h->n - from);
}

/* ----------------------------------------------------------------- answers */

static const char *http_reason(int code)
{
    switch (code) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 400:
        return "Bad Request";
    case 413:
        return "Payload Too Large";
    default:
        return "Service Unavailable";
    }
}

void http_answer(struct text *out, const struct http *h, const char *server,
                 int code, const char *type, const struct text *body, bool last)
{
    text_put(out, "HTTP/1.1 %d %s\r\nServer: %s\r\nConnection: %s\r\n%s", code,
             http_reason(code), server, last ? "close" : "keep-alive",
             h->deprecated ? "Deprecation: true\r\n" : "");
    if (code != 204)
        text_put(out, "Content-Type: %s\r\nContent-Length: %zu\r\n", type,
                 body->n);
    text_add(out, "\r\n", 2);
    if (body->n)
        text_add(out, body->p, body->n);
}
