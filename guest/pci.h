/* SPDX-License-Identifier: MIT */
/* PCI bus 0 through configuration mechanism #1. */
#ifndef GUEST_PCI_H
#define GUEST_PCI_H

#include "lib.h"

#define PCI_ID 0x00
#define PCI_COMMAND 0x04
#define PCI_COMMAND_IO 0x0001
#define PCI_COMMAND_MEM 0x0002
#define PCI_COMMAND_MASTER 0x0004
#define PCI_COMMAND_INTX_OFF 0x0400
#define PCI_CLASS 0x08
#define PCI_HEADER 0x0c
#define PCI_BAR0 0x10
#define PCI_CAPS 0x34
#define PCI_INTERRUPT 0x3c
#define PCI_CAP_MSIX 0x11
#define PCI_CAP_VENDOR 0x09
#define PCI_BARS 6

struct pci_fn {
    u8 bdf; /* dev << 3 | fn on bus 0 */
    u32 id; /* device << 16 | vendor */
};

u32 pci_read(u8 bdf, u8 reg);
void pci_write(u8 bdf, u8 reg, u32 v);

/* Calls found() for every function of bus 0, in bdf order, until it says false.
 */
void pci_scan(bool (*found)(const struct pci_fn *fn));

/* Prints one line about fn and its BARs. */
void pci_print(const struct pci_fn *fn);

/* Gives fn's memory and I/O BARs addresses where firmware did not, and enables
 * decoding and bus mastering. */
void pci_enable(const struct pci_fn *fn);

/* Where the registers from `offset` of memory BAR n on are reached, wherever
 * it lies; 0 if there is none. After pci_enable(). */
uptr pci_bar(const struct pci_fn *fn, unsigned n, u32 offset);

/* Next capability of the given id behind offset `after` (0: from the start),
 * or 0. */
u8 pci_cap(const struct pci_fn *fn, u8 id, u8 after);

/* Has INTx call handler, through the 8259 input that the interrupt-line byte
 * names. False if it names none. */
bool pci_intx_enable(const struct pci_fn *fn, void (*handler)(void));

/* Points MSI-X entries 0 to n-1 at vectors vector to vector+n-1 of this CPU and
 * enables MSI-X. Returns the number of entries set, 0 if there is no MSI-X. */
unsigned pci_msix_enable(const struct pci_fn *fn, u8 vector, unsigned n);

#endif
