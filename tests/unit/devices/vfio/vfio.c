/* SPDX-License-Identifier: MIT */
/* Devices of the host's: the pure parts, on a file that plays the device (its
 * ioctls fail). */
#include "devices/vfio/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/fakedrv.h"

#define SLOT 7
#define BAR0 0x10000 /* where in the file; memory, MSI-X inside */
#define BAR0_SIZE 0x8000
#define TABLE 0x2010
#define PBA 0x4000
#define BAR2 0x20000 /* 64-bit, prefetchable */
#define BAR2_SIZE 0x4000
#define BAR4 0x30000 /* I/O */
#define PM 0x40
#define MSI 0x50 /* 64-bit, maskable, 8 messages */
#define EXP 0x70
#define MSIX 0xb0
#define VENDOR 0xc0

static void put(uint8_t *p, uint64_t val, unsigned width)
{
    memcpy(p, &val, width);
}

static uint64_t file(const struct vfio *v, uint64_t off, unsigned width)
{
    uint64_t val = 0;
    CHECK_EQ(pread(v->fd, &val, width, (off_t)off), width);
    return val;
}

static void set_file(const struct vfio *v, uint64_t off, unsigned width,
                     uint64_t val)
{
    CHECK_EQ(pwrite(v->fd, &val, width, (off_t)off), width);
}

static void region(struct vfio *v, unsigned i, uint64_t off, uint64_t size,
                   bool mmap)
{
    struct vfio_region_info info = {.offset = off, .size = size};
    info.flags = mmap ? VFIO_REGION_INFO_FLAG_MMAP : 0;
    v->region[i].v = v;
    vfio_region_areas(&v->region[i], &info, sizeof(info));
}

static void fill_config(uint8_t *c)
{
    put(c, 0x10d38086, 4);
    put(c + PCI_COMMAND, PCI_CMD_MASTER | PCI_CMD_MEM, 2);
    put(c + PCI_STATUS, PCI_STS_CAPS, 2);
    put(c + PCI_REVISION_ID, 0x02000003, 4);
    c[PCI_HEADER_TYPE] = 0x80;
    put(c + PCI_BAR0, 0xfe000000, 4);
    put(c + PCI_BAR0 + 8, 0xfd00000c, 4);
    put(c + PCI_BAR0 + 16, 0xe001, 4);
    put(c + PCI_SUBSYS_VENDOR_ID, 0x12345678, 4);
    c[PCI_CAP_PTR] = PM;
    c[PCI_INT_PIN] = 2;
    put(c + PM, PCI_CAP_PM | MSI << 8 | 0xfe03u << 16, 4);
    put(c + PM + 4, 0x8103, 2);
    put(c + MSI, PCI_CAP_MSI | EXP << 8 | 0x0186u << 16, 4);
    put(c + EXP, PCI_CAP_EXP | MSIX << 8 | 2 << 16, 4);
    put(c + EXP + 8, 0x2810, 2);
    put(c + MSIX, PCI_CAP_MSIX | VENDOR << 8 | 9u << 16, 4);
    put(c + MSIX + 4, TABLE, 4);
    put(c + MSIX + 8, PBA, 4);
    put(c + VENDOR, PCI_CAP_VENDOR, 2);
    put(c + VENDOR + 4, 0xcafef00d, 4);
}

static struct vfio *plugged(struct machine **m)
{
    struct vfio *v = calloc(1, sizeof(*v));
    uint8_t config[4096] = {0};
    REQUIRE(v != NULL);
    *m = fake_pc(1 << 20);
    v->fd = memfd_create("device", MFD_CLOEXEC);
    REQUIRE(v->fd >= 0 && ftruncate(v->fd, 0x40000) == 0);
    fill_config(config);
    CHECK_EQ(pwrite(v->fd, config, sizeof(config), 0), sizeof(config));
    region(v, 0, BAR0, BAR0_SIZE, true);
    region(v, 2, BAR2, BAR2_SIZE, true);
    region(v, 4, BAR4, 0x20, false);
    region(v, VFIO_PCI_CONFIG_REGION_INDEX, 0, 4096, false);
    v->dev.id = "nic";
    v->pci.slot = SLOT;
    REQUIRE_EQ(vfio_plug(v, *m), 0);
    return v;
}

static uint32_t cfg(struct machine *m, unsigned off, unsigned width)
{
    return drv_cfg_read(m, SLOT, off, width);
}

TEST(vfio_host_takes_an_address_as_lspci_prints_it)
{
    static const char *const bad[] = {
        "",         "1e.0",        "00:1e",          "00:1e.0 ",
        "00:1g.0",  "00-1e.0",     "0000:00:1e.0.0", "000:00:1e.0",
        "0:00:1e.", "10000:0:1e.", "0000:00:1e-0"};
    char out[VFIO_BDF_LEN];
    CHECK(vfio_parse_bdf("00:1e.0", out));
    CHECK_STR(out, "0000:00:1e.0");
    CHECK(vfio_parse_bdf("ABCD:EF:1F.7", out));
    CHECK_STR(out, "abcd:ef:1f.7");
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        if (vfio_parse_bdf(bad[i], out))
            FAIL("taken: '%s'", bad[i]);
}

TEST(vfio_sparse_mmap_areas_are_what_is_mapped)
{
    uint64_t buf[32] = {0};
    struct vfio_region_info *info = (void *)buf;
    struct vfio_info_cap_header *type = (void *)&buf[5];
    struct vfio_region_info_cap_sparse_mmap *s = (void *)&buf[8];
    struct vfio_region r = {0};
    *info = (struct vfio_region_info){.flags = VFIO_REGION_INFO_FLAG_MMAP |
                                               VFIO_REGION_INFO_FLAG_CAPS,
                                      .cap_offset = 40,
                                      .size = 0x10000};
    *type = (struct vfio_info_cap_header){.id = 2, .next = 64};
    s->header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
    s->nr_areas = 5;
    s->areas[0].offset = 0x1000;
    s->areas[0].size = 0x2000;
    s->areas[1].offset = 0x8000;
    s->areas[1].size = 0x8000;
    s->areas[2].offset = 0xf000;
    s->areas[2].size = 0x2000; /* beyond the end */
    s->areas[3].offset = 0x800;
    s->areas[3].size = 0x1000; /* not a page */
    vfio_region_areas(&r, info, sizeof(buf));
    CHECK_EQ(r.nmap, 2);
    CHECK_EQ(r.map[0].off, 0x1000);
    CHECK_EQ(r.map[0].size, 0x2000);
    CHECK_EQ(r.map[1].off, 0x8000);
    s->nr_areas = 0; /* none at all, which is not "all of it" */
    vfio_region_areas(&r, info, sizeof(buf));
    CHECK_EQ(r.nmap, 0);
    info->flags = VFIO_REGION_INFO_FLAG_MMAP;
    vfio_region_areas(&r, info, sizeof(buf));
    CHECK_EQ(r.nmap, 1);
    CHECK_EQ(r.map[0].size, 0x10000);
    info->flags = 0;
    vfio_region_areas(&r, info, sizeof(buf));
    CHECK_EQ(r.nmap, 0);
}

TEST(vfio_header_is_the_devices_command_is_ours)
{
    struct machine *m;
    struct vfio *v = plugged(&m);
    CHECK_EQ(cfg(m, 0, 4), 0x10d38086);
    CHECK_EQ(cfg(m, 8, 4), 0x02000003);
    CHECK_EQ(cfg(m, PCI_SUBSYS_VENDOR_ID, 4), 0x12345678);
    CHECK_EQ(cfg(m, PCI_HEADER_TYPE, 1), 0); /* one function here */
    CHECK_EQ(cfg(m, PCI_INT_PIN, 1), 1);     /* INTA#, whatever it is there */
    CHECK_EQ(cfg(m, PCI_COMMAND, 2), PCI_CMD_IO | PCI_CMD_MEM);
    CHECK_EQ(file(v, PCI_COMMAND, 2), PCI_CMD_IO | PCI_CMD_MEM);
    drv_cfg_write(m, SLOT, PCI_COMMAND, 2, PCI_CMD_MASTER | PCI_CMD_INTX_OFF);
    /* It always decodes on the host's side. */
    CHECK_EQ(file(v, PCI_COMMAND, 2),
             PCI_CMD_MASTER | PCI_CMD_INTX_OFF | PCI_CMD_IO | PCI_CMD_MEM);
    drv_cfg_write(m, SLOT, PCI_BAR0, 4, 0xdeadbeef);
    CHECK_EQ(file(v, PCI_BAR0, 4), 0xfe000000);
    fake_free(m);
}

TEST(vfio_bars_have_the_devices_sizes_and_kinds)
{
    static const struct {
        unsigned reg;
        uint32_t size;
    } want[] = {{0, 0xffff8000}, {1, 0},          {2, 0xffffc00c},
                {3, 0xffffffff}, {4, 0xffffffe1}, {5, 0}};
    struct machine *m;
    plugged(&m);
    for (unsigned i = 0; i < ARRAY_LEN(want); i++) {
        drv_cfg_write(m, SLOT, PCI_BAR0 + 4 * want[i].reg, 4, 0xffffffff);
        CHECK_EQ(cfg(m, PCI_BAR0 + 4 * want[i].reg, 4), want[i].size);
    }
    fake_free(m);
}

TEST(vfio_bars_are_mapped_but_for_the_pages_of_msix)
{
    struct machine *m;
    struct vfio *v = plugged(&m);
    uint64_t at = drv_bar(m, SLOT, 0), to = at + 0x100000;
    const uint8_t *p = fake_mapped(m, at + 0x1ffc);
    REQUIRE(p != NULL);
    set_file(v, BAR0 + 0x1ffc, 4, 0x11223344);
    CHECK_MEM(p, "\x44\x33\x22\x11", 4);
    CHECK(!fake_mapped(m, at + 0x2000));
    CHECK(!fake_mapped(m, at + 0x2fff));
    CHECK(fake_mapped(m, at + 0x3000));
    CHECK(!fake_mapped(m, at + PBA));
    CHECK(fake_mapped(m, at + PBA + 0x1000));
    CHECK(fake_mapped(m, drv_bar(m, SLOT, 2) + BAR2_SIZE - 1));
    drv_cfg_write(m, SLOT, PCI_BAR0, 4, (uint32_t)to);
    CHECK(!fake_mapped(m, at));
    CHECK(fake_mapped(m, to) && fake_mapped(m, to + 0x7000));
    drv_cfg_write(m, SLOT, PCI_COMMAND, 2, 0);
    CHECK(!fake_mapped(m, to));
    drv_cfg_write(m, SLOT, PCI_COMMAND, 2, PCI_CMD_MEM);
    CHECK(fake_mapped(m, to));
    fake_reset(m);
    CHECK(fake_mapped(m, at) && !fake_mapped(m, to));
    fake_free(m);
}

TEST(vfio_what_is_not_mapped_goes_through_the_file)
{
    struct machine *m;
    struct vfio *v = plugged(&m);
    uint64_t mem = drv_bar(m, SLOT, 0), io = drv_bar(m, SLOT, 4);
    outl(m, (unsigned)io + 4, 0xabcd1234);
    CHECK_EQ(file(v, BAR4 + 4, 4), 0xabcd1234);
    CHECK_EQ(inb(m, (unsigned)io + 6), 0xcd);
    /* The same page as the table, and the table itself. */
    drv_w32(m, mem + 0x2000, 77);
    CHECK_EQ(file(v, BAR0 + 0x2000, 4), 77);
    drv_w32(m, mem + TABLE + 8, 0x4041);
    CHECK_EQ(drv_r32(m, mem + TABLE + 8), 0x4041);
    CHECK_EQ(file(v, BAR0 + TABLE + 8, 4), 0);
    fake_free(m);
}

TEST(vfio_other_capabilities_are_the_devices_own)
{
    struct machine *m;
    struct vfio *v = plugged(&m);
    CHECK_EQ(drv_cap(m, SLOT, PCI_CAP_VENDOR, 0), VENDOR);
    CHECK_EQ(cfg(m, VENDOR + 4, 4), 0xcafef00d);
    set_file(v, VENDOR + 4, 4, 0x01020304);
    CHECK_EQ(cfg(m, VENDOR + 5, 2), 0x0203);
    drv_cfg_write(m, SLOT, VENDOR + 4, 2, 0x5566);
    CHECK_EQ(file(v, VENDOR + 4, 4), 0x01025566);
    drv_cfg_write(m, SLOT, VENDOR, 2, 0xffff);
    CHECK_EQ(cfg(m, VENDOR, 2), PCI_CAP_VENDOR);
    /* "No snoop" was on (PCIe §7.5.3.4), and stays off. */
    CHECK_EQ(file(v, EXP + 8, 2), 0x2010);
    drv_cfg_write(m, SLOT, EXP + 8, 2, 0x5c3f);
    CHECK_EQ(file(v, EXP + 8, 2), 0x543f);
    drv_cfg_write(m, SLOT, EXP + 8, 4, 0xffffffff);
    CHECK_EQ(file(v, EXP + 8, 4), 0xfffff7ff);
    fake_free(m);
}

TEST(vfio_power_states_never_reach_the_device)
{
    struct machine *m;
    struct vfio *v = plugged(&m);
    CHECK_EQ(cfg(m, PM + 2, 2), 0x0603); /* no PME */
    CHECK_EQ(cfg(m, PM + 4, 2), 0x0008); /* D0, no soft reset */
    drv_cfg_write(m, SLOT, PM + 4, 2, 0x8103);
    CHECK_EQ(cfg(m, PM + 4, 2), 0x000b);
    CHECK_EQ(file(v, PM + 4, 2), 0x8103); /* as it was made */
    fake_reset(m);
    CHECK_EQ(cfg(m, PM + 4, 2), 0x0008);
    fake_free(m);
}

static void msi_on(struct machine *m, uint16_t data, uint16_t ctrl)
{
    drv_cfg_write(m, SLOT, MSI + 4, 4, DRV_MSI_ADDR);
    drv_cfg_write(m, SLOT, MSI + 8, 4, 0);
    drv_cfg_write(m, SLOT, MSI + 12, 2, data);
    drv_cfg_write(m, SLOT, MSI + 2, 2, ctrl);
}

TEST(vfio_msi_messages_masks_and_pending_bits)
{
    struct machine *m;
    struct vfio *v = plugged(&m);
    drv_enable(m, SLOT, PCI_CMD_MASTER);
    msi_on(m, 0x4107, 0x0021); /* four of the eight */
    CHECK_EQ(cfg(m, MSI + 2, 2), 0x01a7);
    CHECK_EQ(v->mode, VFIO_PCI_MSI_IRQ_INDEX);
    CHECK_EQ(v->msi_on, 4);
    irq_pulse(&v->msi_irq[2]);
    CHECK_EQ(fake_msis(m, DRV_MSI_ADDR, 0x4106), 1);
    irq_pulse(&v->msi_irq[5]);
    CHECK_EQ(fake_msis(m, DRV_MSI_ADDR, FAKE_ANY), 0);
    drv_cfg_write(m, SLOT, MSI + 16, 4, 0xffffffff);
    CHECK_EQ(cfg(m, MSI + 16, 4), 0xff);
    irq_pulse(&v->msi_irq[1]);
    CHECK_EQ(fake_msis(m, DRV_MSI_ADDR, FAKE_ANY), 0);
    CHECK_EQ(cfg(m, MSI + 20, 4) & 0xf, 2);
    drv_cfg_write(m, SLOT, MSI + 16, 4, 0);
    CHECK_EQ(fake_msis(m, DRV_MSI_ADDR, 0x4105), 1);
    CHECK_EQ(cfg(m, MSI + 20, 4) & 0xf, 0);
    drv_cfg_write(m, SLOT, PCI_COMMAND, 2, PCI_CMD_MEM); /* no messages now */
    irq_pulse(&v->msi_irq[0]);
    CHECK_EQ(fake_msis(m, DRV_MSI_ADDR, FAKE_ANY), 0);
    fake_reset(m);
    CHECK_EQ(cfg(m, MSI + 2, 2), 0x0186);
    CHECK_EQ(cfg(m, MSI + 4, 4), 0);
    CHECK_EQ(v->mode, VFIO_PCI_INTX_IRQ_INDEX);
    drv_enable(m, SLOT, PCI_CMD_MASTER);
    msi_on(m, 0x4100, 1);
    CHECK_EQ(fake_msis(m, DRV_MSI_ADDR, FAKE_ANY), 0); /* that one is gone */
    fake_free(m);
}

TEST(vfio_msix_table_is_emulated)
{
    struct machine *m;
    struct vfio *v = plugged(&m);
    uint64_t pba = drv_bar(m, SLOT, 0) + PBA;
    CHECK_EQ(cfg(m, MSIX + 2, 2), 9);
    drv_enable(m, SLOT, PCI_CMD_MASTER | PCI_CMD_MEM);
    drv_msix_on(m, SLOT, 10);
    CHECK_EQ(v->mode, VFIO_PCI_MSIX_IRQ_INDEX);
    irq_pulse(&v->fn.vec[9].irq);
    CHECK_EQ(drv_msis(m, SLOT, 9), 1);
    drv_msix_vector(m, SLOT, 3, true);
    irq_pulse(&v->fn.vec[3].irq);
    CHECK_EQ(drv_msis(m, SLOT, 3), 0);
    CHECK_EQ(guest_read(m, false, pba, 8), 1 << 3);
    drv_msix_vector(m, SLOT, 3, false);
    CHECK_EQ(drv_msis(m, SLOT, 3), 1);
    drv_cfg_write(m, SLOT, MSIX + 2, 2, 0);
    CHECK_EQ(v->mode, VFIO_PCI_INTX_IRQ_INDEX);
    fake_free(m);
}

TEST(vfio_intx_by_eventfd)
{
    struct machine *m;
    struct vfio *v = plugged(&m);
    uint64_t one = 1;
    fake_irqs(m, pci_slot_gsi(SLOT));
    CHECK_EQ(write(v->fn.intx.fd, &one, 8), 8);
    CHECK_EQ(fake_irqs(m, pci_slot_gsi(SLOT)), 1);
    fake_eoi(m, pci_slot_gsi(SLOT)); /* unmasks; does not raise it again */
    CHECK_EQ(fake_irqs(m, pci_slot_gsi(SLOT)), 0);
    fake_free(m);
}
