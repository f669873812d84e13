/* SPDX-License-Identifier: MIT */
/* The PCI bus, BARs, INTx and MSI-X. */
#include "devices/pci/pci.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "tests/unit/fakedrv.h"

#define NVEC 4
#define MSIX_BAR 1
#define MEM_BAR 2 /* 64-bit, and index 3 */
#define IO_BAR 4
#define MEM_SIZE 0x4000
#define IO_SIZE 0x20

/* A function with every kind of BAR; reads give the offset asked for. */
struct toy {
    struct device dev;
    struct pci_fn fn;
    struct pci_kick kick[2];
    unsigned reads, writes;
    uint64_t last_off, last_val;
};

static uint64_t toy_read(void *owner, uint64_t off, unsigned width)
{
    struct toy *t = owner;
    (void)width;
    t->reads++;
    t->last_off = off;
    return off;
}

static void toy_write(void *owner, uint64_t off, unsigned width, uint64_t val)
{
    struct toy *t = owner;
    (void)width;
    t->writes++;
    t->last_off = off;
    t->last_val = val;
}

static void toy_reset(struct device *dev)
{
    pci_fn_reset(&container_of(dev, struct toy, dev)->fn);
}

static const struct device_class toy_class = {.name = "toy"};

static struct toy *toy_new(struct machine *m, int slot)
{
    struct toy *t = calloc(1, sizeof(*t));
    REQUIRE(t != NULL);
    t->dev = (struct device){.cls = &toy_class, .reset = toy_reset};
    pci_fn_init(&t->fn, m, t, "toy", 0x1234, 0x5678, 0x020000, 3);
    REQUIRE_EQ(pci_msix_init(&t->fn, MSIX_BAR, NVEC), 0);
    pci_bar_init(&t->fn, MEM_BAR, PCI_BAR_MEM64, MEM_SIZE, toy_read, toy_write,
                 t);
    pci_bar_init(&t->fn, IO_BAR, PCI_BAR_IO, IO_SIZE, toy_read, toy_write, t);
    for (unsigned k = 0; k < 2; k++)
        t->kick[k] =
            (struct pci_kick){.off = 0x1000 + 4 * k,
                              .width = 2,
                              .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    t->fn.bar[MEM_BAR].kick = t->kick;
    t->fn.bar[MEM_BAR].nkick = 2;
    pci_intx_init(&t->fn);
    pci_cap_add(&t->fn, PCI_CAP_VENDOR, 9);
    REQUIRE_EQ(pci_add(&t->fn, &(struct pci_place){.slot = slot}), 0);
    device_register(m, &t->dev);
    return t;
}

static struct machine *toy_pc(struct toy **t)
{
    struct machine *m = fake_pc(1 << 20);
    *t = toy_new(m, 5);
    drv_enable(m, 5, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
    return m;
}

/* ------------------------------------------------------------------ ports */

TEST(pci_only_a_dword_write_changes_config_address)
{
    struct machine *m = fake_pc(4096);
    outb(m, 0xcfb, 1); /* Linux, pci_check_type1 */
    outl(m, 0xcf8, 0x80000000);
    CHECK_EQ(inl(m, 0xcf8), 0x80000000);
    outb(m, 0xcf8, 0x12);
    outw(m, 0xcfa, 0x3456);
    outb(m, 0xcfb, 0);
    CHECK_EQ(inl(m, 0xcf8), 0x80000000);
    fake_free(m);
}

TEST(pci_host_bridge_in_slot_0)
{
    struct machine *m = fake_pc(4096);
    CHECK_EQ(drv_cfg_read(m, 0, 0x0a, 2), 0x0600);
    CHECK_NE(drv_cfg_read(m, 0, PCI_VENDOR_ID, 2), 0xffff);
    fake_free(m);
}

TEST(pci_lanes_and_enable_bit)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    CHECK_EQ(drv_cfg_read(m, 5, 0, 4), 0x56781234);
    CHECK_EQ(drv_cfg_read(m, 5, 2, 2), 0x5678);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(drv_cfg_read(m, 5, i, 1), 0x56781234u >> (8 * i) & 0xff);
    outl(m, 0xcf8, 5 << 11); /* not enabled */
    CHECK_EQ(inl(m, 0xcfc), 0xffffffff);
    outl(m, 0xcf8, 0x80000000 | 5 << 11 | 0xfc);
    CHECK_EQ(inl(m, 0xcfd), 0xffffffff); /* straddles: not past byte 255 */
    CHECK_EQ(inw(m, 0xcff), 0xffff);
    outl(m, 0xcfd, 0);
    fake_free(m);
}

TEST(pci_absent_functions_read_ones)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    for (unsigned slot = 6; slot < 32; slot++) {
        CHECK_EQ(drv_cfg_read(m, slot, 0, 4), 0xffffffff);
        CHECK_EQ(drv_cfg_read(m, slot, 0, 2), 0xffff);
        CHECK_EQ(drv_cfg_read(m, slot, 0x0e, 1), 0xff);
        drv_cfg_write(m, slot, 4, 2, 7);
    }
    outl(m, 0xcf8, 0x80000000 | 5 << 11 | 1 << 8); /* function 1 */
    CHECK_EQ(inl(m, 0xcfc), 0xffffffff);
    outl(m, 0xcf8, 0x80000000 | 1 << 16 | 5 << 11); /* bus 1 */
    CHECK_EQ(inl(m, 0xcfc), 0xffffffff);
    CHECK_EQ(drv_cfg_read(m, 5, PCI_HEADER_TYPE, 1), 0); /* one function */
    fake_free(m);
}

TEST(pci_cf9_is_a_byte_of_its_own)
{
    struct machine *m = fake_pc(4096);
    outl(m, 0xcf8, 0x80000600); /* would be CF9 = 06 */
    CHECK_EQ(fake_requests(m), 0);
    CHECK_EQ(inb(m, 0xcf9), 0);
    outb(m, 0xcf9, 2);
    CHECK_EQ(fake_requests(m), 0);
    CHECK_EQ(inb(m, 0xcf9), 2);
    outb(m, 0xcf9, 6);
    CHECK_EQ(fake_requests(m), 1);
    CHECK_EQ(fake_last_request(m), STOP_RESET);
    CHECK_EQ(inl(m, 0xcf8), 0x80000600);
    outb(m, 0xcf9, 0x0e);
    CHECK_EQ(fake_requests(m), 2);
    fake_free(m);
}

/* ------------------------------------------------------------------- BARs */

static uint32_t size_bar(struct machine *m, unsigned slot, unsigned reg)
{
    uint32_t cmd = drv_cfg_read(m, slot, PCI_COMMAND, 2);
    uint32_t old = drv_cfg_read(m, slot, reg, 4), mask;
    drv_cfg_write(m, slot, PCI_COMMAND, 2, cmd & ~3u);
    drv_cfg_write(m, slot, reg, 4, 0xffffffff);
    mask = drv_cfg_read(m, slot, reg, 4);
    drv_cfg_write(m, slot, reg, 4, old);
    CHECK_EQ(drv_cfg_read(m, slot, reg, 4), old);
    drv_cfg_write(m, slot, PCI_COMMAND, 2, cmd);
    return mask;
}

TEST(pci_bar_sizing)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    CHECK_EQ(size_bar(m, 5, 0x10), 0);
    CHECK_EQ(size_bar(m, 5, 0x14), 0xfffff000);
    CHECK_EQ(size_bar(m, 5, 0x18), (uint32_t)-MEM_SIZE | 4);
    CHECK_EQ(size_bar(m, 5, 0x1c), 0xffffffff);
    CHECK_EQ(size_bar(m, 5, 0x20) & 0xffff, (0x10000 - IO_SIZE) | 1);
    CHECK_EQ(size_bar(m, 5, 0x24), 0);
    CHECK_EQ(size_bar(m, 5, PCI_ROM), 0);
    fake_free(m);
}

TEST(pci_sizing_with_decode_off_does_not_remap)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    uint64_t at = drv_bar(m, 5, MEM_BAR);
    size_bar(m, 5, 0x18);
    CHECK_EQ(drv_r32(m, at + 0x123 * 4), 0x123 * 4);
    fake_free(m);
}

TEST(pci_decode_off_reads_ones_and_takes_kicks_away)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    uint64_t mem = drv_bar(m, 5, MEM_BAR), io = drv_bar(m, 5, IO_BAR);
    pci_kick_set(&t->fn, MEM_BAR, 0, true);
    CHECK_EQ(fake_kicks(m), 1);
    CHECK(fake_kick_write(m, false, mem + 0x1000, 2, 0));
    CHECK_EQ(inl(m, (unsigned)io + 8), 8);
    drv_cfg_write(m, 5, PCI_COMMAND, 2, PCI_CMD_IO);
    CHECK_EQ(fake_kicks(m), 0);
    CHECK_EQ(drv_r32(m, mem), 0xffffffff);
    CHECK_EQ(inl(m, (unsigned)io + 8), 8);
    drv_cfg_write(m, 5, PCI_COMMAND, 2, PCI_CMD_MEM);
    CHECK_EQ(fake_kicks(m), 1);
    CHECK_EQ(drv_r32(m, mem + 4), 4);
    CHECK_EQ(inl(m, (unsigned)io + 8), 0xffffffff);
    fake_free(m);
}

TEST(pci_command_register_bits)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    drv_cfg_write(m, 5, PCI_COMMAND, 2, 0xffff);
    CHECK_EQ(drv_cfg_read(m, 5, PCI_COMMAND, 2), 0x0407);
    CHECK(pci_can_dma(&t->fn));
    drv_cfg_write(m, 5, PCI_COMMAND, 2, 0x3);
    CHECK(!pci_can_dma(&t->fn));
    fake_free(m);
}

TEST(pci_status_shows_the_line_before_intx_off)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    unsigned gsi = drv_cfg_read(m, 5, PCI_INT_LINE, 1);
    CHECK_EQ(drv_cfg_read(m, 5, PCI_INT_PIN, 1), 1);
    CHECK_EQ(drv_cfg_read(m, 5, PCI_STATUS, 2) & 0x18, 0x10);
    pci_intx_set(&t->fn, true);
    CHECK_EQ(drv_cfg_read(m, 5, PCI_STATUS, 2) & 0x18, 0x18);
    CHECK(fake_level(m, gsi));
    drv_enable(m, 5, PCI_CMD_INTX_OFF);
    CHECK(!fake_level(m, gsi));
    CHECK_EQ(drv_cfg_read(m, 5, PCI_STATUS, 2) & 8, 8);
    drv_cfg_write(m, 5, PCI_COMMAND, 2, 3);
    CHECK(fake_level(m, gsi));
    pci_intx_set(&t->fn, false);
    CHECK(!fake_level(m, gsi));
    drv_cfg_write(m, 5, PCI_INT_LINE, 1, 0x5a); /* scratch */
    CHECK_EQ(drv_cfg_read(m, 5, PCI_INT_LINE, 1), 0x5a);
    drv_cfg_write(m, 5, PCI_STATUS, 2, 0xffff);
    CHECK_EQ(drv_cfg_read(m, 5, PCI_STATUS, 2), 0x10);
    fake_free(m);
}

TEST(pci_capability_list_ends)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    unsigned at = drv_cfg_read(m, 5, PCI_CAP_PTR, 1), n = 0;
    for (; at; at = drv_cfg_read(m, 5, at + 1, 1), n++) {
        CHECK(at >= 0x40 && at % 4 == 0);
        REQUIRE(n < 48);
    }
    CHECK_EQ(n, 2);
    CHECK(drv_cap(m, 5, PCI_CAP_VENDOR, 0) != 0);
    CHECK_EQ(drv_cap(m, 5, PCI_CAP_VENDOR, 1), 0);
    fake_free(m);
}

TEST(pci_read_only_bytes_stay)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    drv_cfg_write(m, 5, PCI_COMMAND, 2, 0);
    for (unsigned off = 0; off < 256; off += 4)
        drv_cfg_write(m, 5, off, 4, 0xffffffff);
    CHECK_EQ(drv_cfg_read(m, 5, 0, 4), 0x56781234);
    CHECK_EQ(drv_cfg_read(m, 5, 8, 4), 0x02000003);
    CHECK_EQ(drv_cfg_read(m, 5, PCI_CAP_PTR, 1), 0x40);
    fake_free(m);
}

TEST(pci_bars_move_with_their_kicks)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    uint64_t old = drv_bar(m, 5, MEM_BAR), new = 0x123400000ull;
    pci_kick_set(&t->fn, MEM_BAR, 0, true);
    drv_cfg_write(m, 5, 0x18, 4, (uint32_t) new);
    drv_cfg_write(m, 5, 0x1c, 4, (uint32_t)(new >> 32));
    CHECK_EQ(drv_r32(m, old + 8), 0xffffffff);
    CHECK_EQ(drv_r32(m, new + 8), 8);
    CHECK(!fake_kick_write(m, false, old + 0x1000, 2, 0));
    CHECK(fake_kick_write(m, false, new + 0x1000, 2, 0));
    CHECK_EQ(fake_kicks(m), 1);
    fake_free(m);
}

/* There are 64 KiB of ports. */
TEST(pci_io_bars_end_with_the_ports)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    drv_cfg_write(m, 5, PCI_BAR0 + 4 * IO_BAR, 4, 0x10000 - IO_SIZE);
    CHECK(t->fn.bar[IO_BAR].mapped);
    inb(m, 0xffff);
    CHECK_EQ(t->last_off, IO_SIZE - 1);
    drv_cfg_write(m, 5, PCI_BAR0 + 4 * IO_BAR, 4, 0x10000);
    CHECK(!t->fn.bar[IO_BAR].mapped);
    fake_free(m);
}

TEST(pci_two_bars_on_one_address)
{
    struct toy *t, *u;
    struct machine *m = toy_pc(&t);
    u = toy_new(m, 6);
    uint64_t mine = drv_bar(m, 5, MEM_BAR), theirs = drv_bar(m, 6, MEM_BAR);
    pci_kick_set(&t->fn, MEM_BAR, 0, true);
    pci_kick_set(&u->fn, MEM_BAR, 0, true);
    drv_cfg_write(m, 6, 0x18, 4, (uint32_t)mine); /* on top of slot 5 */
    t->reads = u->reads = 0;
    drv_r32(m, mine);
    CHECK_EQ(t->reads + u->reads, 1);
    drv_cfg_write(m, 5, 0x18, 4, (uint32_t)theirs); /* they have swapped */
    t->reads = u->reads = 0;
    drv_r32(m, mine);
    CHECK_EQ(u->reads, 1);
    drv_r32(m, theirs);
    CHECK_EQ(t->reads, 1);
    CHECK_EQ(fake_kicks(m), 2);
    fake_free(m);
}

TEST(pci_bars_at_silly_addresses_are_inert)
{
    static const uint64_t silly[] = {
        0,          0x1000,     0xfee00000, 0xfec00000,     0xfffff000,
        0xe0000000, 1ull << 63, ~0ull,      0x100000000ull, 0xffffc000};
    struct toy *t;
    struct machine *m = toy_pc(&t);
    uint64_t home = drv_bar(m, 5, MEM_BAR);
    pci_kick_set(&t->fn, MEM_BAR, 0, true);
    for (size_t i = 0; i < ARRAY_LEN(silly); i++) {
        drv_cfg_write(m, 5, 0x18, 4, (uint32_t)silly[i]);
        drv_cfg_write(m, 5, 0x1c, 4, (uint32_t)(silly[i] >> 32));
        drv_cfg_write(m, 5, 0x20, 4, (uint32_t)silly[i]);
        CHECK_EQ(drv_cfg_read(m, 5, 0, 4), 0x56781234);
    }
    drv_cfg_write(m, 5, 0x18, 4, (uint32_t)home);
    drv_cfg_write(m, 5, 0x1c, 4, (uint32_t)(home >> 32));
    CHECK_EQ(drv_r32(m, home + 16), 16);
    CHECK_EQ(fake_kicks(m), 1);
    fake_free(m);
}

TEST(pci_kick_refused_by_kvm_falls_back_to_the_write)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    uint64_t mem = drv_bar(m, 5, MEM_BAR);
    fake_kick_fail(m, 1, -ENOSPC);
    pci_kick_set(&t->fn, MEM_BAR, 0, true);
    CHECK_EQ(fake_kicks(m), 0);
    drv_w16(m, mem + 0x1000, 7);
    CHECK_EQ(t->writes, 1);
    CHECK_EQ(t->last_val, 7);
    drv_cfg_write(m, 5, PCI_COMMAND, 2, 0); /* nothing to take away */
    CHECK_EQ(fake_kicks(m), 0);
    fake_free(m);
}

/* ------------------------------------------------------------------ MSI-X */

TEST(pci_msix_capability)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    unsigned cap = drv_cap(m, 5, PCI_CAP_MSIX, 0);
    CHECK_EQ(drv_cfg_read(m, 5, cap + 2, 2), NVEC - 1);
    drv_cfg_write(m, 5, cap + 2, 2, 0xffff);
    CHECK_EQ(drv_cfg_read(m, 5, cap + 2, 2), 0xc000 | (NVEC - 1));
    CHECK_EQ(drv_cfg_read(m, 5, cap + 4, 4) & 7, MSIX_BAR);
    CHECK_EQ(drv_cfg_read(m, 5, cap + 8, 4) & 7, MSIX_BAR);
    fake_free(m);
}

TEST(pci_msix_as_linux_sets_it_up)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    CHECK(!pci_msix_on(&t->fn));
    CHECK(!pci_msix_raise(&t->fn, 0)); /* off: nothing */
    drv_msix_on(m, 5, NVEC);
    CHECK(pci_msix_on(&t->fn));
    CHECK_EQ(drv_msis(m, 5, 0), 0);
    for (unsigned v = 0; v < NVEC; v++) {
        CHECK(pci_msix_raise(&t->fn, v));
        CHECK_EQ(drv_msis(m, 5, v), 1);
    }
    pci_msix_raise(&t->fn, NVEC);
    pci_msix_raise(&t->fn, 0xffff);
    CHECK_EQ(fake_msis(m, DRV_MSI_ADDR, FAKE_ANY), 0);
    fake_free(m);
}

TEST(pci_masked_vector_is_pending_and_comes_once)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    drv_msix_on(m, 5, NVEC);
    uint64_t table = drv_msix_table(m, 5);
    CHECK_EQ(drv_r32(m, table + 0x800), 0);
    drv_w32(m, table + 16 + 12, 1);
    pci_msix_raise(&t->fn, 1);
    CHECK_EQ(drv_msis(m, 5, 1), 0);
    CHECK_EQ(drv_r32(m, table + 0x800), 2);
    CHECK_EQ(guest_read(m, false, table + 0x800, 8), 2);
    drv_w32(m, table + 0x800, 0xff); /* the PBA is read-only */
    CHECK_EQ(drv_r32(m, table + 0x800), 2);
    drv_w32(m, table + 16 + 12, 0);
    CHECK(drv_msis(m, 5, 1) >= 1);
    CHECK_EQ(drv_r32(m, table + 0x800), 0);
    fake_free(m);
}

/* What was raised may have been on its way when it was saved. */
TEST(pci_loaded_function_raises_what_is_not_masked_again)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    drv_msix_on(m, 5, NVEC);
    uint64_t table = drv_msix_table(m, 5);
    drv_w32(m, table + 16 + 12, 1);
    pci_fn_hold(&t->fn);
    CHECK_EQ(fake_msis(m, DRV_MSI_ADDR, FAKE_ANY), 0);
    CHECK_EQ(pci_fn_loaded(&t->fn, "toy"), 0);
    for (unsigned v = 0; v < NVEC; v++)
        CHECK_EQ(drv_msis(m, 5, v), v != 1);
    CHECK_EQ(drv_r32(m, table + 0x800), 0); /* nor is the masked one pending */
    fake_free(m);
}

TEST(pci_function_mask_holds_all_vectors)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    drv_msix_on(m, 5, NVEC);
    unsigned cap = drv_cap(m, 5, PCI_CAP_MSIX, 0);
    drv_cfg_write(m, 5, cap + 2, 2, 0xc000);
    pci_msix_raise(&t->fn, 2);
    CHECK_EQ(drv_msis(m, 5, 2), 0);
    CHECK_EQ(drv_r32(m, drv_msix_table(m, 5) + 0x800), 4);
    drv_cfg_write(m, 5, cap + 3, 1, 0x80); /* a byte will do */
    CHECK_EQ(drv_msis(m, 5, 2), 1);
    fake_free(m);
}

TEST(pci_table_access_widths)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    uint64_t table = drv_msix_table(m, 5);
    CHECK_EQ(drv_r32(m, table + 12), 1); /* masked at power-on */
    drv_w64(m, table, 0x1122334455667788);
    drv_w64(m, table + 8, 0x00000001aabbccdd);
    CHECK_EQ(drv_r32(m, table), 0x55667788);
    CHECK_EQ(drv_r32(m, table + 4), 0x11223344);
    CHECK_EQ(guest_read(m, false, table + 8, 8), 0x00000001aabbccdd);
    drv_w32(m, table + 12, 0xfffffffe); /* reserved bits */
    CHECK_EQ(drv_r32(m, table + 12), 0);
    for (unsigned width = 1; width <= 8; width *= 2)
        for (uint64_t off = 0; off < 0x1000; off++) {
            guest_write(m, false, table + off, width, ~0ull);
            guest_read(m, false, table + off, width);
        }
    fake_free(m);
}

TEST(pci_a_vector_changes_its_target)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    drv_msix_on(m, 5, 1);
    uint64_t table = drv_msix_table(m, 5);
    drv_w32(m, table + 12, 1);
    pci_msix_raise(&t->fn, 0); /* meanwhile */
    drv_w32(m, table, 0xfee01000);
    drv_w32(m, table + 8, 0x99);
    drv_w32(m, table + 12, 0);
    CHECK_EQ(fake_msis(m, 0xfee01000, 0x99), 1);
    CHECK_EQ(drv_msis(m, 5, 0), 0);
    fake_free(m);
}

/* ------------------------------------------------------------- ECAM, INTx */

static uint64_t ecam(unsigned slot, unsigned off)
{
    return PCI_ECAM_BASE + ((uint64_t)slot << 15) + off;
}

TEST(pci_ecam_and_ports_see_one_state)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    CHECK_EQ(drv_r32(m, ecam(5, 0)), 0x56781234);
    CHECK_EQ(drv_r16(m, ecam(5, 2)), 0x5678);
    CHECK_EQ(drv_r8(m, ecam(5, 3)), 0x56);
    drv_w8(m, ecam(5, PCI_INT_LINE), 0x42);
    CHECK_EQ(drv_cfg_read(m, 5, PCI_INT_LINE, 1), 0x42);
    CHECK_EQ(drv_r32(m, ecam(7, 0)), 0xffffffff);
    CHECK_EQ(drv_r32(m, ecam(5, 0) + (1 << 12)), 0xffffffff);
    CHECK_EQ(drv_r32(m, ecam(5, 0) + (1 << 20)), 0xffffffff);
    uint32_t ext = drv_r32(m, ecam(5, 0x100));
    CHECK(ext == 0 || ext == 0xffffffff);
    drv_w32(m, ecam(5, 0xffc), 1);
    CHECK_EQ(drv_r32(m, ecam(5, 0xfe)), 0xffffffff); /* unaligned */
    guest_read(m, false, ecam(5, 0), 8);
    guest_write(m, false, ecam(5, 0), 8, 0);
    fake_free(m);
}

TEST(pci_reset_brings_power_on_back_in_mid_traffic)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    uint64_t home = drv_bar(m, 5, MEM_BAR);
    drv_msix_on(m, 5, NVEC);
    pci_kick_set(&t->fn, MEM_BAR, 0, true);
    drv_cfg_write(m, 5, 0x18, 4, 0xc8000000);
    drv_w32(m, drv_msix_table(m, 5) + 12, 1);
    pci_msix_raise(&t->fn, 0);
    pci_intx_set(&t->fn, true);
    fake_reset(m);
    CHECK_EQ(drv_bar(m, 5, MEM_BAR), home);
    CHECK(!pci_msix_on(&t->fn));
    CHECK(!pci_can_dma(&t->fn));
    CHECK_EQ(drv_cfg_read(m, 5, PCI_STATUS, 2) & 8, 0);
    CHECK_EQ(inl(m, 0xcf8) & 0x80000000, 0x80000000); /* by drv_cfg_read */
    drv_msix_on(m, 5, NVEC);
    CHECK_EQ(drv_msis(m, 5, 0), 0); /* what was pending is gone */
    fake_free(m);
}

TEST(pci_interrupt_line_is_the_gsi)
{
    struct machine *m = fake_pc(4096);
    for (int slot = 1; slot < 9; slot++) {
        struct toy *t = toy_new(m, slot);
        unsigned line = drv_cfg_read(m, (unsigned)slot, PCI_INT_LINE, 1);
        CHECK_EQ(line, pci_slot_gsi((unsigned)slot));
        CHECK(!fake_level(m, line));
        pci_intx_set(&t->fn, true);
        CHECK(fake_level(m, line));
        pci_intx_set(&t->fn, false);
    }
    fake_free(m);
}

TEST(pci_shared_line_stays_up_for_the_other)
{
    struct machine *m = fake_pc(4096);
    struct toy *a = toy_new(m, 1), *b = NULL;
    unsigned gsi = pci_slot_gsi(1);
    for (int slot = 2; slot < 32 && !b; slot++)
        if (pci_slot_gsi((unsigned)slot) == gsi)
            b = toy_new(m, slot);
    REQUIRE(b != NULL);
    pci_intx_set(&a->fn, true);
    pci_intx_set(&b->fn, true);
    pci_intx_set(&a->fn, false);
    CHECK(fake_level(m, gsi));
    fake_irqs(m, gsi);
    fake_eoi(m, gsi);
    CHECK_EQ(fake_irqs(m, gsi), 1); /* b asks again */
    fake_free(m);
}

TEST(pci_every_width_everywhere)
{
    struct toy *t;
    struct machine *m = toy_pc(&t);
    for (unsigned port = 0xcf0; port < 0xd08; port++)
        for (unsigned width = 1; width <= 4; width *= 2) {
            guest_read(m, true, port, width);
            if (port != 0xcf9)
                guest_write(m, true, port, width, 0xffffffff);
        }
    fake_free(m);
}

TEST(pci_slots_are_limited_and_named)
{
    struct machine *m = fake_pc(4096);
    struct toy *t = toy_new(m, 3);
    struct pci_fn fn;
    pci_fn_init(&fn, m, NULL, "late", 1, 2, 0x020000, 0);
    CHECK_EQ(pci_add(&fn, &(struct pci_place){.slot = 3}), -EBUSY);
    CHECK_HAS(test_log(), "slot 3 for late");
    CHECK(pci_add(&fn, &(struct pci_place){.slot = 32}) < 0);
    CHECK(pci_add(&fn, &(struct pci_place){.slot = 0}) < 0);
    CHECK_EQ(pci_add(&fn, &(struct pci_place){.slot = -1}), 0);
    CHECK_EQ(fn.slot, 1);
    CHECK(pci_fn_at(m->pci, 3) == &t->fn);
    CHECK(pci_fn_at(m->pci, 99) == NULL);
    fake_free(m);
}
