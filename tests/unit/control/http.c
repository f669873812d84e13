/* SPDX-License-Identifier: MIT */
/* HTTP/1.1 as a server reads it (RFC 9112), in pieces and in one. */
#include "control/http.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "tests/unit/test.h"

static char buffer[HTTP_ROOM(HTTP_BODY_MAX)];

/* Gives `step` bytes at a time of a text; what came of it:
 * "PUT /x body|GET /y |bad: why|". */
static const char *read_http(const char *text, size_t n, size_t step)
{
    static char out[2048];
    static const char *const names[] = {"GET", "PUT", "PATCH", "DELETE"};
    struct http h;
    size_t room, at = 0;
    http_init(&h, buffer, HTTP_BODY_MAX);
    *out = '\0';
    for (;;) {
        char *end = out + strlen(out);
        size_t left = sizeof(out) - strlen(out);
        switch (http_next(&h)) {
        case HTTP_CONTINUE:
            snprintf(end, left, "continue|");
            break;
        case HTTP_REQUEST:
            snprintf(end, left, "%s %s %.*s%s|", names[h.method], h.path,
                     (int)(h.body < 64 ? h.body : 64), http_body(&h),
                     h.last ? " last" : "");
            http_done(&h);
            break;
        case HTTP_BAD:
            snprintf(end, left, "bad: %s|", h.bad);
            return out;
        case HTTP_MORE:
            if (at == n)
                return out;
            char *to = http_room(&h, &room);
            room = room < step ? room : step;
            room = room < n - at ? room : n - at;
            if (!CHECK(room))
                return out;
            memcpy(to, text + at, room);
            h.n += room;
            at += room;
        }
    }
}

/* The same result, however it comes. */
static void reads_as(const char *text, const char *wanted)
{
    size_t n = strlen(text);
    for (size_t step = 1; step < n; step = step * 2 + 1)
        CHECK_STR(read_http(text, n, step), wanted);
    CHECK_STR(read_http(text, n, n), wanted);
}

TEST(http_requests_with_and_without_body)
{
    reads_as("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET / |");
    reads_as("PUT /drives/a HTTP/1.1\r\ncontent-length:  2 \r\n"
             "Accept: application/json\r\n\r\n{}",
             "PUT /drives/a {}|");
    reads_as("PATCH /vm HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "PATCH /vm |");
    reads_as("DELETE /x?y=z#f HTTP/1.1\r\n\r\n", "DELETE /x |");
    /* RFC 9112 §2.2: lines may end with LF alone; blank lines before */
    reads_as("\r\n\r\nGET /a HTTP/1.1\nContent-Length: 1\n\nx", "GET /a x|");
    reads_as("\n", "");
}

TEST(http_9_3_2_requests_one_behind_the_other)
{
    reads_as("GET /a HTTP/1.1\r\n\r\nPUT /b HTTP/1.1\r\nContent-Length: 3\r\n"
             "\r\nabcGET /c HTTP/1.1\r\n\r\nGET /d",
             "GET /a |PUT /b abc|GET /c |");
}

TEST(http_9_6_who_wants_the_connection_closed)
{
    reads_as("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", "GET /  last|");
    reads_as("GET / HTTP/1.1\r\nConnection: x , close\r\n\r\n", "GET /  last|");
    reads_as("GET / HTTP/1.1\r\nConnection: closer\r\n\r\n", "GET / |");
    reads_as("GET / HTTP/1.0\r\n\r\n", "GET /  last|");
    reads_as("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET / |");
    /* of one request is not of the next */
    reads_as("GET / HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
             "GET /  last|GET / |");
}

TEST(http_10_1_1_expect_is_answered_before_the_body_once)
{
    static const char head[] = "PUT / HTTP/1.1\r\nExpect: 100-Continue\r\n"
                               "Content-Length: 2\r\n\r\n";
    char text[128];
    CHECK_STR(read_http(head, strlen(head), 7), "continue|");
    snprintf(text, sizeof(text), "%s{}", head);
    CHECK_STR(read_http(text, strlen(text), 1), "continue|PUT / {}|");
    /* who did not wait for it has no need of it */
    CHECK_STR(read_http(text, strlen(text), 100), "PUT / {}|");
}

TEST(http_what_is_not_understood_ends_it)
{
    static const char *const bad[][2] = {
        {"GET /\r\n\r\n", "request line"},
        {"\x16\x03\x01\r\n\r\n", "control character"},
        {"POST / HTTP/1.1\r\n\r\n", "Invalid HTTP Method"},
        {"get / HTTP/1.1\r\n\r\n", "Invalid HTTP Method"},
        {"GET / HTTP/2\r\n\r\n", "version"},
        {"GET / HTTP/1.1 x\r\n\r\n", "version"},
        {"GET x HTTP/1.1\r\n\r\n", "slash"},
        {"GET  / HTTP/1.1\r\n\r\n", "version"},
        {"GET / HTTP/1.1\r\nno colon\r\n\r\n", "header"},
        {"GET / HTTP/1.1\r\n: x\r\n\r\n", "header"},
        {"GET / HTTP/1.1\r\nA : x\r\n\r\n", "header"},
        {"GET / HTTP/1.1\r\n folded: x\r\n\r\n", "header"},
        {"GET / HTTP/1.1\r\nA: \x01\r\n\r\n", "control"},
        {"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "Content-Length"},
        {"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "Content-Length"},
        {"GET / HTTP/1.1\r\nContent-Length:\r\n\r\n", "Content-Length"},
        {"PUT / HTTP/1.1\r\nContent-Length: 51201\r\n\r\n", "51200"},
        {"PUT / HTTP/1.1\r\nContent-Length: 18446744073709551617\r\n\r\n",
         "51200"},
        {"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
         "Two different"},
        {"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
         "Transfer-Encoding"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_HAS(read_http(bad[i][0], strlen(bad[i][0]), 3), bad[i][1]);
        CHECK(!strncmp(read_http(bad[i][0], strlen(bad[i][0]), 100), "bad", 3));
    }
    CHECK_HAS(read_http("GET / HTTP/1.1\r\nA: \0\r\n\r\n", 25, 25), "control");
    reads_as(
        "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "PUT / x|");
}

TEST(http_lengths_are_bounded_and_the_longest_fit)
{
    static char text[2 * HTTP_ROOM(HTTP_BODY_MAX)];
    size_t n = (size_t)sprintf(text, "GET / HTTP/1.1\r\nA: ");
    memset(text + n, 'x', sizeof(text) - n);
    CHECK_HAS(read_http(text, sizeof(text), 1000), "8192");
    memcpy(text + HTTP_HEAD_MAX - 3, "\r\n\r\n", 4); /* one too long */
    CHECK_HAS(read_http(text, sizeof(text), sizeof(text)), "8192");
    memcpy(text + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
    CHECK_STR(read_http(text, HTTP_HEAD_MAX, 1000), "GET / |");
    memset(text, '\n', sizeof(text));
    CHECK_HAS(read_http(text, sizeof(text), 1000), "8192");
    /* head and body as long as they may be, and one more behind them */
    memset(text, 'x', sizeof(text));
    n = (size_t)sprintf(
        text, "PUT / HTTP/1.1\r\nContent-Length: %d\r\nA: ", HTTP_BODY_MAX);
    text[n] = 'x';
    memcpy(text + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
    memcpy(text + HTTP_ROOM(HTTP_BODY_MAX), "GET / HTTP/1.1\r\n\r\n", 18);
    CHECK_HAS(read_http(text, HTTP_ROOM(HTTP_BODY_MAX) + 18, 1000),
              "x|GET / |");
}

TEST(http_6_answers_have_a_length_but_204)
{
    struct text out = {0}, body = {0};
    struct http h = {0};
    http_answer(&out, &h, "vmm", 204, NULL, &body, false);
    CHECK_STR(out.p, "HTTP/1.1 204 No Content\r\nServer: vmm\r\n"
                     "Connection: keep-alive\r\n\r\n");
    text_free(&out);
    text_put(&body, "{}");
    h.deprecated = true;
    http_answer(&out, &h, "vmm", 400, "application/json", &body, true);
    CHECK_STR(out.p, "HTTP/1.1 400 Bad Request\r\nServer: vmm\r\n"
                     "Connection: close\r\nDeprecation: true\r\n"
                     "Content-Type: application/json\r\n"
                     "Content-Length: 2\r\n\r\n{}");
    text_free(&out);
    text_free(&body);
}
