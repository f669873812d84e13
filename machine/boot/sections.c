/* SPDX-License-Identifier: MIT */
/* An ELF kernel's section headers, which Multiboot kernels read to find their
 * own symbols (0.6.96 §3.3 flags bit 5; 2.0 §3.6.7).
 *
 * Sections that no segment brings, such as the symbol table, are put into RAM
 * too, and their headers say where. The file is not believed: what does not fit
 * into it, or into RAM, keeps address 0, as what is not loaded has. */
#include <elf.h>
#include <string.h>

#include "machine/boot/place.h"

int sections_find(const struct image *img, struct sections *s)
{
    Elf64_Ehdr h;
    Elf32_Ehdr h32;
    int err;

    *s = (struct sections){0};
    if (img->size < sizeof(h))
        return 0;
    err = image_read(img, 0, &h, sizeof(h));
    if (err)
        return err;
    memcpy(&h32, &h, sizeof(h32));
    if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0)
        return 0;
    s->is64 = h.e_ident[EI_CLASS] == ELFCLASS64;
    s->off = s->is64 ? h.e_shoff : h32.e_shoff;
    s->num = s->is64 ? h.e_shnum : h32.e_shnum;
    s->shndx = s->is64 ? h.e_shstrndx : h32.e_shstrndx;
    s->entsize = s->is64 ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
    s->size = (uint64_t)s->num * s->entsize;
    if ((s->is64 ? h.e_shentsize : h32.e_shentsize) != s->entsize ||
        s->off > img->size || s->size > img->size - s->off)
        *s = (struct sections){0};
    return 0;
}

/* Both classes' section headers, as one. */
struct shdr {
    uint64_t addr, off, size;
    uint32_t type;
};

static struct shdr sections_get_shdr(const uint8_t *p, bool is64)
{
    Elf64_Shdr h;
    Elf32_Shdr h32;

    if (is64) {
        memcpy(&h, p, sizeof(h));
        return (struct shdr){h.sh_addr, h.sh_offset, h.sh_size, h.sh_type};
    }
    memcpy(&h32, p, sizeof(h32));
    return (struct shdr){h32.sh_addr, h32.sh_offset, h32.sh_size, h32.sh_type};
}

static void sections_put_addr(uint8_t *p, bool is64, uint64_t addr)
{
    if (is64)
        memcpy(p + offsetof(Elf64_Shdr, sh_addr), &addr, 8);
    else
        memcpy(p + offsetof(Elf32_Shdr, sh_addr), &addr, 4);
}

int sections_load(struct boot_ctx *c, const struct sections *s, uint8_t *table,
                  uint64_t from)
{
    const struct image *img = &c->f->kernel;
    uint64_t at = from;
    int err = image_read(img, s->off, table, s->size);

    for (unsigned i = 0; !err && i < s->num; i++) {
        uint8_t *p = table + (size_t)i * s->entsize;
        struct shdr h = sections_get_shdr(p, s->is64);
        if (h.addr || !h.size || h.type == SHT_NULL || h.type == SHT_NOBITS)
            continue;
        at = (at + 15) & ~15ull;
        if (h.off > img->size || h.size > img->size - h.off ||
            at > c->low_end || h.size > c->low_end - at)
            continue;
        err = image_load(img, c->m, h.off, gpa(at), h.size);
        sections_put_addr(p, s->is64, at);
        at += h.size;
    }
    return err;
}
