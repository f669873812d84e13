/* SPDX-License-Identifier: MIT */
/* The legacy interface of a transitional virtio-blk (virtio 1.2 §4.1.4.10). */
#include <stdio.h>

#include "devices/list.h"
#include "devices/virtio_blk/state.h"
#include "tests/unit/devices/virtio/ring.h"
#include "tests/unit/fakeblk.h"
#include "tests/unit/fakedrv.h"

enum { FEATURES = 0, GUEST = 4, PFN = 8, SIZE = 12, SELECT = 14, NOTIFY = 16 };
enum { STATUS = 18, ISR = 19, CONFIG = 20 };
#define RING 0x10000u
#define HEAD 0x40000u
#define DATA 0x50000u
#define ST_AT 0x60000u

struct old {
    struct machine *m;
    struct fake_blk *f;
    unsigned slot, io;
    struct ring ring;
};

static void old_queue(struct old *o)
{
    outw(o->m, o->io + SELECT, 0);
    uint16_t size = inw(o->m, o->io + SIZE);
    REQUIRE_EQ(size, 256);
    outl(o->m, o->io + PFN, RING / 4096);
    o->ring = ring_at(o->m, RING, size);
    o->ring.avail = RING + 16u * size;
    o->ring.used = (o->ring.avail + 6 + 2u * size + 4095) & ~4095ull;
}

static void old_up(struct old *o, uint32_t features)
{
    blockdev_close_all();
    o->m = fake_pc(4 << 20);
    o->f = fake_blk_new(NULL);
    REQUIRE_EQ(fake_device(o->m, &virtio_blk_class, "-device virtio-blk-pci",
                           "drive=d0,disable-legacy=off"),
               0);
    int slot = drv_find(o->m, 0x1af4, 0x1001, 0);
    REQUIRE(slot > 0);
    o->slot = (unsigned)slot;
    drv_enable(o->m, o->slot, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
    o->io = (unsigned)drv_bar(o->m, o->slot, 0);
    outb(o->m, o->io + STATUS, 0);
    outb(o->m, o->io + STATUS, 1);
    outb(o->m, o->io + STATUS, 3);
    outl(o->m, o->io + GUEST, features);
    old_queue(o);
}

static void old_free(struct old *o)
{
    fake_run_loop(o->m);
    fake_free(o->m);
    blockdev_close_all();
}

static uint8_t old_do(struct old *o, uint32_t type, uint64_t sector,
                      uint32_t size, uint32_t *used)
{
    uint32_t id;
    bool out = type == BLK_OUT;
    memcpy(fake_ram(o->m, HEAD, 4), &type, 4);
    memset(fake_ram(o->m, HEAD + 4, 4), 0, 4);
    memcpy(fake_ram(o->m, HEAD + 8, 8), &sector, 8);
    *(uint8_t *)fake_ram(o->m, ST_AT, 1) = ST_NONE;
    ring_desc(&o->ring, 0, HEAD, 16, D_NEXT, 1);
    ring_desc(&o->ring, 1, DATA, size, D_NEXT | (out ? 0 : D_WRITE), 2);
    ring_desc(&o->ring, 2, ST_AT, 1, D_WRITE, 0);
    ring_offer(&o->ring, 0);
    outw(o->m, o->io + NOTIFY, 0);
    fake_run_loop(o->m);
    while (o->f->n)
        fake_blk_end(o->f, 0, 0);
    fake_run_loop(o->m);
    REQUIRE(ring_take(&o->ring, &id, used));
    return *(uint8_t *)fake_ram(o->m, ST_AT, 1);
}

TEST(vblk_4_1_2_legacy_disk_reads_writes_and_interrupts)
{
    struct old o;
    uint32_t used;
    old_up(&o, 1u << VIRTIO_BLK_F_FLUSH);
    CHECK_EQ(drv_cfg_read(o.m, o.slot, PCI_REVISION_ID, 1), 0);
    CHECK_EQ(drv_cfg_read(o.m, o.slot, PCI_SUBSYS_ID, 2), 2);
    CHECK_EQ(inl(o.m, o.io + CONFIG), FB_SECTORS);
    CHECK_EQ(inl(o.m, o.io + CONFIG + 20), 512);
    CHECK_EQ(inl(o.m, o.io + FEATURES) & 1u << VIRTIO_BLK_F_SEG_MAX,
             1u << VIRTIO_BLK_F_SEG_MAX);
    outb(o.m, o.io + STATUS, 7);
    memset(fake_ram(o.m, DATA, 1024), 0x42, 1024);
    CHECK_EQ(old_do(&o, BLK_OUT, 3, 1024, &used), ST_OK);
    CHECK_EQ(used, 1);
    CHECK_EQ(o.f->bytes[3 * 512], 0x42);
    CHECK_EQ(o.f->ops[BLK_FLUSH], 0);
    CHECK(fake_level(o.m, pci_slot_gsi(o.slot)));
    CHECK_EQ(inb(o.m, o.io + ISR), 1);
    CHECK(!fake_level(o.m, pci_slot_gsi(o.slot)));
    o.f->bytes[3 * 512] = 0x43;
    CHECK_EQ(old_do(&o, BLK_IN, 3, 512, &used), ST_OK);
    CHECK_EQ(used, 513);
    CHECK_EQ(*(uint8_t *)fake_ram(o.m, DATA, 1), 0x43);
    old_free(&o);
}

/* §3.1.2: drivers that use it before they say DRIVER_OK; one that knows of no
 * cache. Then it forgets its queue, with a request under way. */
TEST(vblk_3_1_2_legacy_disk_used_before_driver_ok)
{
    struct old o;
    uint32_t used;
    old_up(&o, 0);
    CHECK_EQ(old_do(&o, BLK_OUT, 0, 512, &used), ST_OK);
    CHECK_EQ(o.f->ops[BLK_FLUSH], 1);
    outb(o.m, o.io + STATUS, 7);
    ring_offer(&o.ring, 0);
    outw(o.m, o.io + NOTIFY, 0);
    fake_run_loop(o.m);
    CHECK_EQ(o.f->n, 1);
    outw(o.m, o.io + SELECT, 0);
    outl(o.m, o.io + PFN, 0);
    CHECK_EQ(o.f->n, 0);
    memset(fake_ram(o.m, RING, 0x8000), 0, 0x8000);
    old_queue(&o);
    CHECK_EQ(old_do(&o, BLK_IN, 0, 512, &used), ST_OK);
    old_free(&o);
}
