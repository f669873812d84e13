/* SPDX-License-Identifier: MIT */
/* STATE rows into bytes and back: what a record must be to be taken. */
#include "base/state.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/log.h"
#include "tests/unit/test.h"

struct leg {
    uint16_t length;
    uint8_t toes;
};
struct cat {
    uint8_t lives, bits, purrs;
    uint32_t age;
    uint64_t steps, chip;
    uint16_t whisker[8];
    uint8_t fur[4], mask[4];
    unsigned nlegs, nfleas, nkittens;
    struct leg leg[4];
    struct leg *flea;
    struct leg *kitten[2];
    uint8_t *name;
    uint32_t name_len;
};

static const struct field leg_rows[] = {
    FIELD_AS(STATE, NUMBER, "length", struct leg, length, .min = 1, .max = 500,
             .def = 30),
    FIELD_AS(STATE, NUMBER, "toes", struct leg, toes, .max = 5, .def = 5),
    {.name = ""},
};

static bool steps_row(unsigned i, struct field *f)
{
    *f = (struct field)FIELD_AS(STATE, NUMBER, "steps", struct cat, steps);
    if (i == 1) /* no row */
        f->use = 0;
    if (i == 2)
        *f = (struct field)FIELD_AS(STATE | KEPT, NUMBER, "chip", struct cat,
                                    chip);
    return i < 3;
}

static const struct field cat_rows[] = {
    FIELD_AS(STATE, NUMBER, "lives", struct cat, lives, .min = 1, .max = 9,
             .def = 9),
    FIELD_AS(STATE, MASK, "bits", struct cat, bits, .max = 0x3c, .def = 4),
    FIELD_AS(STATE, FLAG, "purrs", struct cat, purrs, .def = true),
    FIELD_AS(STATE | SPARE, NUMBER, "age", struct cat, age, .def = 7),
    {.name = "made", .type = FIELD_ROWS, .use = STATE, .row = steps_row},
    /* each second one */
    FIELD_AS(STATE, NUMBER, "whisker", struct cat, whisker[1], .n = 4,
             .step = 4, .def = 3),
    FIELD_EACH(STATE | KEPT, UNDER, "fur", struct cat, fur,
               .def = FIELD_BEHIND(struct cat, fur, mask)),
    {.name = "leg",
     .type = FIELD_PARTS,
     .use = STATE,
     .size = sizeof(struct leg),
     .offset = offsetof(struct cat, leg),
     .def = FIELD_BEHIND(struct cat, leg, nlegs),
     .part = leg_rows},
    {.name = "flea",
     .type = FIELD_PARTS,
     .use = STATE,
     .size = sizeof(struct leg),
     .offset = offsetof(struct cat, flea),
     .def = FIELD_BEHIND(struct cat, flea, nfleas),
     .min = 1,
     .part = leg_rows},
    {.name = "kitten",
     .type = FIELD_PARTS,
     .use = STATE,
     .offset = offsetof(struct cat, kitten),
     .def = FIELD_BEHIND(struct cat, kitten, nkittens),
     .min = 2,
     .part = leg_rows},
    FIELD_AS(STATE | SPARE, BLOB, "name", struct cat, name, .max = 16,
             .def = FIELD_BEHIND(struct cat, name, name_len)),
    {.name = ""},
};

struct zoo {
    struct cat cat;
    struct leg flea[2], kitten[2];
    uint8_t name[16];
};

static void zoo_init(struct zoo *z)
{
    memset(z, 0, sizeof(*z));
    z->cat.nlegs = 4;
    z->cat.nfleas = z->cat.nkittens = 2;
    z->cat.flea = z->flea;
    z->cat.kitten[0] = &z->kitten[1];
    z->cat.kitten[1] = &z->kitten[0];
    z->cat.name = z->name;
    memcpy(z->cat.fur, "abcd", 4);
    z->cat.mask[1] = 0x0f;
    fields_reset(cat_rows, &z->cat, STATE);
}

static void zoo_live(struct zoo *z)
{
    zoo_init(z);
    z->cat.lives = 3;
    z->cat.bits = 0x38;
    z->cat.purrs = false;
    z->cat.steps = 1ull << 40;
    z->cat.chip = 99;
    z->cat.whisker[3] = 77;
    z->cat.fur[1] = 'e';
    z->cat.leg[2].toes = 4;
    z->flea[1].length = 1;
    z->kitten[0].toes = 3;
    memcpy(z->name, "Tom", 3);
    z->cat.name_len = 3;
}

#define ROOM 4096
static uint8_t bytes[ROOM];

static size_t save(const struct zoo *z)
{
    size_t n = state_save(cat_rows, &z->cat, bytes, ROOM);
    REQUIRE(n <= ROOM);
    return n;
}

static int load(struct zoo *z, const void *p, size_t n)
{
    return state_load(cat_rows, &z->cat, "cat", p, n);
}

TEST(state_save_reset_load_save_is_byte_equal)
{
    static uint8_t again[ROOM];
    struct zoo z, other;
    zoo_live(&z);
    size_t n = save(&z);
    zoo_init(&other);
    REQUIRE_EQ(load(&other, bytes, n), 0);
    CHECK_EQ(state_save(cat_rows, &other.cat, again, ROOM), n);
    CHECK_MEM(again, bytes, n);
    CHECK(other.cat.lives == 3 && other.cat.steps == 1ull << 40);
    CHECK(other.cat.whisker[3] == 77 && other.cat.whisker[2] == 0);
    CHECK(other.kitten[0].toes == 3 && other.kitten[1].toes == 5);
    CHECK_MEM(other.name, "Tom", 3);
    /* as little room as there is, nothing beyond it is written */
    memset(again, 0xee, sizeof(again));
    for (size_t room = 0; room < n; room++) {
        CHECK_EQ(state_save(cat_rows, &z.cat, again, room), n);
        REQUIRE(again[room] == 0xee);
    }
}

TEST(state_reset_makes_defaults_but_for_what_is_kept)
{
    struct zoo z;
    zoo_live(&z);
    fields_reset(cat_rows, &z.cat, STATE);
    CHECK(z.cat.lives == 9 && z.cat.bits == 4 && z.cat.purrs && !z.cat.steps);
    CHECK(z.cat.chip == 99 && z.cat.fur[1] == 'e' && z.cat.age == 7);
    CHECK(z.cat.whisker[3] == 3 && z.cat.leg[2].toes == 5);
    CHECK(z.flea[1].length == 30 && z.kitten[0].toes == 5 && !z.cat.name_len);
}

/* One record behind what is there; `n` members of `size` bytes, each `val`. */
static size_t add(size_t at, const char *name, unsigned size, uint32_t n,
                  uint64_t val)
{
    bytes[at++] = (uint8_t)strlen(name);
    memcpy(bytes + at, name, strlen(name));
    at += strlen(name);
    bytes[at++] = (uint8_t)size;
    memcpy(bytes + at, &n, 4);
    for (at += 4; n; n--, at += size)
        memcpy(bytes + at, &val, size);
    return at;
}

/* The record of that name is taken out, what comes behind moves up. */
static size_t cut(size_t len, const char *name)
{
    size_t at = 0, end;
    for (; at < len; at = end) {
        uint32_t n;
        size_t head = at + 1 + bytes[at];
        memcpy(&n, bytes + head + 1, 4);
        end = head + 5 + (size_t)n * bytes[head];
        if (bytes[at] != strlen(name) ||
            memcmp(bytes + at + 1, name, bytes[at]))
            continue;
        memmove(bytes + at, bytes + end, len - end);
        return len - (end - at);
    }
    FAIL("there is no %s", name);
    return len;
}

TEST(state_a_record_must_be_of_a_row_once_and_as_it_is_here)
{
    static const struct {
        const char *name;
        unsigned size;
        uint32_t n;
        uint64_t val;
        const char *log; /* NULL: taken */
    } tries[] = {
        {"lives", 1, 1, 1, NULL},
        {"lives", 1, 1, 9, NULL},
        {"lives", 1, 1, 0, "vmm: cat: lives: 0 is not from 1 to 9\n"},
        {"lives", 1, 1, 10, "lives: 10 is not from 1 to 9"},
        {"lives", 2, 1, 5, "lives: 1 of 2 bytes, here 1 of 1\n"},
        {"lives", 1, 0, 5, "lives: 0 of 1 bytes, here 1 of 1\n"},
        {"bits", 1, 1, 0x3c, NULL},
        {"bits", 1, 1, 0x40, "bits: 0x40 has bits beside 0x3c"},
        {"purrs", 1, 1, 2, "purrs: 2 is not from 0 to 1"},
        {"leg.2.length", 2, 1, 500, NULL},
        {"leg.2.length", 2, 1, 501, "leg.2.length: 501 is not from 1 to 500"},
        {"kitten.1.toes", 1, 1, 6, "kitten.1.toes: 6 is not from 0 to 5"},
        {"whisker", 2, 3, 3, "whisker: 3 of 2 bytes, here 4 of 2"},
        {"fur", 1, 4, 'a', "fur: byte 2 is 0x61, here 0x63"},
        {"name", 1, 16, 'x', NULL},
        {"name", 1, 17, 'x', "name: 17 of 1 bytes, here at most 16 of 1"},
        {"name", 8, 1, 'x', "name: 1 of 8 bytes, here at most 16 of 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        struct zoo z, before;
        zoo_live(&z);
        size_t n = cut(save(&z), tries[i].name);
        zoo_init(&z);
        before = z;
        n = add(n, tries[i].name, tries[i].size, tries[i].n, tries[i].val);
        int err = load(&z, bytes, n);
        CHECK_EQ(err, tries[i].log ? -EINVAL : 0);
        if (tries[i].log) {
            CHECK_HAS(test_log(), tries[i].log);
            CHECK_MEM(&z, &before, sizeof(z)); /* not by halves */
        }
    }
}

TEST(state_missing_unknown_and_double_names_are_said)
{
    struct zoo z;
    zoo_live(&z);
    size_t n = save(&z);
    CHECK_EQ(load(&z, bytes, cut(n, "steps")), -EINVAL);
    CHECK_STR(test_log(), "vmm: cat: steps is missing\n");
    n = save(&z);
    CHECK_EQ(load(&z, bytes, add(n, "lives", 1, 1, 5)), -EINVAL);
    CHECK_STR(test_log(), "vmm: cat: lives is there twice\n");
    CHECK_EQ(load(&z, bytes, add(n, "wings", 4, 0, 0)), -EINVAL);
    CHECK_STR(test_log(), "vmm: cat: wings is nothing this has\n");
    CHECK_EQ(load(&z, bytes, add(n, "leg.4.toes", 1, 1, 5)), -EINVAL);
    CHECK_STR(test_log(), "vmm: cat: leg.4.toes is nothing this has\n");
    CHECK_EQ(load(&z, bytes, add(n, "li\nes", 1, 1, 5)), -EINVAL);
    CHECK_HAS(test_log(), "vmm: cat: no record at byte ");
    CHECK_EQ(load(&z, bytes, 0), -EINVAL);
    CHECK_HAS(test_log(), "lives is missing");
    /* what may be missing becomes its default */
    z.cat.age = 50;
    CHECK_EQ(load(&z, bytes, cut(n, "name")), 0);
    CHECK(z.cat.age == 7 && z.cat.name_len == 0);
    z.cat.age = 50;
    n = save(&z);
    z.cat.age = 7;
    CHECK_EQ(load(&z, bytes, n), 0);
    CHECK_EQ(z.cat.age, 50);
}

TEST(state_records_in_another_order_are_as_good)
{
    struct zoo z;
    zoo_live(&z);
    size_t n = save(&z);
    n = add(cut(n, "lives"), "lives", 1, 1, 4);
    n = add(cut(n, "bits"), "bits", 1, 1, 8);
    zoo_init(&z);
    CHECK_EQ(load(&z, bytes, n), 0);
    CHECK(z.cat.lives == 4 && z.cat.bits == 8 && z.cat.leg[2].toes == 4);
}

/* In a block of its own, so that a read beyond it shows. */
static int load_copy(struct zoo *z, size_t n)
{
    uint8_t *p = malloc(n ? n : 1);
    REQUIRE(p != NULL);
    memcpy(p, bytes, n);
    int err = load(z, p, n);
    free(p);
    return err;
}

TEST(state_cut_off_anywhere_is_refused_flipped_anywhere_does_no_harm)
{
    struct zoo z, before;
    zoo_live(&z);
    size_t n = save(&z), last = n - 3 - 4 - 1 - 5;
    zoo_init(&z);
    before = z;
    for (size_t i = 0; i < n; i++) {
        /* without its last record, which may lack, it is whole */
        CHECK_EQ(load_copy(&z, i), i == last - 0 ? 0 : -EINVAL);
        if (i != last)
            CHECK_MEM(&z, &before, sizeof(z));
        zoo_init(&z);
    }
    for (size_t bit = 0; bit < 8 * n; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        load_copy(&z, n);
        CHECK(z.cat.lives >= 1 && z.cat.lives <= 9 && z.cat.purrs <= 1);
        CHECK(z.cat.name_len <= 16 && z.kitten[1].toes <= 5);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}
