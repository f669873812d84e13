/* SPDX-License-Identifier: MIT */
/* -netdev hubport. */
#include "net/list.h"
#include "tests/unit/net/net_test.h"

static struct netdev *port(struct machine *m, const char *text)
{
    struct netdev *nd = NULL;
    REQUIRE_EQ(nt_open(m, &hubport_class, text, &nd), 0);
    netdev_register(nd);
    return nd;
}

/* dst and src by their last bytes; ff is the broadcast address. */
static ssize_t eth_send(struct netdev *nd, uint8_t dst, uint8_t src)
{
    uint8_t p[NET_HDR_LEN + 60] = {0};
    struct iovec iov = {p, sizeof(p)};
    memset(p + 12, dst == 0xff ? 0xff : 2, 6);
    memset(p + 18, 2, 6);
    p[17] = dst;
    p[23] = src;
    return nd->q[0]->send(nd->q[0], &iov, 1);
}

/* The last byte of the source of the next frame, 0: none. */
static int eth_recv(struct netdev *nd)
{
    uint8_t p[2000];
    struct iovec iov = {p, sizeof(p)};
    ssize_t r = nd->q[0]->recv(nd->q[0], &iov, 1);
    if (r <= 0)
        return 0;
    CHECK_EQ(r, 72);
    return p[23];
}

TEST(net_hub_every_port_hears_every_other)
{
    struct machine *m = fake_new(4096);
    struct netdev *a = port(m, "id=a,hubid=1"), *b = port(m, "id=b,hubid=1"),
                  *c = port(m, "id=c,hubid=1"), *d = port(m, "id=d,hubid=2");
    CHECK(netdev_link(a));
    CHECK_EQ(eth_send(a, 11, 10), 72);
    CHECK_EQ(eth_recv(a), 0);
    CHECK_EQ(eth_recv(b), 10);
    CHECK_EQ(eth_recv(c), 10);
    CHECK_EQ(eth_recv(d), 0);
    CHECK_EQ(eth_send(b, 10, 11), 72);
    CHECK_EQ(eth_recv(c), 11);
    CHECK_EQ(eth_recv(a), 11);
    CHECK_EQ(nt_send(a, 13, 0), -EMSGSIZE);
    CHECK_EQ(nt_send(a, 60000, 7), 60012);
    CHECK_EQ(nt_recv(b, 65535, 7), 60000);
    CHECK_EQ(nt_recv(c, 100, 7), 100);
    CHECK_EQ(nt_recv(c, 100, 7), 0);
    netdev_close_all();
    fake_free(m);
}

TEST(net_hub_learns)
{
    struct machine *m = fake_new(4096);
    struct netdev *a = port(m, "id=a,learn=on"), *b = port(m, "id=b"),
                  *c = port(m, "id=c");
    eth_send(a, 0xff, 10);
    CHECK_EQ(eth_recv(b), 10);
    CHECK_EQ(eth_recv(c), 10);
    eth_send(b, 10, 11); /* a is known */
    CHECK_EQ(eth_recv(a), 11);
    CHECK_EQ(eth_recv(c), 0);
    eth_send(a, 10, 12); /* for itself: nowhere */
    CHECK_EQ(eth_recv(b), 0);
    CHECK_EQ(eth_recv(c), 0);
    fake_advance_ns(301000000000); /* forgotten */
    eth_send(b, 10, 11);
    CHECK_EQ(eth_recv(a), 11);
    CHECK_EQ(eth_recv(c), 11);
    eth_send(c, 0xff, 10); /* moved */
    eth_send(b, 10, 11);
    CHECK_EQ(eth_recv(a), 10);
    CHECK_EQ(eth_recv(a), 0);
    CHECK_EQ(eth_recv(c), 11);
    netdev_close_all();
    fake_free(m);
}

/* Addresses of a fleet, all over: some fall into the same place of a table. */
TEST(net_hub_learns_the_addresses_of_64_machines_side_by_side)
{
    struct machine *m = fake_new(4096);
    struct netdev *a = port(m, "id=a,learn=on"), *b = port(m, "id=b"),
                  *c = port(m, "id=c");
    uint8_t p[NET_HDR_LEN + 60] = {0};
    struct iovec iov = {p, sizeof(p)};
    for (int to = 0; to < 2; to++)
        for (unsigned i = 0; i < 64; i++) {
            uint8_t *mac = p + NET_HDR_LEN + (to ? 0 : 6);
            memset(p + NET_HDR_LEN, 2, 12);
            mac[3] = (uint8_t)(i * i + 77);
            mac[4] = (uint8_t)(i * 151 + i * i * 3);
            mac[5] = (uint8_t)(i + 1);
            struct netdev *from = to ? a : b;
            CHECK_EQ(from->q[0]->send(from->q[0], &iov, 1), 72);
            CHECK(to ? eth_recv(b) : eth_recv(a));
            CHECK_EQ(!eth_recv(c), to);
        }
    netdev_close_all();
    fake_free(m);
}

TEST(net_hub_full_port_costs_its_own_frames_only)
{
    struct machine *m = fake_new(4096);
    struct netdev *a = port(m, "id=a"), *b = port(m, "id=b"),
                  *c = port(m, "id=c");
    int heard = 0;
    for (int i = 0; i < 20000; i++) {
        CHECK_EQ(eth_send(a, 0xff, 10), 72);
        heard += eth_recv(b) == 10;
    }
    CHECK_EQ(heard, 20000);
    CHECK_HAS(test_log(), "c: hub port full");
    heard = 0;
    while (eth_recv(c))
        heard++;
    CHECK(heard > 50 && heard < 20000);
    eth_send(a, 0xff, 10);
    CHECK_EQ(eth_recv(c), 10);
    netdev_close_all();
    fake_free(m);
}

TEST(net_hub_backend_behind_a_port)
{
    struct machine *m = fake_new(4096);
    struct fake_net *f = fake_net_new("tap", 1);
    struct netdev *a = port(m, "id=a"), *t = port(m, "id=p,netdev=tap"),
                  *nd = NULL;
    struct net_hdr h = {.flags = NET_F_DATA_VALID};
    uint8_t frame[60] = {2, 2, 2, 2, 2, 10, 2, 2, 2, 2, 2, 20}, got[100];
    CHECK(t->taken);
    CHECK(fake_net_dev(f)->taken);
    CHECK_EQ(fake_net_offload(f), 0);
    fake_net_give(f, 0, &h, frame, sizeof(frame));
    fake_run_loop(m);
    CHECK_EQ(eth_recv(a), 20);
    CHECK_EQ(eth_send(a, 20, 10), 72);
    CHECK_EQ(fake_net_take(f, 0, &h, got, sizeof(got)), 60);
    CHECK_EQ(h.flags, 0);
    CHECK_EQ(got[11], 10);
    fake_net_block(f, 0, true); /* full: lost, said once */
    CHECK_EQ(eth_send(a, 20, 10), 72);
    CHECK_HAS(test_log(), "p: hub port full");
    fake_net_block(f, 0, false);
    CHECK(nt_open(m, &hubport_class, "id=x,netdev=a", &nd) < 0);
    CHECK_HAS(test_log(), "hub port itself");
    CHECK(nt_open(m, &hubport_class, "id=x,netdev=tap", &nd) < 0);
    CHECK_HAS(test_log(), "in use");
    CHECK(nt_open(m, &hubport_class, "id=x,netdev=no", &nd) < 0);
    CHECK_HAS(test_log(), "no netdev");
    CHECK(nt_open(m, &hubport_class, "id=x,hub=1", &nd) < 0);
    netdev_close_all();
    fake_free(m);
}

TEST(net_hub_storm_is_bounded)
{
    struct machine *m = fake_new(4096);
    struct fake_net *f = fake_net_new("tap", 1);
    struct netdev *a = port(m, "id=a");
    uint8_t frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 2, 2, 2, 2, 20};
    int heard = 0;
    port(m, "id=p,netdev=tap");
    for (int i = 0; i < 2000; i++) {
        fake_net_give(f, 0, NULL, frame, sizeof(frame));
        fake_run_loop(m);
        heard += eth_recv(a) == 20;
    }
    CHECK(heard > 100 && heard < 400);
    CHECK_HAS(test_log(), "storm");
    fake_advance_ns(20000000);
    fake_net_give(f, 0, NULL, frame, sizeof(frame));
    fake_run_loop(m);
    CHECK_EQ(eth_recv(a), 20);
    netdev_close_all();
    fake_free(m);
}

/* A backend behind a port that comes back is another file: its frames are still
 * heard. */
TEST(net_hub_backend_that_comes_back)
{
    struct machine *m = fake_new(4096);
    struct netdev *srv = NULL, *cli = NULL;
    char st[200], ct[200];
    const char *path = nt_path("s");
    snprintf(st, sizeof(st), "id=tap,addr.type=unix,addr.path=%s,server=on",
             path);
    snprintf(ct, sizeof(ct), "id=c,addr.type=unix,addr.path=%s", path);
    REQUIRE_EQ(nt_open(m, &stream_class, st, &srv), 0);
    netdev_register(srv);
    struct netdev *a = port(m, "id=a");
    port(m, "id=p,netdev=tap");
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(eth_send(a, 20, 10), 72); /* nobody there */
        REQUIRE_EQ(nt_open(m, &stream_class, ct, &cli), 0);
        fake_run_loop(m);
        CHECK_EQ(eth_send(cli, 10, 20), 72);
        fake_run_loop(m);
        CHECK_EQ(eth_recv(a), 20);
        CHECK_EQ(eth_send(a, 20, 10), 72);
        CHECK_EQ(eth_recv(cli), 10);
        netdev_free(cli);
        fake_run_loop(m);
        fake_sleep_ns(m, 4000000000);
    }
    netdev_close_all();
    fake_free(m);
    nt_clean();
}

/* More than are read in one turn: the others wait, none is lost. */
TEST(net_hub_backend_with_many_frames)
{
    struct machine *m = fake_new(4096);
    struct fake_net *f = fake_net_new("tap", 1);
    struct netdev *a = port(m, "id=a");
    uint8_t frame[60] = {2, 2, 2, 2, 2, 10, 2, 2, 2, 2, 2, 20};
    int heard = 0;
    port(m, "id=p,netdev=tap");
    for (int i = 0; i < 150; i++)
        fake_net_give(f, 0, NULL, frame, sizeof(frame));
    loop_poll(m->loop, 0);
    while (eth_recv(a))
        heard++;
    CHECK_EQ(heard, 64);
    fake_net_give(f, 0, NULL, frame, 13); /* no Ethernet header: nothing */
    fake_run_loop(m);
    while (eth_recv(a))
        heard++;
    CHECK_EQ(heard, 150);
    netdev_close_all();
    fake_free(m);
}

TEST(net_hub_full_or_without_descriptors)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL, *a = port(m, "id=a,hubid=3");
    char text[40];
    for (int i = 1; i < 256; i++) {
        snprintf(text, sizeof(text), "id=p%d,hubid=3", i);
        nd = port(m, text);
    }
    CHECK_EQ(nt_open(m, &hubport_class, "id=x,hubid=3", &nd), -ENOSPC);
    CHECK_HAS(test_log(), "hub 3 has 256 ports already");
    CHECK_EQ(eth_send(a, 0xff, 10), 72); /* it goes on */
    CHECK_EQ(eth_recv(nd), 10);
    fake_fds(1);
    CHECK_EQ(nt_open(m, &hubport_class, "id=x,hubid=4", &nd), -EMFILE);
    fake_fds(-1);
    CHECK_HAS(test_log(), "socketpair: Too many open files");
    REQUIRE_EQ(nt_open(m, &hubport_class, "id=x,hubid=4", &nd), 0);
    uint8_t p[NET_HDR_LEN];
    struct iovec iov = {p, sizeof(p)};
    CHECK_EQ(nd->q[0]->recv(nd->q[0], &iov, 1), -EINVAL);
    CHECK_EQ(nd->q[0]->send(nd->q[0], &iov, 1), -EMSGSIZE);
    netdev_free(nd);
    netdev_close_all();
    fake_free(m);
}

TEST(net_hub_backends_it_cannot_have)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL, *back = fake_net_dev(fake_net_new("tap", 1));
    back->vhost = VHOST_KERNEL;
    CHECK_EQ(nt_open(m, &hubport_class, "id=p,netdev=tap", &nd), -EINVAL);
    CHECK_HAS(test_log(), "netdev tap is vhost; a hub needs its frames");
    CHECK(!back->taken);
    back->vhost = VHOST_NONE;
    int fd = open("/proc/self/exe", O_RDONLY); /* epoll takes no files */
    REQUIRE(fd >= 0);
    dup2(fd, back->q[0]->fd);
    CHECK_EQ(nt_open(m, &hubport_class, "id=p,netdev=tap", &nd), -EPERM);
    CHECK_HAS(test_log(), "p: tap: Operation not permitted");
    CHECK(!back->taken);
    close(fd);
    netdev_close_all();
    fake_free(m);
}
