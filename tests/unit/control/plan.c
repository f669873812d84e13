/* SPDX-License-Identifier: MIT */
/* What is asked for: -nic, -net, -tap, -netdev, -object, -device; what they
 * turn into, and that nothing is done before all of it is right. */
#include "devices/list.h"
#include "block/list.h"
#include "control/plan.h"
#include "control/replace.h"

#include "devices/nic.h"
#include "net/list.h"
#include "net/stream.h"
#include "tests/unit/net/net_test.h"

/* A backend and a NIC that remember what they were told. */
static char opened[8][512], made[8][512];
static int nopened, nmade;

static void remember(char *s, const char *name, const struct opts *o)
{
    sprintf(s, "%s", name);
    for (int i = 0; i < o->n; i++)
        sprintf(s + strlen(s), "%s%s=%s", *s ? "," : "", o->kv[i].key,
                o->kv[i].val);
}

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

static int rec_open(struct netdev *nd, struct loop *l)
{
    (void)l;
    remember(opened[nopened++ % 8], "", &nd->opts);
    nd->nq = 1;
    nd->q[0] = calloc(1, sizeof(struct netbe));
    nd->q[0]->fd = -1;
    nd->q[0]->recv = rec_recv;
    nd->close = rec_close;
    return 0;
}

static void rec_destroy(struct device *dev)
{
    free(dev);
}

static int rec_create(struct machine *m, struct device *dev)
{
    remember(made[nmade++ % 8], dev->cls->name, &dev->opts);
    dev->destroy = rec_destroy;
    device_register(m, dev);
    return 0;
}

static struct netdev_class rec_tap, rec_user;
static struct device_class rec_virtio, rec_e1000;
static const struct netdev_class *const netdev_classes[] = {
    &rec_tap, &rec_user, &none_class, &hubport_class, &vhost_user_class, NULL};
static const struct device_class *const device_classes[] = {&rec_virtio,
                                                            &rec_e1000, NULL};
static const struct blockdev_class *const blockdev_classes[] = {
    BLOCKDEV_ROWS NULL};
static const struct plan_classes classes = {
    .devices = device_classes,
    .netdevs = netdev_classes,
    .hubport = &hubport_class,
    .blockdevs = blockdev_classes,
};

/* Options as "-opt arg" pairs, NULL-terminated; then checks, then opens. */
static int checks(const char *const *args, struct needs *needs)
{
    int r = 0;
    rec_tap = tap_class;
    rec_user = user_class;
    rec_tap.check = rec_user.check = NULL;
    rec_tap.open = rec_user.open = rec_open;
    rec_virtio = virtio_net_class;
    rec_e1000 = e1000_class;
    rec_virtio.create = rec_e1000.create = rec_create;
    nopened = nmade = 0;
    for (; r == 0 && args[0]; args += 2)
        r = plan_take(args[0], args[1]);
    return r ? r : plan_check(&classes, needs);
}

static int line(struct machine *m, const char *const *args)
{
    struct needs needs = {0};
    int r = checks(args, &needs);
    return r ? r : plan_open(m);
}
#define LINE(m, ...) line(m, (const char *const[]){__VA_ARGS__, NULL})

#define CHECKS(needs, ...)                                                     \
    checks((const char *const[]){__VA_ARGS__, NULL}, needs)

static const char *nic(int i)
{
    return i < nmade ? made[i] : NULL;
}

static void done(struct machine *m)
{
    fake_free(m);
    plan_free();
}

TEST(plan_netdev_and_tap)
{
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(LINE(m, "-netdev", "tap,id=n0,ifname=t0,script=no", "-tap",
                    "tap1,model=e1000,mac=52:54:00:00:00:01,queues=2", "-tap",
                    "tap2"),
               0);
    CHECK_STR(opened[0], "id=n0,ifname=t0,script=no");
    CHECK_STR(opened[1], "ifname=tap1,queues=2,id=net0");
    CHECK_STR(opened[2], "ifname=tap2,id=net1");
    CHECK_STR(nic(0), "e1000,mac=52:54:00:00:00:01,netdev=net0");
    CHECK_STR(nic(1), "virtio-net-pci,netdev=net1");
    CHECK(nic(2) == NULL);
    CHECK_HAS(test_log(), "netdev n0 has no NIC");
    done(m);
}

TEST(plan_nic)
{
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(LINE(m, "-nic",
                    "user,model=virtio-net-pci,mac=52:54:00:00:00:02,"
                    "hostfwd=tcp::2222-:22,hostfwd=tcp::80-:80",
                    "-nic", "tap,id=x,ifname=a,,b", "-nic", "none", "-nic",
                    "none,model=e1000", "-nic", "model=virtio,addr=5"),
               0);
    CHECK_STR(opened[0], "hostfwd=tcp::2222-:22,hostfwd=tcp::80-:80,id=net0");
    CHECK_STR(opened[1], "id=x,ifname=a,b");
    CHECK_STR(nic(0), "virtio-net-pci,mac=52:54:00:00:00:02,netdev=net0");
    CHECK_STR(nic(1), "virtio-net-pci,netdev=x");
    CHECK_STR(nic(2), "e1000,netdev=net1");
    CHECK(!netdev_link(netdev_find("net1")));
    CHECK_STR(nic(3), "virtio-net-pci,addr=5,netdev=net2");
    CHECK(nic(4) == NULL);
    done(m);
}

TEST(plan_net_one_of_each_is_a_cable)
{
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(LINE(m, "-net",
                    "nic,model=e1000,macaddr=52:54:00:00:00:03,name=eth",
                    "-net", "tap,ifname=t0,script=no", "-net",
                    "tap,vlan=3,ifname=t3,name=up", "-net", "nic,vlan=3"),
               0);
    CHECK_STR(opened[0], "ifname=t0,script=no,id=net0");
    CHECK_STR(opened[1], "id=up,ifname=t3");
    CHECK_STR(nic(0), "e1000,id=eth,mac=52:54:00:00:00:03,netdev=net0");
    CHECK_STR(nic(1), "virtio-net-pci,netdev=up");
    CHECK(netdevs->next->next == NULL); /* no hub */
    done(m);
}

TEST(plan_net_several_share_a_hub)
{
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(LINE(m, "-net", "nic,vlan=1", "-net", "nic,vlan=1", "-net",
                    "tap,vlan=1,ifname=t0", "-net", "nic,vlan=2", "-netdev",
                    "user,id=u", "-net", "nic,netdev=u"),
               0);
    CHECK_HAS(test_log(), "vlan 2 has no backend");
    CHECK(netdev_find("net0")->taken);
    CHECK_STR(nic(0), "virtio-net-pci,netdev=net2");
    CHECK_STR(nic(1), "virtio-net-pci,netdev=net3");
    CHECK_STR(nic(3), "virtio-net-pci,netdev=u");
    /* what one says, the other hears */
    struct netdev *a = netdev_find("net2"), *b = netdev_find("net3");
    netdev_find("net0")->q[0]->send = netdev_find("net0")->q[0]->recv;
    CHECK_EQ(nt_send(a, 60, 0), 72);
    CHECK_EQ(nt_recv(b, 100, 0), 60);
    done(m);
}

TEST(plan_backend_without_nic_is_a_warning)
{
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(LINE(m, "-net", "tap,ifname=t0", "-net", "none"), 0);
    CHECK_HAS(test_log(), "vlan 0 has no NIC");
    done(m);
}

TEST(plan_captures)
{
    struct machine *m = fake_new(4096);
    char obj[200], nic[200];
    const char *a = nt_path("a.pcap"), *b = nt_path("b.pcap");
    snprintf(obj, sizeof(obj), "filter-dump,id=d,netdev=n0,file=%s", a);
    snprintf(nic, sizeof(nic), "user,pcap=%s", b);
    REQUIRE_EQ(LINE(m, "-object", obj, "-netdev", "tap,id=n0", "-nic", nic), 0);
    CHECK_HAS(opened[1], "b.pcap,id=net0");
    CHECK_EQ(access(a, F_OK), 0);
    CHECK_EQ(access(b, F_OK), 0);
    done(m);
    nt_clean();
}

TEST(plan_errors_are_said)
{
    static const char *const bad[][3] = {
        {"-netdev", "tap,ifname=t0", "id= is missing"},
        {"-netdev", "teleport,id=x", "no such type; there are tap user"},
        {"-net", "nic,vlna=3", "vlna"},
        {"-net", "nic,vlan=x", "vlan"},
        {"-tap", "mac=52:54:00:00:00:01", "no name"},
        {"-object", "rng-egd,id=x", "-object help"},
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

TEST(plan_of_a_restored_machine_has_other_backends_and_addresses)
{
    struct machine *m = fake_new(4096);
    CHECK_EQ(replace_take("net.n0", "tap7"), 0);
    CHECK_EQ(replace_take("net.n1", "user,mtu=1400"), 0);
    CHECK_EQ(replace_take("net.n2", "tap8"), 0);
    CHECK_EQ(replace_take("mac.n0", "52:54:00:00:00:07"), 0);
    CHECK_EQ(replace_take("mac.n1", "52:54:00:00:00:08"), 0);
    REQUIRE_EQ(LINE(m, "-netdev", "tap,id=n0,fd=7,sndbuf=9", "-device",
                    "e1000,netdev=n0,mac=52:54:00:00:00:01", "-nic",
                    "tap,id=n1,ifname=t0", "-netdev", "user,id=n2,mtu=1300"),
               0);
    CHECK_STR(opened[0], "id=n0,sndbuf=9,ifname=tap7");
    CHECK_STR(opened[1], "mtu=1400,id=n1");
    CHECK_STR(opened[2], "ifname=tap8,id=n2");
    CHECK_STR(nic(0),
              "virtio-net-pci,netdev=n1,mac=52:54:00:00:00:08,new-mac=on");
    CHECK_STR(nic(1), "e1000,netdev=n0,mac=52:54:00:00:00:07,new-mac=on");
    done(m);
    m = fake_new(4096);
    REQUIRE_EQ(LINE(m, "-netdev", "tap,id=n0,ifname=t0"), 0);
    CHECK_STR(opened[0], "id=n0,ifname=t0"); /* once */
    done(m);
}

TEST(plan_of_a_restored_machine_replaces_only_what_is_there)
{
    static const char *const bad[][3] = {
        {"net.no", "tap7", "there is no netdev no"},
        {"net.n0", "teleport,x=y", "no such type"},
        {"net.n0", "user,colour=red", "no key \"colour\""},
        {"mac.no", "52:54:00:00:00:07", "no NIC is at a netdev no"},
        {"mac.n0", "52:54", "mac"},
        {"vsock", "/v", "no -device virtio-vsock-pci"},
        {"drive.no", "/d", "there is no disk no"},
        {"drive.d", "/nonexistent", "/nonexistent"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct machine *m = fake_new(4096);
        CHECK_EQ(replace_take(bad[i][0], bad[i][1]), 0);
        CHECK(LINE(m, "-nic", "tap,id=n0", "-blockdev",
                   "file,node-name=d,filename=/bin/true,read-only=on") < 0);
        CHECK_HAS(test_log(), bad[i][2]);
        CHECK(nopened == 0 && nmade == 0);
        done(m);
    }
    CHECK(replace_is("net.x") && replace_is("vsock") && !replace_is("net.") &&
          !replace_is("mem"));
    CHECK_EQ(replace_take("vsock", ""), -EINVAL);
    CHECK_EQ(replace_take("vsock", "/v"), 0);
    CHECK_EQ(replace_take("vsock", "/w"), -EINVAL);
    replace_forget();
}

TEST(plan_an_error_at_the_end_opens_nothing)
{
    static const char *const bad[][4] = {
        {"-device", "bogus",
         "bogus: no such device; there are virtio-net-pci "
         "e1000"},
        {"-device", "e1000,netdev=zz", "no -netdev with that id"},
        {"-device", "e1000,netdev=n0,addr=20", "slot from 1 to 1f"},
        {"-device", "e1000,netdev=n0,romfile=/nonexistent", "romfile="},
        {"-device", "e1000,netdev=n0,colour=red", "no key \"colour\""},
        {"-device", "virtio-net-pci,netdev=n0,rx_queue_size=65",
         "rx_queue_size=65: must be a power of two"},
        {"-netdev", "tap,id=n0", "id=n0: used twice"},
        {"-tap", "t0,model=foo", "-tap: model=foo: no such device"},
        {"-tap", "t0,packd=on", "-tap: no key \"packd\""},
    };
    const char *file = nt_path("kept.pcap");
    char pcap[200];
    snprintf(pcap, sizeof(pcap), "tap,id=n0,pcap=%s", file);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *args[] = {"-netdev", pcap, bad[i][0], bad[i][1], NULL};
        struct machine *m = fake_new(4096);
        FILE *f = fopen(file, "w");
        REQUIRE(f != NULL);
        fputs("precious", f);
        fclose(f);
        CHECK(line(m, args) < 0);
        CHECK_HAS(test_log(), bad[i][2]);
        CHECK(nopened == 0 && nmade == 0 && !m->devices);
        struct stat st;
        CHECK(stat(file, &st) == 0 && st.st_size == 8);
        done(m);
    }
    nt_clean();
}

TEST(plan_devices_ids_and_slots_are_not_taken_twice)
{
    struct needs needs = {0};
    CHECK_EQ(CHECKS(&needs, "-device", "e1000,id=d", "-device", "e1000,id=d"),
             -EINVAL);
    CHECK_HAS(test_log(), "-device e1000,id=d: id=d: used twice");
    done(fake_new(4096));
    CHECK_EQ(CHECKS(&needs, "-device", "e1000,addr=5", "-device",
                    "virtio-net,addr=05.0"),
             -EINVAL);
    CHECK_HAS(test_log(), "addr=05.0: another device asks for that slot");
    done(fake_new(4096));
    CHECK_EQ(CHECKS(&needs, "-netdev", "tap,id=a", "-device", "e1000,netdev=a",
                    "-device", "e1000,netdev=a"),
             -EINVAL);
    CHECK_HAS(test_log(), "netdev=a: another NIC uses it");
    done(fake_new(4096));
}

TEST(plan_vhost_user_asks_for_shared_memory_however_it_is_written)
{
    static const char *const forms[] = {"vhost-user,id=n0,path=/x",
                                        "type=vhost-user,id=n0,path=/x",
                                        "id=n0,path=/x,type=vhost-user"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct needs needs = {0};
        CHECK_EQ(CHECKS(&needs, "-netdev", forms[i], "-device",
                        "virtio-net-pci,netdev=n0"),
                 0);
        CHECK(needs.shared_ram);
        done(fake_new(4096));
    }
    struct needs needs = {0};
    CHECK_EQ(CHECKS(&needs, "-netdev", "tap,id=vhost-user"), 0);
    CHECK(!needs.shared_ram);
    done(fake_new(4096));
}

TEST(plan_json_is_the_same_as_text)
{
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(LINE(m, "-netdev",
                    "{\"type\":\"tap\",\"id\":\"hostnet0\",\"vhost\":true}",
                    "-device",
                    "{\"driver\":\"virtio-net-pci\",\"netdev\":\"hostnet0\","
                    "\"id\":\"net0\",\"mac\":\"52:54:00:00:00:07\","
                    "\"bus\":\"pci.0\",\"addr\":\"0x3\",\"mq\":false,"
                    "\"rx_queue_size\":512,\"bootindex\":1}",
                    "-netdev",
                    "{\"type\":\"user\",\"id\":\"u\",\"hostfwd\":[{\"str\":"
                    "\"tcp::1-:1\"},{\"str\":\"tcp::2-:2\"}]}"),
               0);
    CHECK_STR(opened[0], "id=hostnet0,vhost=on");
    CHECK_STR(opened[1], "id=u,hostfwd=tcp::1-:1,hostfwd=tcp::2-:2");
    CHECK_STR(nic(0), "virtio-net-pci,netdev=hostnet0,id=net0,"
                      "mac=52:54:00:00:00:07,bus=pci.0,addr=0x3,mq=off,"
                      "rx_queue_size=512,bootindex=1");
    done(m);
    struct needs needs = {0};
    CHECK_EQ(CHECKS(&needs, "-netdev", "{\"type\":\"tap\",\"id\":{\"x\":1}}"),
             -EINVAL);
    CHECK_HAS(test_log(), "no key \"id.x\"");
    done(fake_new(4096));
    CHECK_EQ(CHECKS(&needs, "-device", "{\"driver\":\"e1000\""), -EINVAL);
    CHECK_HAS(test_log(), "-device: JSON, byte 18: a comma or }");
    done(fake_new(4096));
}
