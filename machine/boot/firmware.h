/* SPDX-License-Identifier: MIT */
/* What the firmware tables share. Private to machine/. */
#ifndef FIRMWARE_H
#define FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

struct identity; /* machine/boot/boot.h */

/* Guest RAM at TABLES_BASE, filled from the bottom. */
struct fw {
    uint8_t *base;
    size_t used;
    unsigned serials; /* ports there are */
};

/* Zeroed bytes, and their guest-physical address in *at. Never fails: what is
 * written there is of known size. `align` is a power of two. */
void *fw_alloc(struct fw *f, size_t size, size_t align, uint64_t *at);
/* The byte that makes the sum of all n bytes (itself 0 among them) zero. */
uint8_t fw_checksum(const void *p, size_t n);
/* PCI's interrupts among the ISA IRQs, as a mask. */
uint32_t fw_pci_gsis(void);

/* Each builds its tables; ncpus is 1 to CPUS_MAX. acpi_build gives the RSDP's
 * address; smbios_build the 31-byte entry point, which belongs into the BIOS
 * segment; mptable_build writes the 16 bytes that belong into the EBDA. */
uint64_t acpi_build(struct fw *f, unsigned ncpus);
void mptable_build(struct fw *f, unsigned ncpus, uint8_t pointer[16]);
void smbios_build(struct fw *f, const struct identity *who, uint8_t entry[32]);

#endif
