/* SPDX-License-Identifier: MIT */
/* -netdev dgram and none. */
#include <sys/socket.h>

#include "net/dgram.h"
#include "net/list.h"
#include "net/stream.h"
#include "tests/unit/net/net_test.h"

TEST(net_dgram_unix_pair)
{
    struct machine *m = fake_new(4096);
    struct netdev *a = NULL, *b = NULL;
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
    REQUIRE_EQ(nt_open(m, &dgram_class, at, &a), 0);
    CHECK(netdev_link(a));
    /* nobody there: lost, and said once */
    CHECK_EQ(nt_send(a, 60, 1), -ENOENT);
    CHECK_HAS(test_log(), "does not take frames");
    CHECK_EQ(nt_send(a, 60, 1), -ENOENT);
    CHECK_STR(test_log(), "");
    for (int i = 0; i < 2; i++) { /* it comes, goes, and comes back */
        REQUIRE_EQ(nt_open(m, &dgram_class, bt, &b), 0);
        CHECK_EQ(nt_send(a, 60, 1), 72);
        CHECK_EQ(nt_send(a, 1514, 2), 1526);
        CHECK_EQ(nt_recv(b, 2000, 1), 60);
        CHECK_EQ(nt_recv(b, 1000, 2), 1000); /* cut */
        CHECK_EQ(nt_recv(b, 2000, 2), 0);
        CHECK_EQ(nt_send(b, 61, 3), 73);
        CHECK_EQ(nt_recv(a, 2000, 3), 61);
        netdev_free(b);
        CHECK(nt_send(a, 60, 1) < 0);
    }
    /* a peer that does not read costs frames, not time */
    REQUIRE_EQ(nt_open(m, &dgram_class, bt, &b), 0);
    ssize_t r = 1;
    for (int i = 0; i < 5000 && r > 0; i++)
        r = nt_send(a, 1000, 1);
    CHECK_EQ(r, -ENOBUFS);
    CHECK_EQ(nt_recv(b, 2000, 1), 1000);
    CHECK_EQ(nt_send(a, 1000, 1), 1012);
    netdev_free(b);
    netdev_free(a);
    CHECK_EQ(access(pa, F_OK), -1);
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
