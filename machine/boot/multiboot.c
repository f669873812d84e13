/* SPDX-License-Identifier: MIT */
/* Multiboot kernels, versions 1 (0.6.96) and 2 (2.0), with modules.
 *
 * Section numbers with "1:" or "2:" are those of the two specifications. Both
 * find a header in the first bytes of the file, load what it or the ELF header
 * says, put every -initrd file on pages of its own behind the kernel, and enter
 * it in flat 32-bit mode with EBX pointing to what we know. */
#include <errno.h>
#include <string.h>

#include "machine/boot/multiboot.h"

static uint32_t mb_get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return v;
}

int64_t mb_find_header(const uint8_t *head, uint64_t n, uint32_t magic,
                       uint64_t align, int sum)
{
    for (uint64_t off = 0; off + 16 <= n; off += align) {
        uint32_t total = 0;
        if (mb_get32(head + off) != magic)
            continue;
        for (int i = 0; i < sum; i++)
            total += mb_get32(head + off + 4 * (uint64_t)i);
        if (total == 0)
            return (int64_t)off;
    }
    return -1;
}

/* Loads the kernel: addresses from the header (an "a.out kludge", which rule
 * if they are there), or the ELF file's segments. */
static int mb_load_kernel(struct boot_ctx *c, struct multiboot *mb)
{
    const struct image *img = &c->f->kernel;
    uint64_t before = (uint64_t)mb->header_addr - mb->load_addr;
    uint64_t off, filesz, memsz;
    struct elf elf;
    int err;

    if (!mb->has_addr) {
        err = elf_parse(img, &elf);
        if (err)
            return err;
        mb->end = elf.end;
        if (!mb->has_entry)
            mb->entry = (uint32_t)elf.entry;
        err = sections_find(img, &mb->sections);
        return err ? err : elf_load_segments(c, &elf);
    }
    if (mb->header_addr < mb->load_addr || before > mb->header_off)
        return image_fail(img,
                          "damaged Multiboot header: it is at %#x, the "
                          "kernel from %#x on",
                          mb->header_addr, mb->load_addr);
    off = mb->header_off - before;
    filesz = img->size - off;
    if (mb->load_end) {
        if (mb->load_end < mb->load_addr)
            return image_fail(img, "damaged Multiboot header: it ends before "
                                   "it begins");
        filesz = mb->load_end - mb->load_addr;
    }
    memsz = filesz;
    if (mb->bss_end > mb->load_addr && mb->bss_end - mb->load_addr > memsz)
        memsz = mb->bss_end - mb->load_addr;
    mb->end = mb->load_addr + memsz;
    return boot_load_piece(c, off, mb->load_addr, filesz, memsz);
}

static int mb_load_modules(struct boot_ctx *c, struct multiboot *mb)
{
    uint64_t at = mb->end;

    for (int i = 0; i < c->f->ninitrd; i++) {
        const struct image *img = &c->f->initrd[i];
        int err;
        at = (at + 0xfff) & ~0xfffull;
        if (at > c->low_end || img->size > c->low_end - at)
            return boot_initrd_nofit(c, img->size, at, LOWRAM_MAX, false);
        err = image_load(img, c->m, 0, gpa(at), img->size);
        if (err)
            return err;
        mb->module[i].start = at;
        at = mb->module[i].end = at + img->size;
    }
    mb->end = at;
    return 0;
}

int mb_load_all(struct boot_ctx *c, struct multiboot *mb)
{
    int err = mb_load_kernel(c, mb);

    return err ? err : mb_load_modules(c, mb);
}

void *mb_info_alloc(struct mb_info *in, uint64_t len, uint32_t *at)
{
    uint64_t off = (in->n + 7) & ~7ull;
    void *p = in->p + off;

    *at = (uint32_t)(LOW_INFO + off);
    if (len > LOW_INFO_SIZE || off > LOW_INFO_SIZE - len)
        return NULL;
    in->n = off + len;
    memset(p, 0, len);
    return p;
}

struct mb_info mb_info_open(struct boot_ctx *c)
{
    return (struct mb_info){boot_low(c, LOW_INFO, LOW_INFO_SIZE), 0};
}

int mb_info_full(struct boot_ctx *c)
{
    return image_fail(&c->f->kernel, "the command lines of kernel and modules "
                                     "are too long together");
}

int mb_enter(struct boot_ctx *c, const struct multiboot *mb, uint32_t magic)
{
    c->e->rax = magic;
    c->e->rbx = LOW_INFO;
    return boot_enter32(c, mb->entry);
}
