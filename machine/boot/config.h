/* SPDX-License-Identifier: MIT */
/* What is asked of a boot, and what comes of it: the boot CPU's first state and
 * a map of the memory. */
#ifndef BOOT_CONFIG_H
#define BOOT_CONFIG_H

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
    bool rom;            /* no kernel: the BIOS boots from disk or network */
    char order, once;    /* what it tries first, and what at its first start:
                            'c' disk, 'n' network, 0: not said */
    uint16_t reboot; /* where nothing boots: ms until a reset, and 1; 0: none */
    bool strict;     /* nothing without a bootindex= where one has one */
    bool no_acpi;    /* the guest finds no ACPI tables */
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

/* e820-style memory map, for boot_params, the BIOS, Multiboot, PVH. */
struct e820 {
    uint64_t addr, size;
    uint32_t type; /* 1 RAM, 2 reserved, 3 ACPI, 4 NVS */
};

#endif
