/* SPDX-License-Identifier: MIT */
/* The bundled guest's PCI code on a configuration space of our own: BARs where
 * other monitors place them, and BARs that stay where they are. */
#define GUEST_LIB_H /* the guest's types and ports, but ours */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tests/unit/test.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef uintptr_t uptr;
#define NOINIT

static u32 space[64], writable[64];
static unsigned selected, reads, functions;

static void outl(u16 port, u32 v)
{
    if (port == 0xcf8)
        selected = v >> 2 & 63;
    else
        space[selected] =
            (space[selected] & ~writable[selected]) | (v & writable[selected]);
}

static u32 inl(u16 port)
{
    (void)port;
    reads++;
    return space[selected];
}

static void mmio_w32(uptr gpa, u32 v)
{
    (void)gpa;
    (void)v;
}

static void print(const char *fmt, ...)
{
    (void)fmt;
}

#include "guest/pci.c" /* NOLINT(bugprone-suspicious-include) */

struct options opt;

/* The real one maps; where to is all that matters here. */
uptr window_open(u64 gpa)
{
    return (uptr)gpa;
}

u32 irq_msi_address(void)
{
    return 0;
}

void irq_line_enable(u8 line, void (*handler)(void))
{
    (void)line;
    (void)handler;
}

static void bar(unsigned i, u32 value, u32 mask)
{
    space[PCI_BAR0 / 4 + i] = value;
    writable[PCI_BAR0 / 4 + i] = mask;
}

/* A function whose BARs decode if `on`, with nothing in them yet. */
static void fresh(bool on)
{
    memset(space, 0, sizeof(space));
    memset(writable, 0, sizeof(writable));
    memset(&opt, 0, sizeof(opt));
    space[PCI_COMMAND / 4] = on ? PCI_COMMAND_MEM : 0;
    writable[PCI_COMMAND / 4] = 0xffff;
    next_mem = 0xd0000000;
    known_regs = 0;
    reads = functions = 0;
}

static const struct pci_fn fn = {.bdf = 8};

TEST(guest_pci_bar_above_4g_is_used_where_firmware_put_it)
{
    for (int on = 0; on < 2; on++) {
        fresh(on);
        bar(0, 0x00080004, 0xfff80000);
        bar(1, 0x40, 0xffffffff);
        pci_enable(&fn);
        CHECK_EQ(pci_bar(&fn, 0, 0x3000), 0x4000083000ull);
        CHECK_EQ(space[PCI_COMMAND / 4] & 7, 7);
    }
}

/* With an address whose lower half is 0 it must not pass for an unset one. */
TEST(guest_pci_bar_at_a_multiple_of_4g_is_no_unset_one)
{
    fresh(false);
    bar(2, 0x00000004, 0xfff80000);
    bar(3, 0x40, 0xffffffff);
    pci_enable(&fn);
    CHECK_EQ(pci_bar(&fn, 2, 0), 0x4000000000ull);
    CHECK_EQ(pci_bar(&fn, 0, 0), 0);
}

TEST(guest_pci_bar_that_does_not_move_is_used_where_it_is)
{
    fresh(true);
    opt.rebar = true;
    bar(0, 0xc0000000, 0);
    bar(1, 0x00080004, 0);
    bar(2, 0x40, 0);
    bar(3, 0xc0100000, 0xfffff000);
    pci_enable(&fn);
    CHECK_EQ(pci_bar(&fn, 0, 0), 0xc0000000);
    CHECK_EQ(pci_bar(&fn, 1, 0), 0x4000080000ull);
    /* Nor does what cannot move use up the room of what can. */
    CHECK_EQ(pci_bar(&fn, 3, 0), 0xd0000000);
}

TEST(guest_pci_unset_bars_are_placed_by_their_size)
{
    fresh(false);
    bar(0, 0, 0xfffff000);
    bar(1, 0x00000004, 0xffff0000);
    bar(2, 0, 0xffffffff);
    pci_enable(&fn);
    CHECK_EQ(pci_bar(&fn, 0, 0), 0xd0000000);
    CHECK_EQ(pci_bar(&fn, 1, 0x100), 0xd0010100);
    CHECK_EQ(pci_bar(&fn, 6, 0), 0);
}

TEST(guest_pci_rebar_high_moves_only_64_bit_bars_above_4g)
{
    fresh(true);
    opt.rebar = opt.rebar_high = true;
    bar(0, 0xc0000000, 0xfffff000);
    bar(1, 0xc0010004, 0xffff0000);
    bar(2, 0, 0xffffffff);
    pci_enable(&fn);
    CHECK_EQ(pci_bar(&fn, 0, 0), 0xd0000000);
    CHECK_EQ(pci_bar(&fn, 1, 0), 0x4d0010000ull);
}

TEST(guest_pci_reads_a_register_again_only_after_a_write)
{
    fresh(true);
    space[PCI_CAPS / 4] = 0x40;
    CHECK_EQ(pci_read(8, PCI_CAPS), 0x40);
    CHECK_EQ(pci_read(8, PCI_CAPS), 0x40);
    CHECK_EQ(reads, 1);
    pci_read(16, PCI_CAPS); /* another function's */
    pci_read(8, PCI_CAPS);
    CHECK_EQ(reads, 3);
    bar(0, 0, 0xfffff000);
    pci_read(8, PCI_BAR0);
    pci_write(8, PCI_BAR0, 0xffffffff); /* what is read now is its size */
    CHECK_EQ(pci_read(8, PCI_BAR0), 0xfffff000);
}

static bool count_all(const struct pci_fn *f)
{
    (void)f;
    functions++;
    return true;
}

static bool count_two(const struct pci_fn *f)
{
    (void)f;
    return ++functions < 2;
}

TEST(guest_pci_scan_finds_other_functions_of_those_that_have_some)
{
    fresh(true);
    space[PCI_ID / 4] = 0x10411af4;
    pci_scan(count_all);
    CHECK_EQ(functions, 32);
    functions = 0;
    space[PCI_HEADER / 4] = 0x800000;
    pci_scan(count_all);
    CHECK_EQ(functions, 256);
    space[PCI_ID / 4] = 0xffffffff;
    pci_scan(count_all);
    CHECK_EQ(functions, 256);
}

TEST(guest_pci_scan_ends_where_it_is_told_to)
{
    fresh(true);
    space[PCI_ID / 4] = 0x10411af4;
    pci_scan(count_two);
    CHECK_EQ(functions, 2);
    CHECK_EQ(reads, 3); /* two IDs, the header between them */
}
