/* SPDX-License-Identifier: MIT */
/* The loaders: the input is a kernel image, its first bytes the options. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine/boot/boot.h"
#include "tests/fuzz/fuzz.h"

/* Over images.c's weak ones. */
__asm__(".section .rodata\n"
        ".global guest_image, guest_image_end, bios_image, bios_image_end\n"
        "guest_image: guest_image_end:\n"
        "bios_image: .fill 0xfd0, 1, 0\n"
        ".ascii \"VMM-ROM1\"\n"
        ".word 0xf000, 0xf800\n"
        ".fill 36, 1, 0x90\n"
        "bios_image_end: .byte 0\n"
        ".previous\n");

static int file_of(const uint8_t *data, size_t size)
{
    static int fd = -1;

    if (fd < 0)
        fd = memfd_create("fuzz", 0);
    if (ftruncate(fd, (off_t)size) < 0 ||
        pwrite(fd, data, size, 0) != (ssize_t)size)
        return -1;
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine *m;
    static const int entries[] = {0, 16, 32, 64};
    struct fuzz f = {data, size};
    uint8_t opt = fuzz_u8(&f);
    char path[32];
    int fd = file_of(f.p, f.n);
    struct boot b = {.kernel = path,
                     .cmdline = opt & 4 ? "console=ttyS0" : "",
                     .initrd = opt & 8 ? path : NULL,
                     .entry = entries[opt & 3]};
    struct boot_entry e;

    if (!m)
        m = fake_new2(4 << 20, 1ull << 32, 1 << 20);
    if (fd < 0)
        return 0;
    m->ncpus = 1u + (opt >> 4);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (boot_load(m, &b, &e) == 0)
        boot_load(m, &b, &e);
    boot_close(&b);
    return 0;
}
