/* SPDX-License-Identifier: MIT */
/* -metrics: a file that is written over, with whole lines at any time. */
#include "control/textfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/fake.h"

static char path[64];

static const char *content(void)
{
    static char text[4096];
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    close(fd);
    return text;
}

static void make(const char *before)
{
    strcpy(path, "/tmp/vmm-textfile-XXXXXX");
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    CHECK_EQ(write(fd, before, strlen(before)), strlen(before));
    close(fd);
}

TEST(textfile_is_written_over_when_it_is_due_and_at_the_end)
{
    static char old[2000];
    char arg[128], first[4096];
    struct machine *m = fake_new(4096);
    struct fake_net *f = fake_net_new("n0", 1);
    struct netdev *nd = fake_net_dev(f);
    memset(old, 'x', sizeof(old) - 1);
    make(old);
    snprintf(arg, sizeof(arg), "%s,interval=2", path);
    REQUIRE_EQ(textfile_option(arg), 0);
    REQUIRE_EQ(textfile_open(m), 0);
    CHECK_STR(content(), old); /* the start may still fail */
    textfile_begin();
    strcpy(first, content());
    CHECK_HAS(first, "\nvmm_link{id=\"n0\"}                    1\n");
    CHECK(!strchr(first, 'x'));
    netdev_plug(nd, false);
    textfile_begin(); /* the guest was started again */
    fake_sleep_ns(m, 1900000000);
    CHECK_STR(content(), first);
    fake_sleep_ns(m, 200000000);
    CHECK_HAS(content(), "\nvmm_link{id=\"n0\"}                    0\n");
    CHECK_EQ(strlen(content()), strlen(first));
    netdev_plug(nd, true);
    textfile_end();
    CHECK_STR(content(), first);
    unlink(path);
    netdev_close_all();
    fake_free(m);
}

TEST(textfile_wrong_use_is_said)
{
    struct machine *m = fake_new(4096);
    CHECK_EQ(textfile_option("x,interval=0"), -EINVAL);
    CHECK_HAS(test_log(), "interval 0: must be");
    textfile_end();
    CHECK_EQ(textfile_option("interval=3"), -EINVAL);
    CHECK_HAS(test_log(), "FILE is missing");
    textfile_end();
    CHECK_EQ(textfile_option("/dev/null"), 0);
    CHECK_EQ(textfile_option("/dev/null"), -EINVAL);
    test_log();
    CHECK_EQ(textfile_open(m), -EINVAL);
    CHECK_HAS(test_log(), "-metrics /dev/null: must be a regular file");
    textfile_end();
    CHECK_EQ(textfile_option("/nowhere/x"), 0);
    CHECK_EQ(textfile_open(m), -ENOENT);
    textfile_end();
    fake_free(m);
}
