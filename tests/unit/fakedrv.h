/* SPDX-License-Identifier: MIT */
/* What a guest's PCI driver does, through ports CF8/CFC: for tests of devices
 * on the fake machine. */
#ifndef FAKEDRV_H
#define FAKEDRV_H

#include "devices/pci/pci.h"
#include "tests/unit/fake.h"

#define DRV_MSI_ADDR 0xfee00000u

static inline uint32_t drv_cfg_read(struct machine *m, unsigned slot,
                                    unsigned off, unsigned width)
{
    outl(m, 0xcf8, 0x80000000u | slot << 11 | (off & 0xfc));
    return (uint32_t)guest_read(m, true, 0xcfc + (off & 3), width);
}

static inline void drv_cfg_write(struct machine *m, unsigned slot, unsigned off,
                                 unsigned width, uint32_t val)
{
    outl(m, 0xcf8, 0x80000000u | slot << 11 | (off & 0xfc));
    guest_write(m, true, 0xcfc + (off & 3), width, val);
}

/* The n-th (from 0) function with these ids; its slot, or -1. */
static inline int drv_find(struct machine *m, uint16_t vendor, uint16_t device,
                           int n)
{
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        uint32_t id = drv_cfg_read(m, slot, PCI_VENDOR_ID, 4);
        if (id == ((uint32_t)device << 16 | vendor) && n-- == 0)
            return (int)slot;
    }
    return -1;
}

/* Sets command register bits: PCI_CMD_IO, _MEM, _MASTER. */
static inline void drv_enable(struct machine *m, unsigned slot, uint16_t bits)
{
    uint32_t cmd = drv_cfg_read(m, slot, PCI_COMMAND, 2);
    drv_cfg_write(m, slot, PCI_COMMAND, 2, cmd | bits);
}

/* Address in BAR i (both halves of a 64-bit one), flag bits removed. */
static inline uint64_t drv_bar(struct machine *m, unsigned slot, unsigned i)
{
    uint32_t lo = drv_cfg_read(m, slot, PCI_BAR0 + 4 * i, 4);
    if (lo & 1)
        return lo & ~3u;
    if ((lo & 6) != 4)
        return lo & ~15u;
    return (uint64_t)drv_cfg_read(m, slot, PCI_BAR0 + 4 * i + 4, 4) << 32 |
           (lo & ~15u);
}

/* Offset of the n-th (from 0) capability with this id, 0: none. */
static inline unsigned drv_cap(struct machine *m, unsigned slot, uint8_t id,
                               int n)
{
    unsigned at = drv_cfg_read(m, slot, PCI_CAP_PTR, 1);
    for (int i = 0; at && i < 48; i++) {
        if (drv_cfg_read(m, slot, at, 1) == id && n-- == 0)
            return at;
        at = drv_cfg_read(m, slot, at + 1, 1);
    }
    return 0;
}

static inline uint32_t drv_r32(struct machine *m, uint64_t addr)
{
    return (uint32_t)guest_read(m, false, addr, 4);
}
static inline uint16_t drv_r16(struct machine *m, uint64_t addr)
{
    return (uint16_t)guest_read(m, false, addr, 2);
}
static inline uint8_t drv_r8(struct machine *m, uint64_t addr)
{
    return (uint8_t)guest_read(m, false, addr, 1);
}
static inline void drv_w64(struct machine *m, uint64_t addr, uint64_t v)
{
    guest_write(m, false, addr, 8, v);
}
static inline void drv_w32(struct machine *m, uint64_t addr, uint32_t v)
{
    guest_write(m, false, addr, 4, v);
}
static inline void drv_w16(struct machine *m, uint64_t addr, uint16_t v)
{
    guest_write(m, false, addr, 2, v);
}
static inline void drv_w8(struct machine *m, uint64_t addr, uint8_t v)
{
    guest_write(m, false, addr, 1, v);
}

/* Where the MSI-X table is, by the capability. 0: no MSI-X. */
static inline uint64_t drv_msix_table(struct machine *m, unsigned slot)
{
    unsigned cap = drv_cap(m, slot, PCI_CAP_MSIX, 0);
    uint32_t where;
    if (!cap)
        return 0;
    where = drv_cfg_read(m, slot, cap + 4, 4);
    return drv_bar(m, slot, where & 7) + (where & ~7u);
}

/* The data of vector v of a slot, as drv_msix_on programs it. */
static inline uint32_t drv_msi_data(unsigned slot, unsigned v)
{
    return 0x4000 | slot << 8 | v;
}

/* Writes one table entry, masked or not. */
static inline void drv_msix_vector(struct machine *m, unsigned slot, unsigned v,
                                   bool masked)
{
    uint64_t entry = drv_msix_table(m, slot) + 16ull * v;
    drv_w32(m, entry, DRV_MSI_ADDR);
    drv_w32(m, entry + 4, 0);
    drv_w32(m, entry + 8, drv_msi_data(slot, v));
    drv_w32(m, entry + 12, masked);
}

/* Turns MSI-X on as Linux does: enable with all masked, n entries, then
 * the function unmasked and INTx off. Memory decoding must be on. */
static inline void drv_msix_on(struct machine *m, unsigned slot, unsigned n)
{
    unsigned cap = drv_cap(m, slot, PCI_CAP_MSIX, 0);
    uint32_t size = drv_cfg_read(m, slot, cap + 2, 2) & 0x7ff;
    drv_cfg_write(m, slot, cap + 2, 2, 0xc000 | size);
    for (unsigned v = 0; v < n; v++)
        drv_msix_vector(m, slot, v, false);
    drv_enable(m, slot, PCI_CMD_INTX_OFF);
    drv_cfg_write(m, slot, cap + 2, 2, 0x8000 | size);
}

/* Interrupts of vector v since the last call. */
static inline unsigned drv_msis(struct machine *m, unsigned slot, unsigned v)
{
    return fake_msis(m, DRV_MSI_ADDR, drv_msi_data(slot, v));
}

#endif
