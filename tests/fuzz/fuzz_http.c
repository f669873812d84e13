/* SPDX-License-Identifier: MIT */
/* A client's bytes, in pieces of any size: HTTP requests, their bodies read as
 * JSON. What the parser finds does not depend on how they are cut. */
#include <assert.h>
#include <stdlib.h>

#include "base/json.h"
#include "control/http.h"
#include "tests/fuzz/fuzz.h"

struct found {
    unsigned requests;
    size_t bytes; /* of paths and bodies */
    bool bad;
};

static void take(struct http *h, struct found *f)
{
    struct opts o;
    f->requests++;
    f->bytes += strlen(h->path) + h->body;
    assert(h->path[0] == '/');
    char *body = malloc(h->body); /* of just this size */
    assert(body || !h->body);
    if (h->body)
        memcpy(body, http_body(h), h->body);
    opts_init(&o, "body");
    json_opts(&o, body, h->body);
    opts_free(&o);
    free(body);
    http_done(h);
}

static struct found read_all(const uint8_t *p, size_t n, size_t step)
{
    struct http h;
    struct found f = {0};
    char *buf = malloc(HTTP_ROOM(HTTP_BODY_MAX));
    assert(buf);
    http_init(&h, buf, HTTP_BODY_MAX);
    for (size_t at = 0;;) {
        enum http_event e = http_next(&h);
        if (e == HTTP_REQUEST)
            take(&h, &f);
        if (e == HTTP_BAD) {
            f.bad = true;
            assert(h.bad && http_next(&h) == HTTP_BAD);
            break;
        }
        if (e != HTTP_MORE)
            continue;
        size_t room;
        char *to = http_room(&h, &room);
        assert(room);
        if (at == n)
            break;
        room = room < step ? room : step;
        room = room < n - at ? room : n - at;
        memcpy(to, p + at, room);
        h.n += room;
        at += room;
    }
    free(buf);
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    size_t step = fuzz_u8(&f) + 1u;
    struct found a = read_all(f.p, f.n, step), b = read_all(f.p, f.n, 1 << 20);
    assert(a.requests == b.requests && a.bytes == b.bytes && a.bad == b.bad);
    return 0;
}
