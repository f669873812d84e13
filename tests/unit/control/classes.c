/* SPDX-License-Identifier: MIT */
/* Every class's table: each option at its bounds and beyond, its help, its
 * counters. A class that vmm.c lists belongs here, too. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/list.h"
#include "block/list.h"
#include "devices/nic.h"
#include "devices/pc/pc.h"
#include "devices/vfio/state.h"
#include "net/dgram.h"
#include "net/list.h"
#include "net/stream.h"
#include "tests/unit/fake.h"

static const struct netdev_class *const nets[] = {NETDEV_ROWS};
static const struct blockdev_class *const disks[] = {BLOCKDEV_ROWS};
static const struct device_class *const devices[] = {&serial_class,
                                                     DEVICE_ROWS BOARD_ROWS};

static const struct field *table; /* being walked */
static const char *class;
static size_t size;
static void *object;
static const char *help;

static void say_help(void)
{
    fields_help(table);
}

static void say_counters(void)
{
    struct tally_lines lines;
    struct text text = {0};
    fields_count(table, object, "id", tally_lines(&lines, &text));
    printf("%s", text.p ? text.p : "");
    text_free(&text);
}

/* What KEY=VALUE gives. */
static int give(const char *key, const char *val)
{
    struct opts o;
    opts_init(&o, class);
    REQUIRE_EQ(opts_add(&o, key, val), 0);
    int err = fields_read(table, object, &o);
    opts_free(&o);
    return err;
}

static void good(const char *key, const char *val)
{
    if (give(key, val))
        FAIL("%s: %s=%s is refused: %s", class, key, val, test_log());
}

static void bad(const char *key, const char *val)
{
    if (give(key, val) != -EINVAL || !strstr(test_log(), key))
        FAIL("%s: %s=%s is taken, or not named: %s", class, key, val,
             test_log());
}

static void good_number(const char *key, uint64_t n)
{
    char text[32];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
    good(key, text);
}

static void bad_number(const char *key, uint64_t n)
{
    char text[32];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
    bad(key, text);
}

static void try_number(const struct field *f, const char *key)
{
    uint64_t most = f->size < 8 ? (1ull << 8 * f->size) - 1 : UINT64_MAX;
    CHECK(f->size <= 8 && f->max <= most && f->min <= most);
    if (f->max)
        most = f->max;
    good_number(key, f->min);
    good_number(key, most);
    if (f->min)
        bad_number(key, f->min - 1);
    if (most < UINT64_MAX)
        bad_number(key, most + 1);
    bad(key, "-1");
    bad(key, "");
    bad(key, "x");
}

static void try_option(const struct field *f, const char *key)
{
    switch (f->type) {
    case FIELD_NUMBER:
    case FIELD_SIZE:
        try_number(f, key);
        return;
    case FIELD_FLAG:
        CHECK(f->size == 1 && (f->max == AUTO || f->def <= ON));
        f->max == AUTO ? good(key, "auto") : bad(key, "auto");
        /* fall through */
    case FIELD_BIT:
        good(key, "on");
        good(key, "off");
        bad(key, "maybe");
        return;
    case FIELD_WORD:
        for (int i = 0; f->words[i]; i++)
            good(key, f->words[i]);
        bad(key, "no-such-word");
        return;
    case FIELD_MAC:
        CHECK_EQ(f->size, 6);
        good(key, "52:54:00:12:34:56");
        bad(key, "53:54:00:12:34:56");
        bad(key, "52:54:00:12:34");
        return;
    default:
        good(key, "text");
        CHECK(f->arg != NULL);
    }
}

/* Each value that is true takes nothing, another one is refused with a reason.
 */
static void try_quiet(const struct field *f)
{
    for (const struct opts_quiet *r = f->quiet; r->key; r++) {
        char word[32];
        CHECK(fields_find(table, r->key) == f);
        CHECK_HAS(help, r->key);
        for (const char *p = r->ok ? r->ok : "any"; *p; p += strspn(p, " ")) {
            snprintf(word, sizeof(word), "%.*s", (int)strcspn(p, " "), p);
            good(r->key, word);
            p += strlen(word);
        }
        if (r->ok)
            bad(r->key, "no-such-word");
    }
}

static void walk(const struct field *f, const char *prefix, size_t at)
{
    char key[64], line[80];
    for (; f->name[0] || f->type == FIELD_PART; f++) {
        snprintf(key, sizeof(key), "%s%s", prefix, f->name);
        if (f->type == FIELD_PART) {
            strcat(key, f->name[0] ? "." : "");
            walk(f->part, f->name[0] ? key : prefix, at + f->offset);
            continue;
        }
        if (at + f->offset + f->size > size)
            FAIL("%s: %s lies outside the struct", class, key);
        if (f->type == FIELD_QUIET) {
            try_quiet(f);
            continue;
        }
        if (f->use & OPTION) {
            CHECK(fields_find(table, key) == f);
            try_option(f, key);
            CHECK_HAS(help, key);
        }
        if (f->use & COUNTER) {
            CHECK(f->size >= 8 && f->help != NULL);
            CHECK_HAS(help, f->name);
            snprintf(line, sizeof(line), "id.%s 0\n", f->name);
            memset(object, 0, size);
            CHECK_HAS(test_stdout(say_counters), line);
        }
    }
}

static void try_table(const char *name, const struct field *t, size_t n)
{
    static char kept[1 << 16];
    table = t;
    class = name;
    size = n;
    object = calloc(1, n);
    REQUIRE(object != NULL);
    snprintf(kept, sizeof(kept), "%s", test_stdout(say_help));
    help = kept;
    if (t)
        walk(t, "", 0);
    bad("no-such-key", "1");
    free(object);
}

TEST(classes_netdevs_by_their_tables)
{
    for (size_t i = 0; i < ARRAY_LEN(nets); i++) {
        try_table(nets[i]->name, nets[i]->fields, nets[i]->size);
        CHECK(fields_find(nets[i]->fields, "id") != NULL);
    }
}

TEST(classes_blockdevs_by_their_tables)
{
    for (size_t i = 0; i < ARRAY_LEN(disks); i++) {
        try_table(disks[i]->name, disks[i]->fields, disks[i]->size);
        CHECK(fields_find(disks[i]->fields, "id") != NULL);
    }
}

TEST(classes_devices_by_their_tables)
{
    for (size_t i = 0; i < ARRAY_LEN(devices); i++)
        try_table(devices[i]->name, devices[i]->fields, devices[i]->size);
}
