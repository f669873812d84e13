/* SPDX-License-Identifier: MIT */
/* What the loaders of Multiboot 1 and 2 share (multiboot.c). */
#ifndef MULTIBOOT_H
#define MULTIBOOT_H

#include "machine/boot/place.h"

/* What both headers boil down to. */
struct multiboot {
    uint64_t header_off; /* in the file */
    bool has_addr, has_entry;
    uint32_t header_addr, load_addr, load_end, bss_end, entry;
    uint64_t end;      /* of the kernel in RAM; then of the modules */
    uint32_t required; /* bit n: information of type n (version 2) */
    struct sections sections;
    struct {
        uint64_t start, end;
    } module[INITRDS_MAX];
};

#define LOADER_NAME "vmm"

/* Offset of a header with this magic, `align` apart, whose first `sum` words
 * add up to zero, or -1. */
int64_t mb_find_header(const uint8_t *head, uint64_t n, uint32_t magic,
                       uint64_t align, int sum);
/* The kernel, then the modules behind it, into RAM; mb->end is behind both. 0
 * or -errno (said). */
int mb_load_all(struct boot_ctx *c, struct multiboot *mb);

/* What is written at LOW_INFO, piece by piece. */
struct mb_info {
    uint8_t *p;
    uint64_t n;
};
struct mb_info mb_info_open(struct boot_ctx *c);
/* `len` zeroed bytes at a multiple of 8, or NULL: full. *at is their gpa. */
void *mb_info_alloc(struct mb_info *in, uint64_t len, uint32_t *at);
/* "… too long together": for a NULL from it. -EINVAL. */
int mb_info_full(struct boot_ctx *c);
int mb_enter(struct boot_ctx *c, const struct multiboot *mb, uint32_t magic);

#endif
