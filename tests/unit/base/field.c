/* SPDX-License-Identifier: MIT */
/* Tables of fields: options at their bounds, help, reset, counters. */
#include "base/field.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "tests/unit/test.h"

struct part {
    const char *path;
    uint16_t port;
};
struct thing {
    uint64_t bits, hits;
    struct fault bad;
    uint32_t size;
    uint8_t flag, tri, word, small, mac[6];
    uint16_t remembered;
    uint32_t any;
    struct part part;
    struct part at;
};

static const char *const words[] = {"half", "full", NULL};
static const struct field part_fields[] = {
    FIELD(TEXT, "path", struct part, path, .arg = "PATH", .help = "where"),
    FIELD(NUMBER, "port", struct part, port, .min = 1, .max = 65535,
          .help = "a port"),
    {.name = ""},
};
static const struct field fields[] = {
    FIELD(BIT, "three", struct thing, bits, .min = 3, .def = ON),
    FIELD(BIT, "forty", struct thing, bits, .min = 40),
    FIELD(SIZE, "size", struct thing, size, .min = 1024, .max = 1 << 20,
          .def = 4096, .help = "of it"),
    FIELD(FLAG, "flag", struct thing, flag, .def = ON, .help = "a flag"),
    FIELD(FLAG, "tri", struct thing, tri, .def = AUTO, .max = AUTO,
          .help = "a flag of three"),
    FIELD(WORD, "word", struct thing, word, .words = words, .def = 1,
          .help = "a word"),
    FIELD(NUMBER, "small", struct thing, small, .min = 2, .max = 200, .def = 7,
          .help = "a number"),
    FIELD(NUMBER, "any", struct thing, any, .help = "any number"),
    FIELD(MAC, "mac", struct thing, mac, .help = "an address"),
    {.name = "more",
     .type = FIELD_LIST,
     .use = OPTION,
     .arg = "TEXT",
     .help = "again and again"},
    {.name = "remembered",
     .use = STATE,
     .size = 2,
     .offset = offsetof(struct thing, remembered),
     .def = 99},
    FIELDS_OF(part_fields, "", struct thing, part),
    FIELDS_OF(part_fields, "at", struct thing, at),
    COUNT("hits", struct thing, hits, "times it was hit"),
    COUNT("bad", struct thing, bad, "faults of it"),
    {.name = ""},
};

static int read_text(struct thing *t, const char *text, struct opts *o)
{
    REQUIRE_EQ(opts_parse(o, "-thing", text, NULL), 0);
    return fields_read(fields, t, o);
}

static int reads(struct thing *t, const char *text)
{
    struct opts o;
    int err = read_text(t, text, &o);
    opts_free(&o);
    return err;
}

TEST(field_defaults_stand_where_nothing_is_said)
{
    struct thing t;
    memset(&t, 0xee, sizeof(t));
    REQUIRE_EQ(reads(&t, ""), 0);
    CHECK_EQ(t.bits, (0xeeeeeeeeeeeeeeeeull | 8) & ~(1ull << 40));
    CHECK(t.size == 4096 && t.flag == ON && t.tri == AUTO && t.word == 1);
    CHECK(t.small == 7 && t.any == 0 && t.mac[0] == 0 && !t.part.path);
    CHECK(t.part.port == 0 && t.at.port == 0);
    CHECK(t.hits == 0xeeeeeeeeeeeeeeeeull && t.remembered == 0xeeee);
    fields_reset(fields, &t, STATE);
    CHECK_EQ(t.remembered, 99);
    CHECK_EQ(t.hits, 0xeeeeeeeeeeeeeeeeull);
}

/* Zeroes go by words where members lie close: nothing beside them does. */
TEST(field_reset_reaches_each_member_of_an_array_and_nothing_beside)
{
    struct arrays {
        uint8_t before, bytes[21], between;
        uint16_t halves[13], after;
        struct {
            uint32_t in, out;
        } apart[5];
        uint8_t ones[11], last;
    };
    static const struct field table[] = {
        FIELD_BYTES(STATE, "bytes", struct arrays, bytes),
        FIELD_EACH(STATE, NUMBER, "halves", struct arrays, halves),
        FIELD_AS(STATE, NUMBER, "in", struct arrays, apart[0].in, .n = 5,
                 .step = 8),
        FIELD_EACH(STATE, NUMBER, "ones", struct arrays, ones, .def = 1),
        {.name = ""},
    };
    _Alignas(8) struct arrays a;
    memset(&a, 0xee, sizeof(a));
    fields_reset(table, &a, STATE);
    for (size_t i = 0; i < ARRAY_LEN(a.bytes); i++)
        CHECK_EQ(a.bytes[i], 0);
    for (size_t i = 0; i < ARRAY_LEN(a.halves); i++)
        CHECK_EQ(a.halves[i], 0);
    for (size_t i = 0; i < ARRAY_LEN(a.apart); i++)
        CHECK(a.apart[i].in == 0 && a.apart[i].out == 0xeeeeeeee);
    for (size_t i = 0; i < ARRAY_LEN(a.ones); i++)
        CHECK_EQ(a.ones[i], 1);
    CHECK(a.before == 0xee && a.between == 0xee && a.after == 0xeeee);
    CHECK_EQ(a.last, 0xee);
}

TEST(field_values_reach_their_members_and_no_others)
{
    struct thing t = {0};
    struct opts o;
    REQUIRE_EQ(read_text(&t,
                         "three=off,forty,size=64k,flag=no,tri=on,word=half,"
                         "small=0xc8,any=4294967295,mac=52:54:00:ab:cd:ef,"
                         "more=a,more=b,path=/a,,b,at.port=1,at.path=",
                         &o),
               0);
    CHECK_EQ(t.bits, 1ull << 40);
    CHECK(t.size == 65536 && t.flag == OFF && t.tri == ON && t.word == 0);
    CHECK(t.small == 200 && t.any == UINT32_MAX && t.mac[5] == 0xef);
    CHECK_EQ(t.remembered, 0);
    CHECK_STR(t.part.path, "/a,b");
    CHECK_STR(t.at.path, "");
    CHECK(t.at.port == 1 && t.part.port == 0);
    CHECK_STR(opts_nth(&o, "more", 1), "b");
    opts_free(&o);
}

TEST(field_beyond_the_bounds_is_one_line_with_the_bounds)
{
    static const struct {
        const char *text, *log;
    } bad[] = {
        {"small=1", "vmm: -thing: small 1: must be a number from 2 to 200\n"},
        {"small=201", "from 2 to 200"},
        {"small=", "from 2 to 200"},
        {"any=4294967296", "from 0 to 4294967295"},
        {"size=1023", "vmm: -thing: size=1023: must be from 1024 to 1048576 "
                      "bytes\n"},
        {"size=1025k", "1048576"},
        {"size=x", "must be a size"},
        {"flag=auto", "vmm: -thing: flag=auto: must be on or off\n"},
        {"tri=maybe", "vmm: -thing: tri=maybe: must be on, off or auto\n"},
        {"three=2", "must be on or off"},
        {"word=fool", "vmm: -thing: word=fool: must be one of half, full\n"},
        {"mac=1", "not a MAC"},
        {"at.port=0", "at.port 0: must be a number from 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct thing t = {0};
        CHECK_EQ(reads(&t, bad[i].text), -EINVAL);
        CHECK_HAS(test_log(), bad[i].log);
    }
}

TEST(field_flags_in_all_words)
{
    static const char *const words_of[][2] = {
        {"off", "on"}, {"no", "yes"}, {"false", "true"}, {"0", "1"}};
    struct thing t = {0};
    char text[32];
    for (size_t i = 0; i < ARRAY_LEN(words_of); i++)
        for (unsigned v = 0; v < 2; v++) {
            snprintf(text, sizeof(text), "flag=%s", words_of[i][v]);
            t.flag = 77;
            CHECK_EQ(reads(&t, text), 0);
            CHECK_EQ(t.flag, v);
        }
    CHECK_EQ(reads(&t, "flag"), 0);
    CHECK_EQ(t.flag, ON);
}

TEST(field_quiet_keys_go_or_are_refused_with_the_reason)
{
    static const struct opts_quiet quiet[] = {
        {"usb", "off", "there is no USB"}, {"menu", NULL, NULL}, {0}};
    static const struct field some[] = {
        FIELD(NUMBER, "a", struct thing, any),
        FIELDS_QUIET(quiet),
        {.name = ""},
    };
    struct thing t = {0};
    struct opts o;
    REQUIRE_EQ(opts_parse(&o, "-thing", "usb=no,a=1,menu=x,usb=off", NULL), 0);
    CHECK_EQ(fields_read(some, &t, &o), 0);
    CHECK_EQ(t.any, 1);
    opts_free(&o);
    REQUIRE_EQ(opts_parse(&o, "-thing", "menu,a=2,usb=on", NULL), 0);
    CHECK_EQ(fields_read(some, &t, &o), -EINVAL);
    CHECK_HAS(test_log(), "-thing: usb=on: there is no USB");
    opts_free(&o);
    CHECK(fields_find(some, "usb") == &some[1]);
    CHECK(!fields_find(some, "*"));
    REQUIRE_EQ(opts_parse(&o, "-thing", "*=1", NULL), 0);
    CHECK_EQ(fields_read(some, &t, &o), -EINVAL);
    CHECK_HAS(test_log(), "no key \"*\"");
    opts_free(&o);
}

TEST(field_unknown_key_names_the_near_one_or_all)
{
    struct thing t = {0};
    CHECK_EQ(reads(&t, "smal=3"), -EINVAL);
    CHECK_HAS(test_log(), "no key \"smal\"; did you mean \"small\"?");
    CHECK_EQ(reads(&t, "at.pth=3"), -EINVAL);
    CHECK_HAS(test_log(), "did you mean \"at.path\"?");
    CHECK_EQ(reads(&t, "nonsense=3"), -EINVAL);
    CHECK_HAS(test_log(), "the keys are three forty size flag tri word small "
                          "any mac more path port at.path at.port\n");
    /* what is remembered or counted cannot be told */
    CHECK_EQ(reads(&t, "remembered=3"), -EINVAL);
    CHECK_EQ(reads(&t, "hits=3"), -EINVAL);
    CHECK(fields_find(fields, "at.port") == &part_fields[1]);
    CHECK(!fields_find(fields, "at") && !fields_find(fields, "hits"));
}

static void help(void)
{
    fields_help(fields);
}

TEST(field_help_shows_ranges_defaults_and_counters)
{
    const char *text = test_stdout(help);
    CHECK_HAS(text, "  size=1K-1M                of it (4K)\n");
    CHECK_HAS(text, "  flag=on|off               a flag (on)\n");
    CHECK_HAS(text, "  tri=on|off|auto           a flag of three (auto)\n");
    CHECK_HAS(text, "  word=half|full            a word (full)\n");
    CHECK_HAS(text, "  small=2-200               a number (7)\n");
    CHECK_HAS(text, "  port=1-65535              a port\n");
    CHECK_HAS(text, "  at.path=PATH              where\n");
    CHECK_HAS(text, "on unless off:\n    three");
    CHECK_HAS(text, "off unless on:\n    forty");
    CHECK_HAS(text, "counters:\n  hits                      times it was hit");
    CHECK(!strstr(text, "remembered"));
}

static void count(void)
{
    struct thing t = {.hits = 5000000000ull, .bad = {0}};
    struct tally_lines lines;
    struct text text = {0};
    fields_count(fields, &t, "x", tally_lines(&lines, &text));
    printf("%s", text.p);
    text_free(&text);
}

TEST(field_counters_show_zeroes_too)
{
    CHECK_STR(test_stdout(count), "x.hits 5000000000\nx.bad 0\n");
}
