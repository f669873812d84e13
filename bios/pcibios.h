/* SPDX-License-Identifier: MIT */
/* The PCI BIOS functions (PCI BIOS 2.1 §4), compiled twice: for INT 1Ah and for
 * 32-bit callers. Configuration mechanism #1, one bus. */
#ifndef PCIBIOS_H
#define PCIBIOS_H

#include "bios/bios.h"

#define PCI_ADDR 0xcf8
#define PCI_DATA 0xcfc

/* The caller's registers, in the order of pushal. */
struct pci_call {
    u32 edi, esi, ebp, esp, ebx, edx, ecx, eax;
};

enum { /* AH when it returns */
       PCI_OK = 0x00,
       PCI_UNSUPPORTED = 0x81,
       PCI_BAD_VENDOR = 0x83,
       PCI_NOT_FOUND = 0x86,
       PCI_BAD_REGISTER = 0x87,
};

/* `bdf` as in BX: bus, device, function. */
static inline void pci_select(u16 bdf, unsigned reg)
{
    outl(PCI_ADDR, 0x80000000u | (u32)bdf << 8 | (reg & 0xfc));
}

static inline u32 pci_read32(u16 bdf, unsigned reg)
{
    pci_select(bdf, reg);
    return inl(PCI_DATA);
}

static inline void pci_write32(u16 bdf, unsigned reg, u32 v)
{
    pci_select(bdf, reg);
    outl(PCI_DATA, v);
}

/* The nth function whose register `reg`, shifted, is `want`; -1: none. */
static inline int pci_find(unsigned reg, unsigned shift, u32 want, unsigned nth)
{
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        u32 id = pci_read32((u16)devfn, 0);
        if (id == 0xffffffff || id == 0)
            continue;
        if (pci_read32((u16)devfn, reg) >> shift == want && nth-- == 0)
            return (int)devfn;
    }
    return -1;
}

static inline unsigned pci_find_call(struct pci_call *c, unsigned reg,
                                     unsigned shift, u32 want)
{
    int devfn = pci_find(reg, shift, want, c->esi & 0xffff);

    if (devfn < 0)
        return PCI_NOT_FOUND;
    c->ebx = (c->ebx & 0xffff0000) | (u32)devfn;
    return PCI_OK;
}

static inline unsigned pci_access(struct pci_call *c, unsigned function)
{
    unsigned reg = c->edi & 0xffff, width = 1u << ((function - 8) % 3);
    u16 port = (u16)(PCI_DATA + (reg & 3));

    if (reg > 255 || reg & (width - 1))
        return PCI_BAD_REGISTER;
    pci_select((u16)c->ebx, reg);
    switch (function) {
    case 0x08:
        c->ecx = (c->ecx & 0xffffff00) | inb(port);
        break;
    case 0x09:
        c->ecx = (c->ecx & 0xffff0000) | inw(port);
        break;
    case 0x0a:
        c->ecx = inl(port);
        break;
    case 0x0b:
        outb(port, (u8)c->ecx);
        break;
    case 0x0c:
        outw(port, (u16)c->ecx);
        break;
    default:
        outl(port, c->ecx);
        break;
    }
    return PCI_OK;
}

/* AL is the function. Gives what goes into AH; the carry flag is set unless
 * that is 0. `entry` is where 32-bit callers find this. */
static inline unsigned pci_call(struct pci_call *c, u32 entry)
{
    unsigned function = c->eax & 0x7f;

    switch (function) {
    case 0x01:
        c->eax = (c->eax & 0xffffff00) | 1; /* mechanism #1 */
        c->ebx = (c->ebx & 0xffff0000) | 0x0210;
        c->ecx &= 0xffffff00; /* last bus */
        c->edx = 0x20494350;  /* "PCI " */
        c->edi = entry;
        return PCI_OK;
    case 0x02:
        if ((c->edx & 0xffff) == 0xffff)
            return PCI_BAD_VENDOR;
        return pci_find_call(c, 0x00, 0, c->ecx << 16 | (c->edx & 0xffff));
    case 0x03:
        return pci_find_call(c, 0x08, 8, c->ecx & 0xffffff);
    case 0x08 ... 0x0d:
        return pci_access(c, function);
    default:
        return PCI_UNSUPPORTED;
    }
}

#endif
