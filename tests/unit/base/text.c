/* SPDX-License-Identifier: MIT */
/* Texts that grow: their bound, and quoting. */
#include "base/text.h"

#include "tests/unit/test.h"

TEST(text_grows_as_it_is_written)
{
    struct text t = {0};
    for (int i = 0; i < 1000; i++)
        text_put(&t, "%d,", i);
    CHECK_EQ(t.n, 3890);
    CHECK_STR(t.p + t.n - 8, "998,999,");
    text_add(&t, "\0x", 2);
    CHECK_EQ(t.n, 3892);
    CHECK(!t.cut);
    text_free(&t);
    CHECK(!t.p && !t.n);
}

TEST(text_that_is_too_long_is_cut_and_says_so)
{
    static char big[TEXT_MAX / 2];
    struct text t = {0};
    memset(big, 'x', sizeof(big));
    text_add(&t, big, sizeof(big));
    CHECK(!t.cut);
    text_put(&t, "%.*s", (int)sizeof(big), big);
    CHECK(t.cut);
    CHECK_EQ(t.n, sizeof(big));
    text_put(&t, "x");
    CHECK_EQ(t.n, sizeof(big));
    text_free(&t);
    text_add(&t, "x", 1);
    CHECK_STR(t.p, "x");
    text_free(&t);
}

TEST(text_quotes_as_rfc_8259_7_wants_it)
{
    static const char *const pairs[][2] = {
        {"", "\"\""},
        {"a b", "\"a b\""},
        {"\"", "\"\\\"\""},
        {"a\\b\"c", "\"a\\\\b\\\"c\""},
        {"a\n\x01", "\"a\\u000a\\u0001\""},
        {"\xc3\xa4", "\"\xc3\xa4\""},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct text t = {0};
        text_quote(&t, pairs[i][0]);
        CHECK_STR(t.p, pairs[i][1]);
        text_free(&t);
    }
}

TEST(text_what_is_not_utf_8_is_replaced)
{
    static const struct {
        const char *from, *to;
    } rows[] = {
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
         "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"a\xff", "\"a\\ufffd\""},
        {"\xc3", "\"\\ufffd\""},
        {"\xc3z", "\"\\ufffdz\""},
        {"\xc0\x80", "\"\\ufffd\\ufffd\""},            /* overlong */
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""}, /* a surrogate */
        {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {"\xf8\x88\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct text t = {0};
        text_quote(&t, rows[i].from);
        CHECK_STR(t.p, rows[i].to);
        text_free(&t);
    }
}
