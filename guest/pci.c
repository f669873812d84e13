/* SPDX-License-Identifier: MIT */
/* PCI bus 0 through configuration mechanism #1. */

#include "pci.h"
#include "irq.h"
#include "options.h"
#include "window.h"

/* PCI 3.0 §3.2.2.3.2 */
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc

#define BAR_IO 0x1u
#define BAR_64 0x4u
/* rebar=high: the upper half of the address, 16 GiB. */
#define REBAR_HIGH 4
#define CAPS_MAX 48 /* 192 bytes of capabilities, 4 each: a loop guard */

/* Where BARs go that no firmware has placed, or that are to move: well behind
 * where firmware begins. */
static u32 next_mem = 0xd0000000;
static u32 next_io = 0xe000;

/* What has been read since the last write: nothing that is looked at here
 * changes by itself, and a read is two exits. */
static NOINIT u32 known[64];
static u64 known_regs;
static u8 known_bdf;

u32 pci_read(u8 bdf, u8 reg)
{
    u64 bit = 1ull << (reg / 4);

    if (bdf != known_bdf)
        known_regs = 0;
    known_bdf = bdf;
    if (!(known_regs & bit)) {
        outl(CONFIG_ADDRESS, 0x80000000u | (u32)bdf << 8 | (reg & 0xfc));
        known[reg / 4] = inl(CONFIG_DATA);
        known_regs |= bit;
    }
    return known[reg / 4];
}

void pci_write(u8 bdf, u8 reg, u32 v)
{
    known_regs = 0;
    outl(CONFIG_ADDRESS, 0x80000000u | (u32)bdf << 8 | (reg & 0xfc));
    outl(CONFIG_DATA, v);
}

void pci_scan(bool (*found)(const struct pci_fn *fn))
{
    unsigned bdf = 0;

    while (bdf < 256) {
        struct pci_fn fn = {.bdf = (u8)bdf, .id = pci_read((u8)bdf, PCI_ID)};
        /* Absent: all ones; some chipsets say 0. */
        bool there = fn.id != 0xffffffff && fn.id;

        if (there && !found(&fn))
            return;
        /* Header type bit 7 of function 0: not only this one. */
        if (bdf & 7 || (there && pci_read((u8)bdf, PCI_HEADER) & 0x800000))
            bdf++;
        else
            bdf += 8;
    }
}

static bool has_bars(const struct pci_fn *fn)
{
    return (pci_read(fn->bdf, PCI_HEADER) & 0x7f0000) == 0;
}

static bool is_wide(u32 bar)
{
    return (bar & (BAR_IO | 6)) == BAR_64;
}

void pci_print(const struct pci_fn *fn)
{
    print("guest: pci 0000:00:%02x.%u %04x:%04x class %06x", fn->bdf >> 3,
          fn->bdf & 7u, fn->id & 0xffff, fn->id >> 16,
          pci_read(fn->bdf, PCI_CLASS) >> 8);
    for (unsigned i = 0; has_bars(fn) && i < PCI_BARS; i++) {
        u32 bar = pci_read(fn->bdf, (u8)(PCI_BAR0 + 4 * i));

        if (!bar)
            continue;
        u32 at = bar & ~(bar & BAR_IO ? 3u : 15u), high = 0;

        if (is_wide(bar))
            high = pci_read(fn->bdf, (u8)(PCI_BAR0 + 4 * ++i));
        print(" bar%u=%s", i - is_wide(bar), bar & BAR_IO ? "io:" : "");
        if (high)
            print("%x%08x", high, at);
        else
            print("%x", at);
    }
    print("\n");
}

/* Lowest address ≥ *next aligned to size; BAR sizes are powers of two. */
static u32 take(u32 *next, u32 size)
{
    u32 base = (*next + size - 1) & ~(size - 1);

    *next = base + size;
    return base;
}

/* PCI 3.0 §6.2.5.1: decoding is off, so writing all ones is harmless. A BAR
 * that keeps its address all the same cannot be moved, and has no size to be
 * read; pci_bar() finds it where it is. */
static void place_bar(const struct pci_fn *fn, u8 reg, u32 bar)
{
    u32 flags = bar & (bar & BAR_IO ? 3u : 15u);

    pci_write(fn->bdf, reg, 0xffffffff);
    u32 size = pci_read(fn->bdf, reg);

    if (size == bar)
        return;
    size &= ~(bar & BAR_IO ? 3u : 15u);
    if (bar & BAR_IO)
        size |= size ? 0xffff0000 : 0; /* upper half may be hardwired 0 */
    size = -size;
    if (!size)
        return;
    pci_write(fn->bdf, reg,
              take(bar & BAR_IO ? &next_io : &next_mem, size) | flags);
}

/* Places BAR i if nobody has, or if all are to move (`rebar`); returns how many
 * slots it takes (64-bit BARs: 2). An unset BAR reads as its flags only, which
 * cannot be told from an absent I/O or 32-bit one without sizing, so all those
 * are sized. */
static unsigned settle_bar(const struct pci_fn *fn, unsigned i)
{
    u8 reg = (u8)(PCI_BAR0 + 4 * i);
    u32 bar = pci_read(fn->bdf, reg);
    bool wide = is_wide(bar);
    u32 high = wide ? pci_read(fn->bdf, reg + 4) : 0;
    unsigned slots = wide ? 2 : 1;

    if (!opt.rebar && (high || bar & ~15u))
        return slots;
    if (wide)
        pci_write(fn->bdf, reg + 4, opt.rebar_high ? REBAR_HIGH : 0);
    place_bar(fn, reg, bar);
    return slots;
}

void pci_enable(const struct pci_fn *fn)
{
    u32 on = PCI_COMMAND_IO | PCI_COMMAND_MEM | PCI_COMMAND_MASTER;
    u32 command = pci_read(fn->bdf, PCI_COMMAND) & 0xffff;

    /* Firmware that left memory decoding on has placed the BARs. */
    if (!(command & PCI_COMMAND_MEM) || opt.rebar) {
        pci_write(fn->bdf, PCI_COMMAND, command & ~on);
        for (unsigned i = 0; i < PCI_BARS;)
            i += settle_bar(fn, i);
    }
    pci_write(fn->bdf, PCI_COMMAND, (command & ~PCI_COMMAND_INTX_OFF) | on);
}

uptr pci_bar(const struct pci_fn *fn, unsigned n, u32 offset)
{
    if (n >= PCI_BARS)
        return 0;
    u8 reg = (u8)(PCI_BAR0 + 4 * n);
    u32 bar = pci_read(fn->bdf, reg);
    u64 gpa = bar & ~15u;

    if (bar & BAR_IO)
        return 0;
    if (is_wide(bar))
        gpa |= (u64)pci_read(fn->bdf, reg + 4) << 32;
    if (!gpa)
        return 0;
    gpa += offset;
    return gpa >> 32 ? window_open(gpa) : (uptr)gpa;
}

u8 pci_cap(const struct pci_fn *fn, u8 id, u8 after)
{
    u8 at = after ? (u8)(pci_read(fn->bdf, after) >> 8)
                  : (u8)pci_read(fn->bdf, PCI_CAPS);

    for (unsigned i = 0; at >= 0x40 && i < CAPS_MAX; i++) {
        u32 cap = pci_read(fn->bdf, at);

        if ((cap & 0xff) == id)
            return at & 0xfc;
        at = (u8)(cap >> 8);
    }
    return 0;
}

bool pci_intx_enable(const struct pci_fn *fn, void (*handler)(void))
{
    u8 line = (u8)pci_read(fn->bdf, PCI_INTERRUPT);

    if (line == 0 || line > 15)
        return false;
    irq_line_enable(line, handler);
    return true;
}

/* PCI 3.0 §6.8.2: control word in the upper half of the first dword, table
 * offset and BAR number in the second; entries of address, data, mask. */
unsigned pci_msix_enable(const struct pci_fn *fn, u8 vector, unsigned n)
{
    u8 cap = pci_cap(fn, PCI_CAP_MSIX, 0);

    if (!cap)
        return 0;
    u32 control = pci_read(fn->bdf, cap);
    u32 where = pci_read(fn->bdf, (u8)(cap + 4));
    uptr table = pci_bar(fn, where & 7, where & ~7u);

    if (!table)
        return 0;
    unsigned size = (control >> 16 & 0x7ff) + 1;

    if (n > size)
        n = size;
    for (unsigned i = 0; i < n; i++) {
        uptr entry = table + i * 16;

        mmio_w32(entry, irq_msi_address());
        mmio_w32(entry + 4, 0);
        mmio_w32(entry + 8, vector + i);
        mmio_w32(entry + 12, 0); /* unmask */
    }
    pci_write(fn->bdf, cap, (control & ~0x40000000u) | 0x80000000u);
    return n;
}
