/* SPDX-License-Identifier: MIT */
/* Firecracker's metrics: lines of JSON in a file or a FIFO, for which nobody
 * waits. */
#include "control/fcmetrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "devices/list.h"
#include "tests/unit/fakeblk.h"

#define MINUTE 60000000000ull

static struct {
    struct machine *m;
    struct fake_blk *blk;
    char path[64];
    int fd; /* the reader's */
} fc;

static void begin(bool fifo, int nics)
{
    char text[64];
    fc.m = fake_pc(1 << 20);
    fc.blk = fake_blk_new(NULL);
    for (int i = 0; i < nics; i++) {
        snprintf(text, sizeof(text), "n%d", i);
        fake_net_new(text, 1);
        snprintf(text, sizeof(text), "id=eth%d,netdev=n%d", i, i);
        REQUIRE_EQ(fake_device(fc.m, &virtio_net_class, "nic", text), 0);
    }
    REQUIRE_EQ(fake_device(fc.m, &virtio_blk_class, "disk", "id=r,drive=d0"),
               0);
    snprintf(fc.path, sizeof(fc.path), "/tmp/vmm-fcmetrics-%d", getpid());
    unlink(fc.path);
    fc.fd = -1;
    if (fifo)
        REQUIRE_EQ(mkfifo(fc.path, 0600), 0);
    fake_set_wall(1700000000);
}

static void end(void)
{
    fcmetrics_end();
    if (fc.fd >= 0)
        close(fc.fd);
    unlink(fc.path);
    devices_destroy(fc.m);
    netdev_close_all();
    blockdev_close_all();
    fake_free(fc.m);
}

/* All that has come since the last look. */
static const char *content(void)
{
    static char text[1 << 18];
    if (fc.fd < 0)
        fc.fd = open(fc.path, O_RDONLY | O_NONBLOCK);
    ssize_t n = 0, got;
    while ((got = read(fc.fd, text + n, sizeof(text) - 1 - (size_t)n)) > 0)
        n += got;
    text[n] = '\0';
    return text;
}

/* Of the one line that came: a number, by group and key; -1: is not there. */
static long long number(const char *line, const char *group, const char *key)
{
    char want[64];
    const char *end = strchr(line, '\n');
    REQUIRE(end && !end[1]);
    CHECK(*line == '{' && end[-1] == '}');
    snprintf(want, sizeof(want), "\"%s\":{", group);
    const char *in = strstr(line, want);
    snprintf(want, sizeof(want), "\"%s\":", key);
    const char *at = in ? strstr(in, want) : NULL;
    return at && at < strchr(in, '}') ? strtoll(at + strlen(want), NULL, 10)
                                      : -1;
}

TEST(fcmetrics_lines_tell_by_how_much_each_has_grown)
{
    begin(false, 1);
    fc.blk->b.reads = 3;
    REQUIRE_EQ(fcmetrics_open(fc.path), 0);
    CHECK_EQ(fcmetrics_flush(), 0); /* no guest has run */
    CHECK_STR(content(), "");
    fcmetrics_begin(fc.m);
    fcmetrics_begin(fc.m); /* it was started again */
    const char *line = content();
    struct opts o;
    opts_init(&o, "line");
    CHECK_EQ(json_request(&o, line, strlen(line)), 0);
    CHECK_STR(opts_str(&o, "utc_timestamp_ms", ""), "1700000000000");
    opts_free(&o);
    CHECK_EQ(number(line, "block", "read_count"), 3);
    CHECK_EQ(number(line, "block_r", "read_count"), 3);
    CHECK_EQ(number(line, "net_eth0", "rx_bytes_count"), 0);
    CHECK_EQ(number(line, "net", "tx_malformed_frames"), 0);
    CHECK_EQ(number(line, "vcpu", "exit_io_in"), 0);
    CHECK_EQ(number(line, "vsock", "rx_bytes_count"), -1);
    fc.blk->b.reads = 5;
    fake_sleep_ns(fc.m, MINUTE - 1);
    CHECK_STR(content(), "");
    fake_sleep_ns(fc.m, 1);
    line = content();
    CHECK_EQ(number(line, "block_r", "read_count"), 2);
    CHECK_EQ(fcmetrics_flush(), 0);
    line = content();
    CHECK_EQ(number(line, "block_r", "read_count"), 0);
    fc.blk->b.read_bytes = 4096;
    fcmetrics_end();
    line = content();
    CHECK_EQ(number(line, "block_r", "read_bytes"), 4096);
    end();
}

TEST(fcmetrics_a_fifo_needs_no_reader_and_a_full_one_loses_lines)
{
    begin(true, 12); /* lines longer than what a FIFO takes in one */
    REQUIRE_EQ(fcmetrics_open(fc.path), 0);
    fcmetrics_begin(fc.m);
    int n = 1;
    while (fcmetrics_flush() == 0)
        REQUIRE(n++ < 1000);
    CHECK_HAS(test_log(), "metrics: a line is lost: the pipe is full");
    fc.blk->b.reads = 7;
    CHECK_EQ(fcmetrics_flush(), -EAGAIN);
    test_log();
    const char *all = content(), *last = all;
    int whole = 0;
    for (const char *p = all; (p = strchr(p, '\n')); p++, whole++)
        last = p + 1;
    CHECK_EQ(whole, n - 1);
    REQUIRE(*last);
    /* the rest of the one that went in by half, then one of what was lost */
    char rest[1 << 14];
    snprintf(rest, sizeof(rest), "%s", last);
    CHECK_EQ(fcmetrics_flush(), 0);
    snprintf(rest + strlen(rest), sizeof(rest) - strlen(rest), "%s", content());
    char *line = strchr(rest, '\n') + 1, keep = *line;
    *line = '\0';
    CHECK_EQ(number(rest, "block_r", "read_count"), 0);
    *line = keep;
    CHECK_EQ(number(line, "block_r", "read_count"), 7);
    CHECK_EQ(number(line, "logger", "missed_metrics_count"), 2);
    end();
}

TEST(fcmetrics_no_reader_at_the_end_of_the_minute_is_said_once)
{
    begin(true, 1);
    REQUIRE_EQ(fcmetrics_open(fc.path), 0);
    fcmetrics_begin(fc.m);
    while (fcmetrics_flush() == 0)
        ;
    test_log();
    fake_sleep_ns(fc.m, MINUTE);
    CHECK_HAS(test_log(), "the pipe is full");
    fake_sleep_ns(fc.m, 3 * MINUTE);
    CHECK_STR(test_log(), "");
    end();
}

TEST(fcmetrics_wrong_places_are_said)
{
    begin(false, 1);
    CHECK_EQ(fcmetrics_open("/nowhere/x"), -ENOENT);
    CHECK_HAS(test_log(), "metrics /nowhere/x: No such file");
    CHECK_EQ(fcmetrics_open("/dev/null"), -EINVAL);
    CHECK_HAS(test_log(), "must be a regular file or a FIFO");
    CHECK_EQ(fcmetrics_open("/tmp"), -EISDIR);
    test_log();
    CHECK_EQ(fcmetrics_flush(), 0);
    CHECK_EQ(fcmetrics_open(fc.path), 0);
    CHECK_EQ(fcmetrics_open(fc.path), -EBUSY);
    test_log();
    end();
}
