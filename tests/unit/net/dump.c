/* SPDX-License-Identifier: MIT */
/* -object filter-dump: what a pcap reader finds. */
#include <fcntl.h>
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
