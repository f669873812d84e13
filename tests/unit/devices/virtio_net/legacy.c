/* SPDX-License-Identifier: MIT */
/* The legacy interface of a transitional virtio-net (virtio 1.2 §4.1.4.10). */
#include <stdio.h>

#include "devices/list.h"
#include "devices/virtio_net/state.h"
#include "tests/unit/fakedrv.h"
#include "tests/unit/records.h"
#include "tests/unit/devices/virtio/ring.h"

enum { FEATURES = 0, GUEST = 4, PFN = 8, SIZE = 12, SELECT = 14, NOTIFY = 16 };
enum { STATUS = 18, ISR = 19 };
#define LEGACY_IDS 0x1000
#define RING0 0x10000u
#define RING1 0x20000u

struct old {
    struct machine *m;
    struct fake_net *net;
    unsigned slot, io;
    struct ring rx, tx;
};

static void old_new(struct old *o, const char *more)
{
    char text[256];
    o->m = fake_pc(4 << 20);
    o->net = fake_net_new("n0", 1);
    snprintf(text, sizeof(text),
             "netdev=n0,mac=52:54:00:12:34:56,disable-legacy=off%s", more);
    REQUIRE_EQ(
        fake_device(o->m, &virtio_net_class, "-device virtio-net-pci", text),
        0);
    int slot = drv_find(o->m, 0x1af4, LEGACY_IDS, 0);
    REQUIRE(slot > 0);
    o->slot = (unsigned)slot;
    drv_enable(o->m, o->slot, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
    o->io = (unsigned)drv_bar(o->m, o->slot, 0);
}

static void old_free(struct old *o)
{
    fake_run_loop(o->m);
    fake_free(o->m);
    netdev_close_all();
}

/* §2.7.2: where a legacy device looks for the three parts. */
static struct ring old_ring(struct machine *m, uint32_t base, uint16_t size)
{
    struct ring r = ring_at(m, base, size);
    r.avail = base + 16u * size;
    r.used = (r.avail + 6 + 2u * size + 4095) & ~4095ull;
    return r;
}

static struct ring old_queue(struct old *o, unsigned q, uint32_t base)
{
    outw(o->m, o->io + SELECT, (uint16_t)q);
    uint16_t size = inw(o->m, o->io + SIZE);
    REQUIRE_EQ(size, 256);
    CHECK_EQ(inl(o->m, o->io + PFN), 0);
    outl(o->m, o->io + PFN, base / 4096);
    CHECK_EQ(inl(o->m, o->io + PFN), base / 4096);
    return old_ring(o->m, base, size);
}

static void old_up(struct old *o, const char *more, uint32_t features, bool ok)
{
    old_new(o, more);
    outb(o->m, o->io + STATUS, 0);
    outb(o->m, o->io + STATUS, 1);
    outb(o->m, o->io + STATUS, 3);
    outl(o->m, o->io + GUEST, features);
    o->rx = old_queue(o, 0, RING0);
    o->tx = old_queue(o, 1, RING1);
    if (ok)
        outb(o->m, o->io + STATUS, 7);
    fake_run_loop(o->m);
}

static void old_kick(struct old *o, unsigned q)
{
    outw(o->m, o->io + NOTIFY, (uint16_t)q);
    fake_run_loop(o->m);
}

/* A frame each way, behind headers of hdr bytes. */
static void check_traffic(struct old *o, unsigned hdr)
{
    uint8_t frame[100], got[200];
    uint32_t id, len;
    for (unsigned i = 0; i < sizeof(frame); i++)
        frame[i] = (uint8_t)(i * 7);
    frame[0] = 0xff; /* broadcast, more or less */
    memset(frame, 0xff, 6);
    uint64_t buf = 0x40000;
    memset(fake_ram(o->m, buf, hdr), 0, hdr);
    memcpy(fake_ram(o->m, buf + hdr, 100), frame, 100);
    ring_desc(&o->tx, 0, buf, hdr + 100, 0, 0);
    ring_offer(&o->tx, 0);
    old_kick(o, 1);
    CHECK_EQ(fake_net_take(o->net, 0, NULL, got, sizeof(got)), 100);
    CHECK_MEM(got, frame, 100);
    CHECK(ring_take(&o->tx, &id, &len));
    ring_desc(&o->rx, 0, 0x50000, 2000, D_WRITE, 0);
    ring_offer(&o->rx, 0);
    old_kick(o, 0);
    fake_net_give(o->net, 0, NULL, frame, 100);
    fake_run_loop(o->m);
    REQUIRE(ring_take(&o->rx, &id, &len));
    CHECK_EQ(len, hdr + 100);
    CHECK_MEM(fake_ram(o->m, 0x50000 + hdr, 100), frame, 100);
}

TEST(legacy_4_1_2_ids_of_a_transitional_device)
{
    struct old o;
    old_new(&o, "");
    CHECK_EQ(drv_cfg_read(o.m, o.slot, PCI_REVISION_ID, 1), 0);
    CHECK_EQ(drv_cfg_read(o.m, o.slot, PCI_SUBSYS_ID, 2), 1);
    CHECK(drv_cap(o.m, o.slot, PCI_CAP_VENDOR, 0) != 0);
    old_free(&o);
    old_new(&o, ",disable-modern=on");
    CHECK_EQ(drv_cap(o.m, o.slot, PCI_CAP_VENDOR, 0), 0);
    old_free(&o);
}

TEST(legacy_6_3_features_fit_32_bits_and_any_layout_is_there)
{
    struct old o;
    old_new(&o, "");
    uint32_t f = inl(o.m, o.io + FEATURES);
    CHECK(f & 1u << VIRTIO_F_ANY_LAYOUT);
    CHECK(f & 1u << VIRTIO_NET_F_MAC);
    CHECK_EQ(f & 1u << 30, 0);
    outl(o.m, o.io + GUEST, 0xffffffff);
    CHECK_EQ(inl(o.m, o.io + GUEST), f);
    old_free(&o);
}

TEST(legacy_5_1_6_header_has_10_bytes_without_mrg_rxbuf)
{
    struct old o;
    old_up(&o, "", 1u << VIRTIO_NET_F_MAC, true);
    check_traffic(&o, 10);
    old_free(&o);
}

TEST(legacy_5_1_6_header_has_12_bytes_with_mrg_rxbuf)
{
    struct old o;
    old_up(&o, "", 1u << VIRTIO_NET_F_MRG_RXBUF, true);
    check_traffic(&o, 12);
    old_free(&o);
}

TEST(legacy_only_device_moves_packets)
{
    struct old o;
    old_up(&o, ",disable-modern=on", 0, true);
    check_traffic(&o, 10);
    old_free(&o);
}

/* §3.1.2: use before DRIVER_OK. */
TEST(legacy_3_1_2_works_from_the_first_kick_on)
{
    struct old o;
    old_up(&o, "", 0, false);
    check_traffic(&o, 10);
    outb(o.m, o.io + STATUS, 7);
    CHECK_EQ(inb(o.m, o.io + STATUS), 7);
    fake_run_loop(o.m);
    uint32_t id, len;
    CHECK(!ring_take(&o.rx, &id, &len));
    old_free(&o);
}

static void old_make(struct machine *m, void *ctx)
{
    struct old *o = ctx;
    fake_net_dev(o->net)->taken = false;
    o->m = m;
    o->rx.m = o->tx.m = m;
    REQUIRE_EQ(
        fake_device(m, &virtio_net_class, "-device virtio-net-pci",
                    "netdev=n0,mac=52:54:00:12:34:56,disable-legacy=off"),
        0);
}

/* Its rings are where page numbers put them, its doorbell is a port. */
TEST(legacy_4_1_4_10_old_driver_moves)
{
    struct old o;
    old_up(&o, "", 0, true);
    check_traffic(&o, 10);
    records_move(o.m, old_make, NULL, &o);
    check_traffic(&o, 10);
    CHECK_EQ(inb(o.m, o.io + STATUS), 7);
    outw(o.m, o.io + SELECT, 1);
    CHECK_EQ(inl(o.m, o.io + PFN), RING1 / 4096);
    old_free(&o);
}

/* At work since its first kick, and not ready yet. */
TEST(legacy_3_1_2_old_driver_moves_before_it_is_ready)
{
    struct old o;
    old_up(&o, "", 0, false);
    check_traffic(&o, 10);
    records_move(o.m, old_make, NULL, &o);
    check_traffic(&o, 10);
    CHECK_EQ(inb(o.m, o.io + STATUS), 3);
    outb(o.m, o.io + STATUS, 7);
    check_traffic(&o, 10);
    old_free(&o);
}

TEST(legacy_4_1_4_10_config_moves_with_msix)
{
    struct old o;
    old_new(&o, "");
    CHECK_EQ(inb(o.m, o.io + 0x14), 0x52);
    CHECK_EQ(inb(o.m, o.io + 0x19), 0x56);
    drv_msix_on(o.m, o.slot, 3);
    CHECK_EQ(inw(o.m, o.io + 0x14), 0xffff);
    outw(o.m, o.io + 0x14, 2);
    CHECK_EQ(inw(o.m, o.io + 0x14), 2);
    outw(o.m, o.io + 0x16, 200);
    CHECK_EQ(inw(o.m, o.io + 0x16), 0xffff);
    CHECK_EQ(inb(o.m, o.io + 0x18), 0x52);
    CHECK_EQ(inw(o.m, o.io + 0x1e), 1); /* link up */
    old_free(&o);
}

TEST(legacy_5_1_5_mac_is_written_and_comes_back_at_reset)
{
    struct old o;
    old_new(&o, "");
    outb(o.m, o.io + STATUS, 1);
    outb(o.m, o.io + 0x14 + 5, 0x99);
    CHECK_EQ(inb(o.m, o.io + 0x14 + 5), 0x99);
    outl(o.m, o.io + 0x14, 0x33221102);
    CHECK_EQ(inl(o.m, o.io + 0x14), 0x33221102);
    outw(o.m, o.io + 0x14 + 6, 0); /* status is not theirs */
    CHECK_EQ(inw(o.m, o.io + 0x14 + 6), 1);
    outb(o.m, o.io + STATUS, 0);
    CHECK_EQ(inl(o.m, o.io + 0x14), 0x12005452);
    old_free(&o);
}

TEST(legacy_4_1_4_10_pfn_0_takes_the_queue_out)
{
    struct old o;
    uint32_t id, len;
    old_up(&o, "", 0, true);
    outw(o.m, o.io + SELECT, 0);
    outl(o.m, o.io + PFN, 0);
    ring_desc(&o.rx, 0, 0x50000, 2000, D_WRITE, 0);
    ring_offer(&o.rx, 0);
    old_kick(&o, 0);
    uint8_t frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    fake_net_give(o.net, 0, NULL, frame, 60);
    fake_run_loop(o.m);
    CHECK(!ring_take(&o.rx, &id, &len));
    memset(fake_ram(o.m, RING0, 0x4000), 0, 0x4000);
    o.rx = old_queue(&o, 0, RING0);
    uint8_t got[60];
    ring_desc(&o.rx, 0, 0x50000, 2000, D_WRITE, 0);
    ring_offer(&o.rx, 0);
    old_kick(&o, 0);
    REQUIRE(ring_take(&o.rx, &id, &len));
    memcpy(got, fake_ram(o.m, 0x50000 + 10, 60), 60);
    CHECK_MEM(got, frame, 60);
    old_free(&o);
}

TEST(legacy_isr_is_cleared_by_reading)
{
    struct old o;
    old_up(&o, "", 0, true);
    check_traffic(&o, 10);
    CHECK_EQ(inb(o.m, o.io + ISR), 1);
    CHECK_EQ(inb(o.m, o.io + ISR), 0);
    old_free(&o);
}

/* Anything anywhere, and then it works. */
TEST(legacy_any_register_any_value)
{
    struct old o;
    old_new(&o, "");
    for (int i = 0; i < 20000; i++) {
        unsigned off = test_random() % VIRTIO_IO_SIZE;
        unsigned width = 1u << test_random() % 3;
        if (off + width > VIRTIO_IO_SIZE)
            continue;
        guest_write(o.m, true, o.io + off, width, test_random());
        guest_read(o.m, true, o.io + off, width);
        if (i % 64 == 0)
            fake_run_loop(o.m);
    }
    memset(fake_ram(o.m, 0, 0x100000), 0, 0x100000);
    outb(o.m, o.io + STATUS, 0);
    outb(o.m, o.io + STATUS, 3);
    outl(o.m, o.io + GUEST, 0);
    o.rx = old_queue(&o, 0, RING0);
    o.tx = old_queue(&o, 1, RING1);
    outb(o.m, o.io + STATUS, 7);
    fake_run_loop(o.m);
    check_traffic(&o, 10);
    old_free(&o);
}

TEST(legacy_a_modern_driver_after_an_old_one)
{
    struct old o;
    old_up(&o, "", 0, true);
    uint64_t common = drv_bar(o.m, o.slot, 4);
    drv_w8(o.m, common + 0x14, 0);
    CHECK_EQ(inb(o.m, o.io + STATUS), 0);
    drv_w8(o.m, common + 0x14, 3);
    drv_w32(o.m, common + 8, 1);
    drv_w32(o.m, common + 12, 1);
    drv_w8(o.m, common + 0x14, 11);
    CHECK_EQ(drv_r8(o.m, common + 0x14), 11);
    /* The I/O ports are of no use now. */
    outl(o.m, o.io + PFN, 5);
    CHECK_EQ(inl(o.m, o.io + PFN), 0);
    old_free(&o);
}
