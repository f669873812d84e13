/* SPDX-License-Identifier: MIT */
/* Options as text, and the messages that go with them. */
#include "base/opts.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "machine/machine.h"
#include "tests/unit/test.h"

static struct opts parsed(const char *text, const char *first)
{
    struct opts o;
    REQUIRE_EQ(opts_parse(&o, "-test", text, first), 0);
    return o;
}

TEST(opts_keys_values_and_a_first_word)
{
    struct opts o = parsed("tap,id=n0,ifname=tap0,vhost", "type");
    CHECK_STR(opts_str(&o, "type", NULL), "tap");
    CHECK_STR(opts_str(&o, "id", NULL), "n0");
    CHECK_STR(opts_str(&o, "ifname", NULL), "tap0");
    CHECK_STR(opts_str(&o, "vhost", NULL), "on");
    CHECK_STR(opts_str(&o, "script", "none"), "none");
    opts_free(&o);
}

TEST(opts_doubled_comma_is_a_comma)
{
    struct opts o = parsed("file:/a,,b,c=x,,,,y,d=,e=1=2", "to");
    CHECK_STR(opts_str(&o, "to", NULL), "file:/a,b");
    CHECK_STR(opts_str(&o, "c", NULL), "x,,y");
    CHECK_STR(opts_str(&o, "d", NULL), "");
    CHECK_STR(opts_str(&o, "e", NULL), "1=2");
    opts_free(&o);
}

TEST(opts_last_of_repeated_keys_wins_and_all_can_be_read)
{
    struct opts o = parsed("a=1,a=2,a=3", NULL);
    CHECK_STR(opts_str(&o, "a", NULL), "3");
    CHECK_STR(opts_nth(&o, "a", 0), "1");
    CHECK_STR(opts_nth(&o, "a", 1), "2");
    CHECK_STR(opts_nth(&o, "a", 2), "3");
    CHECK(opts_nth(&o, "a", 3) == NULL);
    opts_free(&o);
}

TEST(opts_empty_text_has_no_keys)
{
    struct opts o = parsed("", "type");
    CHECK_STR(opts_str(&o, "type", NULL), NULL);
    opts_free(&o);
}

TEST(opts_bad_text_is_refused)
{
    static const char *const bad[] = {"a=1,,", ",a=1", "a=1,", "=1", "a,=1"};
    static char many[200];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct opts o;
        int err = opts_parse(&o, "-test", bad[i], NULL);
        if (i == 0) { /* the value "1," */
            CHECK_EQ(err, 0);
        } else if (CHECK_EQ(err, -EINVAL)) {
            CHECK_HAS(test_log(), "-test");
        }
        opts_free(&o);
    }
    for (size_t i = 0; i < sizeof(many) - 1; i++)
        many[i] = i % 2 ? ',' : 'a';
    struct opts o;
    CHECK_EQ(opts_parse(&o, "-test", many, NULL), -EINVAL);
    opts_free(&o);
}

TEST(opts_numbers_and_their_limits)
{
    static const char *const bad[] = {
        "",   "-1", "+1", " 1",  "1 ",
        "1k", "0x", "x",  "1.5", "99999999999999999999"};
    uint64_t v = 5;
    CHECK_EQ(parse_u64("-smp", "32", 1, 32, &v), 0);
    CHECK_EQ(v, 32);
    CHECK_EQ(parse_u64("-smp", "0x1F", 1, 32, &v), 0);
    CHECK_EQ(v, 31);
    CHECK_EQ(parse_u64("-smp", "33", 1, 32, &v), -EINVAL);
    CHECK_HAS(test_log(), "-smp 33: must be a number from 1 to 32");
    CHECK_EQ(parse_u64("-smp", "0", 1, 32, &v), -EINVAL);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_EQ(parse_u64("-n", bad[i], 0, ~0ull, &v), -EINVAL);
    CHECK_EQ(v, 31);
    CHECK_EQ(parse_u64("-n", "18446744073709551615", 0, ~0ull, &v), 0);
    CHECK_EQ(v, ~0ull);
}

TEST(opts_sizes)
{
    uint64_t v;
    static const char *const bad[] = {"",    "M",   "1X",          "1MM",
                                      "-1M", "1 M", "99999999999G"};
    CHECK_EQ(parse_size("-m", "256", 1 << 20, &v), 0);
    CHECK_EQ(v, 256 << 20);
    CHECK_EQ(parse_size("-m", "64k", 1 << 20, &v), 0);
    CHECK_EQ(v, 65536);
    CHECK_EQ(parse_size("-m", "3G", 1, &v), 0);
    CHECK_EQ(v, 3ull << 30);
    CHECK_EQ(parse_size("-m", "1t", 1, &v), 0);
    CHECK_EQ(v, 1ull << 40);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_EQ(parse_size("-m", bad[i], 1, &v), -EINVAL);
}

TEST(opts_mac_addresses)
{
    uint8_t mac[6] = {0};
    static const uint8_t want[6] = {0x52, 0x54, 0, 0xab, 0xCD, 0xef};
    static const char *const bad[] = {
        "",
        "52:54:00:ab:cd",
        "52:54:00:ab:cd:ef:00",
        "52:54:00:ab:cd:eg",
        "52-54-00-ab-cd-ef",
        "52:54:00:ab:cd:e",
        "52:54:0:ab:cd:ef0",
        "52:54: 0:ab:cd:ef",
        "+2:54:00:ab:cd:ef",
        "0x:54:00:ab:cd:ef",
        "\x12\x10:54:00:ab:cd:ef",
        "53:54:00:ab:cd:ef",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
    };
    CHECK_EQ(parse_mac("mac", "52:54:00:ab:CD:ef", mac), 0);
    CHECK_MEM(mac, want, 6);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (parse_mac("mac", bad[i], mac) != -EINVAL)
            FAIL("\"%s\" passes for a MAC address", bad[i]);
    CHECK_MEM(mac, want, 6);
}

TEST(opts_closest_word)
{
    static const char *const list[] = {"kernel", "initrd", "append", "m", NULL};
    CHECK_STR(closest("kernl", list), "kernel");
    CHECK_STR(closest("inird", list), "initrd");
    CHECK_STR(closest("zzzzzzzz", list), NULL);
    char longword[200];
    memset(longword, 'a', sizeof(longword) - 1);
    longword[sizeof(longword) - 1] = 0;
    CHECK_STR(closest(longword, list), NULL);
}

TEST(log_faults_are_said_once_and_counted)
{
    struct fault f = {0};
    for (int i = 0; i < 5; i++)
        fault_note(&f, "ring %d broken", i);
    CHECK_EQ(f.count, 5);
    CHECK_STR(test_log(), "vmm: ring 0 broken\n");
}

TEST(log_long_lines_are_cut_not_overrun)
{
    static char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    log_line("%s", text);
    const char *log = test_log();
    CHECK(strlen(log) <= 1024);
    CHECK_EQ(log[strlen(log) - 1], '\n');
}

TEST(log_trace_categories)
{
    unsigned keep = trace_mask;
    trace_mask = 0;
    CHECK_EQ(trace_set("pci,queue"), 0);
    CHECK_EQ(trace_mask, TRACE_PCI | TRACE_QUEUE);
    TRACE(PCI, "seen %d", 1);
    TRACE(NET, "not seen");
    CHECK_HAS(test_log(), " seen 1\n");
    CHECK_EQ(trace_set("pci,nonsense"), -EINVAL);
    CHECK_HAS(test_log(), "nonsense");
    CHECK_EQ(trace_set(""), -EINVAL);
    CHECK_EQ(trace_set("all"), 0);
    trace_mask = keep;
}

TEST(opts_made_by_a_program_and_moved)
{
    struct opts a, b;
    opts_init(&a, "-a");
    opts_init(&b, "-b");
    CHECK_EQ(opts_add(&a, "mac", "1"), 0);
    CHECK_EQ(opts_add(&a, "id", "x,y"), 0);
    CHECK_EQ(opts_add(&a, "mac", "2"), 0);
    CHECK_EQ(opts_move(&b, &a, "mac", "addr"), 0);
    CHECK_EQ(opts_move(&b, &a, "none", NULL), 0);
    CHECK_EQ(a.n, 1);
    CHECK_EQ(b.n, 2);
    CHECK_STR(opts_nth(&b, "addr", 1), "2");
    CHECK_STR(opts_str(&a, "id", NULL), "x,y");
    CHECK(!opts_str(&a, "mac", NULL));
    opts_free(&a);
    opts_free(&b);
}

TEST(opts_sizes_with_a_fraction)
{
    uint64_t v = 0;
    CHECK_EQ(parse_size("-m", "1.5G", 1 << 20, &v), 0);
    CHECK_EQ(v, 1536ull << 20);
    CHECK_EQ(parse_size("-m", "0.25", 1 << 20, &v), 0);
    CHECK_EQ(v, 256 << 10);
    CHECK_EQ(parse_size("-m", "1.0000001k", 1, &v), 0);
    CHECK_EQ(v, 1024);
    CHECK_EQ(parse_size("-m", "16777215.5T", 1, &v), 0);
    CHECK_EQ(v, 0xffffff8000000000ull);
    CHECK_EQ(parse_size("-m", "16777216.0T", 1, &v), -EINVAL);
    CHECK_EQ(parse_size("-m", "1.5.5G", 1, &v), -EINVAL);
    CHECK_EQ(parse_size("-m", ".5G", 1, &v), -EINVAL);
    CHECK_EQ(parse_size("-m", "1.-5G", 1, &v), -EINVAL);
}

TEST(opts_pieces_of_a_text)
{
    const char *p = "65535:a.b-18446744073709551615x";
    uint64_t v = 0;
    char word[4];
    CHECK(!scan_number(&p, 65534, &v));
    CHECK(scan_number(&p, 65535, &v) && v == 65535 && *p == ':');
    CHECK(!scan_number(&p, 65535, &v));
    p++;
    CHECK(scan_set(&p, "abc.", word, sizeof(word)));
    CHECK_STR(word, "a.b");
    CHECK(scan_set(&p, "abc.", word, sizeof(word)) && !*word);
    CHECK(*p++ == '-');
    CHECK(!scan_set(&p, "0123456789", word, sizeof(word)));
    CHECK(scan_number(&p, UINT64_MAX, &v) && v == UINT64_MAX && *p == 'x');
    p = "18446744073709551616";
    CHECK(!scan_number(&p, UINT64_MAX, &v));
    p = "9";
    CHECK(!scan_number(&p, 5, &v)); /* less than the digit */
    p = "-1";
    CHECK(!scan_number(&p, 5, &v));
    p = "";
    CHECK(!scan_number(&p, 5, &v));
}

TEST(opts_words_of_a_list)
{
    CHECK(word_among("on", "off on"));
    CHECK(word_among("ab", "aab ab"));
    CHECK(word_among("a", "ba a"));
    CHECK(!word_among("of", "off on"));
    CHECK(!word_among("", "off on"));
    CHECK(!word_among("off on", "off"));
    CHECK(!word_among("n", "on"));
}

TEST(opts_defaults_come_before_all)
{
    struct opts o = parsed("a=1,b=2", NULL);
    CHECK_EQ(opts_default(&o, "a", "0"), 0);
    CHECK_STR(o.kv[0].val, "0");
    CHECK_STR(o.kv[1].val, "1");
    CHECK_STR(o.kv[2].key, "b");
    CHECK_STR(opts_str(&o, "a", NULL), "1");
    opts_free(&o);
}
