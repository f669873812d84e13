/* SPDX-License-Identifier: MIT */
/* Loaders: put a kernel into guest memory and say how the boot CPU enters. */
#ifndef BOOT_H
#define BOOT_H

#include "machine/machine.h"

/* What SMBIOS tells the guest of this machine: its UUID, and manufacturer,
 * product, version, serial number, SKU and family, empty where not said. */
#define IDENTITY_TEXTS 6
struct identity {
    uint8_t uuid[16];
    char text[IDENTITY_TEXTS][256];
};

/* What the operator asked for. */
struct boot {
    const char *kernel;  /* file, or NULL: the bundled guest */
    const char *initrd;  /* file[,file…], or NULL */
    const char *cmdline; /* NULL: what suits the kernel */
    const char *bios;    /* -bios: another ROM image, or NULL */
    int entry;           /* -entry 16|32|64, 0: the best the image offers */
    bool net;            /* -boot n: no kernel, option ROMs boot */
    bool no_acpi;        /* the guest finds no ACPI tables */
    struct identity who;
    struct boot_files *files; /* boot_load's own; NULL at first */
};

/* State of the boot CPU at its first instruction. 16: real mode, cs:rip (cs is
 * a segment). 32: flat protected mode, paging off. 64: long mode; page tables
 * and GDT are in guest memory already. Registers not named are 0. */
struct boot_entry {
    int bits;
    uint16_t cs, ds, ss;
    uint64_t rip, rsp, rax, rbx, rsi;
    uint64_t cr3, gdt, gdt_limit; /* 32 and 64 */
};

/* Opens the files, which boot_load does otherwise: so that one that is not
 * there is known before anything is made. 0 or -errno (said). */
int boot_open(struct boot *b);
/* Loads everything (RAM is zero or holds the last run's bytes: what matters is
 * written), firmware tables included, and fills *e. Called at start and again
 * at every reset; takes as long as the files do. 0, or -errno (one line said:
 * which file, what is wrong). */
int boot_load(struct machine *m, struct boot *b, struct boot_entry *e);
/* The start is given up: a boot_load that is under way on another thread does
 * nothing more, but may never return. */
void image_give_up(void);
/* Closes the files boot_load keeps open for the next reset. */
void boot_close(struct boot *b);

/* e820-style memory map, for boot_params, the BIOS, Multiboot, PVH. */
struct e820 {
    uint64_t addr, size;
    uint32_t type; /* 1 RAM, 2 reserved, 3 ACPI, 4 NVS */
};
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
