/* SPDX-License-Identifier: MIT */
/* Multiboot 1 (0.6.96): its header, and the information a kernel gets. */
#include <errno.h>
#include <string.h>

#include "machine/boot/multiboot.h"

enum { MB1_MAGIC = 0x1badb002, MB1_SEARCH = 8192 };
enum { /* header flags, 1:§3.1.2; bits 0 to 15 must be understood */
       MB1_UNDERSTOOD = 0x7,
       MB1_MUST = 0xffff,
       MB1_ADDRESSES = 1 << 16,
};
enum { /* information flags, 1:§3.3 */
       MB1_MEM = 1 << 0,
       MB1_CMDLINE = 1 << 2,
       MB1_MODS = 1 << 3,
       MB1_SECTIONS = 1 << 5,
       MB1_MMAP = 1 << 6,
       MB1_NAME = 1 << 9,
       MB1_FRAMEBUFFER = 1 << 12,
};

struct mb1_info {
    le32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count,
        mods_addr, shdr_num, shdr_size, shdr_addr, shdr_shndx, mmap_length,
        mmap_addr, drives_length, drives_addr, config_table, boot_loader_name,
        apm_table, vbe[4];
    le64 framebuffer_addr;
    le32 framebuffer_pitch, framebuffer_width, framebuffer_height;
    uint8_t framebuffer_bpp, framebuffer_type, color_info[6];
} __attribute__((packed));
_Static_assert(offsetof(struct mb1_info, framebuffer_addr) == 88, "");

struct mb1_mmap {
    le32 size;
    le64 addr, len;
    le32 type;
} __attribute__((packed));

struct mb1_module {
    le32 start, end, string, reserved;
};

static int64_t mb1_find(const uint8_t *head, uint64_t n)
{
    return mb_find_header(head, n < MB1_SEARCH ? n : MB1_SEARCH, MB1_MAGIC, 4,
                          3);
}

static bool mb1_probe(const uint8_t *head, uint64_t n)
{
    return mb1_find(head, n) >= 0;
}

static int mb1_header(struct boot_ctx *c, struct multiboot *mb)
{
    static uint8_t head[MB1_SEARCH];
    const struct image *img = &c->f->kernel;
    uint64_t n = img->size < sizeof(head) ? img->size : sizeof(head);
    uint32_t word[8] = {0};
    int err = image_read(img, 0, head, n);

    if (err)
        return err;
    if (mb1_find(head, n) < 0) /* the file changed since the probe */
        return image_fail(img, "its Multiboot header is gone");
    mb->header_off = (uint64_t)mb1_find(head, n);
    memcpy(word, head + mb->header_off, 12);
    if (word[1] & MB1_MUST & ~MB1_UNDERSTOOD)
        return image_fail(img,
                          "wants Multiboot features unknown here (flags "
                          "%#x)",
                          word[1]);
    if (!(word[1] & MB1_ADDRESSES))
        return 0;
    err = image_read(img, mb->header_off, word, sizeof(word));
    mb->has_addr = mb->has_entry = true;
    mb->header_addr = word[3];
    mb->load_addr = word[4];
    mb->load_end = word[5];
    mb->bss_end = word[6];
    mb->entry = word[7];
    return err;
}

static int mb1_lists(struct boot_ctx *c, const struct multiboot *mb,
                     struct mb_info *in, struct mb1_info *i)
{
    struct mb1_mmap *map;
    struct mb1_module *mod;
    uint32_t at;

    i->mmap_length = (le32)(sizeof(*map) * (size_t)c->nmap);
    map = mb_info_alloc(in, i->mmap_length, &at);
    i->mmap_addr = at;
    i->mods_count = (le32)c->f->ninitrd;
    mod = mb_info_alloc(in, sizeof(*mod) * i->mods_count, &at);
    i->mods_addr = at;
    if (!map || !mod)
        return mb_info_full(c);
    for (int k = 0; k < c->nmap; k++)
        map[k] = (struct mb1_mmap){sizeof(*map) - 4, c->map[k].addr,
                                   c->map[k].size, c->map[k].type};
    for (int k = 0; k < c->f->ninitrd; k++) {
        const char *name = c->f->initrd[k].path;
        char *s = mb_info_alloc(in, strlen(name) + 1, &mod[k].string);
        if (!s)
            return mb_info_full(c);
        memcpy(s, name, strlen(name) + 1);
        mod[k].start = (le32)mb->module[k].start;
        mod[k].end = (le32)mb->module[k].end;
    }
    return 0;
}

/* The table goes behind the modules, the sections behind the table. */
static int mb1_sections(struct boot_ctx *c, const struct multiboot *mb,
                        struct mb1_info *i)
{
    const struct sections *s = &mb->sections;
    uint64_t at = (mb->end + 15) & ~15ull;
    uint8_t *table = s->num ? ram_ptr(&c->m->ram, gpa(at), s->size) : NULL;

    if (!table)
        return 0;
    i->flags |= MB1_SECTIONS;
    i->shdr_num = s->num;
    i->shdr_size = s->entsize;
    i->shdr_addr = (le32)at;
    i->shdr_shndx = s->shndx;
    return sections_load(c, s, table, at + s->size);
}

static int mb1_load(struct boot_ctx *c)
{
    struct multiboot mb = {0};
    struct mb1_info *i;
    struct mb_info in = mb_info_open(c);
    uint32_t at;
    int err = mb1_header(c, &mb);

    if (!err)
        err = mb_load_all(c, &mb);
    if (!err)
        err = boot_put_named_cmdline(c);
    if (err)
        return err;
    i = mb_info_alloc(&in, sizeof(*i), &at);
    i->flags = MB1_MEM | MB1_CMDLINE | MB1_MODS | MB1_MMAP | MB1_NAME |
               MB1_FRAMEBUFFER;
    i->mem_lower = EBDA_BASE / 1024;
    i->mem_upper = (le32)((c->low_end - HIMEM_BASE) / 1024);
    i->cmdline = LOW_CMDLINE;
    memcpy(mb_info_alloc(&in, sizeof(LOADER_NAME), &at), LOADER_NAME,
           sizeof(LOADER_NAME));
    i->boot_loader_name = at;
    i->framebuffer_addr = 0xb8000;
    i->framebuffer_pitch = 160;
    i->framebuffer_width = 80;
    i->framebuffer_height = 25;
    i->framebuffer_bpp = 16;
    i->framebuffer_type = 2; /* text */
    err = mb1_lists(c, &mb, &in, i);
    if (!err)
        err = mb1_sections(c, &mb, i);
    return err ? err : mb_enter(c, &mb, 0x2badb002);
}

const struct loader loader_multiboot1 = {"a Multiboot kernel", false, mb1_probe,
                                         mb1_load};
