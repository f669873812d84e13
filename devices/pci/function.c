/* SPDX-License-Identifier: MIT */
/* A PCI function: its configuration bytes and what a guest may change of them,
 * its BARs, capabilities and interrupt pin. bus.c puts it where a guest sees
 * it. */
#include "devices/pci/pci.h"

#include <assert.h>
#include <string.h>

uint32_t pci_get(const struct pci_fn *fn, unsigned off, unsigned width)
{
    uint32_t val = 0;
    for (unsigned i = 0; i < width; i++)
        val |= (uint32_t)atomic_load_explicit(&fn->cfg[off + i],
                                              memory_order_relaxed)
               << 8 * i;
    return val;
}

void pci_put(struct pci_fn *fn, unsigned off, unsigned width, uint32_t val)
{
    for (unsigned i = 0; i < width; i++)
        atomic_store_explicit(&fn->cfg[off + i], (uint8_t)(val >> 8 * i),
                              memory_order_relaxed);
}

/* Lets the guest write the bits of `mask`. */
static void pci_allow(struct pci_fn *fn, unsigned off, unsigned width,
                      uint32_t mask)
{
    for (unsigned i = 0; i < width; i++)
        fn->wmask[off + i] |= (uint8_t)(mask >> 8 * i);
}

void pci_fn_init(struct pci_fn *fn, struct machine *m, void *owner,
                 const char *name, uint16_t vendor, uint16_t device,
                 uint32_t class24, uint8_t rev)
{
    memset(fn, 0, sizeof(*fn));
    fn->m = m;
    fn->owner = owner;
    fn->name = name;
    fn->cap_end = 0x40;
    fn->intx.fd = -1;
    pci_put(fn, PCI_VENDOR_ID, 2, vendor);
    pci_put(fn, PCI_DEVICE_ID, 2, device);
    pci_put(fn, PCI_REVISION_ID, 1, rev);
    pci_put(fn, PCI_CLASS, 3, class24);
    /* PCI 3.0 §6.2.2: bits without a function behind them stay 0. */
    pci_allow(fn, PCI_COMMAND, 2,
              PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER | PCI_CMD_INTX_OFF);
    fn->wmask[PCI_INT_LINE] = 0xff;
    fn->wmask[0x0c] = 0xff; /* cache line size: scratch */
}

void pci_bar_init(struct pci_fn *fn, unsigned i, enum pci_bar_kind kind,
                  uint64_t size,
                  uint64_t (*read)(void *owner, uint64_t off, unsigned width),
                  void (*write)(void *owner, uint64_t off, unsigned width,
                                uint64_t val),
                  void *owner)
{
    struct pci_bar *bar = &fn->bar[i];
    unsigned reg = pci_bar_reg(i);
    assert(size && !(size & (size - 1)) && i <= PCI_ROM_BAR);
    bar->kind = kind;
    bar->size = size;
    bar->region = (struct region){.len = size,
                                  .read = read,
                                  .write = write,
                                  .owner = owner,
                                  .name = fn->name};
    /* PCI 3.0 §6.2.5.1: size is told by the address bits that stay 0. */
    pci_allow(fn, reg, 4, (uint32_t) ~(size - 1));
    if (kind == PCI_BAR_IO)
        pci_put(fn, reg, 4, 1);
    else if (kind == PCI_BAR_MEM64)
        pci_put(fn, reg, 4, 4);
    if (kind == PCI_BAR_MEM64)
        pci_allow(fn, reg + 4, 4, (uint32_t)(~(size - 1) >> 32));
    if (i == PCI_ROM_BAR)
        pci_allow(fn, reg, 1, 1); /* §6.2.5.2: enable bit */
}

uint8_t pci_cap_add(struct pci_fn *fn, uint8_t id, uint8_t len)
{
    uint8_t at = (uint8_t)fn->cap_end;
    assert(fn->cap_end + len <= sizeof(fn->cfg));
    fn->cap_end += (len + 3u) & ~3u;
    fn->cfg[at] = id;
    if (fn->cap_last)
        fn->cfg[fn->cap_last + 1] = at;
    else
        fn->cfg[PCI_CAP_PTR] = at;
    fn->cap_last = at;
    fn->cfg[PCI_STATUS] |= PCI_STS_CAPS;
    return at;
}

void pci_intx_init(struct pci_fn *fn)
{
    fn->has_intx = true;
    fn->cfg[PCI_INT_PIN] = 1;
}

/* ------------------------------------------------------------------ fields */

const struct field pci_fn_fields[] = {
    COUNT("irq_faults", struct pci_fn, irq_fault,
          "MSI-X vectors that could not be routed"),
    /* pci_fn_reset knows which of them */
    FIELD_EACH(STATE | KEPT, UNDER, "cfg", struct pci_fn, cfg,
               .def = FIELD_BEHIND(struct pci_fn, cfg, wmask)),
    FIELD_AS(STATE, FLAG, "intx", struct pci_fn, intx_level),
    {.name = "msix",
     .type = FIELD_PARTS,
     .use = STATE,
     .size = sizeof(struct pci_msix_vec),
     .offset = offsetof(struct pci_fn, vec),
     .def = FIELD_BEHIND(struct pci_fn, vec, nvec),
     .min = 1,
     .part = pci_msix_fields},
    {.name = ""},
};

void pci_fn_hold(struct pci_fn *fn)
{
    pci_msix_hold(fn);
}

int pci_fn_loaded(struct pci_fn *fn, const char *what)
{
    pci_remap(fn->bus);
    lock_take(&fn->irq_lock);
    pci_intx_drive(fn);
    lock_give(&fn->irq_lock);
    return pci_msix_loaded(fn, what);
}

/* ------------------------------------------------------------------- INTx */

void pci_intx_drive(struct pci_fn *fn)
{
    bool off = pci_get(fn, PCI_COMMAND, 2) & PCI_CMD_INTX_OFF;
    if (fn->has_intx)
        irq_set(&fn->intx, atomic_load(&fn->intx_level) && !off);
}

void pci_intx_set(struct pci_fn *fn, bool level)
{
    if (atomic_exchange(&fn->intx_level, level) == level)
        return;
    lock_take(&fn->irq_lock);
    pci_intx_drive(fn);
    lock_give(&fn->irq_lock);
}
