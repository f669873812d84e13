/* SPDX-License-Identifier: MIT */
/* What the loader tells the BIOS ROM: one struct inside the ROM's image, which
 * the loader fills in, in the RAM copy at BIOS_BASE, before the first
 * instruction. Shared by machine/ and bios/ (so no other headers here). */
#ifndef HANDOFF_H
#define HANDOFF_H

#include <stdint.h>

/* The last 48 bytes of the ROM's segment (offsets in F000h): */
#define ROM_TAG_OFF 0xffd0 /* struct rom_tag */
#define ROM_RESET_OFF 0xfff0
#define ROM_TAG_MAGIC "VMM-ROM1"

/* How the loader finds its way in a ROM; another ROM has no such tag. */
struct rom_tag {
    char magic[8];
    uint16_t handoff; /* offset of struct handoff */
    uint16_t iret;    /* offset of an IRET instruction */
    uint32_t unused;
};

/* What the reset vector does. */
enum handoff_kind {
    HANDOFF_RESET = 0, /* resets the machine: no BIOS boot was asked for */
    HANDOFF_LINUX = 1, /* POST, then a Linux-style kernel in real mode */
    HANDOFF_BOOT = 2,  /* POST, then what disk or option ROM boots */
};

#define HANDOFF_E820_MAX 16

struct handoff_e820 {
    uint32_t addr, addr_hi, size, size_hi, type;
};

struct handoff {
    uint8_t smbios[32]; /* "_SM_" entry point; 16-byte aligned */
    uint16_t kind;      /* the ROM sets HANDOFF_RESET when it has begun */
    uint16_t kernel_cs, kernel_ds, kernel_sp;
    uint16_t nmap;
    uint16_t ncpus;
    uint32_t rsdp;
    struct handoff_e820 map[HANDOFF_E820_MAX];
    uint8_t net_first; /* of what order[] does not name */
    uint8_t strict;    /* nothing but what order[] names */
    uint8_t order[32]; /* PCI slots to boot from, ends with 0 */
    uint16_t reboot;   /* where nothing boots: after so many ms, less 1; or 0 */
};
_Static_assert(sizeof(struct rom_tag) == 16, "rom_tag");
_Static_assert(sizeof(struct handoff) == 84 + 20 * HANDOFF_E820_MAX, "handoff");

#endif
