/* SPDX-License-Identifier: MIT */
/* Guest memory of each kind, as far as this host has it. */
#include "machine/kvm/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/unit/fake.h"

#define MIB (1ull << 20)

static struct ram ram;
static void *map;
static size_t map_size;
static const char *pinned;

static int make(uint64_t size, struct ram_config c)
{
    ram = (struct ram){.fd = -1};
    map = NULL;
    pinned = NULL;
    test_log();
    return ram_make(&ram, size, &c, &map, &map_size, &pinned);
}

static void end(void)
{
    if (map)
        munmap(map, map_size);
    if (ram.fd >= 0)
        close(ram.fd);
}

static uint8_t resident(uint64_t at)
{
    unsigned char page = 0;
    CHECK_EQ(mincore((uint8_t *)map + at, 4096, &page), 0);
    return page & 1;
}

TEST(ram_is_anonymous_aligned_and_comes_as_it_is_touched)
{
    REQUIRE_EQ(make(64 * MIB, (struct ram_config){.sparse = true}), 0);
    CHECK_EQ(ram.fd, -1);
    CHECK_EQ((uintptr_t)map % (2 * MIB), 0);
    CHECK(ram.n == 1 && ram.region[0].size == 64 * MIB && !pinned);
    CHECK(!resident(32 * MIB));
    end();
    REQUIRE_EQ(make(4096 * MIB, (struct ram_config){0}), 0);
    CHECK_EQ(ram.n, 2);
    CHECK_EQ(ram.region[1].gpa, 1ull << 32);
    CHECK_EQ(ram.region[1].hva - ram.region[0].hva, 3072 * MIB);
    CHECK_EQ(ram.region[1].offset, 3072 * MIB);
    end();
}

TEST(ram_prealloc_is_there_before_the_guest)
{
    REQUIRE_EQ(
        make(8 * MIB, (struct ram_config){.prealloc = true, .sparse = true}),
        0);
    CHECK(resident(0) && resident(4 * MIB) && resident(8 * MIB - 4096));
    end();
}

/* A memfd for others, which none of them can cut short. */
TEST(ram_shared_is_sealed)
{
    REQUIRE_EQ(make(8 * MIB, (struct ram_config){.shared = true}), 0);
    REQUIRE(ram.fd >= 0);
    CHECK(ftruncate(ram.fd, 4096) < 0);
    CHECK(!pinned);
    end();
}

TEST(ram_of_a_directory_has_no_name)
{
    char dir[] = "/tmp/ram-test-XXXXXX";
    REQUIRE(mkdtemp(dir) != NULL);
    for (unsigned shared = 0; shared < 2; shared++) {
        REQUIRE_EQ(
            make(4 * MIB, (struct ram_config){.path = dir, .shared = shared}),
            0);
        CHECK_EQ(ram.fd >= 0, shared);
        /* what is private of a file is the file's without us */
        CHECK_EQ(pinned != NULL, !shared);
        memset(map, 1, 4096);
        end();
    }
    CHECK_EQ(rmdir(dir), 0); /* nothing is in it */
}

/* A page that is given back would be the file's again, no zeroes. */
TEST(ram_of_a_saved_file_is_not_given_back)
{
    char path[] = "/tmp/ram-test-XXXXXX";
    struct ram_config c = {.image = path, .fd = mkstemp(path)};
    REQUIRE(c.fd >= 0);
    REQUIRE_EQ(ftruncate(c.fd, 4 * MIB), 0);
    REQUIRE_EQ(make(4 * MIB, c), 0);
    CHECK(pinned != NULL);
    end();
    c.shared = true; /* then it is a copy, of which pages can go */
    REQUIRE_EQ(make(4 * MIB, c), 0);
    CHECK(!pinned);
    end();
    close(c.fd);
    unlink(path);
}

TEST(ram_of_a_file_has_its_size_and_what_is_in_it)
{
    char path[] = "/tmp/ram-test-XXXXXX";
    uint8_t byte = 7;
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    struct ram_config c = {.path = path, .shared = true};
    REQUIRE_EQ(make(4 * MIB, c), 0);
    *(uint8_t *)map = 42;
    CHECK(pread(fd, &byte, 1, 0) == 1 && byte == 42);
    end();
    c.shared = false;
    REQUIRE_EQ(make(4 * MIB, c), 0);
    CHECK_EQ(*(uint8_t *)map, 42);
    *(uint8_t *)map = 43;
    CHECK(pread(fd, &byte, 1, 0) == 1 && byte == 42);
    end();
    CHECK_EQ(make(8 * MIB, c), -EINVAL);
    CHECK_HAS(test_log(), "has 4 MiB, -m 8");
    CHECK_EQ(ram.fd, -1);
    struct stat st;
    CHECK(!fstat(fd, &st) && st.st_size == (off_t)(4 * MIB));
    end();
    close(fd);
    unlink(path);
    c.path = "/nonexistent/x";
    CHECK_EQ(make(8 * MIB, c), -ENOENT);
    CHECK_HAS(test_log(), "mem-path /nonexistent/x: No such file");
}

/* No room in a file system, too few huge pages: said now, not by a signal when
 * the guest runs. */
TEST(ram_that_is_not_there_is_said_at_the_start)
{
    CHECK_EQ(make(1ull << 50, (struct ram_config){.path = "/tmp"}), -ENOSPC);
    CHECK_HAS(test_log(), "mem-path /tmp: room for");
    end();
    int err = make(1ull << 40, (struct ram_config){.page = 2 * MIB});
    CHECK(err < 0);
    CHECK_HAS(test_log(), "huge pages of 2048 KiB");
    end();
    CHECK(make(1ull << 40, (struct ram_config){.page = 1}) < 0);
    CHECK_HAS(test_log(), "huge pages");
    end();
    CHECK_EQ(make(64 * MIB, (struct ram_config){.page = 128 * MIB}), -EINVAL);
    end();
}
