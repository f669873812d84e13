/* SPDX-License-Identifier: MIT */
/* The loaders: the input is a kernel image, its first bytes the options. */
#include <elf.h>
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine/boot/boot.h"
#include "tests/fuzz/fuzz.h"

#define RAM_MAX (4ull << 20)

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

/* ---------------------------------------------- kernels at the end of RAM */

/* The second byte says how many pages of RAM there are above 2 MiB, guarded
 * behind (0: all); the third at which byte around the end of RAM the kernel
 * is to end (0: where it says itself). */
struct aim {
    uint64_t end;
    bool move; /* all of it; else its zeroed part grows up to there */
};

static uint64_t get(const uint8_t *p, unsigned width)
{
    uint64_t v = 0;
    memcpy(&v, p, width);
    return v;
}

static void put(uint8_t *p, uint64_t v, unsigned width)
{
    memcpy(p, &v, width);
}

/* Address and length, `width` bytes each: the first or the second is changed so
 * that they end at `end`. */
static void aim_piece(uint8_t *addr, uint8_t *len, unsigned width,
                      const struct aim *to)
{
    if (to->move)
        put(addr, to->end - get(len, width), width);
    else
        put(len, to->end - get(addr, width), width);
}

static void aim_elf(uint8_t *p, size_t n, const struct aim *to)
{
    bool is64 = p[EI_CLASS] == ELFCLASS64;
    uint64_t at = is64 ? get(p + offsetof(Elf64_Ehdr, e_phoff), 8)
                       : get(p + offsetof(Elf32_Ehdr, e_phoff), 4);

    if (at > n || n - at < sizeof(Elf64_Phdr))
        return;
    p += at;
    if (is64)
        aim_piece(p + offsetof(Elf64_Phdr, p_paddr),
                  p + offsetof(Elf64_Phdr, p_memsz), 8, to);
    else
        aim_piece(p + offsetof(Elf32_Phdr, p_paddr),
                  p + offsetof(Elf32_Phdr, p_memsz), 4, to);
}

/* The address fields of a header of version 1, or of a tag of version 2. */
static void aim_multiboot(uint8_t *header, uint8_t *load, size_t n,
                          const struct aim *to)
{
    uint32_t size = (uint32_t)get(load + 8, 4) - (uint32_t)get(load, 4);
    uint32_t before = (uint32_t)get(header, 4) - (uint32_t)get(load, 4);

    if (to->move) { /* the file up to its end, and no more */
        size = before < n ? (uint32_t)n : size;
        put(load, to->end - size, 4);
        put(header, to->end - size + before, 4);
        put(load + 4, 0, 4);
    }
    put(load + 8, to->end, 4);
}

static void aim(uint8_t *p, size_t n, const struct aim *to)
{
    if (n >= 0x270 && memcmp(p + 0x202, "HdrS", 4) == 0) {
        if (!get(p + 0x258, 8))
            put(p + 0x258, 0x100000, 8);
        aim_piece(p + 0x258, p + 0x260, to->move ? 8 : 4, to);
        return;
    }
    if (n >= sizeof(Elf64_Ehdr) && memcmp(p, ELFMAG, SELFMAG) == 0) {
        aim_elf(p, n, to);
        return;
    }
    for (size_t at = 0; at + 40 <= n && at < 256; at += 4)
        if (get(p + at, 4) == 0x1badb002)
            aim_multiboot(p + at + 12, p + at + 16, n - at, to);
        else if (get(p + at, 4) == 0xe85250d6)
            aim_multiboot(p + at + 24, p + at + 28, n - at, to);
}

/* --------------------------------------------------------------- the target */

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

/* RAM of another size, its end guarded as before. */
static void set_ram(struct machine *m, uint64_t size)
{
    struct ram_region *r = &m->ram.region[0];

    if (size > r->size)
        ASAN_UNPOISON_MEMORY_REGION(r->hva + r->size, size - r->size);
    else
        ASAN_POISON_MEMORY_REGION(r->hva + size, r->size - size);
    r->size = size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine *m;
    static uint8_t file[1 << 16];
    static const int entries[] = {0, 16, 32, 64};
    struct fuzz f = {data, size};
    uint8_t opt = fuzz_u8(&f), pages = fuzz_u8(&f), off = fuzz_u8(&f);
    uint64_t ram = pages ? (2 << 20) + 4096ull * pages : RAM_MAX;
    char path[32];
    struct boot b = {.kernel = path,
                     .cmdline = opt & 4 ? NULL : "a b",
                     .initrd = opt & 8 ? path : NULL,
                     .entry = entries[opt & 3]};
    struct boot_entry e;
    int fd;

    if (f.n > sizeof(file))
        return 0;
    memcpy(file, f.p, f.n);
    if (off)
        aim(file, f.n, &(struct aim){ram + 16 - (off >> 1), off & 1});
    fd = file_of(file, f.n);
    if (!m)
        m = fake_new2(RAM_MAX, 1ull << 32, 1 << 20);
    if (fd < 0)
        return 0;
    set_ram(m, ram);
    m->ncpus = 1u + (opt >> 4);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (boot_load(m, &b, &e) == 0)
        boot_load(m, &b, &e);
    boot_close(&b);
    return 0;
}
