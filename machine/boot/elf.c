/* SPDX-License-Identifier: MIT */
/* ELF kernels: by the PVH note, or as a flat Linux (vmlinux) at e_entry.
 *
 * PVH: Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h; the
 * note XEN_ELFNOTE_PHYS32_ENTRY names a 32-bit entry that gets EBX = the start
 * info. Without the note (or with -entry 64) the kernel is taken for a Linux:
 * boot_params in (E|R)SI, 64-bit or 32-bit as the file is. */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "machine/boot/place.h"

/* Both classes' program headers, as one. */
struct phdr {
    uint32_t type;
    struct elf_segment seg;
};

bool elf_probe(const uint8_t *head, uint64_t n)
{
    return n >= sizeof(Elf32_Ehdr) && memcmp(head, ELFMAG, SELFMAG) == 0;
}

static int elf_read_phdr(const struct image *img, bool is64, uint64_t off,
                         struct phdr *out)
{
    Elf64_Phdr p64;
    Elf32_Phdr p32;
    int err = is64 ? image_read(img, off, &p64, sizeof(p64))
                   : image_read(img, off, &p32, sizeof(p32));

    if (err)
        return err;
    if (is64)
        *out = (struct phdr){p64.p_type,
                             {p64.p_offset, p64.p_vaddr, p64.p_paddr,
                              p64.p_filesz, p64.p_memsz}};
    else
        *out = (struct phdr){p32.p_type,
                             {p32.p_offset, p32.p_vaddr, p32.p_paddr,
                              p32.p_filesz, p32.p_memsz}};
    return 0;
}

/* One note: its header, the file's offsets of its name and its content. */
static int elf_take_note(const struct image *img, const Elf32_Nhdr *n,
                         uint64_t name, uint64_t desc, struct elf *elf)
{
    enum { XEN_ELFNOTE_GUEST_OS = 6, XEN_ELFNOTE_PHYS32_ENTRY = 18 };
    char owner[8] = "", what[8] = "";
    uint32_t entry;
    int err;

    if (n->n_namesz > sizeof(owner))
        return 0;
    err = image_read(img, name, owner, n->n_namesz);
    if (!err)
        err =
            image_read(img, desc, what,
                       n->n_descsz < sizeof(what) ? n->n_descsz : sizeof(what));
    if (err)
        return err;
    /* NT_GNU_ABI_TAG, which a C library's start code brings: "runs on". */
    if (memcmp(owner, "GNU", 4) == 0 && n->n_type == 1)
        elf->is_program = true;
    /* LINUX_ELFNOTE_*: every one since 4.19 has one at least. */
    if (memcmp(owner, "Linux", 6) == 0)
        elf->is_linux = true;
    if (memcmp(owner, "Xen", 4) != 0)
        return 0;
    memcpy(&entry, what, sizeof(entry));
    if (n->n_type == XEN_ELFNOTE_PHYS32_ENTRY && n->n_descsz >= 4)
        elf->pvh = entry;
    if (n->n_type == XEN_ELFNOTE_GUEST_OS && memcmp(what, "linux", 6) == 0)
        elf->is_linux = true;
    return 0;
}

/* The notes of a segment. One that does not fit into it ends the search: notes
 * are optional, so that is no error. */
#define NOTES_MAX 4096
static int elf_read_notes(const struct image *img, const struct elf_segment *s,
                          struct elf *elf)
{
    uint64_t off = 0;

    while (off < s->filesz && s->filesz - off >= sizeof(Elf32_Nhdr)) {
        Elf32_Nhdr n;
        uint64_t name = off + sizeof(n), desc, next;
        int err = image_read(img, s->off + off, &n, sizeof(n));
        if (err)
            return err;
        desc = name + (((uint64_t)n.n_namesz + 3) & ~3ull);
        next = desc + (((uint64_t)n.n_descsz + 3) & ~3ull);
        if (next > s->filesz || ++elf->notes > NOTES_MAX)
            return 0;
        err = elf_take_note(img, &n, s->off + name, s->off + desc, elf);
        if (err)
            return err;
        off = next;
    }
    return 0;
}

/* e_entry is virtual in some kernels and physical in others (Linux). */
static uint64_t elf_physical_entry(const struct elf *elf, uint64_t entry)
{
    for (int i = 0; i < elf->nload; i++) {
        const struct elf_segment *s = &elf->load[i];
        if (entry - s->paddr < s->memsz)
            return entry;
    }
    for (int i = 0; i < elf->nload; i++) {
        const struct elf_segment *s = &elf->load[i];
        if (entry - s->vaddr < s->memsz)
            return entry - s->vaddr + s->paddr;
    }
    return 0;
}

static int elf_add_segment(const struct image *img, struct elf *elf,
                           const struct elf_segment *s)
{
    if (!s->memsz)
        return 0;
    if (elf->nload == ELF_SEGMENTS_MAX)
        return image_fail(img, "has more than %d loadable segments",
                          ELF_SEGMENTS_MAX);
    if (s->off > img->size || s->filesz > img->size - s->off)
        return image_fail(img,
                          "truncated: a segment ends at byte %llu, the "
                          "file has %llu",
                          (unsigned long long)(s->off + s->filesz),
                          (unsigned long long)img->size);
    if (s->paddr + s->memsz < s->paddr)
        return image_fail(img, "damaged: a segment ends beyond all memory");
    elf->load[elf->nload++] = *s;
    if (s->paddr + s->memsz > elf->end)
        elf->end = s->paddr + s->memsz;
    return 0;
}

/* The ELF header's fields that matter, of both classes. */
struct ehdr {
    uint64_t entry, phoff;
    unsigned type, machine, phnum, phentsize;
};

static int elf_read_ehdr(const struct image *img, struct elf *elf,
                         struct ehdr *e)
{
    Elf64_Ehdr h;
    Elf32_Ehdr h32;
    int err = image_read(img, 0, &h32, sizeof(h32));

    if (err)
        return err;
    elf->is64 = h32.e_ident[EI_CLASS] == ELFCLASS64;
    if (!elf->is64) {
        *e = (struct ehdr){h32.e_entry,   h32.e_phoff, h32.e_type,
                           h32.e_machine, h32.e_phnum, h32.e_phentsize};
    } else {
        err = image_read(img, 0, &h, sizeof(h));
        if (err)
            return err;
        *e = (struct ehdr){h.e_entry,   h.e_phoff, h.e_type,
                           h.e_machine, h.e_phnum, h.e_phentsize};
    }
    if (e->machine != EM_386 && e->machine != EM_X86_64)
        return image_fail(img, "is an ELF file for another kind of CPU");
    if (e->type != ET_EXEC)
        return image_fail(img, "is an ELF file, but no kernel linked to fixed "
                               "addresses");
    if (e->phentsize != (elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
        return image_fail(img, "damaged: program headers of %u bytes",
                          e->phentsize);
    return 0;
}

int elf_parse(const struct image *img, struct elf *elf)
{
    struct ehdr e;
    int err;

    *elf = (struct elf){0};
    err = elf_read_ehdr(img, elf, &e);
    for (unsigned i = 0; !err && i < e.phnum; i++) {
        struct phdr p;
        if (e.phoff > img->size)
            return image_fail(img, "truncated: no program headers");
        err = elf_read_phdr(img, elf->is64, e.phoff + (uint64_t)i * e.phentsize,
                            &p);
        if (!err && p.type == PT_LOAD)
            err = elf_add_segment(img, elf, &p.seg);
        else if (!err && p.type == PT_INTERP)
            elf->is_program = true;
        else if (!err && p.type == PT_NOTE)
            err = elf_read_notes(img, &p.seg, elf);
    }
    if (err)
        return err;
    if (!elf->nload)
        return image_fail(img, "is an ELF file with nothing to load");
    elf->entry = elf_physical_entry(elf, e.entry);
    return 0;
}

int elf_load_segments(struct boot_ctx *c, const struct elf *elf)
{
    for (int i = 0; i < elf->nload; i++) {
        const struct elf_segment *s = &elf->load[i];
        int err = boot_load_piece(c, s->off, s->paddr, s->filesz, s->memsz);
        if (err)
            return err;
    }
    return 0;
}

/* -------------------------------------------------------------------- PVH */

struct pvh_start_info {
    le32 magic, version, flags, nr_modules;
    le64 modlist, cmdline, rsdp, memmap;
    le32 memmap_entries, reserved;
};
_Static_assert(sizeof(struct pvh_start_info) == 56, "");
#define PVH_MAGIC 0x336ec578

struct pvh_module {
    le64 paddr, size, cmdline, reserved;
};

struct pvh_info { /* at LOW_PVH, all of it on one page */
    struct pvh_start_info start;
    struct pvh_module module;
    struct {
        le64 addr, size;
        le32 type, reserved;
    } map[E820_MAX];
};
_Static_assert(LOW_PVH + sizeof(struct pvh_info) <= LOW_PAGETABLES, "");

/* One module: the initrds, joined as for Linux, which looks at one only. */
static int elf_pvh_modules(struct boot_ctx *c, struct pvh_info *p, uint64_t end)
{
    uint64_t size = boot_initrd_size(c->f);

    if (!c->f->ninitrd)
        return 0;
    p->module.paddr = boot_initrd_place(c, size, end, c->low_end);
    p->module.size = size;
    if (!p->module.paddr)
        return boot_initrd_nofit(c, size, end, LOWRAM_MAX, false);
    p->start.nr_modules = 1;
    p->start.modlist = LOW_PVH + offsetof(struct pvh_info, module);
    return boot_put_initrds(c, gpa(p->module.paddr));
}

static int elf_pvh_enter(struct boot_ctx *c, const struct elf *elf)
{
    struct pvh_info *p = boot_low(c, LOW_PVH, sizeof(*p));
    int err;

    memset(p, 0, sizeof(*p));
    p->start.magic = PVH_MAGIC;
    p->start.version = 1;
    p->start.cmdline = LOW_CMDLINE;
    p->start.rsdp = c->rsdp;
    p->start.memmap = LOW_PVH + offsetof(struct pvh_info, map);
    p->start.memmap_entries = (le32)c->nmap;
    for (int i = 0; i < c->nmap; i++) {
        p->map[i].addr = c->map[i].addr;
        p->map[i].size = c->map[i].size;
        p->map[i].type = c->map[i].type;
    }
    err = elf_pvh_modules(c, p, elf->end);
    if (!err)
        err = boot_put_cmdline(c, CMDLINE_MAX);
    c->e->rbx = LOW_PVH;
    return err ? err : boot_enter32(c, elf->pvh);
}

static int elf_load(struct boot_ctx *c)
{
    const struct image *img = &c->f->kernel;
    struct elf elf;
    int bits, err = elf_parse(img, &elf);

    if (err)
        return err;
    if (elf.is_linux)
        boot_is_linux(c);
    if (c->b->entry == 16)
        return image_fail(img, "an ELF file has no real-mode entry");
    if (c->b->entry == 64 && !elf.is64)
        return image_fail(img, "has no 64-bit entry; leave out -entry 64");
    /* Kernels that look like programs come with a PVH note or a Multiboot
     * header (Solo5's name an interpreter); a Linux does not look so. */
    if (elf.is_program && !elf.pvh && !elf.is_linux)
        return image_fail(img, "is a program for an operating system, not a "
                               "kernel");
    err = elf_load_segments(c, &elf);
    if (err)
        return err;
    if (elf.pvh && c->b->entry != 64)
        return elf_pvh_enter(c, &elf);
    bits = elf.is64 ? 64 : 32;
    if (c->b->entry && c->b->entry != bits)
        return image_fail(img, "has no PVH note and so no 32-bit entry");
    if (!elf.entry || elf.entry > UINT32_MAX)
        return image_fail(img, "its entry is in none of its segments");
    return linux_enter_flat(c, bits, elf.entry, elf.end);
}

const struct loader loader_elf = {"an ELF file", true, elf_probe, elf_load};
