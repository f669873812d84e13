/* SPDX-License-Identifier: MIT */
/* Guest memory into a file, whole and as a difference. */
#include "machine/pages.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/unit/test.h"

#define PAGE 4096u
#define PAGES 1200u /* more than are looked at together, in two regions */
#define SIZE ((size_t)PAGES * PAGE)
#define LOW (700u * PAGE)

static int file(void)
{
    char name[] = "/tmp/vmm-pages.XXXXXX";
    int fd = mkstemp(name);
    REQUIRE(fd >= 0);
    unlink(name);
    return fd;
}

/* Of anonymous memory, of a memfd, or a private copy of `base`. */
static struct ram memory(int fd, int base)
{
    int of = fd >= 0 ? fd : base;
    uint8_t *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
                      (fd >= 0 ? MAP_SHARED : MAP_PRIVATE) |
                          (of < 0 ? MAP_ANONYMOUS : 0),
                      of, 0);
    REQUIRE(p != MAP_FAILED);
    return (struct ram){
        .region = {{.gpa = 0, .size = LOW, .hva = p},
                   {.gpa = 1ull << 32,
                    .size = SIZE - LOW,
                    .hva = p + LOW,
                    .offset = LOW}},
        .n = 2,
        .fd = fd,
    };
}

static uint8_t *page(const struct ram *ram, unsigned i)
{
    return ram->region[0].hva + (size_t)i * PAGE;
}

static void forget(struct ram *ram)
{
    munmap(ram->region[0].hva, SIZE);
}

/* Does the file have what the memory has? */
static bool same(const struct ram *ram, int fd)
{
    uint8_t *p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
    REQUIRE(p != MAP_FAILED);
    bool is = !memcmp(p, ram->region[0].hva, SIZE);
    munmap(p, SIZE);
    return is;
}

/* Pages of the file that are data. */
static unsigned data(int fd)
{
    unsigned n = 0;
    for (off_t at = 0; (at = lseek(fd, at, SEEK_DATA)) >= 0;) {
        off_t end = lseek(fd, at, SEEK_HOLE);
        n += (unsigned)((end - at) / PAGE);
        at = end;
    }
    return n;
}

/* Puts the difference over the whole. */
static void merge(int diff, int whole)
{
    uint8_t buf[PAGE];
    for (off_t at = 0; (at = lseek(diff, at, SEEK_DATA)) >= 0; at += PAGE) {
        REQUIRE_EQ(pread(diff, buf, PAGE, at), PAGE);
        REQUIRE_EQ(pwrite(whole, buf, PAGE, at), PAGE);
    }
}

static int save(struct pages *p, const struct ram *ram, bool diff)
{
    int fd = file();
    CHECK_EQ(pages_write(p, ram, fd, diff), 0);
    CHECK_EQ(lseek(fd, 0, SEEK_END), SIZE);
    return fd;
}

/* Some pages here and there, at the ends of regions and of what is looked at
 * together. */
static const unsigned some[] = {0, 1, 2, 511, 512, 600, 699, 700, 1199};

static void fill(const struct ram *ram, uint8_t with)
{
    for (size_t i = 0; i < ARRAY_LEN(some); i++)
        memset(page(ram, some[i]), with, PAGE);
}

/* Whole, then what changes, then what is zero again, in a row of differences:
 * each makes the file before it the memory of now. */
static void rounds(struct ram *ram, struct pages *p)
{
    fill(ram, 1);
    page(ram, 5)[7] = 0; /* touched, and zero */
    int whole = save(p, ram, false);
    pages_keep(p);
    CHECK(same(ram, whole));
    CHECK_EQ(data(whole), ARRAY_LEN(some));
    for (unsigned round = 0; round < 4; round++) {
        page(ram, 699)[4095] = (uint8_t)(round + 3);
        memset(page(ram, round + 600), round == 2 ? 9 : 0, PAGE);
        int diff = save(p, ram, true);
        pages_keep(p);
        CHECK(data(diff) <= 2);
        merge(diff, whole);
        CHECK(same(ram, whole));
        close(diff);
    }
    int diff = save(p, ram, true);
    CHECK_EQ(data(diff), 0);
    close(diff);
    close(whole);
}

/* What is not there is not known to be zeroes: somebody else has it. */
TEST(pages_of_served_memory)
{
    struct ram ram = memory(-1, -1);
    struct pages p;
    unsigned char there;
    ram.served = true;
    pages_open(&p, -1);
    *page(&ram, 3) = 0; /* touched, and zero: what was served was not */
    *page(&ram, 9) = 1;
    int diff = save(&p, &ram, true);
    CHECK_EQ(data(diff), 2);
    pages_keep(&p);
    close(diff);
    CHECK_EQ(mincore(page(&ram, 4), PAGE, &there), 0);
    CHECK(!(there & 1)); /* nobody had to serve it */

    CHECK_EQ(madvise(page(&ram, 9), PAGE, MADV_DONTNEED), 0);
    ram.cut = true;
    diff = save(&p, &ram, true);
    CHECK_EQ(lseek(diff, 9 * PAGE, SEEK_DATA), 9 * PAGE);
    close(diff);

    int whole = save(&p, &ram, false);
    CHECK(same(&ram, whole));
    CHECK_EQ(mincore(page(&ram, 4), PAGE, &there), 0);
    CHECK(there & 1);
    close(whole);
    pages_close(&p);
    forget(&ram);
}

/* What changed before it is in the next difference, too. */
TEST(pages_of_a_file_that_could_not_be_written_count_for_nothing)
{
    struct ram ram = memory(-1, -1);
    struct pages p;
    char name[] = "/tmp/vmm-pages.XXXXXX";
    int none = mkstemp(name), there = open(name, O_RDONLY);
    unlink(name);
    pages_open(&p, -1);
    fill(&ram, 1);
    int whole = save(&p, &ram, false);
    pages_keep(&p);
    fill(&ram, 2);
    REQUIRE_EQ(ftruncate(none, SIZE), 0);
    CHECK(pages_write(&p, &ram, there, true) < 0);
    pages_forget(&p);
    *page(&ram, 30) = 3;
    int diff = save(&p, &ram, true);
    pages_keep(&p);
    CHECK_EQ(data(diff), ARRAY_LEN(some) + 1);
    merge(diff, whole);
    CHECK(same(&ram, whole));
    pages_close(&p);
    close(none);
    close(there);
    close(diff);
    close(whole);
    forget(&ram);
}

TEST(pages_of_private_memory)
{
    struct ram ram = memory(-1, -1);
    struct pages p;
    pages_open(&p, -1);
    rounds(&ram, &p);
    pages_close(&p);
    forget(&ram);
}

TEST(pages_without_a_map_of_them)
{
    struct ram ram = memory(-1, -1);
    struct pages p;
    pages_open(&p, -1);
    close(p.map);
    p.map = -1;
    rounds(&ram, &p);
    pages_close(&p);
    forget(&ram);
}

TEST(pages_of_shared_memory)
{
    int fd = memfd_create("ram", MFD_CLOEXEC);
    struct pages p;
    REQUIRE(fd >= 0);
    REQUIRE_EQ(ftruncate(fd, SIZE), 0);
    struct ram ram = memory(fd, -1);
    pages_open(&p, -1);
    rounds(&ram, &p);
    pages_close(&p);
    forget(&ram);
    close(fd);
}

/* Untouched memory stays so: it takes no page to look at it. */
TEST(pages_that_nobody_touched_are_not_touched)
{
    struct ram ram = memory(-1, -1);
    struct pages p;
    unsigned char there[PAGES];
    pages_open(&p, -1);
    fill(&ram, 1);
    close(save(&p, &ram, false));
    if (p.map < 0)
        SKIP("no /proc/self/pagemap");
    REQUIRE_EQ(mincore(ram.region[0].hva, SIZE, there), 0);
    unsigned n = 0;
    for (unsigned i = 0; i < PAGES; i++)
        n += there[i] & 1;
    CHECK_EQ(n, ARRAY_LEN(some));
    pages_close(&p);
    forget(&ram);
}

/* A machine that was restored: a difference is what it wrote since, even the
 * first; a whole file has what it did not write, too. */
TEST(pages_of_a_private_copy_of_a_file)
{
    struct ram first = memory(-1, -1);
    struct pages p;
    pages_open(&p, -1);
    fill(&first, 1);
    int base = save(&p, &first, false);
    pages_close(&p);
    forget(&first);
    struct ram ram = memory(-1, base);
    pages_open(&p, base);
    if (p.map < 0)
        SKIP("no /proc/self/pagemap");
    page(&ram, 512)[0] = 2;
    memset(page(&ram, 600), 0, PAGE); /* was not */
    page(&ram, 3)[0] = 4;             /* was zero */
    int diff = save(&p, &ram, true);
    CHECK_EQ(data(diff), 3);
    pages_keep(&p);
    page(&ram, 1000)[1] = 5;
    int whole = save(&p, &ram, false);
    CHECK(same(&ram, whole));
    CHECK_EQ(data(whole), ARRAY_LEN(some) - 1 + 2);
    pages_keep(&p);
    int none = save(&p, &ram, true);
    CHECK_EQ(data(none), 0);
    close(none);
    close(whole);
    close(diff);
    close(base);
    pages_close(&p);
    forget(&ram);
}

/* What could not be written is in the next one. */
TEST(pages_of_a_file_that_was_not_kept_are_in_the_next)
{
    struct ram ram = memory(-1, -1);
    struct pages p;
    pages_open(&p, -1);
    fill(&ram, 1);
    int whole = save(&p, &ram, false);
    pages_keep(&p);
    page(&ram, 1)[0] = 2;
    close(save(&p, &ram, true));
    pages_forget(&p);
    int full = open("/dev/full", O_RDWR);
    CHECK(pages_write(&p, &ram, full, true) < 0);
    close(full);
    pages_forget(&p);
    int diff = save(&p, &ram, true);
    CHECK_EQ(data(diff), 1);
    merge(diff, whole);
    CHECK(same(&ram, whole));
    close(diff);
    close(whole);
    pages_close(&p);
    forget(&ram);
}

/* Given back to the host: zeroes again, and that is a difference. */
TEST(pages_that_went_back_are_zeroes_in_a_difference)
{
    struct ram ram = memory(-1, -1);
    struct pages p;
    pages_open(&p, -1);
    fill(&ram, 1);
    int whole = save(&p, &ram, false);
    pages_keep(&p);
    madvise(page(&ram, 511), 2 * PAGE, MADV_DONTNEED);
    int diff = save(&p, &ram, true);
    CHECK_EQ(data(diff), 2);
    merge(diff, whole);
    CHECK(same(&ram, whole));
    close(diff);
    close(whole);
    pages_close(&p);
    forget(&ram);
}
