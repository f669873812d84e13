/* SPDX-License-Identifier: MIT */
/* The PCI BIOS for 32-bit callers. Compiled for protected mode, in nobody knows
 * which segments: no globals, no constants in memory. */
#include "bios/pcibios.h"

int pci32(struct pci_call *c, u32 unused1, u32 unused2);

int pci32(struct pci_call *c, u32 unused1, u32 unused2)
{
    unsigned status = pci_call(c, 0);

    (void)unused1;
    (void)unused2;
    c->eax = (c->eax & 0xffff00ff) | status << 8;
    return status != PCI_OK;
}
