/* SPDX-License-Identifier: MIT */
/* Crafted kernels for the loaders' tests, and a ROM that is only a tag. */
#include "tests/unit/machine/boot/kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Over images.c's weak ones: a page of ROM with its handoff at F000h, and a
 * guest that is no kernel. */
__asm__(".section .rodata\n"
        ".global guest_image, guest_image_end, bios_image, bios_image_end\n"
        "guest_image: .ascii \"guest\"\n"
        "guest_image_end:\n"
        "bios_image: .fill 0xfd0, 1, 0\n"
        ".ascii \"VMM-ROM1\"\n"
        ".word 0xf000, 0xf800\n"
        ".fill 36, 1, 0x90\n"
        "bios_image_end: .byte 0\n"
        ".previous\n");

struct kit_file kit_file(const void *bytes, size_t n)
{
    struct kit_file f = {.fd = memfd_create("kit", 0)};

    REQUIRE(f.fd >= 0);
    REQUIRE(write(f.fd, bytes, n) == (ssize_t)n);
    snprintf(f.path, sizeof(f.path), "/proc/self/fd/%d", f.fd);
    return f;
}

struct kit_file kit_sparse(uint64_t n)
{
    struct kit_file f = kit_file("", 0);

    REQUIRE_EQ(ftruncate(f.fd, (off_t)n), 0);
    return f;
}

void kit_close(struct kit_file *f)
{
    close(f->fd);
}

void kit_put16(uint8_t *bytes, size_t off, uint16_t v)
{
    memcpy(bytes + off, &v, 2);
}
void kit_put32(uint8_t *bytes, size_t off, uint32_t v)
{
    memcpy(bytes + off, &v, 4);
}
void kit_put64(uint8_t *bytes, size_t off, uint64_t v)
{
    memcpy(bytes + off, &v, 8);
}
uint32_t kit_get32(const uint8_t *bytes, size_t off)
{
    uint32_t v;
    memcpy(&v, bytes + off, 4);
    return v;
}
uint64_t kit_get64(const uint8_t *bytes, size_t off)
{
    uint64_t v;
    memcpy(&v, bytes + off, 8);
    return v;
}

struct kit_bzimage kit_bzimage(void)
{
    struct kit_bzimage k = {.n = KIT_SETUP + KIT_PAYLOAD};

    k.bytes = calloc(1, k.n);
    memset(k.bytes + KIT_SETUP, 0xab, KIT_PAYLOAD);
    k.bytes[0x1f1] = KIT_SECTS;
    kit_put32(k.bytes, 0x1f4, KIT_PAYLOAD / 16);
    kit_put16(k.bytes, 0x1fe, 0xaa55);
    k.bytes[0x200] = 0xeb;
    k.bytes[0x201] = 0x6a; /* the header ends at 26C */
    memcpy(k.bytes + 0x202, "HdrS", 4);
    kit_put16(k.bytes, 0x206, 0x20f);
    k.bytes[0x211] = 1;
    kit_put32(k.bytes, 0x214, 0x100000);
    kit_put32(k.bytes, 0x22c, 0x7fffffff);
    kit_put32(k.bytes, 0x230, 0x200000);
    k.bytes[0x234] = 1;
    kit_put16(k.bytes, 0x236, 3);
    kit_put32(k.bytes, 0x238, 255);
    kit_put64(k.bytes, 0x258, 0x200000);
    kit_put32(k.bytes, 0x260, 0x100000);
    return k;
}

int kit_boot(struct machine *m, struct boot b, const void *bytes, size_t n,
             struct boot_entry *e)
{
    struct kit_file f = kit_file(bytes, n);
    int err;

    b.kernel = f.path;
    err = boot_load(m, &b, e);
    boot_close(&b);
    kit_close(&f);
    return err;
}
