/* SPDX-License-Identifier: MIT */
/* What the loader told the guest, whichever protocol it spoke. */
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

/* enum boot_kind, as defines because assembly uses them too. */
#define BOOT_16 16
#define BOOT_32 32
#define BOOT_64 64
#define BOOT_PVH 1
#define BOOT_MB1 2
#define BOOT_MB2 3

#define BOOT_CMDLINE_MAX 2047

#ifndef __ASSEMBLER__

#include "lib.h"

struct boot_info {
    const char *entry;   /* "16", "32", "64", "pvh", "multiboot1", … */
    const char *cmdline; /* in the loader's memory, NUL within 2 KiB */
    u64 ram_bytes;       /* sum of usable ranges */
    u64 rsdp;            /* 0: the loader did not say */
};

/* Reads the information structure of protocol kind. */
void boot_parse(struct boot_info *bi, u32 kind, const void *info);

#endif
#endif
