/* SPDX-License-Identifier: MIT */
/* JSON as options: RFC 8259, and what is no JSON. */
#include "base/json.h"

#include <errno.h>
#include <stdio.h>

#include "base/bytes.h"
#include "tests/unit/test.h"

/* "key=value,key=value", or the error's line. */
static const char *read_json(const char *text)
{
    static char out[2048];
    struct opts o;
    opts_init(&o, "-x");
    int err = json_opts(&o, text, strlen(text));
    *out = '\0';
    if (err)
        snprintf(out, sizeof(out), "%s", test_log());
    for (int i = 0; !err && i < o.n; i++)
        snprintf(out + strlen(out), sizeof(out) - strlen(out), "%s%s=%s",
                 i ? "," : "", o.kv[i].key, o.kv[i].val);
    opts_free(&o);
    return out;
}

TEST(json_members_are_keys_and_values)
{
    CHECK_STR(read_json("{}"), "");
    CHECK_STR(read_json(" { \"a\" : \"x\" ,\n\t\"b\":true,\"c\":false,"
                        "\"n\":-12,\"f\":1.5e3 } \r\n"),
              "a=x,b=on,c=off,n=-12,f=1.5e3");
    CHECK_STR(read_json("{\"a\":\"x,y=z\"}"), "a=x,y=z");
}

TEST(json_objects_in_objects_have_dotted_keys)
{
    CHECK_STR(read_json("{\"type\":\"stream\",\"addr\":{\"type\":\"unix\","
                        "\"path\":\"/x\"},\"server\":true}"),
              "type=stream,addr.type=unix,addr.path=/x,server=on");
    CHECK_STR(read_json("{\"a\":{\"b\":{\"c\":1},\"d\":2}}"), "a.b.c=1,a.d=2");
}

TEST(json_arrays_repeat_their_key)
{
    CHECK_STR(read_json("{\"h\":[\"a\",\"b\",3],\"i\":[]}"), "h=a,h=b,h=3");
    CHECK_STR(read_json("{\"hostfwd\":[{\"str\":\"tcp::1-:1\"},"
                        "{\"str\":\"tcp::2-:2\"}]}"),
              "hostfwd=tcp::1-:1,hostfwd=tcp::2-:2");
    CHECK_STR(read_json("{\"str\":\"x\",\"a\":{\"str\":\"y\"}}"),
              "str=x,a.str=y");
}

TEST(json_strings_and_their_escapes)
{
    CHECK_STR(read_json("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}"),
              "a=\"\\/\b\f\n\r\t");
    CHECK_STR(read_json("{\"a\":\"\\u0041\\u00e4\\u20AC\\ud83d\\ude00\"}"),
              "a=A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    CHECK_STR(read_json("{\"\\u0061\":\"\xc3\xa4\"}"), "a=\xc3\xa4");
}

TEST(json_errors_say_what_and_where)
{
    static const char *const bad[][2] = {
        {"", "byte 1: an object"},
        {"[]", "byte 1: an object"},
        {"{", "a string in double quotes"},
        {"{\"a\"}", "byte 5: a colon"},
        {"{\"a\":}", "byte 6: no value"},
        {"{\"a\":nil}", "no value"},
        {"{\"a\":yes}", "no value"},
        {"{\"a\":-}", "no value"},
        {"{\"a\":1,}", "a string in double quotes"},
        {"{\"a\":1 \"b\":2}", "a comma or }"},
        {"{\"a\":[1 2]}", "a comma or ]"},
        {"{\"a\":[1}", "a comma or ]"},
        {"{\"a\":1}}", "byte 8: nothing more"},
        {"{\"a\":1}x", "nothing more"},
        {"{\"\":1}", "an empty key"},
        {"{\"a\":\"x", "does not end"},
        {"{\"a\":\"\\", "no character"},
        {"{\"a\":\"\\x\"}", "no character"},
        {"{\"a\":\"\n\"}", "no character"},
        {"{\"a\":\"\\u00\"}", "no character"},
        {"{\"a\":\"\\u0000\"}", "no character"},
        {"{\"a\":\"\\ud83d\"}", "no character"},
        {"{\"a\":\"\\ude00\"}", "no character"},
        {"{\"a\":\"\\ud83d\\u0041\"}", "no character"},
        {"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}}}",
         "too deep"},
        {"{\"a\":[[[[[[[[[[", "too deep"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_HAS(read_json(bad[i][0]), bad[i][1]);
    CHECK_HAS(read_json("{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{"
                        "\"a\":1}}}}}}}}"),
              "a.a.a.a.a.a.a.a=1");
}

TEST(json_lengths_are_bounded)
{
    static char text[JSON_TEXT + 8];
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text, "{\"a\":\"", 6);
    CHECK_HAS(read_json(text), "too long");
    strcpy(text + 6 + 4096, "\"}");
    CHECK_HAS(read_json(text), "too long");
    strcpy(text + 6 + 4095, "\"}");
    CHECK(!strstr(read_json(text), "JSON"));
    memset(text, 'x', 300);
    memcpy(text, "{\"", 2);
    strcpy(text + 2 + 128, "\":1}");
    CHECK_HAS(read_json(text), "too long");
    /* more members than there is room for */
    int n = sprintf(text, "{\"a\":1");
    for (int i = 0; i < OPTS_MAX; i++)
        n += sprintf(text + n, ",\"a\":1");
    sprintf(text + n, "}");
    CHECK_HAS(read_json(text), "more than 64 keys");
}

TEST(json_null_of_an_option_is_off)
{
    struct opts o;
    static const char text[] = "{\"driver\":\"qcow2\",\"backing\":null}";
    opts_init(&o, "-blockdev");
    REQUIRE_EQ(json_opts(&o, text, strlen(text)), 0);
    CHECK_STR(opts_str(&o, "backing", ""), "off");
    opts_free(&o);
}

TEST(json_null_of_a_request_is_not_said)
{
    static const char text[] = "{\"a\":null,\"b\":[null,1],\"c\":{\"d\":null}}";
    struct opts o;
    opts_init(&o, "-x");
    CHECK_EQ(json_request(&o, text, strlen(text)), 0);
    CHECK_EQ(o.n, 1);
    CHECK_STR(opts_str(&o, "b", ""), "1");
    opts_free(&o);
}

TEST(json_is_known_by_its_brace)
{
    CHECK(json_looks_like("{}") && json_looks_like(" {\"a\":1}"));
    CHECK(!json_looks_like("tap,id=x") && !json_looks_like(""));
}

/* Without blanks, or the error's line. */
static const char *compact(const char *text)
{
    static char out[4096];
    struct text t = {0};
    int err = json_compact("x", text, strlen(text), &t);
    snprintf(out, sizeof(out), "%s", err ? test_log() : t.p);
    text_free(&t);
    return out;
}

TEST(json_text_is_kept_without_blanks_and_in_one_way_of_writing)
{
    CHECK_STR(compact(" { \"a\" : [ 1 , -0.5e+3,true ,null,\"\" ] ,\n"
                      "\"b\":{ } , \"c\" : [ ]} "),
              "{\"a\":[1,-0.5e+3,true,null,\"\"],\"b\":{},\"c\":[]}");
    CHECK_STR(compact("\"\\u0041\\/\\n\\u00e9\\\"\\\\\""),
              "\"A/\\u000a\xc3\xa9\\\"\\\\\"");
    CHECK_STR(compact("{\"\\u0061\":1,\"a\":2}"), "{\"a\":1,\"a\":2}");
}

TEST(json_text_that_is_none_is_refused)
{
    static const char *const bad[] = {
        "",       " ",         "{",           "}",     "{\"a\"}", "{\"a\":}",
        "{a:1}",  "[1,]",      "[,1]",        "{,}",   "01",      "1.",
        ".5",     "-",         "1e",          "+1",    "nul",     "truefalse",
        "\"",     "\"\\x\"",   "\"\\u0000\"", "[1 2]", "1 1",     "{\"a\":1,}",
        "\"\t\"", "[\"a\":1]", "{1:1}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_HAS(compact(bad[i]), "JSON, byte ");
    char deep[3 * JSON_NESTED] = "";
    memset(deep, '[', JSON_NESTED);
    memset(deep + JSON_NESTED, ']', JSON_NESTED);
    CHECK_STR(compact(deep), deep);
    memset(deep, '[', JSON_NESTED + 1);
    memset(deep + JSON_NESTED + 1, ']', JSON_NESTED + 1);
    CHECK_HAS(compact(deep), "too deep");
}

TEST(json_merge_is_rfc_7396)
{
    static const char *const cases[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}",
         "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"a\":1,\"e\":null}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        /* the last of one name; names that begin alike; brackets in texts */
        {"{\"a\":1,\"a\":2}", "{\"b\":3,\"b\":null}", "{\"a\":2}"},
        {"{\"ab\":1,\"a\":2}", "{\"a\":3}", "{\"a\":3,\"ab\":1}"},
        {"{\"x\":\"}]\\\"\"}", "{\"y\":\"{[,\"}",
         "{\"x\":\"}]\\\"\",\"y\":\"{[,\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text out = {0};
        json_merge(cases[i][0], cases[i][1], &out);
        CHECK_STR(out.p, cases[i][2]);
        text_free(&out);
    }
}

static int seen(void *ctx, const char *key, const char *val, size_t len)
{
    char *out = ctx;
    sprintf(out + strlen(out), "%s=%.*s;", key, (int)len, val);
    return !strcmp(key, "end") ? -EINTR : 0;
}

TEST(json_members_and_elements_are_found_in_their_order)
{
    char out[256] = "";
    size_t n;
    const char *text = "{\"b\":[1,{\"c\":2}],\"a\":\",\",\"end\":0,\"z\":1}";
    CHECK_EQ(json_each(text, seen, out), -EINTR);
    CHECK_STR(out, "b=[1,{\"c\":2}];a=\",\";end=0;");
    *out = '\0';
    CHECK_EQ(json_each("[1,[2,3],{}]", seen, out), 0);
    CHECK_STR(out, "=1;=[2,3];={};");
    CHECK_EQ(json_each("12", seen, out), 0);
    CHECK_STR(json_member_of(text, "z", &n), "1}");
    CHECK_EQ(n, 1);
    CHECK(!json_member_of(text, "c", &n));
    CHECK(!json_member_of("[1]", "c", &n));
}
