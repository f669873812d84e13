/* SPDX-License-Identifier: MIT */
/* -netdev stream: framing, pieces, back-pressure, peers that come and go. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/iov.h"
#include "net/list.h"
#include "net/stream.h"
#include "tests/unit/net/net_test.h"

struct link {
    int changes;
    bool up;
};

static void link_changed(void *nic, bool up)
{
    struct link *l = nic;
    l->changes++;
    l->up = up;
}

/* A stream over a descriptor; the test's end to *peer. */
static struct netdev *pair_open(struct machine *m, int *peer)
{
    struct netdev *nd = NULL;
    char text[64];
    int sv[2];
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
    snprintf(text, sizeof(text), "id=s,addr.type=fd,addr.str=%d", sv[0]);
    REQUIRE_EQ(nt_open(m, &stream_class, text, &nd), 0);
    *peer = sv[1];
    return nd;
}

static void peer_write(int fd, size_t len, uint8_t seed)
{
    static uint8_t b[4 + NET_FRAME_MAX];
    uint32_t n = htonl((uint32_t)len);
    memcpy(b, &n, 4);
    for (size_t i = 0; i < len; i++)
        b[4 + i] = (uint8_t)(seed + i);
    CHECK_EQ(write(fd, b, 4 + len), 4 + len);
}

static void peer_read(int fd, size_t len, uint8_t seed)
{
    static uint8_t b[NET_FRAME_MAX];
    uint32_t n = 0;
    REQUIRE_EQ(recv(fd, &n, 4, MSG_WAITALL), 4);
    REQUIRE_EQ(ntohl(n), len);
    REQUIRE_EQ(recv(fd, b, len, MSG_WAITALL), len);
    for (size_t i = 0; i < len; i++)
        REQUIRE_EQ(b[i], (uint8_t)(seed + i));
}

TEST(net_stream_frame_is_led_by_its_length)
{
    struct machine *m = fake_new(4096);
    int peer;
    struct netdev *nd = pair_open(m, &peer);
    CHECK(netdev_link(nd));
    CHECK_EQ(nd->offload, 0);
    CHECK_EQ(nt_send(nd, 60, 1), 72);
    CHECK_EQ(nt_send(nd, 1514, 2), 1526);
    peer_read(peer, 60, 1);
    peer_read(peer, 1514, 2);
    netdev_free(nd);
    close(peer);
    fake_free(m);
}

TEST(net_stream_one_frame_a_read_and_readable_while_more)
{
    struct machine *m = fake_new(4096);
    int peer;
    struct netdev *nd = pair_open(m, &peer);
    for (int i = 0; i < 5; i++)
        peer_write(peer, 100 + (size_t)i, (uint8_t)i);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(nt_recv(nd, 2000, (uint8_t)i), 100 + i);
        char c;
        ssize_t more = recv(nd->q[0]->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
        CHECK_EQ(more, i < 4 ? 1 : -1);
    }
    CHECK_EQ(nt_recv(nd, 2000, 0), 0);
    netdev_free(nd);
    close(peer);
    fake_free(m);
}

TEST(net_stream_frame_in_single_bytes)
{
    struct machine *m = fake_new(4096);
    int peer;
    struct netdev *nd = pair_open(m, &peer);
    uint8_t f[4 + 70] = {0, 0, 0, 70};
    for (int i = 0; i < 70; i++)
        f[4 + i] = (uint8_t)(9 + i);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 74; i++) {
            CHECK_EQ(write(peer, f + i, 1), 1);
            CHECK_EQ(nt_recv(nd, 2000, 9), i < 73 ? 0 : 70);
        }
    netdev_free(nd);
    close(peer);
    fake_free(m);
}

TEST(net_stream_frame_longer_than_the_room_is_cut)
{
    struct machine *m = fake_new(4096);
    int peer;
    struct netdev *nd = pair_open(m, &peer);
    peer_write(peer, 900, 3);
    peer_write(peer, 64, 4);
    CHECK_EQ(nt_recv(nd, 100, 3), 100);
    CHECK_EQ(nt_recv(nd, 100, 4), 64);
    netdev_free(nd);
    close(peer);
    fake_free(m);
}

TEST(net_stream_any_cut_of_the_iovec)
{
    struct machine *m = fake_new(4096);
    int peer;
    struct netdev *nd = pair_open(m, &peer);
    uint8_t p[NET_HDR_LEN + 90];
    for (size_t cut = 0; cut <= 60; cut += 5) {
        struct iovec iov[4] = {{p, cut},
                               {p + cut, 0},
                               {p + cut, 13},
                               {p + cut + 13, sizeof(p) - cut - 13}};
        memset(p, 0, sizeof(p));
        for (int i = 0; i < 90; i++)
            p[NET_HDR_LEN + i] = (uint8_t)(cut + i);
        CHECK_EQ(nd->q[0]->send(nd->q[0], iov, 4), sizeof(p));
        peer_read(peer, 90, (uint8_t)cut);
        peer_write(peer, 90, (uint8_t)(cut + 1));
        memset(p, 0xee, sizeof(p));
        CHECK_EQ(nd->q[0]->recv(nd->q[0], iov, 4), sizeof(p));
        CHECK_EQ(p[0], 0);
        CHECK_EQ(p[11], 0);
        CHECK_EQ(p[12], (uint8_t)(cut + 1));
        CHECK_EQ(p[101], (uint8_t)(cut + 90));
    }
    netdev_free(nd);
    close(peer);
    fake_free(m);
}

TEST(net_stream_blocks_when_full_and_loses_nothing)
{
    struct machine *m = fake_new(4096);
    int peer, sent = 0, got = 0;
    struct netdev *nd = pair_open(m, &peer);
    fcntl(peer, F_SETFL, O_NONBLOCK);
    for (int round = 0; round < 50; round++) {
        while (nt_send(nd, 9000 + (size_t)sent % 7, (uint8_t)sent) > 0)
            sent++;
        CHECK(sent > got);
        fcntl(peer, F_SETFL, 0);
        for (int i = 0; i < 3 && got < sent; i++, got++)
            peer_read(peer, 9000 + (size_t)got % 7, (uint8_t)got);
        fake_run_loop(m); /* the rest of a frame goes out by itself */
    }
    fcntl(peer, F_SETFL, O_NONBLOCK);
    for (; got < sent; got++) {
        fake_run_loop(m);
        fcntl(peer, F_SETFL, 0);
        peer_read(peer, 9000 + (size_t)got % 7, (uint8_t)got);
    }
    netdev_free(nd);
    close(peer);
    fake_free(m);
}

/* The longest ones: the kernel takes a part of them at a time. */
TEST(net_stream_rest_of_a_frame_follows)
{
    struct machine *m = fake_new(4096);
    int peer, sent = 0;
    struct netdev *nd = pair_open(m, &peer);
    for (int got = 0; got < 40; got++) {
        while (nt_send(nd, NET_FRAME_MAX - (size_t)sent % 9, (uint8_t)sent) > 0)
            sent++;
        REQUIRE(sent > got);
        /* A piece at a time, so that the rest goes out in several. */
        static uint8_t b[4 + NET_FRAME_MAX];
        size_t len = 4 + NET_FRAME_MAX - (size_t)got % 9, have = 0;
        while (have < len) {
            size_t k = len - have < 7000 ? len - have : 7000;
            ssize_t r = recv(peer, b + have, k, MSG_DONTWAIT);
            have += r > 0 ? (size_t)r : 0;
            fake_run_loop(m);
        }
        uint32_t head = htonl((uint32_t)len - 4);
        CHECK_MEM(b, &head, 4);
        for (size_t i = 4; i < len; i++)
            REQUIRE_EQ(b[i], (uint8_t)(got + (int)i - 4));
    }
    netdev_free(nd);
    close(peer);
    fake_free(m);
}

TEST(net_stream_nonsense_length_hangs_up)
{
    static const uint32_t bad[] = {0, NET_FRAME_MAX + 1, 0xffffffff};
    for (int i = 0; i < 3; i++) {
        struct machine *m = fake_new(4096);
        struct link l = {0, true};
        int peer;
        struct netdev *nd = pair_open(m, &peer);
        nd->nic = &l;
        nd->link_changed = link_changed;
        uint32_t n = htonl(bad[i]);
        CHECK_EQ(write(peer, &n, 4), 4);
        CHECK_EQ(nt_recv(nd, 2000, 0), -EPROTO);
        fake_run_loop(m);
        CHECK(!l.up);
        CHECK_EQ(l.changes, 1);
        CHECK(!netdev_link(nd));
        CHECK_EQ(nt_recv(nd, 2000, 0), 0);
        CHECK_EQ(nt_send(nd, 60, 0), -ENOTCONN);
        netdev_free(nd);
        close(peer);
        fake_free(m);
    }
}

TEST(net_stream_server_takes_one_peer_after_the_other)
{
    struct machine *m = fake_new(4096);
    struct netdev *srv = NULL, *cli = NULL;
    struct link l = {0, false};
    char st[160], ct[160];
    const char *path = nt_path("s1");
    snprintf(st, sizeof(st), "id=a,addr.type=unix,addr.path=%s,server=on",
             path);
    snprintf(ct, sizeof(ct), "id=b,addr.type=unix,addr.path=%s", path);
    REQUIRE_EQ(nt_open(m, &stream_class, st, &srv), 0);
    srv->nic = &l;
    srv->link_changed = link_changed;
    int fd = srv->q[0]->fd;
    CHECK(!netdev_link(srv));
    CHECK_EQ(nt_send(srv, 60, 0), -ENOTCONN);
    for (int i = 0; i < 3; i++) {
        REQUIRE_EQ(nt_open(m, &stream_class, ct, &cli), 0);
        fake_run_loop(m);
        CHECK(l.up);
        CHECK_EQ(srv->q[0]->fd, fd);
        CHECK_EQ(nt_send(cli, 60, 5), 72);
        CHECK_EQ(nt_recv(srv, 100, 5), 60);
        CHECK_EQ(nt_send(srv, 61, 6), 73);
        CHECK_EQ(nt_recv(cli, 100, 6), 61);
        netdev_free(cli);
        fake_run_loop(m);
        CHECK(!l.up);
        fake_sleep_ns(m, 4000000000); /* it did not stay: a pause */
    }
    CHECK_EQ(l.changes, 6);
    netdev_free(srv);
    fake_free(m);
    CHECK_EQ(access(path, F_OK), -1);
    nt_clean();
}

/* Lines of the log since the last look. */
static int lines(const char *log)
{
    int n = 0;
    for (; *log; log++)
        n += *log == '\n';
    return n;
}

/* One who connects and goes, all the time, for ten seconds: each time it can be
 * taken it is. */
TEST(net_stream_brief_peers_are_paced_and_said_once)
{
    struct machine *m = fake_new(4096);
    struct netdev *srv = NULL;
    struct link l = {0, false};
    char st[160];
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    strcpy(sa.sun_path, nt_path("s9"));
    snprintf(st, sizeof(st), "id=a,addr.type=unix,addr.path=%s,server=on",
             sa.sun_path);
    REQUIRE_EQ(nt_open(m, &stream_class, st, &srv), 0);
    srv->nic = &l;
    srv->link_changed = link_changed;
    for (int i = 0; i < 1000; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        /* EAGAIN: full */
        (void)connect(fd, (struct sockaddr *)&sa, sizeof(sa));
        fake_run_loop(m);
        close(fd);
        fake_sleep_ns(m, 10000000);
    }
    CHECK(l.changes >= 6);
    CHECK(l.changes <= 20); /* 0, 100, 300, 700, 1500, 3100, 6300, 9500 ms */
    const char *log = test_log();
    CHECK(lines(log) <= 2);
    CHECK_HAS(log, "a: connected to process");
    CHECK_HAS(log, "hung up; waiting for it to come back");
    /* One that stays is told of again, with what was left out. */
    fake_sleep_ns(m, 20000000000); /* those that wait have their turn */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_EQ(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    fake_sleep_ns(m, 4000000000);
    CHECK(l.up);
    CHECK_STR(test_log(), "");
    fake_sleep_ns(m, 6000000000);
    log = test_log();
    CHECK_EQ(lines(log), 1);
    CHECK_HAS(log, "which stays; ");
    /* Good for so long, it is followed without a pause. */
    close(fd);
    fake_run_loop(m);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_EQ(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    fake_run_loop(m);
    CHECK(l.up);
    CHECK_EQ(lines(test_log()), 2);
    close(fd);
    netdev_free(srv);
    fake_free(m);
    nt_clean();
}

TEST(net_stream_client_comes_back)
{
    struct machine *m = fake_new(4096);
    struct netdev *srv = NULL, *cli = NULL;
    struct link l = {0, false};
    char st[160], ct[160];
    const char *path = nt_path("s2");
    snprintf(st, sizeof(st), "id=a,addr.type=unix,addr.path=%s,server=on",
             path);
    snprintf(ct, sizeof(ct),
             "id=b,addr.type=unix,addr.path=%s,reconnect-ms=100", path);
    REQUIRE_EQ(nt_open(m, &stream_class, ct, &cli), 0);
    cli->nic = &l;
    cli->link_changed = link_changed;
    fake_sleep_ns(m, 1000000000);
    CHECK(!l.up);
    for (int i = 0; i < 3; i++) {
        REQUIRE_EQ(nt_open(m, &stream_class, st, &srv), 0);
        fake_sleep_ns(m, 200000000);
        FAKE_SOON(m, l.up);
        CHECK_EQ(nt_send(cli, 60, 5), 72);
        CHECK_EQ(nt_recv(srv, 100, 5), 60);
        netdev_free(srv);
        fake_run_loop(m);
        CHECK(!l.up);
        fake_sleep_ns(m, 1000000000);
    }
    netdev_free(cli);
    fake_free(m);
    nt_clean();
}

TEST(net_stream_tcp_both_spellings)
{
    struct machine *m = fake_new(4096);
    struct netdev *srv = NULL, *cli = NULL;
    REQUIRE_EQ(nt_open(m, &socket_class, "id=a,listen=127.0.0.1:39171", &srv),
               0);
    REQUIRE_EQ(nt_open(m, &stream_class,
                       "id=b,addr.type=inet,addr.host=localhost,"
                       "addr.port=39171",
                       &cli),
               0);
    fake_run_loop(m);
    CHECK_EQ(nt_send(cli, 60, 5), 72);
    CHECK_EQ(nt_recv(srv, 100, 5), 60);
    netdev_free(cli);
    fake_run_loop(m);
    fake_sleep_ns(m, 200000000);
    REQUIRE_EQ(nt_open(m, &socket_class, "id=b,connect=127.0.0.1:39171", &cli),
               0);
    fake_run_loop(m);
    CHECK_EQ(nt_send(srv, 60, 5), 72);
    CHECK_EQ(nt_recv(cli, 100, 5), 60);
    netdev_free(cli);
    netdev_free(srv);
    fake_free(m);
}

TEST(net_stream_stale_socket_is_taken_over_a_live_one_not)
{
    struct machine *m = fake_new(4096);
    struct netdev *a = NULL, *b = NULL;
    char st[160];
    const char *path = nt_path("s3");
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    strcpy(sa.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    close(fd);
    snprintf(st, sizeof(st), "id=a,addr.type=unix,addr.path=%s,server=on",
             path);
    REQUIRE_EQ(nt_open(m, &stream_class, st, &a), 0);
    CHECK_EQ(nt_open(m, &stream_class, st, &b), -EADDRINUSE);
    CHECK_HAS(test_log(), "cannot listen");
    CHECK_EQ(access(path, F_OK), 0);
    netdev_free(a);
    helper_end();
    fd = open(path, O_CREAT | O_WRONLY, 0600); /* no socket: not ours */
    close(fd);
    CHECK_EQ(nt_open(m, &stream_class, st, &b), -EADDRINUSE);
    CHECK_EQ(access(path, F_OK), 0);
    fake_free(m);
    nt_clean();
}

TEST(net_stream_bad_options_are_said)
{
    static const char *const bad[][2] = {
        {"id=a", "addr.type= is missing"},
        {"id=a,addr.type=carrier-pigeon", "must be one of unix, inet, fd"},
        {"id=a,addr.type=unix", "addr.path= is missing"},
        {"id=a,addr.type=unix,addr.path=/nonexistent/x", "start the other"},
        {"id=a,addr.type=inet,addr.host=127.0.0.1", "no port"},
        {"id=a,addr.type=inet,addr.host=1.2.3,addr.port=5", "numeric address"},
        {"id=a,addr.type=inet,addr.host=127.0.0.1,addr.port=0", "port 0"},
        {"id=a,addr.type=fd,addr.str=999", "no such descriptor"},
        {"id=a,addr.type=fd,addr.str=x", "not the number"},
        {"id=a,addr.type=unix,addr.path=/x,server=maybe", "on or off"},
        {"id=a,addr.type=unix,addr.path=/x,server=on,reconnect=1",
         "does not reconnect"},
        {"id=a,addr.type=unix,addr.path=/x,speed=11", "speed"},
    };
    struct machine *m = fake_new(4096);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct netdev *nd = NULL;
        CHECK(nt_open(m, &stream_class, bad[i][0], &nd) < 0);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    struct netdev *nd = NULL;
    /* Descriptors that are no stream's: nothing would ever say so. */
    char text[64];
    int fd[2], dg[2];
    REQUIRE_EQ(pipe(fd), 0);
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, dg), 0);
    for (int i = 0; i < 3; i++) {
        int n = i == 0 ? open("/dev/null", O_RDWR) : i == 1 ? fd[0] : dg[0];
        snprintf(text, sizeof(text), "id=a,addr.type=fd,addr.str=%d", n);
        CHECK_EQ(nt_open(m, &stream_class, text, &nd), -EINVAL);
        CHECK_HAS(test_log(), "not a connected stream socket");
        close(n);
    }
    close(fd[1]);
    close(dg[1]);
    CHECK(nt_open(m, &socket_class, "id=a", &nd) < 0);
    CHECK_HAS(test_log(), "exactly one of");
    CHECK(nt_open(m, &socket_class, "id=a,listen=:1,connect=:1", &nd) < 0);
    CHECK(nt_open(m, &socket_class, "id=a,listen=x", &nd) < 0);
    CHECK_HAS(test_log(), "host:port");
    fake_free(m);
}

/* The socket takes a part of a frame: what is left of it goes out by itself
 * once there is room, with nothing more to send. */
TEST(net_stream_rest_of_the_last_frame_goes_by_itself)
{
    struct machine *m = fake_new(4096);
    static uint8_t b[4 + NET_FRAME_MAX];
    int peer, size = 4608;
    struct netdev *nd = pair_open(m, &peer);
    REQUIRE_EQ(setsockopt(nd->q[0]->fd, SOL_SOCKET, SO_SNDBUF, &size, 4), 0);
    REQUIRE_EQ(nt_send(nd, 60000, 7), 60012);
    CHECK_EQ(nt_send(nd, 60, 8), 0); /* behind it */
    size_t have = 0;
    for (int i = 0; i < 1000 && have < 60004; i++) {
        ssize_t r = recv(peer, b + have, sizeof(b) - have, MSG_DONTWAIT);
        have += r > 0 ? (size_t)r : 0;
        fake_run_loop(m);
    }
    REQUIRE_EQ(have, 60004);
    for (size_t i = 4; i < have; i++)
        REQUIRE_EQ(b[i], (uint8_t)(7 + i - 4));
    CHECK_EQ(nt_send(nd, 60, 8), 72);
    peer_read(peer, 60, 8);
    netdev_free(nd);
    close(peer);
    fake_free(m);
}

/* As many pieces as one system call takes leave none for the next length: such
 * a frame goes by the buffer. */
TEST(net_stream_frame_into_as_many_pieces_as_there_can_be)
{
    struct machine *m = fake_new(4096);
    static uint8_t b[IOV_COUNT_MAX];
    static struct iovec iov[1 + IOV_COUNT_MAX];
    uint8_t hdr[NET_HDR_LEN];
    int peer;
    struct netdev *nd = pair_open(m, &peer);
    iov[0] = (struct iovec){hdr, sizeof(hdr)};
    for (int i = 0; i < IOV_COUNT_MAX; i++)
        iov[1 + i] = (struct iovec){b + i, 1};
    for (size_t len = IOV_COUNT_MAX - 1; len <= IOV_COUNT_MAX; len++) {
        peer_write(peer, len, (uint8_t)len);
        memset(b, 0, sizeof(b));
        CHECK_EQ(nd->q[0]->recv(nd->q[0], iov, 1 + IOV_COUNT_MAX),
                 NET_HDR_LEN + len);
        for (size_t i = 0; i < len; i++)
            REQUIRE_EQ(b[i], (uint8_t)(len + i));
    }
    CHECK_EQ(nt_recv(nd, 100, 0), 0);
    netdev_free(nd);
    close(peer);
    fake_free(m);
}

/* Peers that are gone, and frames that are none. */
TEST(net_stream_frames_that_cannot_be_sent)
{
    struct machine *m = fake_new(4096);
    static uint8_t p[NET_HDR_LEN + NET_FRAME_MAX + 1];
    static struct iovec many[IOV_COUNT_MAX + 2];
    int peer;
    struct netdev *nd = pair_open(m, &peer);
    struct iovec iov = {p, NET_HDR_LEN};
    CHECK_EQ(nd->q[0]->send(nd->q[0], &iov, 1), -EMSGSIZE);
    iov.iov_len = sizeof(p);
    CHECK_EQ(nd->q[0]->send(nd->q[0], &iov, 1), -EMSGSIZE);
    for (int i = 0; i < IOV_COUNT_MAX + 2; i++)
        many[i] = (struct iovec){p, 1};
    many[0].iov_len = NET_HDR_LEN;
    for (int n = IOV_COUNT_MAX + 1; n <= IOV_COUNT_MAX + 2; n++)
        CHECK_EQ(nd->q[0]->send(nd->q[0], many, n), -EMSGSIZE);
    CHECK_EQ(nd->q[0]->send(nd->q[0], many, IOV_COUNT_MAX),
             NET_HDR_LEN + IOV_COUNT_MAX - 1);
    uint8_t got[2000];
    CHECK_EQ(read(peer, got, sizeof(got)), 4 + IOV_COUNT_MAX - 1);
    close(peer);
    CHECK_EQ(nt_send(nd, 60, 1), -EPIPE); /* the loop has not heard yet */
    fake_run_loop(m);
    CHECK_EQ(nt_send(nd, 60, 1), -ENOTCONN);
    netdev_free(nd);
    fake_free(m);
}

/* A hang-up with no descriptors left: the NIC's file is still one that is never
 * ready. */
TEST(net_stream_hangs_up_with_no_descriptors_left)
{
    struct machine *m = fake_new(4096);
    struct link l = {0, true};
    int peer;
    struct netdev *nd = pair_open(m, &peer);
    nd->nic = &l;
    nd->link_changed = link_changed;
    fake_fds(0);
    shutdown(peer, SHUT_RDWR);
    fake_run_loop(m);
    fake_fds(-1);
    CHECK(!l.up);
    struct pollfd p = {.fd = nd->q[0]->fd, .events = POLLIN | POLLRDHUP};
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK_EQ(nt_send(nd, 60, 1), -ENOTCONN);
    CHECK_EQ(nt_recv(nd, 60, 1), 0);
    netdev_free(nd);
    close(peer);
    fake_free(m);
}

TEST(net_stream_without_descriptors)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    struct link l = {0, false};
    char text[160];
    const char *path = nt_path("s4");
    helper_need();
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    snprintf(text, sizeof(text), "id=a,addr.type=unix,addr.path=%s,server=on",
             path);
    for (int n = 0; n < 3; n++) { /* the socket, the idle file, the NIC's */
        fake_fds(n);
        CHECK(nt_open(m, &stream_class, text, &nd) < 0);
        fake_fds(-1);
        CHECK_HAS(test_log(), n ? "out of memory or descriptors"
                                : "cannot listen: Too many open files");
    }
    helper_end();
    snprintf(text, sizeof(text), "id=a,addr.type=unix,addr.path=%s", path);
    fake_fds(0);
    CHECK_EQ(nt_open(m, &stream_class, text, &nd), -EMFILE);
    fake_fds(-1);
    CHECK_HAS(test_log(), "cannot connect: Too many open files; start the "
                          "other side first");
    /* one that comes back when there are some */
    struct netdev *srv = NULL;
    char st[160];
    snprintf(st, sizeof(st), "id=s,addr.type=unix,addr.path=%s,server=on",
             path);
    snprintf(text, sizeof(text),
             "id=a,addr.type=unix,addr.path=%s,reconnect-ms=100", path);
    REQUIRE_EQ(nt_new(&stream_class, text, &nd), 0);
    REQUIRE_EQ(nt_open(m, &stream_class, st, &srv), 0);
    REQUIRE_EQ(nt_open_new(m, nd), 0);
    nd->nic = &l;
    nd->link_changed = link_changed;
    fake_fds(0);
    fake_sleep_ns(m, 1000000000);
    const char *log = "";
    FAKE_SOON(m, strstr(log = test_log(), "trying again"));
    CHECK(!l.up);
    CHECK_HAS(log, "Too many open files; trying again");
    fake_fds(-1);
    fake_sleep_ns(m, 1000000000);
    FAKE_SOON(m, l.up);
    netdev_free(nd);
    netdev_free(srv);
    fake_free(m);
    nt_clean();
}

TEST(net_stream_servers_have_addresses)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    char text[100];
    int sv[2];
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
    snprintf(text, sizeof(text), "id=a,addr.type=fd,addr.str=%d,server=on",
             sv[0]);
    CHECK_EQ(nt_open(m, &stream_class, text, &nd), -EINVAL);
    CHECK_HAS(test_log(), "server=on needs an address, not a descriptor");
    CHECK_EQ(nt_open(m, &stream_class,
                     "id=a,addr.type=unix,addr.path=/x,server=on,"
                     "reconnect-ms=5",
                     &nd),
             -EINVAL);
    CHECK_HAS(test_log(), "a server does not reconnect");
    close(sv[0]);
    close(sv[1]);
    fake_free(m);
}
