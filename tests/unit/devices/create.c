/* SPDX-License-Identifier: MIT */
/* Devices that cannot be made: said why, and nothing of them is left. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/list.h"
#include "devices/pci/pci.h"
#include "tests/unit/fake.h"
#include "tests/unit/fakeblk.h"
#include "tests/unit/fakesys.h"

static const struct {
    const struct device_class *cls;
    const char *opts;
    unsigned port; /* of the first region */
} rows[] = {
    {&acpi_pm_class, "", 0x600},        {&rtc_class, "", 0x70},
    {&i8042_class, "", 0x60},           {&i8042_class, "", 0x64},
    {&i8042_class, "", 0x92},           {&pvpanic_class, "", 0x505},
    {&serial_class, "to=null", 0x3f8},  {&virtio_net_class, "netdev=n0", 0},
    {&e1000_class, "netdev=n0", 0},     {&virtio_rng_class, "", 0},
    {&virtio_blk_class, "drive=d0", 0}, {&virtio_vsock_class, NULL, 0},
    {&virtio_balloon_class, "", 0},
};

/* Others may run the same test at the same time. */
static const char *options(size_t i)
{
    static char text[64];
    snprintf(text, sizeof(text), "guest-cid=3,uds_path=/tmp/vmm-create.%d",
             (int)getpid());
    return rows[i].opts ? rows[i].opts : text;
}

static int lowest_free(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

static uint64_t no_read(void *owner, uint64_t off, unsigned width)
{
    (void)owner, (void)off, (void)width;
    return 0x77;
}

static void no_write(void *owner, uint64_t off, unsigned width, uint64_t val)
{
    (void)owner, (void)off, (void)width, (void)val;
}

/* Somebody has its port: an error with the port's number. Once it is free the
 * device can be made. */
TEST(devices_whose_port_is_taken)
{
    for (size_t i = 0; i < ARRAY_LEN(rows) && rows[i].port; i++) {
        const char *name = rows[i].cls->name;
        struct machine *m = fake_new(1 << 20);
        struct region r = {.base = rows[i].port,
                           .len = 1,
                           .read = no_read,
                           .write = no_write,
                           .name = "somebody"};
        char port[16];
        REQUIRE_EQ(bus_add(m->pio, &r), 0);
        int before = lowest_free();
        CHECK_EQ(fake_device(m, rows[i].cls, name, rows[i].opts), -EEXIST);
        snprintf(port, sizeof(port), "0x%x is taken", rows[i].port);
        CHECK_HAS(test_log(), port);
        CHECK_EQ(lowest_free(), before);
        CHECK_EQ(inb(m, rows[i].port), 0x77);
        bus_del(m->pio, &r);
        CHECK_EQ(fake_device(m, rows[i].cls, name, rows[i].opts), 0);
        fake_free(m);
    }
}

/* With each number of descriptors that is too small: an error, said; with the
 * first that is not, a device. */
TEST(devices_without_enough_descriptors)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *name = rows[i].cls->name;
        int err = -1, n = 0;
        for (; err && n < 64; n++) {
            struct machine *m =
                rows[i].port ? fake_new(1 << 20) : fake_pc(1 << 20);
            fake_net_new("n0", 2);
            fake_blk_new(NULL);
            fake_fds(n);
            err = fake_device(m, rows[i].cls, name, options(i));
            fake_fds(-1);
            if (err && !strstr(test_log(), "raise the limit"))
                FAIL("%s: without its descriptor %d: %d: %s", name, n, err,
                     test_log());
            netdev_close_all();
            fake_free(m);
            blockdev_close_all();
        }
        CHECK_EQ(err, 0);
    }
}

/* The bus itself: memory that somebody has. */
TEST(devices_bus_whose_place_is_taken)
{
    struct machine *m = fake_new(1 << 20);
    struct region r = {.base = PCI_ECAM_BASE,
                       .len = 1,
                       .read = no_read,
                       .write = no_write,
                       .name = "somebody"};
    REQUIRE_EQ(bus_add(m->mmio, &r), 0);
    CHECK_EQ(pci_bus_new(m), -EEXIST);
    CHECK(!m->pci);
    CHECK_EQ(inl(m, 0xcf8), 0xffffffff);
    bus_del(m->mmio, &r);
    CHECK_EQ(pci_bus_new(m), 0);
    CHECK_EQ(inl(m, 0xcf8), 0);
    fake_free(m);
}

/* There are 31 slots, and so much room for BARs. */
TEST(devices_more_than_the_bus_holds)
{
    struct machine *m = fake_pc(1 << 20);
    static struct pci_fn fn[33];
    struct pci_fn *big = &fn[32];
    const struct pci_place anywhere = {.slot = -1};
    for (int i = 0; i < 32; i++) {
        pci_fn_init(&fn[i], m, NULL, "toy", 0x1234, 0x5678, 0x020000, 0);
        CHECK_EQ(pci_add(&fn[i], &anywhere), i < 31 ? 0 : -ENOSPC);
    }
    CHECK_HAS(test_log(), "PCI: no free slot for toy; there are 31");
    fake_free(m);
    m = fake_pc(1 << 20);
    pci_fn_init(big, m, NULL, "big", 0x1234, 0x5678, 0x020000, 0);
    pci_bar_init(big, 2, PCI_BAR_MEM32, 1ull << 30, no_read, no_write, NULL);
    CHECK_EQ(pci_add(big, &anywhere), -ENOSPC);
    CHECK_HAS(test_log(), "PCI: no room for BAR 2 of big (1048576 KiB)");
    fake_free(m);
}

TEST(devices_e1000_says_that_vhost_is_not_for_it)
{
    struct machine *m = fake_pc(1 << 20);
    struct netdev *nd = fake_net_dev(fake_net_new("n0", 1));
    nd->vhost = VHOST_KERNEL;
    CHECK_EQ(fake_device(m, &e1000_class, "e1000", "netdev=n0"), 0);
    CHECK_HAS(test_log(), "vhost=on is for virtio-net-pci; packets are moved "
                          "by this process");
    netdev_close_all();
    fake_free(m);
}

/* addr= and its like: what is no place on this bus is refused before anything
 * is made. */
TEST(devices_places_on_the_bus)
{
    static const char *const bad[][2] = {
        {"addr=0", "addr=0: must be a slot from 1 to 1f"},
        {"addr=20", "addr=20: must be a slot"},
        {"addr=1.1", "addr=1.1: must be a slot"},
        {"addr=", "addr=: must be a slot"},
        {"addr=x", "addr=x: must be a slot"},
        {"addr=-1", "addr=-1: must be a slot"},
        {"addr=3", "addr=3: another device asks for that slot"},
        {"addr=3.0", "addr=3.0: another device asks for that slot"},
        {"bus=pci.1", "bus=pci.1: there is only pci.0"},
        {"multifunction=on", "multifunction=on: a slot has one function"},
        {"romfile=/nonexistent", "romfile=/nonexistent: No such file"},
    };
    static const char *const good[] = {"addr=1f", "addr=4.0", "bus=pci.0",
                                       "romfile=/nonexistent,rombar=off"};
    struct needs needs = {0};
    struct device *dev = NULL;
    struct opts o;
    REQUIRE_EQ(opts_parse(&o, "e1000", "addr=3", NULL), 0);
    REQUIRE_EQ(device_new(&e1000_class, &o, &needs, &dev), 0);
    device_free(dev);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        REQUIRE_EQ(opts_parse(&o, "e1000", bad[i][0], NULL), 0);
        CHECK(device_new(&e1000_class, &o, &needs, &dev) < 0);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        REQUIRE_EQ(opts_parse(&o, "e1000", good[i], NULL), 0);
        if (CHECK_EQ(device_new(&e1000_class, &o, &needs, &dev), 0))
            device_free(dev);
    }
    int err = 0;
    for (int i = 0; i < 31 && !err; i++) {
        REQUIRE_EQ(opts_parse(&o, "e1000", "", NULL), 0);
        err = device_new(&e1000_class, &o, &needs, &dev);
        if (!err)
            device_free(dev);
    }
    CHECK_EQ(err, -EINVAL);
    CHECK_HAS(test_log(), "there are 31 PCI slots only");
}
