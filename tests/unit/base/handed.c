/* SPDX-License-Identifier: MIT */
/* What one VMM hands to the next one, by name. */
#include "base/handed.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/unit/test.h"

static int nul(void)
{
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

TEST(handed_lists_what_is_open_now)
{
    char text[HANDED_TEXT];
    int fd[HANDED_MAX], a = 7, b = -1;
    unsigned n = 12;
    handed_keep(&a, "a:%s", "unwanted");
    CHECK_EQ(handed_list(text, fd), 0);
    handed_want();
    handed_keep(&a, "tap:%s:%d", "n0", 0);
    handed_keep(&b, "tap:%s:%d", "n0", 1);
    handed_keep_number(&n, "offload:%s", "a=b\nc");
    CHECK_EQ(handed_list(text, fd), 1);
    CHECK_EQ(fd[0], 7);
    CHECK_EQ(strcmp(text, "tap:n0:0\noffload:a_b_c=12\n"), 0);
    b = 9;
    n = 0;
    handed_keep(&b, "tap:n0:0"); /* the same name: another place */
    CHECK_EQ(handed_list(text, fd), 2);
    CHECK_EQ(fd[0], 9);
    CHECK_EQ(fd[1], 9);
    handed_end();
    CHECK_EQ(handed_list(text, fd), 0);
}

TEST(handed_list_that_is_too_long_is_an_error)
{
    char text[HANDED_TEXT];
    int fd[HANDED_MAX], one = 1;
    handed_want();
    for (int i = 0; i <= HANDED_MAX; i++) {
        CHECK_EQ(handed_list(text, fd), i);
        handed_keep(&one, "fd:%d", i);
    }
    CHECK_EQ(handed_list(text, fd), -ENOSPC);
    handed_end();
    handed_want();
    for (int i = 0; i < 100; i++) {
        char name[200];
        snprintf(name, sizeof(name), "%03d%0199d", i, 0);
        handed_keep(&one, "%s", name);
    }
    CHECK_EQ(handed_list(text, fd), 100);
    CHECK(strlen(text) < HANDED_TEXT);
    for (int i = 0; i < 100; i++)
        handed_keep(&one, "x%03d%0190d", i, 0);
    CHECK_EQ(handed_list(text, fd), -ENOSPC);
    handed_end();
}

TEST(handed_is_taken_once_by_its_name)
{
    const int fd[] = {nul(), nul(), nul()};
    CHECK(!handed_waits());
    CHECK(handed_come("disk:d\noffload:n=63\ntap:n:0\nram\n", fd, 3));
    CHECK(handed_waits());
    CHECK_EQ(handed_take("tap:%s:%d", "n", 0), fd[1]);
    CHECK_EQ(handed_take("tap:n:0"), -ENOENT);
    CHECK(handed_has("tap:n:0"));
    CHECK(!handed_has("tap:n:1"));
    CHECK_EQ(handed_take("offload:n"), -ENOENT);
    CHECK_EQ(handed_number(1, "offload:%s", "n"), 63);
    CHECK_EQ(handed_number(1, "offload:m"), 1);
    CHECK_EQ(strcmp(handed_left(), "disk:d"), 0);
    CHECK_EQ(handed_take("disk:d"), fd[0]);
    CHECK_EQ(handed_take("ram"), fd[2]);
    CHECK(!handed_left());
    handed_mine();
    CHECK(!handed_waits());
    handed_end();
    for (int i = 0; i < 3; i++)
        CHECK_EQ(close(fd[i]), 0);
}

TEST(handed_that_is_no_list_is_refused)
{
    static const struct {
        const char *text;
        int n;
    } bad[] = {
        {"a\n", 0},      /* no descriptor for it */
        {"", 1},         /* no name for it */
        {"a\nb=1\n", 2}, /* likewise */
        {"a", 1},        /* cut off */
        {"a=1", 0},      /* likewise */
        {"\n", 1},       /* no name */
        {"=1\n", 0},     /* likewise */
        {"a\na\n", 2},   /* twice */
        {"a=1\na\n", 1}, /* likewise */
    };
    char name[300];
    int none = -1;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int fd[] = {nul(), nul()};
        if (!CHECK(!handed_come(bad[i].text, fd, bad[i].n)))
            FAIL("list %zu is taken", i);
        handed_end();
        close(fd[0]);
        close(fd[1]);
    }
    memset(name, 'x', sizeof(name));
    strcpy(name + sizeof(name) - 4, "=1\n");
    CHECK(!handed_come(name, &none, 0));
    handed_end();
}

/* What nobody took is closed, what was taken is not. */
/* Any number of them; the one of a number is taken once, the rest closed. */
TEST(handed_late_are_taken_by_their_numbers)
{
    const int *fd;
    int pipes[2], n = 0;
    handed_late_begin();
    CHECK_EQ(handed_late_list(0, &fd), 0);
    REQUIRE_EQ(pipe(pipes), 0);
    for (unsigned i = 0; i < HANDED_MAX; i++)
        CHECK_EQ(handed_late(dup(pipes[0])), i);
    CHECK_EQ(handed_late(pipes[1]), HANDED_MAX);
    CHECK_EQ(n = handed_late_list(0, &fd), HANDED_MAX);
    CHECK_EQ(handed_late_list((unsigned)n, &fd), 1);
    CHECK_EQ(fd[0], pipes[1]);
    CHECK_EQ(handed_late_list(HANDED_MAX + 1, &fd), 0);
    CHECK_EQ(handed_late_take(HANDED_MAX), pipes[1]);
    CHECK_EQ(handed_late_take(HANDED_MAX), -ENOENT);
    CHECK_EQ(handed_late_take(HANDED_MAX + 1), -ENOENT);
    int taken = handed_late_take(7);
    close(pipes[0]);
    handed_mine();
    CHECK_EQ(fcntl(taken, F_GETFD) >= 0, true);
    close(taken); /* the last one that reads */
    signal(SIGPIPE, SIG_IGN);
    CHECK_EQ(write(pipes[1], "", 1), -1);
    close(pipes[1]);
    CHECK_EQ(handed_late_list(0, &fd), 0);
    handed_late(-1); /* one that could not be had */
    CHECK_EQ(handed_late_list(0, &fd), -ENOMEM);
    handed_late_begin();
}

TEST(handed_end_closes_the_rest)
{
    const int fd[] = {nul(), nul()};
    CHECK(handed_come("a\nb\n", fd, 2));
    CHECK_EQ(handed_take("a"), fd[0]);
    handed_end();
    CHECK_EQ(fcntl(fd[1], F_GETFD), -1);
    CHECK_EQ(close(fd[0]), 0);
}
