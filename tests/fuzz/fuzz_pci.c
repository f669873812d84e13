/* SPDX-License-Identifier: MIT */
/* PCI configuration space through both mechanisms, moving BARs, MSI-X tables
 * and kicks, with two functions that check what the bus hands them. */
#include <stdlib.h>
#include <sys/eventfd.h>

#include "devices/pci/pci.h"
#include "tests/fuzz/fuzz.h"

#define NVEC 3

struct toy {
    struct device dev;
    struct pci_fn fn;
    struct pci_kick kick[2];
};

static uint64_t sizes[] = {0x1000, 0x40, 0x4000};

/* owner is the size of the BAR */
static uint64_t toy_read(void *owner, uint64_t off, unsigned width)
{
    uint64_t size = *(uint64_t *)owner;
    CHECK(width <= 8 && off < size && width <= size - off);
    return off;
}

static void toy_write(void *owner, uint64_t off, unsigned width, uint64_t val)
{
    (void)val;
    toy_read(owner, off, width);
}

static void toy_reset(struct device *dev)
{
    struct toy *t = container_of(dev, struct toy, dev);
    pci_fn_reset(&t->fn);
    for (unsigned k = 0; k < 2; k++)
        pci_kick_set(&t->fn, 2, k, false);
}

static const struct device_class toy_class = {.name = "toy"};

static struct toy *toy_new(struct machine *m)
{
    struct toy *t = calloc(1, sizeof(*t));
    if (!t)
        abort();
    t->dev = (struct device){.cls = &toy_class, .reset = toy_reset};
    pci_fn_init(&t->fn, m, t, "toy", 0x1af4, 0x1041, 0x020000, 1);
    CHECK_EQ(pci_msix_init(&t->fn, 0, NVEC), 0);
    pci_bar_init(&t->fn, 1, PCI_BAR_IO, sizes[1], toy_read, toy_write,
                 &sizes[1]);
    pci_bar_init(&t->fn, 2, PCI_BAR_MEM64, sizes[2], toy_read, toy_write,
                 &sizes[2]);
    for (unsigned k = 0; k < 2; k++)
        t->kick[k] = (struct pci_kick){
            .off = 0x1000 + 4 * k, .width = 2, .fd = eventfd(0, EFD_NONBLOCK)};
    t->fn.bar[2].kick = t->kick;
    t->fn.bar[2].nkick = 2;
    pci_intx_init(&t->fn);
    pci_cap_add(&t->fn, PCI_CAP_VENDOR, 16);
    CHECK_EQ(pci_add(&t->fn, &(struct pci_place){.slot = -1}), 0);
    device_register(m, &t->dev);
    return t;
}

/* Where a guest would look: near what the BARs say, and at the extremes. */
static uint64_t somewhere(struct fuzz *f, struct toy *t)
{
    uint64_t off = fuzz_u16(f);
    unsigned i = fuzz_u8(f) % 4;
    if (i == 3)
        return fuzz_take(f, 8);
    return t->fn.bar[i].region.base + off % (t->fn.bar[i].size + 16) - 8;
}

static void access_memory(struct machine *m, struct fuzz *f, struct toy *t)
{
    bool pio = fuzz_u8(f) & 1;
    unsigned width = fuzz_width(f);
    uint64_t addr = somewhere(f, t);
    if (pio)
        addr &= 0xffff;
    if (fuzz_u8(f) & 1)
        guest_write(m, pio, addr, width, fuzz_take(f, 8));
    else
        guest_read(m, pio, addr, width);
}

static void access_config(struct machine *m, struct fuzz *f)
{
    uint8_t how = fuzz_u8(f);
    unsigned slot = fuzz_u8(f) & 3, off = fuzz_u16(f) & 0xfff;
    unsigned width = 1u << (how >> 2 & 3);
    if (how & 1) {
        uint64_t addr = PCI_ECAM_BASE + ((uint64_t)slot << 15) + off;
        if (how & 2)
            guest_write(m, false, addr, width, fuzz_u32(f));
        else
            guest_read(m, false, addr, width);
        return;
    }
    outl(m, 0xcf8, 0x80000000 | slot << 11 | (off & 0xfc));
    if (how & 2)
        guest_write(m, true, 0xcfc + (off & 3), width, fuzz_u32(f));
    else
        guest_read(m, true, 0xcfc + (off & 3), width);
}

static void act(struct machine *m, struct fuzz *f, struct toy *t)
{
    uint8_t b = fuzz_u8(f);
    switch (b & 7) {
    case 0:
        access_memory(m, f, t);
        break;
    case 1: /* the ports themselves, any width */
        guest_write(m, true, 0xcf4 + fuzz_u8(f) % 16, fuzz_width(f),
                    fuzz_u32(f));
        break;
    case 2:
        pci_kick_set(&t->fn, 2, b >> 4 & 1, b >> 5 & 1);
        break;
    case 3:
        pci_msix_raise(&t->fn, b >> 3);
        break;
    case 4:
        pci_intx_set(&t->fn, b >> 3 & 1);
        break;
    case 5:
        fake_kick_fail(m, b >> 3 & 3, -28);
        break;
    default:
        access_config(m, f);
        break;
    }
}

/* With decoding off everywhere nothing may be left on the buses. */
static void check_off(struct machine *m, struct toy *const t[2])
{
    for (int i = 0; i < 2; i++)
        pci_cfg_write(&t[i]->fn, PCI_COMMAND, 2, 0);
    CHECK_EQ(fake_kicks(m), 0);
    for (int i = 0; i < 2; i++)
        for (int b = 0; b <= PCI_ROM_BAR; b++)
            CHECK(!t[i]->fn.bar[b].mapped);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine *m;
    static struct toy *t[2];
    struct fuzz f = {data, size};
    if (!m) {
        m = fake_pc(65536);
        t[0] = toy_new(m);
        t[1] = toy_new(m);
    }
    fake_reset(m);
    for (int i = 0; f.n && i < 500; i++)
        act(m, &f, t[i & 1]);
    fake_run_loop(m);
    check_off(m, t);
    return 0;
}
