/* SPDX-License-Identifier: MIT */
/* -object filter-dump: what a pcap reader finds. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "net/net.h"
#include "tests/unit/net/net_test.h"

static uint8_t file[1 << 20];

static size_t slurp(const char *path)
{
    int fd = open(path, O_RDONLY);
    REQUIRE(fd >= 0);
    ssize_t n = read(fd, file, sizeof(file));
    close(fd);
    REQUIRE(n >= 0);
    return (size_t)n;
}

static uint32_t at(size_t off)
{
    uint32_t v;
    memcpy(&v, file + off, 4);
    return v;
}

TEST(net_dump_records_both_ways_without_virtio_header)
{
    struct machine *m = fake_new(4096);
    struct fake_net *f = fake_net_new("n0", 1);
    struct netdev *nd = fake_net_dev(f);
    const char *path = nt_path("1.pcap");
    char text[200];
    uint8_t frame[100], got[2000];
    struct net_hdr h = {.gso_type = NET_GSO_TCPV4, .gso_size = 1448};
    for (size_t i = 0; i < sizeof(frame); i++)
        frame[i] = (uint8_t)i;
    nd->vhost = VHOST_KERNEL;
    snprintf(text, sizeof(text), "id=d,netdev=n0,file=%s,maxlen=64", path);
    REQUIRE_EQ(nt_dump(text), 0);
    CHECK_EQ(nd->vhost, VHOST_NONE);
    CHECK_HAS(test_log(), "vhost is off");
    CHECK_EQ(nt_send(nd, 60, 7), 72);
    CHECK_EQ(fake_net_take(f, 0, NULL, got, sizeof(got)), 60);
    fake_net_give(f, 0, &h, frame, sizeof(frame));
    struct iovec iov[3] = {{got, 5}, {got + 5, 20}, {got + 25, 1000}};
    CHECK_EQ(nd->q[0]->recv(nd->q[0], iov, 3), 112);
    CHECK_EQ(nd->q[0]->recv(nd->q[0], iov, 3), 0);
    fake_net_block(f, 0, true); /* not taken: not recorded */
    CHECK_EQ(nt_send(nd, 60, 7), 0);
    fake_net_block(f, 0, false);
    size_t n = slurp(path);
    CHECK_EQ(n, 24 + 16 + 60 + 16 + 64);
    CHECK_EQ(at(0), 0xa1b2c3d4);
    CHECK_EQ(at(4), 2 | 4 << 16);
    CHECK_EQ(at(16), 64);
    CHECK_EQ(at(20), 1);
    CHECK(at(24) > 1600000000);
    CHECK(at(28) < 1000000);
    CHECK_EQ(at(32), 60);
    CHECK_EQ(at(36), 60);
    CHECK_EQ(file[40], 7);
    CHECK_EQ(file[99], 66);
    CHECK_EQ(at(108), 64);
    CHECK_EQ(at(112), 100);
    CHECK_MEM(file + 116, frame, 64);
    nd->vhost = VHOST_USER; /* nothing to capture here */
    CHECK_EQ(nt_dump(text), -EINVAL);
    CHECK_HAS(test_log(), "capture in the back-end");
    CHECK_EQ(nd->vhost, VHOST_USER);
    netdev_close_all();
    fake_free(m);
    nt_clean();
}

TEST(net_dump_two_on_one_netdev)
{
    struct machine *m = fake_new(4096);
    struct fake_net *f = fake_net_new("n0", 2);
    struct netdev *nd = fake_net_dev(f);
    REQUIRE_EQ(nt_capture(nd, nt_path("1.pcap")), 0);
    REQUIRE_EQ(nt_capture(nd, nt_path("2.pcap")), 0);
    CHECK_EQ(nt_send(nd, 60, 7), 72);
    CHECK_EQ(slurp(nt_path("1.pcap")), 24 + 16 + 60);
    CHECK_EQ(slurp(nt_path("2.pcap")), 24 + 16 + 60);
    netdev_close_all();
    fake_free(m);
    nt_clean();
}

TEST(net_dump_reader_that_stops_costs_records_only)
{
    struct machine *m = fake_new(4096);
    struct fake_net *f = fake_net_new("n0", 1);
    struct netdev *nd = fake_net_dev(f);
    uint8_t got[2000];
    const char *path = nt_path("fifo");
    REQUIRE_EQ(mkfifo(path, 0600), 0);
    REQUIRE_EQ(nt_capture(nd, path), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    REQUIRE(fd >= 0);
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(nt_send(nd, 1500, 7), 1512);
        CHECK_EQ(fake_net_take(f, 0, NULL, got, sizeof(got)), 1500);
    }
    CHECK_HAS(test_log(), "too slow");
    /* what was written is whole records */
    size_t n = 0;
    ssize_t r;
    for (;;) {
        while ((r = read(fd, file + n, sizeof(file) - n)) > 0)
            n += (size_t)r;
        if ((n - 24) % 1516 == 0)
            break;
        size_t was = n;
        nt_send(nd, 1500, 7);
        while ((r = read(fd, file + n, sizeof(file) - n)) > 0)
            n += (size_t)r;
        REQUIRE(n > was);
    }
    for (size_t off = 24; off < n; off += 1516)
        REQUIRE_EQ(at(off + 8), 1500);
    close(fd);
    netdev_close_all();
    fake_free(m);
    nt_clean();
}

TEST(net_dump_bad_options_are_said)
{
    static const char *const bad[][2] = {
        {"id=d,netdev=n0", "file= are needed"},
        {"id=d,file=/tmp/x", "netdev= and"},
        {"id=d,netdev=zz,file=/tmp/x", "no netdev zz"},
        {"id=d,netdev=n0,file=/nonexistent/x",
         "file=/nonexistent/x: No such file"},
        {"id=d,netdev=n0,file=/tmp/x,maxlen=3", "maxlen="},
        {"id=d,netdev=n0,file=/tmp/x,foo=3", "foo"},
    };
    struct machine *m = fake_new(4096);
    fake_net_new("n0", 1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK(nt_dump(bad[i][0]) < 0);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    netdev_close_all();
    fake_free(m);
}

/* A record longer than what a pipe takes at once goes out in parts: whoever
 * reads finds whole records all the same. */
TEST(net_dump_record_in_parts)
{
    struct machine *m = fake_new(4096);
    struct fake_net *f = fake_net_new("n0", 1);
    struct netdev *nd = fake_net_dev(f);
    static uint8_t got[NET_FRAME_MAX];
    const size_t len = 50000, record = 16 + len;
    const char *path = nt_path("fifo");
    REQUIRE_EQ(mkfifo(path, 0600), 0);
    REQUIRE_EQ(nt_capture(nd, path), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    REQUIRE(fd >= 0);
    fcntl(fd, F_SETPIPE_SZ, 65536);
    size_t n = 0;
    for (int i = 0; i < 25; i++) {
        CHECK_EQ(nt_send(nd, len, (uint8_t)i), NET_HDR_LEN + len);
        CHECK_EQ(fake_net_take(f, 0, NULL, got, sizeof(got)), len);
        ssize_t r = read(fd, file + n, 30000);
        n += r > 0 ? (size_t)r : 0;
        REQUIRE(n < sizeof(file) - 100000);
    }
    CHECK_HAS(test_log(), "too slow, frames are left out");
    for (ssize_t r; (n - 24) % record && n < sizeof(file);) {
        r = read(fd, file + n, 30000);
        n += r > 0 ? (size_t)r : 0;
        if (r <= 0) { /* the rest is written with the next frame */
            CHECK_EQ(nt_send(nd, len, 0), NET_HDR_LEN + len);
            fake_net_take(f, 0, NULL, got, sizeof(got));
        }
    }
    REQUIRE(n > 24 + 5 * record);
    for (size_t off = 24; off < n; off += record) {
        REQUIRE_EQ(at(off + 8), len);
        REQUIRE_EQ(at(off + 12), len);
        for (size_t i = 1; i < len; i++)
            REQUIRE_EQ(file[off + 16 + i], (uint8_t)(file[off + 16] + i));
    }
    close(fd);
    netdev_close_all();
    fake_free(m);
    nt_clean();
}

static void file_limit(rlim_t bytes)
{
    struct rlimit l;
    getrlimit(RLIMIT_FSIZE, &l);
    l.rlim_cur = bytes;
    REQUIRE_EQ(setrlimit(RLIMIT_FSIZE, &l), 0);
}

/* A file that may grow no longer ends the capture, not the frames; what is left
 * out is counted. */
TEST(net_dump_full_file_ends_the_capture_only)
{
    struct machine *m = fake_new(4096);
    struct fake_net *f = fake_net_new("n0", 1);
    struct netdev *nd = fake_net_dev(f);
    const char *path = nt_path("1.pcap");
    static uint8_t got[70000];
    const size_t len = 60000, end = 24 + 16 + len + 30;
    signal(SIGXFSZ, SIG_IGN);
    REQUIRE_EQ(nt_capture(nd, path), 0);
    file_limit(end); /* a record and a part of one; the log's limit, too */
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(nt_send(nd, len, 7), len + 12);
        CHECK_EQ(fake_net_take(f, 0, NULL, got, sizeof(got)), len);
    }
    file_limit(RLIM_INFINITY);
    const char *log = test_log();
    CHECK_HAS(log, "1.pcap ended: File too large");
    CHECK_EQ(slurp(path), end);
    CHECK_EQ(nt_send(nd, 60, 7), 72);
    CHECK_EQ(slurp(path), end);
    struct tally_lines lines;
    struct text text = {0};
    netdev_stats(tally_lines(&lines, &text));
    CHECK_HAS(text.p, "n0.pcap_records 2\nn0.pcap_missed 3\n");
    text_free(&text);
    netdev_close_all();
    fake_free(m);
    nt_clean();
}

/* The same where the file is full between two records. */
TEST(net_dump_full_file_between_records)
{
    struct machine *m = fake_new(4096);
    struct fake_net *f = fake_net_new("n0", 1);
    struct netdev *nd = fake_net_dev(f);
    static uint8_t got[70000];
    const size_t len = 60000, end = 24 + 16 + len;
    signal(SIGXFSZ, SIG_IGN);
    REQUIRE_EQ(nt_capture(nd, nt_path("1.pcap")), 0);
    file_limit(end);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(nt_send(nd, len, 7), len + 12);
        CHECK_EQ(fake_net_take(f, 0, NULL, got, sizeof(got)), len);
    }
    file_limit(RLIM_INFINITY);
    CHECK_HAS(test_log(), "1.pcap ended: File too large");
    CHECK_EQ(slurp(nt_path("1.pcap")), end);
    netdev_close_all();
    fake_free(m);
    nt_clean();
}

/* Its beginning cannot be written: an error with a reason, not a capture into
 * another descriptor. */
TEST(net_dump_file_without_room_for_its_header)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = fake_net_dev(fake_net_new("n0", 1));
    struct opts o;
    struct dump *d = NULL;
    char text[200];
    CHECK_EQ(nt_capture(nd, "/dev/full"), -ENOSPC);
    CHECK_HAS(test_log(), "capture file /dev/full: No space left on device");
    signal(SIGXFSZ, SIG_IGN);
    file_limit(10);
    CHECK_EQ(nt_capture(nd, nt_path("1.pcap")), -ENOSPC);
    file_limit(0);
    CHECK_EQ(nt_capture(nd, nt_path("1.pcap")), -EFBIG);
    file_limit(RLIM_INFINITY);
    /* a folder that goes away before it is opened */
    mkdir(nt_path("dir"), 0700);
    snprintf(text, sizeof(text), "netdev=n0,file=%s", nt_path("dir/x"));
    REQUIRE_EQ(opts_parse(&o, "-object filter-dump", text, NULL), 0);
    REQUIRE_EQ(dump_new(&o, &d), 0);
    rmdir(nt_path("dir"));
    CHECK_EQ(dump_open(d), -ENOENT);
    CHECK_HAS(test_log(), "No such file or directory");
    dump_free(d);
    CHECK(nd->q[0]->priv == NULL); /* the netdev is as it was */
    CHECK_EQ(nt_dump("netdev=n0,file="), -EINVAL);
    CHECK_HAS(test_log(), "file= are needed");
    CHECK_EQ(nt_dump("netdev=n0,file=/"), -EISDIR);
    CHECK_HAS(test_log(), "is a directory");
    netdev_close_all();
    fake_free(m);
    nt_clean();
}

/* A name alone is one in this directory. */
TEST(net_dump_file_here)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = fake_net_dev(fake_net_new("n0", 1));
    int was = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const char *path = nt_path("here.pcap");
    REQUIRE_EQ(chdir(nt_path("")), 0);
    CHECK_EQ(nt_capture(nd, "here.pcap"), 0);
    netdev_close_all();
    CHECK_EQ(fchdir(was), 0);
    CHECK_EQ(slurp(path), 24);
    fake_free(m);
    nt_clean();
}
