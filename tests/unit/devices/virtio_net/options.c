/* SPDX-License-Identifier: MIT */
/* virtio-net: options that cannot be, and what options show to the guest. */
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "devices/list.h"
#include "tests/unit/fakevirtio.h"

static void refused(const char *options, const char *why)
{
    struct machine *m = fake_pc(4096);
    char text[200];
    netdev_close_all();
    fake_net_new("n0", 1);
    snprintf(text, sizeof(text), "netdev=n0,%s", options);
    CHECK_EQ(fake_device(m, &virtio_net_class, "virtio", text), -EINVAL);
    CHECK_HAS(test_log(), why);
    netdev_close_all();
    fake_free(m);
}

TEST(vnet_options_that_cannot_be_are_refused)
{
    refused("rx_queue_size=100", "rx_queue_size=100: must be a power of two");
    refused("tx_queue_size=513", "tx_queue_size=513: must be a power of two");
    refused("rx_queue_size=32", "rx_queue_size 32: must be");
    refused("rx_queue_size=2048", "rx_queue_size 2048: must be");
    refused("ats=on", "ats=on: there is no IOMMU");
    refused("ioeventfd=off", "ioeventfd=off: doorbells have no other way");
    refused("disable-modern=on", "disable-modern=on needs disable-legacy=off");
    refused("host_mtu=67", "host_mtu 67: must be");
    refused("host_mtu=65536", "host_mtu 65536: must be");
    refused("vectors=999", "vectors 999: must be");
    refused("duplex=both", "duplex=both: must be one of");
}

static void config_of(const char *options, unsigned host_mtu,
                      uint8_t config[24], uint64_t *offered)
{
    struct vd d = {.opts = options};
    netdev_close_all();
    d.m = fake_new2(VD_LOW_RAM, VD_HIGH_BASE, VD_HIGH_RAM);
    REQUIRE_EQ(pci_bus_new(d.m), 0);
    d.net = fake_net_new("n0", 1);
    fake_net_dev(d.net)->mtu = host_mtu;
    REQUIRE_EQ(fake_device(d.m, &virtio_net_class, "virtio", options), 0);
    vd_find(&d);
    for (unsigned i = 0; i < 24; i++)
        config[i] = drv_r8(d.m, d.config + i);
    *offered = vd_offered(&d);
    vd_free(&d);
}

static unsigned config16(const uint8_t *p)
{
    return p[0] | (unsigned)p[1] << 8;
}

/* §5.1.4.1: the host interface's MTU, unless it is the usual one or another is
 * asked for. */
TEST(vnet_5_1_4_mtu_shown_to_the_guest)
{
    uint8_t c[24];
    uint64_t f;
    config_of("netdev=n0", 1500, c, &f);
    CHECK(!(f & F(VIRTIO_NET_F_MTU)));
    config_of("netdev=n0", 9000, c, &f);
    CHECK(f & F(VIRTIO_NET_F_MTU));
    CHECK_EQ(config16(c + 10), 9000);
    config_of("netdev=n0,host_mtu=1400", 9000, c, &f);
    CHECK_EQ(config16(c + 10), 1400);
    CHECK(!strstr(test_log(), "dropped"));
    config_of("netdev=n0,host_mtu=9000", 1500, c, &f);
    CHECK_EQ(config16(c + 10), 9000);
    CHECK_HAS(test_log(), "the host's interface has 1500 only");
    config_of("netdev=n0", 67, c, &f); /* less than IPv4 can do */
    CHECK(!(f & F(VIRTIO_NET_F_MTU)));
}

TEST(vnet_5_1_4_speed_and_duplex)
{
    uint8_t c[24];
    uint64_t f;
    const uint64_t bit63 = F(VIRTIO_NET_F_SPEED_DUPLEX);
    config_of("netdev=n0", 1500, c, &f);
    CHECK(!(f & bit63));
    CHECK_MEM(c + 12, "\xff\xff\xff\xff\xff", 5); /* unknown */
    config_of("netdev=n0,speed=1000", 1500, c, &f);
    CHECK(f & bit63);
    CHECK_MEM(c + 12, "\xe8\x03\0\0\xff", 5);
    config_of("netdev=n0,duplex=full", 1500, c, &f);
    CHECK(f & bit63);
    CHECK_EQ(c[16], 1);
    config_of("netdev=n0,duplex=half", 1500, c, &f);
    CHECK_EQ(c[16], 0);
}

/* A feature that another needs takes that one with it. */
TEST(vnet_options_close_the_set_of_features)
{
    uint8_t c[24];
    uint64_t f;
    config_of("netdev=n0,csum=off", 1500, c, &f);
    CHECK_EQ(f & (F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_HOST_USO)), 0);
    config_of("netdev=n0,ctrl_vq=off,rss=on", 1500, c, &f);
    CHECK_EQ(f & (F(VIRTIO_NET_F_CTRL_RX) | F(VIRTIO_NET_F_RSS) |
                  F(VIRTIO_NET_F_NOTF_COAL)),
             0);
}

/* §6.3, vhost: where the kernel cannot, this process moves the packets, unless
 * somebody insists. */
TEST(vnet_vhost_is_done_without_where_there_is_none)
{
    struct machine *m = fake_pc(4096);
    netdev_close_all();
    struct netdev *nd = fake_net_dev(fake_net_new("n0", 1));
    nd->vhost = VHOST_KERNEL;
    nd->vhostfd[0] = 0x7fffff00; /* not open */
    CHECK_EQ(fake_device(m, &virtio_net_class, "virtio", "netdev=n0,id=a"), 0);
    CHECK_HAS(test_log(), "a: without vhost-net; packets are moved by this");
    nd->taken = false;
    nd->vhost_forced = true;
    CHECK(fake_device(m, &virtio_net_class, "virtio", "netdev=n0,id=b") < 0);
    fake_free(m);
    netdev_close_all();
}

/* A NIC without a cable: the guest sees no link, frames go nowhere and come
 * back, and everything else works. */
TEST(vnet_without_a_netdev_has_no_link)
{
    struct vd d = {0};
    netdev_close_all();
    d.m = fake_new2(VD_LOW_RAM, VD_HIGH_BASE, VD_HIGH_RAM);
    REQUIRE_EQ(pci_bus_new(d.m), 0);
    REQUIRE_EQ(fake_device(d.m, &virtio_net_class, "virtio", "id=alone"), 0);
    for (struct device *dev = d.m->devices; dev; dev = dev->next)
        d.dev = dev->cls == &virtio_net_class ? dev : d.dev;
    vd_find(&d);
    vd_forget(&d);
    d.brk = 0x10000;
    vd_again(&d, F(VIRTIO_NET_F_STATUS) | F(VIRTIO_NET_F_CTRL_VQ));
    CHECK_EQ(drv_r8(d.m, d.config + 6), 0);
    uint8_t f[60] = {0xff};
    vd_send(&d, TX0, NULL, f, sizeof(f));
    vd_kick(&d, TX0);
    CHECK_EQ(vd_reap(&d.q[TX0]), 1);
    CHECK_EQ(vd_count(&d, "tx_drop_link"), 1);
    vd_post(&d, RX0, 2000);
    vd_kick(&d, RX0);
    CHECK_EQ(vd_reap(&d.q[RX0]), 0);
    vd_set(&d, C_STATUS, 1, 0);
    CHECK_EQ(vd_status(&d), 0);
    vd_free(&d);
}

/* However few descriptors are left, it is said what there is too little of, and
 * nothing of the device goes on living. */
TEST(vnet_made_with_too_few_descriptors)
{
    struct rlimit was, few;
    int err = -1, failures = 0;
    getrlimit(RLIMIT_NOFILE, &was);
    for (unsigned left = 0; err && left < 100; left++) {
        netdev_close_all();
        struct machine *m = fake_pc(4096);
        fake_net_new("n0", 2);
        int next = dup(0);
        REQUIRE(next > 0);
        close(next);
        few = was;
        few.rlim_cur = (rlim_t)next + left;
        setrlimit(RLIMIT_NOFILE, &few);
        err = fake_device(m, &virtio_net_class, "virtio",
                          "netdev=n0,iothreads=on");
        setrlimit(RLIMIT_NOFILE, &was);
        CHECK(err <= 0);
        if (err)
            CHECK_HAS(test_log(), "raise the limit");
        failures += err < 0;
        fake_run_loop(m);
        fake_free(m);
    }
    CHECK_EQ(err, 0);
    CHECK(failures > 10);
    netdev_close_all();
}
