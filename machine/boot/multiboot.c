/* SPDX-License-Identifier: MIT */
/* Multiboot kernels, versions 1 (0.6.96) and 2 (2.0), with modules.
 *
 * Section numbers with "1:" or "2:" are those of the two specifications. Both
 * find a header in the first bytes of the file, load what it or the ELF header
 * says, put every -initrd file on pages of its own behind the kernel, and enter
 * it in flat 32-bit mode with EBX pointing to what we know. */
#include <errno.h>
#include <string.h>

#include "machine/boot/image.h"

/* What both headers boil down to. */
struct multiboot {
    uint64_t header_off; /* in the file */
    bool has_addr, has_entry;
    uint32_t header_addr, load_addr, load_end, bss_end, entry;
    uint64_t end; /* of the kernel in RAM; then of the modules */
    struct {
        uint64_t start, end;
    } module[INITRDS_MAX];
};

#define LOADER_NAME "vmm"

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return v;
}

/* Offset of a header with this magic, `align` apart, whose first `sum` words
 * add up to zero, or -1. */
static int64_t find_header(const uint8_t *head, uint64_t n, uint32_t magic,
                           uint64_t align, int sum)
{
    for (uint64_t off = 0; off + 16 <= n; off += align) {
        uint32_t total = 0;
        if (get32(head + off) != magic)
            continue;
        for (int i = 0; i < sum; i++)
            total += get32(head + off + 4 * (uint64_t)i);
        if (total == 0)
            return (int64_t)off;
    }
    return -1;
}

/* Loads the kernel: addresses from the header (an "a.out kludge", which rule
 * if they are there), or the ELF file's segments. */
static int load_kernel(struct boot_ctx *c, struct multiboot *mb)
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
        return elf_load_segments(c, &elf);
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

static int load_modules(struct boot_ctx *c, struct multiboot *mb)
{
    uint64_t at = mb->end;

    for (int i = 0; i < c->f->ninitrd; i++) {
        const struct image *img = &c->f->initrd[i];
        int err;
        at = (at + 0xfff) & ~0xfffull;
        if (at > c->low_end || img->size > c->low_end - at)
            return boot_initrd_nofit(c, img->size,
                                     at < c->low_end ? c->low_end - at : 0);
        err = image_load(img, c->m, 0, gpa(at), img->size);
        if (err)
            return err;
        mb->module[i].start = at;
        at = mb->module[i].end = at + img->size;
    }
    return 0;
}

/* What is written at LOW_INFO, piece by piece. */
struct info {
    uint8_t *p;
    uint64_t n;
};

/* `len` zeroed bytes at a multiple of 8, or NULL: full. *at is their gpa. */
static void *info_alloc(struct info *in, uint64_t len, uint32_t *at)
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

static int info_open(struct boot_ctx *c, struct info *in)
{
    in->p = ram_ptr(&c->m->ram, gpa(LOW_INFO), LOW_INFO_SIZE);
    in->n = 0;
    return in->p ? 0 : fail(-EINVAL, "guest RAM is too small to boot");
}

static int info_full(struct boot_ctx *c)
{
    return image_fail(&c->f->kernel, "the command lines of kernel and modules "
                                     "are too long together");
}

static int enter(struct boot_ctx *c, const struct multiboot *mb, uint32_t magic)
{
    c->e->rax = magic;
    c->e->rbx = LOW_INFO;
    return boot_enter32(c, mb->entry);
}

/* ---------------------------------------------------------- Multiboot 1 */

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
       MB1_MMAP = 1 << 6,
       MB1_NAME = 1 << 9,
       MB1_FRAMEBUFFER = 1 << 12,
};

struct mb1_info {
    le32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count,
        mods_addr, syms[4], mmap_length, mmap_addr, drives_length, drives_addr,
        config_table, boot_loader_name, apm_table, vbe[4];
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
    return find_header(head, n < MB1_SEARCH ? n : MB1_SEARCH, MB1_MAGIC, 4, 3);
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
                     struct info *in, struct mb1_info *i)
{
    struct mb1_mmap *map;
    struct mb1_module *mod;
    uint32_t at;

    i->mmap_length = (le32)(sizeof(*map) * (size_t)c->nmap);
    map = info_alloc(in, i->mmap_length, &at);
    i->mmap_addr = at;
    i->mods_count = (le32)c->f->ninitrd;
    mod = info_alloc(in, sizeof(*mod) * i->mods_count, &at);
    i->mods_addr = at;
    if (!map || !mod)
        return info_full(c);
    for (int k = 0; k < c->nmap; k++)
        map[k] = (struct mb1_mmap){sizeof(*map) - 4, c->map[k].addr,
                                   c->map[k].size, c->map[k].type};
    for (int k = 0; k < c->f->ninitrd; k++) {
        const char *name = c->f->initrd[k].path;
        char *s = info_alloc(in, strlen(name) + 1, &mod[k].string);
        if (!s)
            return info_full(c);
        memcpy(s, name, strlen(name) + 1);
        mod[k].start = (le32)mb->module[k].start;
        mod[k].end = (le32)mb->module[k].end;
    }
    return 0;
}

static int mb1_load(struct boot_ctx *c)
{
    struct multiboot mb = {0};
    struct mb1_info *i;
    struct info in;
    uint32_t at;
    int err = mb1_header(c, &mb);

    if (!err)
        err = load_kernel(c, &mb);
    if (!err)
        err = load_modules(c, &mb);
    if (!err)
        err = info_open(c, &in);
    if (!err)
        err = boot_put_cmdline(c, CMDLINE_MAX);
    if (err)
        return err;
    i = info_alloc(&in, sizeof(*i), &at);
    i->flags = MB1_MEM | MB1_CMDLINE | MB1_MODS | MB1_MMAP | MB1_NAME |
               MB1_FRAMEBUFFER;
    i->mem_lower = EBDA_BASE / 1024;
    i->mem_upper = (le32)((c->low_end - HIMEM_BASE) / 1024);
    i->cmdline = LOW_CMDLINE;
    memcpy(info_alloc(&in, sizeof(LOADER_NAME), &at), LOADER_NAME,
           sizeof(LOADER_NAME));
    i->boot_loader_name = at;
    i->framebuffer_addr = 0xb8000;
    i->framebuffer_pitch = 160;
    i->framebuffer_width = 80;
    i->framebuffer_height = 25;
    i->framebuffer_bpp = 16;
    i->framebuffer_type = 2; /* text */
    err = mb1_lists(c, &mb, &in, i);
    return err ? err : enter(c, &mb, 0x2badb002);
}

const struct loader loader_multiboot1 = {"a Multiboot kernel", false, mb1_probe,
                                         mb1_load};

/* ---------------------------------------------------------- Multiboot 2 */

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
       MB2_RSDP2 = 15,
};

static int64_t mb2_find(const uint8_t *head, uint64_t n)
{
    return find_header(head, n < MB2_SEARCH ? n : MB2_SEARCH,
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
    unsigned type = get32(p) & 0xffff;
    bool optional = get32(p) >> 16 & 1;

    if (type == MB2H_ADDRESS && size >= 24) {
        mb->has_addr = true;
        mb->header_addr = get32(p + 8);
        mb->load_addr = get32(p + 12);
        mb->load_end = get32(p + 16);
        mb->bss_end = get32(p + 20);
    } else if (type == MB2H_ENTRY && size >= 12) {
        mb->has_entry = true;
        mb->entry = get32(p + 8);
    } else if (type > MB2H_RELOCATABLE && !optional) {
        return image_fail(&c->f->kernel,
                          "wants a Multiboot2 feature unknown "
                          "here (tag %u)",
                          type);
    } else if (type == MB2H_REQUEST && !optional) {
        for (uint32_t at = 8; at + 4 <= size; at += 4) {
            uint32_t want = get32(p + at);
            if (want > 21)
                return image_fail(&c->f->kernel,
                                  "wants Multiboot2 "
                                  "information of type %u",
                                  want);
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
    end = at + get32(head + at + 8);
    if (get32(head + at + 4) != 0)
        return image_fail(img, "is a Multiboot2 kernel for another kind of "
                               "CPU");
    if (end > n)
        return image_fail(img, "damaged Multiboot2 header: it ends at %#llx",
                          (unsigned long long)end);
    for (at += 16; at + 8 <= end;) {
        uint32_t size = get32(head + at + 4);
        if (size < 8 || size > end - at)
            return image_fail(img,
                              "damaged Multiboot2 header: a tag of %u "
                              "bytes",
                              size);
        if ((get32(head + at) & 0xffff) == MB2H_END)
            return 0;
        err = mb2_header_tag(c, mb, head + at, size);
        if (err)
            return err;
        at += (size + 7) & ~7u;
    }
    return 0;
}

/* Appends a tag: type, size, then `fixed` bytes, then a string or nothing. */
static bool mb2_tag(struct info *in, uint32_t type, const void *fixed,
                    uint32_t nfixed, const char *s)
{
    uint32_t ns = s ? (uint32_t)strlen(s) + 1 : 0, at;
    uint32_t head[2] = {type, 8 + nfixed + ns};
    uint8_t *p = info_alloc(in, head[1], &at);

    if (!p)
        return false;
    memcpy(p, head, 8);
    if (nfixed)
        memcpy(p + 8, fixed, nfixed);
    if (ns)
        memcpy(p + 8 + nfixed, s, ns);
    return true;
}

static bool mb2_mmap(struct boot_ctx *c, struct info *in)
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
                        struct info *in)
{
    for (int i = 0; i < c->f->ninitrd; i++) {
        uint32_t where[2] = {(uint32_t)mb->module[i].start,
                             (uint32_t)mb->module[i].end};
        if (!mb2_tag(in, MB2_MODULE, where, 8, c->f->initrd[i].path))
            return false;
    }
    return true;
}

static bool mb2_tags(struct boot_ctx *c, const struct multiboot *mb,
                     struct info *in)
{
    uint32_t mem[2] = {EBDA_BASE / 1024,
                       (uint32_t)((c->low_end - HIMEM_BASE) / 1024)};
    uint32_t text[6] = {0xb8000, 0, 160, 80, 25, 16 | 2 << 8};
    const void *rsdp = ram_ptr(&c->m->ram, gpa(c->rsdp), 36);

    return mb2_tag(in, MB2_CMDLINE, NULL, 0, c->b->cmdline) &&
           mb2_tag(in, MB2_NAME, NULL, 0, LOADER_NAME) &&
           mb2_modules(c, mb, in) && mb2_tag(in, MB2_MEM, mem, 8, NULL) &&
           mb2_mmap(c, in) && mb2_tag(in, MB2_FRAMEBUFFER, text, 24, NULL) &&
           (!rsdp || mb2_tag(in, MB2_RSDP2, rsdp, 36, NULL)) &&
           mb2_tag(in, MB2_END, NULL, 0, NULL);
}

static int mb2_load(struct boot_ctx *c)
{
    struct multiboot mb = {0};
    struct info in;
    uint32_t at, total;
    int err = mb2_header(c, &mb);

    if (!err)
        err = load_kernel(c, &mb);
    if (!err)
        err = load_modules(c, &mb);
    if (!err)
        err = info_open(c, &in);
    if (err)
        return err;
    info_alloc(&in, 8, &at); /* total_size, reserved */
    if (!mb2_tags(c, &mb, &in))
        return info_full(c);
    total = (uint32_t)in.n;
    memcpy(in.p, &total, 4);
    return enter(c, &mb, 0x36d76289);
}

const struct loader loader_multiboot2 = {"a Multiboot2 kernel", false,
                                         mb2_probe, mb2_load};
