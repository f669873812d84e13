/* SPDX-License-Identifier: MIT */
/* The PCI bus: configuration mechanism #1, ECAM, slots, resets.
 *
 * Theory of operation
 * -------------------
 * One bus, one function a slot, a host bridge in slot 0. A configuration write
 * changes the bytes its masks allow, then pci_bars_remap() makes the buses
 * agree with what configuration space says now (bars.c).
 *
 * Locks: bus->lock guards configuration space and the mapping. It is taken
 * inside a device's lock (pci_kick_set, pci_fn_reset), so no device is ever
 * called with it held. fn->irq_lock guards INTx gating and the MSI-X table
 * (msix.c); it is innermost. */
#include "devices/pci/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_MASK 0x80fffffc /* of CONFIG_ADDRESS */
#define RESET_MASK 0x0a         /* of Reset Control */

/* ---------------------------------------------------- configuration space */

uint32_t pci_cfg_read(struct pci_fn *fn, unsigned off, unsigned width)
{
    uint32_t val;
    if (off + width > sizeof(fn->cfg))
        return 0; /* a conventional function has nothing above 255 */
    if (fn->cfg_read)
        fn->cfg_read(fn, off, width);
    pthread_mutex_lock(&fn->bus->lock);
    val = pci_get(fn, off, width);
    pthread_mutex_unlock(&fn->bus->lock);
    /* PCI 3.0 §6.2.3: the line as the device drives it, before INTX_OFF. */
    if (off <= PCI_STATUS && PCI_STATUS < off + width &&
        atomic_load(&fn->intx_level))
        val |= (uint32_t)PCI_STS_INTX << (8 * (PCI_STATUS - off));
    TRACE(PCI, "%02x.0 %s cfg[%#x]/%u -> %#x", fn->slot, fn->name, off, width,
          val);
    return val;
}

void pci_cfg_write(struct pci_fn *fn, unsigned off, unsigned width,
                   uint32_t val)
{
    struct pci_bus *bus = fn->bus;
    TRACE(PCI, "%02x.0 %s cfg[%#x]/%u <- %#x", fn->slot, fn->name, off, width,
          val);
    if (off + width > sizeof(fn->cfg))
        return;
    pthread_mutex_lock(&bus->lock);
    for (unsigned i = 0; i < width; i++) {
        uint8_t w = fn->wmask[off + i], b = (uint8_t)(val >> (8 * i));
        pci_put(fn, off + i, 1,
                (pci_get(fn, off + i, 1) & ~(uint32_t)w) | (b & w));
    }
    if (pci_touches(off, width, PCI_COMMAND, PCI_COMMAND + 2) ||
        pci_touches(off, width, PCI_BAR0, PCI_BAR0 + 4 * PCI_BARS) ||
        pci_touches(off, width, PCI_ROM, PCI_ROM + 4))
        pci_bars_remap(bus);
    pthread_mutex_unlock(&bus->lock);
    if (pci_touches(off, width, PCI_COMMAND, PCI_COMMAND + 2)) {
        lock_take(&fn->irq_lock);
        pci_intx_drive(fn);
        lock_give(&fn->irq_lock);
    }
    if (fn->msix_cap &&
        (pci_touches(off, width, fn->msix_cap + 2u, fn->msix_cap + 4u) ||
         pci_touches(off, width, PCI_COMMAND, PCI_COMMAND + 2)))
        pci_msix_update(fn);
    if (fn->cfg_written)
        fn->cfg_written(fn, off, width, val);
}

struct pci_fn *pci_fn_at(struct pci_bus *bus, unsigned slot)
{
    return slot < PCI_SLOTS ? bus->fn[slot] : NULL;
}

/* PCI 3.0 §3.2.2.3.2; bits 30:24 are reserved, bits 1:0 read as written 0. */
static struct pci_fn *pci_addressed(struct pci_bus *bus, uint32_t address)
{
    unsigned function = address >> 8 & 7, number = address >> 16 & 0xff;
    if (!(address >> 31) || number || function)
        return NULL;
    return bus->fn[address >> 11 & 31];
}

/* CF9, Reset Control (PIIX3 §2.2.2, ICH): bit 1 says hard, a rise of bit 2
 * resets. Both kinds restart the machine. */
static void pci_write_reset_control(struct pci_bus *bus, uint8_t val)
{
    if (val & ~atomic_exchange(&bus->reset_control, val & RESET_MASK) & 4)
        bus->m->ops->request(bus->m, STOP_RESET);
}

static uint64_t pci_ports_read(void *owner, uint64_t off, unsigned width)
{
    struct pci_bus *bus = owner;
    uint32_t a = atomic_load_explicit(&bus->address, memory_order_relaxed);
    if (off == 0 && width == 4)
        return a;
    if (off == 1 && width == 1)
        return bus->reset_control;
    if (off < 4 || (off & 3) + width > 4)
        return ~0ull;
    struct pci_fn *fn = pci_addressed(bus, a);
    return fn ? pci_cfg_read(fn, (a & 0xfc) | (off & 3), width) : ~0ull;
}

static void pci_ports_write(void *owner, uint64_t off, unsigned width,
                            uint64_t val)
{
    struct pci_bus *bus = owner;
    /* Only a whole dword is an address; CF9 inside it is another register. */
    if (off == 0 && width == 4)
        atomic_store_explicit(&bus->address, (uint32_t)val & ADDRESS_MASK,
                              memory_order_relaxed);
    else if (off == 1 && width == 1)
        pci_write_reset_control(bus, (uint8_t)val);
    if (off < 4 || (off & 3) + width > 4)
        return;
    uint32_t a = atomic_load_explicit(&bus->address, memory_order_relaxed);
    struct pci_fn *fn = pci_addressed(bus, a);
    if (fn)
        pci_cfg_write(fn, (a & 0xfc) | (off & 3), width, (uint32_t)val);
}

/* PCI Express 2.0 §7.2.2: bus << 20 | device << 15 | function << 12 | reg. */
static struct pci_fn *pci_ecam_fn(struct pci_bus *bus, uint64_t off)
{
    return off >> 20 || (off >> 12 & 7) ? NULL : bus->fn[off >> 15 & 31];
}

static uint64_t pci_ecam_read(void *owner, uint64_t off, unsigned width)
{
    struct pci_fn *fn = pci_ecam_fn(owner, off);
    if (!fn || width > 4 || (off & 3) + width > 4)
        return ~0ull;
    return pci_cfg_read(fn, off & 0xfff, width);
}

static void pci_ecam_write(void *owner, uint64_t off, unsigned width,
                           uint64_t val)
{
    struct pci_fn *fn = pci_ecam_fn(owner, off);
    if (fn && width <= 4 && (off & 3) + width <= 4)
        pci_cfg_write(fn, off & 0xfff, width, (uint32_t)val);
}

/* ----------------------------------------------------------------- adding */

/* Gives every BAR an address, as firmware would: each aligned to its size. */
static int pci_assign(struct pci_bus *bus, struct pci_fn *fn)
{
    for (unsigned i = 0; i <= PCI_ROM_BAR; i++) {
        struct pci_bar *bar = &fn->bar[i];
        bool io = bar->kind == PCI_BAR_IO;
        uint64_t *next = io ? &bus->io_next : &bus->mem_next;
        uint64_t end =
            io ? PCI_IO_BASE + PCI_IO_SIZE : PCI_MEM_BASE + PCI_MEM_SIZE;
        if (bar->kind == PCI_BAR_NONE)
            continue;
        /* A page of its own for every memory BAR: guests map pages. */
        uint64_t align = io || bar->size > 4096 ? bar->size : 4096;
        uint64_t at = (*next + align - 1) & ~(align - 1);
        if (at + bar->size > end)
            return fail(-ENOSPC, "PCI: no room for BAR %u of %s (%llu KiB)", i,
                        fn->name, (unsigned long long)bar->size / 1024);
        *next = at + bar->size;
        bar->first = at;
    }
    return 0;
}

static int pci_free_slot(struct pci_bus *bus)
{
    for (int s = 1; s < PCI_SLOTS; s++)
        if (!bus->fn[s] && !(bus->dev.m->pci_asked >> s & 1))
            return s;
    return -ENOSPC;
}

static int pci_plug(struct pci_bus *bus, struct pci_fn *fn, unsigned slot)
{
    int err;
    fn->slot = slot;
    err = pci_rom_load(fn);
    if (!err)
        err = pci_assign(bus, fn);
    if (err)
        return err;
    if (fn->has_intx) {
        err = irq_intx(fn->m, &fn->intx, pci_slot_gsi(slot));
        if (err)
            return fail(err, "PCI: INTA# of %s: %s", fn->name, strerror(-err));
    }
    fn->bus = bus;
    bus->fn[slot] = fn;
    pci_fn_reset(fn);
    return 0;
}

/* QEMU's, which need nothing with these values. */
static const struct opts_quiet pci_quiet[] = {
    {"acpi-index", "0", "the guest's interfaces are not named by ACPI"},
    {"failover_pair_id", "-", "no NIC stands in for another"},
    {"romsize", "-1 4294967295", "a ROM is as large as its file"},
    {"x-pcie-extcap-init", NULL, NULL}, /* the bus is conventional PCI */
    {"x-pcie-lnksta-dllla", NULL, NULL},
    {0},
};

const struct field pci_fields[] = {
    FIELDS_QUIET(pci_quiet),
    FIELD(TEXT, "addr", struct pci_place, addr, .arg = "SLOT",
          .help = "PCI slot, 1 to 1f, hexadecimal (the first free)"),
    FIELD(TEXT, "bus", struct pci_place, bus, .arg = "pci.0",
          .help = "the only one there is"),
    FIELD(TEXT, "romfile", struct pci_place, romfile, .arg = "FILE",
          .help = "expansion ROM"),
    FIELD(FLAG, "rombar", struct pci_place, rombar, .def = ON,
          .help = "show the ROM to the guest"),
    FIELD(FLAG, "multifunction", struct pci_place, multifunction,
          .help = "must be off: a slot has one function"),
    FIELD(NUMBER, "bootindex", struct pci_place, bootindex, .max = INT32_MAX,
          .def = PCI_NOT_TOLD,
          .help = "the BIOS boots from the lowest (see -boot)"),
    {.name = ""},
};

/* As QEMU reads it: hexadecimal, with an optional function ".0". */
static int pci_parse_slot(struct pci_place *p, const char *what)
{
    char *end;
    unsigned long at = strtoul(p->addr, &end, 16);
    if (end == p->addr || (*end && strcmp(end, ".0")) || !at || at >= PCI_SLOTS)
        return fail(-EINVAL,
                    "%s: addr=%s: must be a slot from 1 to 1f (hexadecimal)",
                    what, p->addr);
    p->slot = (int)at;
    return 0;
}

int pci_check(struct pci_place *p, const char *what, struct needs *needs)
{
    int err = 0;
    p->slot = -1;
    if (p->bus && strcmp(p->bus, "pci.0"))
        return fail(-EINVAL, "%s: bus=%s: there is only pci.0", what, p->bus);
    if (p->multifunction)
        return fail(-EINVAL, "%s: multifunction=on: a slot has one function",
                    what);
    if (p->addr)
        err = pci_parse_slot(p, what);
    if (!err && p->slot > 0 && needs->pci_asked >> p->slot & 1)
        err = fail(-EINVAL, "%s: addr=%s: another device asks for that slot",
                   what, p->addr);
    if (!err && ++needs->pci >= PCI_SLOTS)
        err = fail(-EINVAL, "%s: there are 31 PCI slots only", what);
    if (!err && p->slot > 0)
        needs->pci_asked |= 1u << p->slot;
    if (p->romfile && (!*p->romfile || !p->rombar))
        p->romfile = NULL;
    return !err && p->romfile ? pci_rom_check(what, p->romfile) : err;
}

int pci_add(struct pci_fn *fn, const struct pci_place *place)
{
    struct pci_bus *bus = fn->m->pci;
    int slot = place->slot;
    if (slot < 0)
        slot = pci_free_slot(bus);
    if (slot < 0)
        return fail(-ENOSPC, "PCI: no free slot for %s; there are 31",
                    fn->name);
    if (slot == 0 || slot >= PCI_SLOTS || bus->fn[slot])
        return fail(-EBUSY, "PCI: slot %d for %s: %s", slot, fn->name,
                    slot >= PCI_SLOTS ? "there are slots 1 to 31"
                                      : "is taken; choose another addr=");
    fn->romfile = place->romfile;
    fn->m->boot_rank[slot] = place->bootindex + 1; /* PCI_NOT_TOLD + 1 is 0 */
    return pci_plug(bus, fn, (unsigned)slot);
}

void pci_fn_reset(struct pci_fn *fn)
{
    struct pci_bus *bus = fn->bus;
    if (!bus)
        return;
    pthread_mutex_lock(&bus->lock);
    pci_put(fn, PCI_COMMAND, 2, 0);
    for (unsigned i = 0; i <= PCI_ROM_BAR; i++) {
        const struct pci_bar *bar = &fn->bar[i];
        unsigned reg = pci_bar_reg(i);
        uint32_t flags = i < PCI_BARS ? pci_get(fn, reg, 1) & 0xf : 0;
        if (bar->kind == PCI_BAR_NONE)
            continue;
        pci_put(fn, reg, 4, (uint32_t)bar->first | flags);
        if (bar->kind == PCI_BAR_MEM64)
            pci_put(fn, reg + 4, 4, (uint32_t)(bar->first >> 32));
    }
    if (fn->has_intx)
        pci_put(fn, PCI_INT_LINE, 1, pci_slot_gsi(fn->slot));
    pci_put(fn, 0x0c, 1, 0);
    /* As firmware leaves it: decoding, but no bus master. */
    pci_put(fn, PCI_COMMAND, 2, PCI_CMD_IO | PCI_CMD_MEM);
    pci_bars_remap(bus);
    pthread_mutex_unlock(&bus->lock);
    pci_msix_reset(fn);
    pci_intx_set(fn, false);
}

/* ---------------------------------------------------------------- the bus */

static const struct field bus_fields[] = {
    FIELD_AS(STATE, MASK, "address", struct pci_bus, address,
             .max = ADDRESS_MASK),
    FIELD_AS(STATE, MASK, "reset_control", struct pci_bus, reset_control,
             .max = RESET_MASK),
    {.name = "host",
     .type = FIELD_PART,
     .use = STATE,
     .offset = offsetof(struct pci_bus, host),
     .part = pci_fn_fields},
    {.name = ""},
};

static void pci_bus_reset(struct device *dev)
{
    struct pci_bus *bus = container_of(dev, struct pci_bus, dev);
    fields_reset(bus_fields, bus, STATE);
    pci_fn_reset(&bus->host);
}

static int pci_bus_loaded(struct device *dev)
{
    return pci_fn_loaded(&container_of(dev, struct pci_bus, dev)->host,
                         dev->id);
}

static const struct device_class bus_class = {
    .name = "pci",
    .help = "part of every machine",
    .fields = bus_fields,
    .size = sizeof(struct pci_bus),
    .loaded = pci_bus_loaded,
};

static void pci_bus_destroy(struct device *dev)
{
    struct pci_bus *bus = container_of(dev, struct pci_bus, dev);
    bus_del(dev->m->pio, &bus->ports);
    bus_del(dev->m->mmio, &bus->ecam);
    dev->m->pci = NULL;
    free(bus);
}

int pci_bus_new(struct machine *m)
{
    struct pci_bus *bus = calloc(1, sizeof(*bus));
    int err;
    if (!bus)
        return -ENOMEM;
    bus->m = m;
    bus->dev = (struct device){.cls = &bus_class,
                               .id = "pci",
                               .reset = pci_bus_reset,
                               .destroy = pci_bus_destroy};
    bus->mem_next = PCI_MEM_BASE;
    bus->io_next = PCI_IO_BASE;
    pthread_mutex_init(&bus->lock, NULL);
    bus->ports = (struct region){.base = 0xcf8,
                                 .len = 8,
                                 .read = pci_ports_read,
                                 .write = pci_ports_write,
                                 .owner = bus,
                                 .name = "pci-ports"};
    bus->ecam = (struct region){.base = PCI_ECAM_BASE,
                                .len = PCI_ECAM_SIZE,
                                .read = pci_ecam_read,
                                .write = pci_ecam_write,
                                .owner = bus,
                                .name = "pci-ecam"};
    err = bus_add(m->pio, &bus->ports);
    if (err)
        goto free_bus;
    err = bus_add(m->mmio, &bus->ecam);
    if (err)
        goto del_ports;
    m->pci = bus;
    device_register(m, &bus->dev);
    /* Linux without SMBIOS, and memtest86+, look for a host bridge before
     * they believe in the bus: Red Hat's generic one, class 0600. */
    pci_fn_init(&bus->host, m, NULL, "host-bridge", 0x1b36, 0x0008, 0x060000,
                0);
    return pci_plug(bus, &bus->host, 0);
del_ports:
    bus_del(m->pio, &bus->ports);
free_bus:
    free(bus);
    return err;
}
