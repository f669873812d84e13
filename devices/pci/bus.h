/* SPDX-License-Identifier: MIT */
/* The bus's insides, for its own files only. */
#ifndef PCI_BUS_H
#define PCI_BUS_H

#include <pthread.h>

#include "devices/pci/pci.h"

struct pci_bus {
    struct device dev;
    struct machine *m;
    pthread_mutex_t lock;
    struct pci_fn *fn[PCI_SLOTS];
    _Atomic uint32_t address;      /* CONFIG_ADDRESS, port CF8 */
    _Atomic uint8_t reset_control; /* port CF9 */
    uint64_t mem_next, io_next;
    struct region ports, ecam;
    struct pci_fn host;
};

/* Puts BARs where configuration space says. Under bus->lock. */
void pci_bars_remap(struct pci_bus *bus);

#endif
