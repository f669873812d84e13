/* SPDX-License-Identifier: MIT */
/* -netdev dgram and none. */
#include <sys/socket.h>

#include "net/dgram.h"
#include "net/list.h"
#include "net/stream.h"
#include "tests/unit/net/net_test.h"

/* A frame a way that the helper has to find anew, with frames that are lost. */
#define SENT_SOON(m, nd, len, seed)                                            \
    do {                                                                       \
        ssize_t sent_ = -1;                                                    \
        FAKE_SOON(m, (fake_advance_ns(100000000),                              \
                      sent_ = nt_send(nd, len, seed)) > 0);                    \
        CHECK_EQ(sent_, NET_HDR_LEN + (len));                                  \
    } while (0)

TEST(net_dgram_unix_pair)
{
    struct machine *m = fake_new(4096);
    struct netdev *a = NULL, *b[3];
    char at[300], bt[300];
    const char *pa = nt_path("a"), *pb = nt_path("b");
    snprintf(at, sizeof(at),
             "id=a,local.type=unix,local.path=%s,remote.type=unix,"
             "remote.path=%s",
             pa, pb);
    snprintf(bt, sizeof(bt),
             "id=b,local.type=unix,local.path=%s,remote.type=unix,"
             "remote.path=%s",
             pb, pa);
    REQUIRE_EQ(nt_new(&dgram_class, at, &a), 0);
    for (int i = 0; i < 3; i++)
        REQUIRE_EQ(nt_new(&dgram_class, bt, &b[i]), 0);
    REQUIRE_EQ(nt_open_new(m, a), 0);
    CHECK(netdev_link(a));
    /* nobody there: lost, and said once */
    CHECK_EQ(nt_send(a, 60, 1), -ENOENT);
    CHECK_HAS(test_log(), "does not take frames");
    CHECK_EQ(nt_send(a, 60, 1), -ENOENT);
    CHECK_STR(test_log(), "");
    for (int i = 0; i < 2; i++) { /* it comes, goes, and comes back */
        REQUIRE_EQ(nt_open_new(m, b[i]), 0);
        /* heard by all who have been there, whether they were found or not */
        CHECK_EQ(nt_send(b[i], 61, 3), 73);
        CHECK_EQ(nt_recv(a, 2000, 3), 61);
        SENT_SOON(m, a, 60, 1);
        CHECK_EQ(nt_send(a, 1514, 2), 1526);
        CHECK_EQ(nt_recv(b[i], 2000, 1), 60);
        CHECK_EQ(nt_recv(b[i], 1000, 2), 1000); /* cut */
        CHECK_EQ(nt_recv(b[i], 2000, 2), 0);
        netdev_free(b[i]);
        CHECK_EQ(nt_send(a, 60, 1), -ECONNREFUSED);
    }
    /* a peer that does not read costs frames, not time */
    REQUIRE_EQ(nt_open_new(m, b[2]), 0);
    SENT_SOON(m, a, 1000, 1);
    ssize_t r = 1;
    for (int i = 0; i < 5000 && r > 0; i++)
        r = nt_send(a, 1000, 1);
    CHECK_EQ(r, -ENOBUFS);
    CHECK_EQ(nt_recv(b[2], 2000, 1), 1000);
    CHECK_EQ(nt_send(a, 1000, 1), 1012);
    netdev_free(b[2]);
    netdev_free(a);
    fake_free(m);
    CHECK_EQ(access(pa, F_OK), -1);
    nt_clean();
}

/* Who answers to the name that a frame comes from reaches the guest, as who
 * writes to the path does, whoever it is. A peer that keeps its old socket open
 * and refuses, or floods us with its comings and goings, is asked for ten times
 * a second. */
TEST(net_dgram_unix_frames_have_a_sender_and_anybody_is_heard)
{
    struct machine *m = fake_new(4096);
    struct netdev *a = NULL;
    char text[300], buf[100];
    const char *pa = nt_path("a"), *pb = nt_path("b");
    struct addr local, from = {.len = sizeof(from.un)}, to;
    REQUIRE_EQ(addr_unix("x", pb, false, &local), 0);
    REQUIRE_EQ(addr_unix("x", pa, false, &to), 0);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0), other;
    REQUIRE_EQ(bind(fd, &local.sa, local.len), 0);
    snprintf(text, sizeof(text),
             "id=a,local.type=unix,local.path=%s,remote.type=unix,"
             "remote.path=%s",
             pa, pb);
    REQUIRE_EQ(nt_open(m, &dgram_class, text, &a), 0);
    CHECK_EQ(nt_send(a, 60, 1), 72); /* it was there at the start */
    CHECK_EQ(recvfrom(fd, buf, sizeof(buf), 0, &from.sa, &from.len), 60);
    CHECK_STR(from.un.sun_path, pa);
    CHECK_EQ(sendto(fd, buf, 60, 0, &from.sa, from.len), 60);
    CHECK_EQ(nt_recv(a, 2000, 1), 60);
    other = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK_EQ(sendto(other, buf, 60, 0, &to.sa, to.len), 60);
    CHECK_EQ(nt_recv(a, 2000, 1), 60);
    /* refuses all but `other`'s */
    struct addr none = {.sa.sa_family = AF_UNIX, .len = sizeof(sa_family_t)};
    REQUIRE_EQ(bind(other, &none.sa, none.len), 0);
    none.len = sizeof(none.un);
    REQUIRE_EQ(getsockname(other, &none.sa, &none.len), 0);
    REQUIRE_EQ(connect(fd, &none.sa, none.len), 0);
    struct dgram *d = container_of(a, struct dgram, nd);
    CHECK_EQ(nt_send(a, 60, 1), -EPERM);
    CHECK(d->seeking);
    FAKE_SOON(m, d->away == EPERM);
    CHECK(d->seeking); /* not again so soon */
    none.sa.sa_family = AF_UNSPEC;
    REQUIRE_EQ(connect(fd, &none.sa, sizeof(none.sa)), 0);
    SENT_SOON(m, a, 60, 2);
    close(fd);
    close(other);
    netdev_free(a);
    fake_free(m);
    nt_clean();
}

TEST(net_dgram_udp_and_descriptor)
{
    struct machine *m = fake_new(4096);
    struct netdev *a = NULL, *b = NULL;
    char text[64];
    int sv[2];
    REQUIRE_EQ(nt_open(m, &dgram_class,
                       "id=a,local.type=inet,local.host=127.0.0.1,"
                       "local.port=39181,remote.type=inet,"
                       "remote.host=127.0.0.1,remote.port=39182",
                       &a),
               0);
    REQUIRE_EQ(nt_open(m, &socket_class,
                       "id=b,udp=127.0.0.1:39181,localaddr=127.0.0.1:39182",
                       &b),
               0);
    CHECK_EQ(nt_send(a, 60, 1), 72);
    CHECK_EQ(nt_recv(b, 2000, 1), 60);
    CHECK_EQ(nt_send(b, 1514, 2), 1526);
    CHECK_EQ(nt_recv(a, 2000, 2), 1514);
    CHECK_EQ(nt_recv(a, 2000, 2), 0);
    netdev_free(a);
    netdev_free(b);
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
    snprintf(text, sizeof(text), "id=c,local.type=fd,local.str=%d", sv[0]);
    REQUIRE_EQ(nt_open(m, &dgram_class, text, &a), 0);
    CHECK_EQ(nt_send(a, 60, 1), 72);
    char buf[100];
    CHECK_EQ(read(sv[1], buf, sizeof(buf)), 60);
    CHECK_EQ(write(sv[1], buf, 60), 60);
    CHECK_EQ(nt_recv(a, 2000, 1), 60);
    netdev_free(a);
    close(sv[1]);
    fake_free(m);
}

TEST(net_dgram_bad_options_are_said)
{
    static const char *const bad[][2] = {
        {"id=a", "remote.type= is missing"},
        {"id=a,remote.type=unix,remote.path=/x", "local.type= is missing"},
        {"id=a,local.type=unix,local.path=/nonexistent/x,remote.type=unix,"
         "remote.path=/y",
         "cannot use it"},
        {"id=a,local.type=inet,local.host=127.0.0.1,local.port=1,"
         "remote.type=unix,remote.path=/y",
         "must agree"},
        {"id=a,remote.type=fd,remote.str=1", "not a socket for datagrams"},
        {"id=a,mtu=9", "mtu"},
    };
    struct machine *m = fake_new(4096);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct netdev *nd = NULL;
        CHECK(nt_open(m, &dgram_class, bad[i][0], &nd) < 0);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    /* A descriptor of another kind: each frame would be lost. */
    struct netdev *nd = NULL;
    char text[64];
    int fd[2], sv[2];
    REQUIRE_EQ(pipe(fd), 0);
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof(text), "id=a,local.type=fd,local.str=%d",
                 i ? fd[1] : sv[0]);
        CHECK_EQ(nt_open(m, &dgram_class, text, &nd), -EINVAL);
        CHECK_HAS(test_log(), "not a socket for datagrams");
        close(i ? fd[0] : sv[1]);
    }
    fake_free(m);
}

static int link_seen;
static void link_changed(void *nic, bool up)
{
    (void)nic;
    link_seen = up ? 1 : 2;
}

TEST(net_none_has_no_cable_and_cables_can_be_pulled)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    REQUIRE_EQ(nt_open(m, &none_class, "id=n", &nd), 0);
    netdev_register(nd);
    CHECK(!netdev_link(nd));
    CHECK_EQ(nt_send(nd, 60, 0), -ENOTCONN);
    CHECK_EQ(nt_recv(nd, 100, 0), 0);
    CHECK_EQ(nd->q[0]->fd, -1);
    struct netdev *f = fake_net_dev(fake_net_new("f", 1));
    f->link_changed = link_changed;
    netdev_set_link(f, true);
    link_seen = 0;
    netdev_toggle_cables();
    CHECK_EQ(link_seen, 2);
    CHECK(!netdev_link(f));
    netdev_set_link(f, false);
    netdev_set_link(f, true); /* not heard while pulled */
    CHECK_EQ(link_seen, 2);
    netdev_toggle_cables();
    CHECK_EQ(link_seen, 1);
    CHECK(netdev_link(f));
    CHECK(!netdev_link(nd));
    CHECK(nt_open(m, &none_class, "id=n,x=1", &nd) < 0);
    netdev_close_all();
    fake_free(m);
}

/* Both ends in one, the other one's number to *peer. */
static struct netdev *pair(struct machine *m, int type, int *peer)
{
    struct netdev *nd = NULL;
    char text[64];
    int sv[2];
    REQUIRE_EQ(socketpair(AF_UNIX, type, 0, sv), 0);
    snprintf(text, sizeof(text), "id=c,local.type=fd,local.str=%d", sv[0]);
    REQUIRE_EQ(nt_open(m, &dgram_class, text, &nd), 0);
    *peer = sv[1];
    return nd;
}

/* The socket is the guest's only: what waits for room is not lost, what is no
 * frame is counted, and an errand without a frame goes nowhere. */
TEST(net_dgram_connected_peer_and_its_oddities)
{
    struct machine *m = fake_new(4096);
    int peer, n = 0;
    struct netdev *nd = pair(m, SOCK_SEQPACKET, &peer);
    struct dgram *d = container_of(nd, struct dgram, nd);
    uint8_t hdr[NET_HDR_LEN] = {0};
    struct iovec iov = {hdr, sizeof(hdr)};
    CHECK_EQ(nd->q[0]->send(nd->q[0], &iov, 1), -EMSGSIZE);
    CHECK_EQ(nd->q[0]->recv(nd->q[0], &iov, 1), -EINVAL);
    while (n < 10000 && nt_send(nd, 1000, (uint8_t)n) > 0)
        n++;
    CHECK(n < 10000);
    CHECK_EQ(nt_send(nd, 1000, 0), 0); /* later, not never */
    CHECK_EQ(d->f_send.count, 0);
    close(peer);
    CHECK_EQ(nt_send(nd, 1000, 0), -ECONNRESET); /* what it had unread */
    CHECK_EQ(nt_send(nd, 1000, 0), -EPIPE);
    CHECK_EQ(d->f_send.count, 2);
    netdev_free(nd);
    nd = pair(m, SOCK_DGRAM, &peer);
    d = container_of(nd, struct dgram, nd);
    CHECK_EQ(send(peer, "", 0, 0), 0);
    test_log();
    CHECK_EQ(nt_recv(nd, 100, 0), -EIO);
    CHECK_HAS(test_log(), "c: fd:");
    CHECK_EQ(d->f_recv.count, 1);
    CHECK_EQ(nt_recv(nd, 100, 0), 0);
    netdev_free(nd);
    close(peer);
    fake_free(m);
}

/* A group is one cable for all who have it, sender and all. */
TEST(net_dgram_multicast_group)
{
    struct machine *m = nt_ns_enter();
    struct netdev *a = NULL, *b = NULL;
    const char *group = "id=a,remote.type=inet,remote.host=230.0.0.1,"
                        "remote.port=39183";
    CHECK(nt_open(m, &dgram_class, group, &a) < 0);
    CHECK_HAS(test_log(), "(no route to groups); sudo ip route add "
                          "224.0.0.0/4 dev lo");
    nt_sh("ip link set lo up; ip route add 224.0.0.0/4 dev lo");
    REQUIRE_EQ(nt_open(m, &dgram_class, group, &a), 0);
    REQUIRE_EQ(nt_open(m, &socket_class, "id=b,mcast=230.0.0.1:39183", &b), 0);
    CHECK(netdev_link(b));
    CHECK_EQ(nt_send(a, 60, 1), 72);
    CHECK_EQ(nt_recv(b, 2000, 1), 60);
    CHECK_EQ(nt_send(b, 61, 2), 73);
    CHECK_EQ(nt_recv(a, 2000, 1), 60); /* its own */
    CHECK_EQ(nt_recv(a, 2000, 2), 61);
    netdev_free(b);
    CHECK_EQ(nt_send(a, 60, 3), 72); /* nobody there: a group's business */
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct addr to;
    REQUIRE_EQ(addr_host_port("x", "230.0.0.1:39183", false, &to), 0);
    CHECK_EQ(sendto(fd, "", 0, 0, &to.sa, to.len), 0);
    CHECK_EQ(nt_recv(a, 2000, 3), 60);
    CHECK_EQ(nt_recv(a, 2000, 0), -EIO);
    CHECK_HAS(test_log(), "a: 230.0.0.1:39183: a datagram without a frame");
    netdev_free(a);
    /* somebody has the port for himself alone */
    close(fd);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    REQUIRE_EQ(bind(fd, &to.sa, to.len), 0);
    CHECK_EQ(nt_open(m, &dgram_class, group, &a), -EADDRINUSE);
    CHECK_HAS(test_log(), "cannot use it: Address already in use");
    close(fd);
    nt_ns_leave(m);
}

/* What was never ours is not removed: not even when there is no descriptor for
 * a socket of our own. */
TEST(net_dgram_without_descriptors_leaves_the_others_socket)
{
    struct machine *m = fake_new(4096);
    struct netdev *a = NULL, *b = NULL;
    char text[300];
    const char *pa = nt_path("a"), *pb = nt_path("b");
    snprintf(text, sizeof(text),
             "id=a,local.type=unix,local.path=%s,remote.type=unix,"
             "remote.path=%s",
             pa, pb);
    REQUIRE_EQ(nt_open(m, &dgram_class, text, &a), 0);
    fake_fds(0);
    CHECK_EQ(nt_open(m, &dgram_class, text, &b), -EMFILE);
    fake_fds(-1);
    CHECK_HAS(test_log(), "Too many open files");
    CHECK_EQ(access(pa, F_OK), 0);
    CHECK_EQ(nt_open(m, &dgram_class, text, &b), -EADDRINUSE);
    CHECK_EQ(access(pa, F_OK), 0);
    netdev_free(a);
    fake_free(m);
    CHECK_EQ(access(pa, F_OK), -1);
    nt_clean();
}

TEST(net_socket_bad_options_are_said)
{
    static const char *const bad[][2] = {
        {"id=a,listen=:1,localaddr=:2", "localaddr= goes with udp="},
        {"id=a,udp=127.0.0.1:1", "udp= needs localaddr="},
        {"id=a,udp=127.0.0.1", "udp=127.0.0.1: must be host:port"},
        {"id=a,udp=127.0.0.1:1,localaddr=x", "localaddr=x: must be host:port"},
        {"id=a,mcast=10.0.0.1:1", "mcast=10.0.0.1:1: not a multicast address"},
        {"id=a,mcast=230.0.0.1", "mcast=230.0.0.1: must be host:port"},
        {"id=a,fd=999", "fd=999: no such descriptor is open"},
        {"id=a,fd=1,udp=127.0.0.1:1", "exactly one of"},
    };
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    char text[200];
    int sv[2];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK(nt_open(m, &socket_class, bad[i][0], &nd) < 0);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
    snprintf(text, sizeof(text), "id=a,fd=%d", sv[0]);
    REQUIRE_EQ(nt_open(m, &socket_class, text, &nd), 0);
    CHECK_EQ(nt_send(nd, 60, 1), 72);
    netdev_free(nd);
    close(sv[1]);
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
    snprintf(text, sizeof(text), "id=a,remote.type=fd,remote.str=%d", sv[0]);
    CHECK_EQ(nt_open(m, &dgram_class, text, &nd), -EINVAL);
    CHECK_HAS(test_log(), "remote.type= must be unix or inet");
    close(sv[0]);
    close(sv[1]);
    fake_free(m);
}
