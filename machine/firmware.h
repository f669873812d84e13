/* SPDX-License-Identifier: MIT */
/* What the firmware tables share. Private to acpi.c and smbios.c. */
#ifndef FIRMWARE_H
#define FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

/* Guest RAM at TABLES_BASE, filled from the bottom. */
struct fw {
    uint8_t *base;
    size_t used;
};

/* Zeroed bytes, and their guest-physical address in *at. Never fails: what is
 * written there is of known size. `align` is a power of two. */
void *fw_alloc(struct fw *f, size_t size, size_t align, uint64_t *at);
/* The byte that makes the sum of all n bytes (itself 0 among them) zero. */
uint8_t fw_checksum(const void *p, size_t n);
/* PCI's interrupts among the ISA IRQs, as a mask. */
uint32_t fw_pci_gsis(void);

#endif
