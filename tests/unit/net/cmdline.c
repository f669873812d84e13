/* SPDX-License-Identifier: MIT */
/* -nic, -net, -tap, -netdev, -object: what they turn into. */
#include "net/cmdline.h"
#include "net/hub.h"
#include "net/none.h"
#include "tests/unit/net/net_test.h"

/* A backend that remembers what it was opened with. */
static char opened[8][512];
static int nopened;

static void rec_close(struct netdev *nd)
{
    free(nd->q[0]);
    free(nd);
}

static ssize_t rec_recv(struct netbe *be, const struct iovec *iov, int n)
{
    (void)be;
    (void)iov;
    (void)n;
    return 0;
}

static int rec_open(struct loop *l, struct opts *o, struct netdev **out)
{
    struct netdev *nd = calloc(1, sizeof(*nd));
    char *s = opened[nopened++ % 8];
    (void)l;
    *s = 0;
    for (int i = 0; i < o->n; i++) {
        sprintf(s + strlen(s), "%s%s=%s", i ? " " : "", o->kv[i].key,
                o->kv[i].val);
    }
    netdev_read_id(nd, o);
    nd->nq = 1;
    nd->q[0] = calloc(1, sizeof(struct netbe));
    nd->q[0]->fd = -1;
    nd->q[0]->recv = rec_recv;
    nd->close = rec_close;
    *out = nd;
    return 0;
}
static const struct netdev_class rec_tap = {"tap", "ifname=\nfd=\n", rec_open};
static const struct netdev_class rec_user = {"user", "", rec_open};
static const struct netdev_class *const classes[] = {
    &rec_tap, &rec_user, &none_class, &hubport_class, NULL};

/* Options as "-opt arg" pairs, NULL-terminated; then opens. */
static int line(struct machine *m, const char *const *args)
{
    int r = 0;
    nopened = 0;
    for (; r == 0 && args[0]; args += 2)
        r = net_option(args[0], args[1]);
    return r ? r : net_open(m->loop, classes);
}
#define LINE(m, ...) line(m, (const char *const[]){__VA_ARGS__, NULL})

static void done(struct machine *m)
{
    net_free();
    netdev_close_all();
    fake_free(m);
}

TEST(net_cmdline_netdev_and_tap)
{
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(LINE(m, "-netdev", "tap,id=n0,ifname=t0,script=no", "-tap",
                    "tap1,model=e1000,mac=52:54:00:00:00:01,queues=2", "-tap",
                    "tap2"),
               0);
    CHECK_STR(opened[0], "ifname=t0 script=no id=n0");
    CHECK_STR(opened[1], "ifname=tap1 queues=2 id=net0");
    CHECK_STR(opened[2], "ifname=tap2 id=net1");
    CHECK_STR(net_device(0), "e1000,netdev=net0,mac=52:54:00:00:00:01");
    CHECK_STR(net_device(1), "virtio-net-pci,netdev=net1");
    CHECK(net_device(2) == NULL);
    netdev_find("net0")->taken = netdev_find("net1")->taken = true;
    net_check();
    CHECK_HAS(test_log(), "netdev n0 has no NIC");
    done(m);
}

TEST(net_cmdline_nic)
{
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(LINE(m, "-nic",
                    "user,model=virtio-net-pci,mac=52:54:00:00:00:02,"
                    "hostfwd=tcp::2222-:22,hostfwd=tcp::80-:80",
                    "-nic", "tap,id=x,ifname=a,,b", "-nic", "none", "-nic",
                    "none,model=e1000", "-nic", "model=virtio,addr=5"),
               0);
    CHECK_STR(opened[0], "hostfwd=tcp::2222-:22 hostfwd=tcp::80-:80 id=net0");
    CHECK_STR(opened[1], "ifname=a,b id=x");
    CHECK_STR(net_device(0),
              "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:02");
    CHECK_STR(net_device(1), "virtio-net-pci,netdev=x");
    CHECK_STR(net_device(2), "e1000,netdev=net1");
    CHECK(!netdev_link(netdev_find("net1")));
    CHECK_STR(net_device(3), "virtio-net-pci,netdev=net2,addr=5");
    CHECK(net_device(4) == NULL);
    done(m);
}

TEST(net_cmdline_net_one_of_each_is_a_cable)
{
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(LINE(m, "-net",
                    "nic,model=e1000,macaddr=52:54:00:00:00:03,name=eth",
                    "-net", "tap,ifname=t0,script=no", "-net",
                    "tap,vlan=3,ifname=t3,name=up", "-net", "nic,vlan=3"),
               0);
    CHECK_STR(opened[0], "ifname=t0 script=no id=net0");
    CHECK_STR(opened[1], "ifname=t3 id=up");
    CHECK_STR(net_device(0), "e1000,mac=52:54:00:00:00:03,id=eth,netdev=net0");
    CHECK_STR(net_device(1), "virtio-net-pci,netdev=up");
    CHECK(netdevs->next->next == NULL); /* no hub */
    done(m);
}

TEST(net_cmdline_net_several_share_a_hub)
{
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(LINE(m, "-net", "nic,vlan=1", "-net", "nic,vlan=1", "-net",
                    "tap,vlan=1,ifname=t0", "-net", "nic,vlan=2", "-netdev",
                    "user,id=u", "-net", "nic,netdev=u"),
               0);
    CHECK_HAS(test_log(), "vlan 2 has no backend");
    CHECK(netdev_find("net0")->taken);
    CHECK_STR(net_device(0), "virtio-net-pci,netdev=net2");
    CHECK_STR(net_device(1), "virtio-net-pci,netdev=net3");
    CHECK_STR(net_device(3), "virtio-net-pci,netdev=u");
    /* what one says, the other hears */
    struct netdev *a = netdev_find("net2"), *b = netdev_find("net3");
    netdev_find("net0")->q[0]->send = netdev_find("net0")->q[0]->recv;
    CHECK_EQ(nt_send(a, 60, 0), 72);
    CHECK_EQ(nt_recv(b, 100, 0), 60);
    done(m);
}

TEST(net_cmdline_backend_without_nic_is_a_warning)
{
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(LINE(m, "-net", "tap,ifname=t0", "-net", "none"), 0);
    CHECK_HAS(test_log(), "vlan 0 has no NIC");
    done(m);
}

TEST(net_cmdline_captures)
{
    struct machine *m = fake_new(4096);
    char obj[200], nic[200];
    const char *a = nt_path("a.pcap"), *b = nt_path("b.pcap");
    snprintf(obj, sizeof(obj), "filter-dump,id=d,netdev=n0,file=%s", a);
    snprintf(nic, sizeof(nic), "user,pcap=%s", b);
    REQUIRE_EQ(LINE(m, "-object", obj, "-netdev", "tap,id=n0", "-nic", nic), 0);
    CHECK_STR(opened[1], "id=net0");
    CHECK_EQ(access(a, F_OK), 0);
    CHECK_EQ(access(b, F_OK), 0);
    done(m);
    nt_clean();
}

TEST(net_cmdline_errors_are_said)
{
    static const char *const bad[][3] = {
        {"-netdev", "tap,ifname=t0", "id= is missing"},
        {"-netdev", "teleport,id=x", "no such type; there are: tap user"},
        {"-net", "nic,vlna=3", "vlna"},
        {"-net", "nic,vlan=x", "vlan"},
        {"-tap", "mac=52:54:00:00:00:01", "no name"},
        {"-object", "rng-random,id=x", "filter-dump"},
        {"-object", "filter-dump,netdev=no,file=/tmp/x", "no netdev no"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct machine *m = fake_new(4096);
        CHECK(LINE(m, bad[i][0], bad[i][1]) < 0);
        CHECK_HAS(test_log(), bad[i][2]);
        done(m);
    }
    struct machine *m = fake_new(4096);
    CHECK(LINE(m, "-netdev", "tap,id=x", "-netdev", "user,id=x") < 0);
    CHECK_HAS(test_log(), "used twice");
    done(m);
}
