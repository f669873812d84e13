/* SPDX-License-Identifier: MIT */
/* Crafted kernels for the loaders' tests. */
#ifndef BOOT_KIT_H
#define BOOT_KIT_H

#include "machine/boot/boot.h"
#include "tests/unit/fake.h"

/* A file that exists only as long as its descriptor; its path opens it. */
struct kit_file {
    int fd;
    char path[32];
};
struct kit_file kit_file(const void *bytes, size_t n);
/* The same, `n` bytes long but holding nothing (sparse). */
struct kit_file kit_sparse(uint64_t n);
void kit_close(struct kit_file *f);

/* A bzImage. kit_bzimage() gives a good one; a test spoils it in `bytes`. */
struct kit_bzimage {
    uint8_t *bytes;
    size_t n;
};
#define KIT_SECTS 4
#define KIT_SETUP ((KIT_SECTS + 1) * 512)
#define KIT_PAYLOAD 8192
struct kit_bzimage kit_bzimage(void);
void kit_put16(uint8_t *bytes, size_t off, uint16_t v);
void kit_put32(uint8_t *bytes, size_t off, uint32_t v);
void kit_put64(uint8_t *bytes, size_t off, uint64_t v);
uint32_t kit_get32(const uint8_t *bytes, size_t off);
uint64_t kit_get64(const uint8_t *bytes, size_t off);

/* Boots `bytes` on `m` with the given rest of `b`; closes everything. */
int kit_boot(struct machine *m, struct boot b, const void *bytes, size_t n,
             struct boot_entry *e);

#endif
