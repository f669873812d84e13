/* SPDX-License-Identifier: MIT */
/* Loaders: put a kernel into guest memory and say how the boot CPU enters. */
#ifndef BOOT_H
#define BOOT_H

#include "machine/boot/config.h"

/* Opens the files, which boot_load does otherwise: so that one that is not
 * there is known before anything is made. 0 or -errno (said). */
int boot_open(struct boot *b);
/* Loads everything (RAM is zero or holds the last run's bytes: what matters is
 * written), firmware tables included, and fills *e. Called at start and again
 * at every reset; takes as long as the files do. 0, or -errno (one line said:
 * which file, what is wrong). */
int boot_load(struct machine *m, struct boot *b, struct boot_entry *e);
/* What is mapped of the ROM below 4 GiB. */
uint32_t boot_rom_size(const struct boot *b);
/* Maps it again, instead of boot_load: `size` bytes of the RAM's copy, or of
 * -bios FILE. 0 or -errno (said). */
int boot_rom_again(struct machine *m, struct boot *b, uint32_t size, bool bios);
/* Closes the files boot_load keeps open for the next reset. */
void boot_close(struct boot *b);

/* Fills `map`; gives the number of entries, `max` at most. */
int e820_build(const struct machine *m, struct e820 *map, int max);

/* Firmware tables (RSDP, XSDT, RSDT, FADT, FACS, MADT, MCFG, DSDT; MP table;
 * SMBIOS) into TABLES_BASE.. and the EBDA; gives the RSDP's address (0: no
 * ACPI), and the SMBIOS entry point, which the ROM's segment holds. 0 or -errno
 * (said). */
int firmware_build(struct machine *m, const struct boot *b, uint64_t *rsdp,
                   uint8_t smbios[32]);

/* Embedded images (embed.S). */
extern const uint8_t guest_image[], guest_image_end[];
extern const uint8_t bios_image[], bios_image_end[];

#endif
