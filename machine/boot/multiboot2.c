/* SPDX-License-Identifier: MIT */
/* Multiboot 2 (2.0): its header, and the information a kernel gets. */
#include <errno.h>
#include <string.h>

#include "machine/boot/multiboot.h"

static uint32_t mb2_get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return v;
}

enum { MB2_MAGIC = (int)0xe85250d6, MB2_SEARCH = 32768 };
enum { /* header tags, 2:§3.1.3 on */
       MB2H_END = 0,
       MB2H_REQUEST = 1,
       MB2H_ADDRESS = 2,
       MB2H_ENTRY = 3,
       MB2H_RELOCATABLE = 10,
};
enum { /* information tags, 2:§3.6 */
       MB2_END = 0,
       MB2_CMDLINE = 1,
       MB2_NAME = 2,
       MB2_MODULE = 3,
       MB2_MEM = 4,
       MB2_MMAP = 6,
       MB2_FRAMEBUFFER = 8,
       MB2_SECTIONS = 9,
       MB2_SMBIOS = 13,
       MB2_RSDP1 = 14,
       MB2_RSDP2 = 15,
       MB2_LAST = 21,
};

static int64_t mb2_find(const uint8_t *head, uint64_t n)
{
    return mb_find_header(head, n < MB2_SEARCH ? n : MB2_SEARCH,
                          (uint32_t)MB2_MAGIC, 8, 4);
}

static bool mb2_probe(const uint8_t *head, uint64_t n)
{
    return mb2_find(head, n) >= 0;
}

/* One header tag at p, `size` bytes in all. What we cannot do is an error only
 * where the tag is not marked optional. */
static int mb2_header_tag(struct boot_ctx *c, struct multiboot *mb,
                          const uint8_t *p, uint32_t size)
{
    unsigned type = mb2_get32(p) & 0xffff;
    bool optional = mb2_get32(p) >> 16 & 1;

    if (type == MB2H_ADDRESS && size >= 24) {
        mb->has_addr = true;
        mb->header_addr = mb2_get32(p + 8);
        mb->load_addr = mb2_get32(p + 12);
        mb->load_end = mb2_get32(p + 16);
        mb->bss_end = mb2_get32(p + 20);
    } else if (type == MB2H_ENTRY && size >= 12) {
        mb->has_entry = true;
        mb->entry = mb2_get32(p + 8);
    } else if (type > MB2H_RELOCATABLE && !optional) {
        return image_fail(&c->f->kernel,
                          "wants a Multiboot2 feature unknown "
                          "here (tag %u)",
                          type);
    } else if (type == MB2H_REQUEST && !optional) {
        for (uint32_t at = 8; at + 4 <= size; at += 4) {
            uint32_t want = mb2_get32(p + at);
            if (want > MB2_LAST)
                return image_fail(&c->f->kernel,
                                  "wants Multiboot2 "
                                  "information of type %u",
                                  want);
            mb->required |= 1u << want;
        }
    }
    return 0;
}

static int mb2_header(struct boot_ctx *c, struct multiboot *mb)
{
    static uint8_t head[MB2_SEARCH];
    const struct image *img = &c->f->kernel;
    uint64_t n = img->size < sizeof(head) ? img->size : sizeof(head);
    uint64_t at, end;
    int err = image_read(img, 0, head, n);

    if (err)
        return err;
    if (mb2_find(head, n) < 0)
        return image_fail(img, "its Multiboot2 header is gone");
    at = mb->header_off = (uint64_t)mb2_find(head, n);
    end = at + mb2_get32(head + at + 8);
    if (mb2_get32(head + at + 4) != 0)
        return image_fail(img, "is a Multiboot2 kernel for another kind of "
                               "CPU");
    if (end > n)
        return image_fail(img, "damaged Multiboot2 header: it ends at %#llx",
                          (unsigned long long)end);
    for (at += 16; at + 8 <= end;) {
        uint32_t size = mb2_get32(head + at + 4);
        if (size < 8 || size > end - at)
            return image_fail(img,
                              "damaged Multiboot2 header: a tag of %u "
                              "bytes",
                              size);
        if ((mb2_get32(head + at) & 0xffff) == MB2H_END)
            return 0;
        err = mb2_header_tag(c, mb, head + at, size);
        if (err)
            return err;
        at += (size + 7) & ~7u;
    }
    return 0;
}

/* Appends a tag: type, size, then `fixed` bytes, then a string or nothing. */
static bool mb2_tag(struct mb_info *in, uint32_t type, const void *fixed,
                    uint32_t nfixed, const char *s)
{
    uint32_t ns = s ? (uint32_t)strlen(s) + 1 : 0, at;
    uint32_t head[2] = {type, 8 + nfixed + ns};
    uint8_t *p = mb_info_alloc(in, head[1], &at);

    if (!p)
        return false;
    memcpy(p, head, 8);
    if (nfixed)
        memcpy(p + 8, fixed, nfixed);
    if (ns)
        memcpy(p + 8 + nfixed, s, ns);
    return true;
}

static bool mb2_mmap(struct boot_ctx *c, struct mb_info *in)
{
    struct {
        le32 entry_size, version;
        struct {
            le64 addr, len;
            le32 type, reserved;
        } map[E820_MAX];
    } t = {24, 0, {{0, 0, 0, 0}}};

    for (int i = 0; i < c->nmap; i++) {
        t.map[i].addr = c->map[i].addr;
        t.map[i].len = c->map[i].size;
        t.map[i].type = c->map[i].type;
    }
    return mb2_tag(in, MB2_MMAP, &t, 8 + 24 * (uint32_t)c->nmap, NULL);
}

static bool mb2_modules(struct boot_ctx *c, const struct multiboot *mb,
                        struct mb_info *in)
{
    for (int i = 0; i < c->f->ninitrd; i++) {
        uint32_t where[2] = {(uint32_t)mb->module[i].start,
                             (uint32_t)mb->module[i].end};
        if (!mb2_tag(in, MB2_MODULE, where, 8, c->f->initrd[i].path))
            return false;
    }
    return true;
}

/* u32 num, entsize, shndx, then the headers. Where there is no room here they
 * are left out, unless the kernel cannot do without. */
static int mb2_sections(struct boot_ctx *c, const struct multiboot *mb,
                        struct mb_info *in)
{
    const struct sections *s = &mb->sections;
    uint32_t head[5] = {MB2_SECTIONS, (uint32_t)(20 + s->size), s->num,
                        s->entsize, s->shndx};
    uint32_t at;
    uint8_t *p;

    if (!s->num)
        return 0;
    /* The tag that ends it all, and what aligns both, must fit behind. */
    p = in->n + head[1] + 24 <= LOW_INFO_SIZE ? mb_info_alloc(in, head[1], &at)
                                              : NULL;
    if (!p)
        return mb->required >> MB2_SECTIONS & 1
                   ? image_fail(&c->f->kernel,
                                "wants its %u section headers, which do not "
                                "fit into the Multiboot2 information",
                                s->num)
                   : 0;
    memcpy(p, head, sizeof(head));
    return sections_load(c, s, p + sizeof(head), mb->end);
}

/* 2:§3.6.13: version, six bytes of nothing, the entry point structure. */
static bool mb2_smbios(struct boot_ctx *c, struct mb_info *in)
{
    uint8_t t[8 + sizeof(c->smbios)] = {c->smbios[6], c->smbios[7]};
    uint8_t len = c->smbios[5];

    memcpy(t + 8, c->smbios, sizeof(c->smbios));
    return mb2_tag(in, MB2_SMBIOS, t, 8u + len, NULL);
}

static bool mb2_tags(struct boot_ctx *c, const struct multiboot *mb,
                     struct mb_info *in)
{
    uint32_t mem[2] = {EBDA_BASE / 1024,
                       (uint32_t)((c->low_end - HIMEM_BASE) / 1024)};
    uint32_t text[6] = {0xb8000, 0, 160, 80, 25, 16 | 2 << 8};
    const void *rsdp = /* NULL: the guest is to find no ACPI */
        c->rsdp ? ram_ptr(&c->m->ram, gpa(c->rsdp), 36) : NULL;

    return mb2_tag(in, MB2_CMDLINE, NULL, 0, c->cmdline) &&
           mb2_tag(in, MB2_NAME, NULL, 0, LOADER_NAME) &&
           mb2_modules(c, mb, in) && mb2_tag(in, MB2_MEM, mem, 8, NULL) &&
           mb2_mmap(c, in) && mb2_tag(in, MB2_FRAMEBUFFER, text, 24, NULL) &&
           mb2_smbios(c, in) &&
           (!rsdp || (mb2_tag(in, MB2_RSDP1, rsdp, 20, NULL) &&
                      mb2_tag(in, MB2_RSDP2, rsdp, 36, NULL)));
}

static int mb2_load(struct boot_ctx *c)
{
    struct multiboot mb = {0};
    struct mb_info in = mb_info_open(c);
    uint32_t at, total;
    int err = mb2_header(c, &mb);

    if (!err)
        err = mb_load_all(c, &mb);
    if (err)
        return err;
    mb_info_alloc(&in, 8, &at); /* total_size, reserved */
    if (!mb2_tags(c, &mb, &in))
        return mb_info_full(c);
    err = mb2_sections(c, &mb, &in);
    if (err)
        return err;
    if (!mb2_tag(&in, MB2_END, NULL, 0, NULL))
        return mb_info_full(c);
    total = (uint32_t)in.n;
    memcpy(in.p, &total, 4);
    return mb_enter(c, &mb, 0x36d76289);
}

const struct loader loader_multiboot2 = {"a Multiboot2 kernel", false,
                                         mb2_probe, mb2_load};
