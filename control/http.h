/* SPDX-License-Identifier: MIT */
/* The server's side of HTTP/1.1 (RFC 9112), without its sockets: bytes become
 * requests, and answers bytes. */
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

#define HTTP_HEAD_MAX 8192  /* request line and header lines */
#define HTTP_BODY_MAX 51200 /* as Firecracker's server has it */
#define HTTP_ROOM(body_max) ((size_t)HTTP_HEAD_MAX + (body_max))

enum http_method { HTTP_GET, HTTP_PUT, HTTP_PATCH, HTTP_DELETE };
extern const char *const http_methods[];

/* What a client has sent and is not done with. */
struct http {
    char *buf;     /* HTTP_ROOM(most) bytes, lent */
    size_t most;   /* bytes of a body */
    size_t n;      /* that are there */
    size_t looked; /* of them for the head's end */
    /* Of the request at the beginning: */
    size_t head; /* bytes, 0: its end has not come */
    enum http_method method;
    const char *path; /* "/machine-config"; all behind "?" is cut off */
    size_t body;      /* bytes of it, behind the head */
    bool expects;     /* "100 Continue", before it sends the body */
    bool last;        /* of this connection, as the client wants it */
    bool deprecated;  /* what it says; its owner's word, which the answer has */
    const char *bad;  /* what is wrong with it: no further one is found */
};

enum http_event {
    HTTP_MORE,     /* it has not come whole: read on */
    HTTP_CONTINUE, /* the same, and http_continue is to be sent; once */
    HTTP_REQUEST,  /* it is there: method, path, body */
    HTTP_BAD,      /* `bad` says why; what follows cannot be understood */
};

void http_init(struct http *h, char *buf, size_t body_max);
/* Where what comes next is to be put, and how much of it; *room 0: the request
 * that is there is to be answered first. */
char *http_room(struct http *h, size_t *room);
enum http_event http_next(struct http *h);
static inline const char *http_body(const struct http *h)
{
    return h->buf + h->head;
}
/* Forgets the request. */
void http_done(struct http *h);
/* What has come, so that it can come again: a head that was taken apart in a
 * form of ours; without the first request, if that is `begun`. */
void http_again(const struct http *h, bool begun, struct text *out);

extern const char http_continue[];
/* An answer to what `h` asked: `type` of the body, which may be empty (then
 * without a type). The connection is closed after it, where `last`. */
void http_answer(struct text *out, const struct http *h, const char *server,
                 int code, const char *type, const struct text *body,
                 bool last);

#endif
