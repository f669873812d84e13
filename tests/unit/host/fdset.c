/* SPDX-License-Identifier: MIT */
/* Sets of descriptors: what a path of theirs opens, and what the option takes.
 */
#include "host/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/handed.h"
#include "tests/unit/test.h"

static const char *sets(void)
{
    static char said[512];
    struct text out = {0};
    fdset_put(&out);
    snprintf(said, sizeof(said), "%s", out.p);
    text_free(&out);
    return said;
}

TEST(fdset_a_path_opens_a_descriptor_that_can_do_it)
{
    uint32_t set = 7, other = FDSET_NEW;
    int r = open("/dev/null", O_RDONLY), w = open("/dev/zero", O_WRONLY);
    int both = open("/dev/zero", O_RDWR), fd;
    struct stat st;
    char c = 1;
    REQUIRE_EQ(fdset_add(&set, r, NULL), 0);
    CHECK_EQ(fdset_open("/dev/fdset/7", O_WRONLY), -1);
    CHECK_EQ(errno, EACCES);
    REQUIRE_EQ(fdset_add(&set, w, "a \"name\""), 0);
    REQUIRE_EQ(fdset_add(&other, both, NULL), 0);
    CHECK_EQ(other, 0);
    CHECK_HAS(sets(), "\"fdset-id\": 7, \"fds\": [{\"fd\": ");
    CHECK_HAS(sets(), "\"opaque\": \"a \\\"name\\\"\"}]}, {\"fdset-id\": 0, ");
    fd = fdset_open("/dev/fdset/7", O_WRONLY | O_CLOEXEC);
    REQUIRE(fd > both);
    CHECK_EQ(write(fd, &c, 1), 1);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    CHECK_EQ(fdset_open("/dev/fdset/7", O_RDWR), -1);
    CHECK_EQ(errno, EACCES);
    fd = fdset_open("/dev/fdset/0", O_RDONLY);
    CHECK_EQ(read(fd, &c, 1), 1);
    CHECK_EQ(fdset_stat("/dev/fdset/7", &st), 0);
    CHECK(S_ISCHR(st.st_mode));
    CHECK_EQ(fdset_stat("/dev/fdset/8", &st), -1);
    CHECK_EQ(fdset_open("/dev/fdset/7x", O_RDONLY), -1);
    CHECK_EQ(errno, ENOENT);
    CHECK_EQ(fdset_open("/dev/fdset/4294967303", O_RDONLY), -1);
    /* What is open stays so. */
    CHECK_EQ(fdset_remove(0, (uint32_t)both), 0);
    CHECK_EQ(fcntl(both, F_GETFD), -1);
    CHECK_EQ(read(fd, &c, 1), 1);
    close(fd);
    CHECK_EQ(fdset_remove(0, FDSET_ALL), -ENOENT);
    CHECK_EQ(fdset_remove(7, 0), -ENOENT);
    CHECK_EQ(fdset_remove(7, FDSET_ALL), 0);
    CHECK_STR(sets(), "[]");
    fd = fdset_open("/dev/null", O_RDONLY);
    CHECK(fd >= 0);
    close(fd);
}

TEST(fdset_goes_to_another_process)
{
    struct parts out = {0};
    struct part part;
    const int *fd;
    uint32_t set = 5, other = 6;
    int own[2];
    handed_late_begin();
    REQUIRE_EQ(fdset_add(&set, dup(0), "a \"b"), 0);
    REQUIRE_EQ(fdset_add(&other, dup(0), NULL), 0);
    fdset_leave(&out);
    REQUIRE_EQ(parts_end(&out), 0);
    REQUIRE_EQ(handed_late_list(0, &fd), 2);
    for (int i = 0; i < 2; i++)
        own[i] = dup(fd[i]);
    fdset_free();
    handed_late_begin();
    for (int i = 0; i < 2; i++)
        handed_late(own[i]);
    for (size_t at = 0; parts_next(out.p, out.n, &at, &part);) {
        uint32_t len = part.len;
        part.len = 7; /* cut short in the set's number: none, not yet */
        fdset_arrive(&part);
        part.len = len;
        fdset_arrive(&part);
        fdset_arrive(&part); /* said twice: there is one */
    }
    CHECK_HAS(sets(), "[{\"fdset-id\": 5, \"fds\": [{\"fd\": ");
    CHECK_HAS(sets(), ", \"opaque\": \"a \\\"b\"}]}, {\"fdset-id\": 6, ");
    handed_mine();
    fdset_free();
    /* Text that does not end is none; the descriptor is closed. */
    int fd2 = dup(0);
    handed_late(fd2);
    REQUIRE(parts_next(out.p, out.n, &(size_t){0}, &part));
    part.len--;
    fdset_arrive(&part);
    CHECK_STR(sets(), "[]");
    CHECK_EQ(fcntl(fd2, F_GETFD), -1);
    handed_late_begin();
    parts_free(&out);
}

TEST(fdset_there_are_so_many_and_no_more)
{
    uint32_t set;
    for (int i = 0; i < FDSET_FDS; i++) {
        set = FDSET_NEW;
        REQUIRE_EQ(fdset_add(&set, dup(0), NULL), 0);
        CHECK_EQ(set, i);
    }
    set = FDSET_NEW;
    CHECK_EQ(fdset_add(&set, 0, NULL), -ENFILE);
    fdset_free();
    CHECK_STR(sets(), "[]");
}

TEST(fdset_option_takes_what_is_open)
{
    char text[64];
    int fd = open("/dev/null", O_RDWR);
    snprintf(text, sizeof(text), "set=2,fd=%d,opaque=x", fd);
    CHECK_EQ(fdset_option(text), 0);
    CHECK_EQ(fdset_option(text), -EINVAL);
    CHECK_HAS(test_log(), "is in set 2 already");
    CHECK_EQ(fdset_option("set=2"), -EINVAL);
    CHECK_HAS(test_log(), "set= and fd= are needed");
    CHECK_EQ(fdset_option("set=2,fd=2"), -EINVAL);
    CHECK_EQ(fdset_option("set=2,fd=999999"), -EINVAL);
    CHECK_HAS(test_log(), "must be open");
    CHECK_EQ(fdset_option("set=x,fd=3"), -EINVAL);
    CHECK_EQ(fdset_option("set=4294967295,fd=3"), -EINVAL);
    fdset_free();
}
