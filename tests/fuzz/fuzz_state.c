/* SPDX-License-Identifier: MIT */
/* Saved records from anybody into every kind of device. What is taken must be
 * something the device can go on from, and be saved as the same again. */
#include <stdlib.h>

#include "devices/list.h"
#include "devices/pci/pci.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fakeblk.h"

#define RAM (4u << 20)
#define RINGS 0x40000 /* below: what is zero at first */
#define SAVED (1u << 18)

static struct device *device[14];
static unsigned slot[ARRAY_LEN(device)]; /* on the PCI bus, or 0 */
static struct fake_net *net[3];
static struct fake_blk *drive;

static void add(struct machine *m, const struct device_class *cls,
                const char *text, unsigned i)
{
    static unsigned slots;
    REQUIRE_EQ(fake_device(m, cls, cls->name, text), 0);
    if (fields_find(cls->fields, "addr"))
        slot[i] = ++slots;
    device[i] = m->devices;
    while (device[i]->next)
        device[i] = device[i]->next;
}

static struct machine *make(void)
{
    struct machine *m = fake_new2(RAM, 1ull << 32, 1 << 20);
    REQUIRE_EQ(pci_bus_new(m), 0);
    device[7] = m->devices;
    net[0] = fake_net_new("n0", 2);
    net[1] = fake_net_new("n1", 1);
    net[2] = fake_net_new("n2", 1);
    add(m, &virtio_net_class, "netdev=n0,packed=on,rss=on,hash=on", 0);
    add(m, &e1000_class, "netdev=n1", 1);
    add(m, &e1000_class, "netdev=n2,offload=off", 2);
    add(m, &serial_class, "to=null", 3);
    add(m, &rtc_class, "", 4);
    add(m, &acpi_pm_class, "", 5);
    add(m, &i8042_class, "", 6);
    drive = fake_blk_new(NULL);
    drive->self = true;
    add(m, &virtio_blk_class, "drive=d0,packed=on,num-queues=2", 8);
    add(m, &virtio_rng_class, "packed=on,max-bytes=100,period=1000", 9);
    add(m, &virtio_balloon_class, "packed=on,free-page-reporting=on", 10);
    add(m, &virtio_vsock_class,
        "guest-cid=3,uds_path=/tmp/fuzz-state,packed=on", 11);
    add(m, &vmgenid_class, "guid=auto", 12);
    add(m, &pvpanic_class, "", 13);
    return m;
}

static size_t save(struct device *dev, uint8_t *out)
{
    size_t n = device_save(dev, out, SAVED);
    CHECK(n <= SAVED);
    return n;
}

/* Traffic at the card, registers read, a second for its timers. */
static void go_on(struct machine *m, unsigned i)
{
    static uint8_t frame[2000] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct pci_fn *fn = slot[i] ? pci_fn_at(m->pci, slot[i]) : NULL;
    device_resume(device[i]);
    for (unsigned q = 0; i < 3 && q < (i ? 1 : 2); q++)
        fake_net_give(net[i], q, NULL, frame, 60 + 800 * q);
    fake_run_loop(m);
    if (fn)
        for (unsigned bar = 0; bar < PCI_BARS; bar++)
            for (unsigned off = 0; fn->bar[bar].region.read && off < 64;
                 off += 4)
                fn->bar[bar].region.read(fn->bar[bar].region.owner,
                                         off % fn->bar[bar].size, 4);
    if (i < 3)
        fake_net_clear(net[i]);
    for (unsigned port = 0x3f8; port < 0x400; port++)
        inb(m, port);
    inb(m, 0x60);
    outb(m, 0x70, 0x0c);
    inb(m, 0x71);
    inl(m, 0x608);
    fake_run_loop(m);
    fake_advance_ns(1000000000);
    fake_run_loop(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t first[SAVED], again[SAVED];
    static struct machine *m;
    if (!m)
        m = make();
    if (!size)
        return 0;
    unsigned i = data[0] % ARRAY_LEN(device);
    struct device *dev = device[i];
    uint8_t *p = malloc(size > 1 ? size - 1 : 1); /* a block of its own */
    REQUIRE(p != NULL);
    memcpy(p, data + 1, size - 1);
    device_hold(dev);
    if (!device_load(dev, p, size - 1)) {
        size_t n = save(dev, first);
        CHECK_EQ(device_load(dev, first, n), 0);
        CHECK_EQ(save(dev, again), n);
        CHECK(!memcmp(first, again, n));
        go_on(m, i);
        device_hold(dev);
        n = save(dev, first);
        CHECK_EQ(device_load(dev, first, n), 0);
        memset(fake_ram(m, 0, RINGS), 0, RINGS);
        dev->reset(dev);
    } /* else it is as after one */
    device_resume(dev);
    fake_run_loop(m);
    free(p);
    return 0;
}
