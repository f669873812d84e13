/* SPDX-License-Identifier: MIT */
/* What the loaders share: low memory, the CPU's entry states, command line and
 * initrds, the checks for a piece of a kernel. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "machine/boot/place.h"

void *boot_low(struct boot_ctx *c, uint64_t at, uint64_t len)
{
    void *p = ram_ptr(&c->m->ram, gpa(at), len);

    assert(p && at + len <= EBDA_BASE);
    return p;
}

/* ----------------------------------------------------------- entry states */

/* Descriptors 0x10 and 0x18 as boot.rst wants them, and a busy TSS at 0x20
 * whose content nothing reads. */
static int boot_put_gdt(struct boot_ctx *c, bool longmode)
{
    uint64_t gdt[] = {
        0,
        0,
        longmode ? 0x00af9b000000ffff : 0x00cf9b000000ffff,
        0x00cf93000000ffff,
        0x00008b0000000067,
        0,
    };
    memcpy(boot_low(c, LOW_GDT, sizeof(gdt)), gdt, sizeof(gdt));
    c->e->gdt = LOW_GDT;
    c->e->gdt_limit = sizeof(gdt) - 1;
    c->e->cs = BOOT_CS;
    c->e->ds = c->e->ss = BOOT_DS;
    return 0;
}

int boot_enter32(struct boot_ctx *c, uint64_t rip)
{
    c->e->bits = 32;
    c->e->rip = rip;
    return boot_put_gdt(c, false);
}

/* 4 GiB one to one in 2 MiB pages (SDM vol. 3 §4.5): six pages, whatever CPUID
 * says about larger ones. The bundled guest keeps them, also in ring 3. */
int boot_enter64(struct boot_ctx *c, uint64_t rip)
{
    uint64_t *pml4 = boot_low(c, LOW_PAGETABLES, 6 * 4096);
    uint64_t *pdpt = pml4 + 512, *pd = pdpt + 512;

    memset(pml4, 0, 2 * 4096);
    pml4[0] = (LOW_PAGETABLES + 0x1000) | 7; /* present, writable, user */
    for (uint64_t i = 0; i < 4; i++)
        pdpt[i] = (LOW_PAGETABLES + 0x2000 + i * 0x1000) | 7;
    for (uint64_t i = 0; i < 4 * 512; i++)
        pd[i] = i << 21 | 0x87; /* and a large page */
    c->e->bits = 64;
    c->e->rip = rip;
    c->e->cr3 = LOW_PAGETABLES;
    return boot_put_gdt(c, true);
}

int boot_enter_rom(struct boot_ctx *c, enum handoff_kind kind)
{
    struct handoff *h = c->rom;

    if (!h)
        return fail(-EINVAL,
                    "this boot goes through the BIOS, and -bios %s "
                    "is not vmm's own",
                    c->f->rom.path);
    h->kind = (uint16_t)kind;
    c->e->bits = 16;
    c->e->cs = BIOS_BASE >> 4;
    c->e->rip = ROM_RESET_OFF;
    return 0;
}

/* ------------------------------------------------- command line, initrds */

void boot_is_linux(struct boot_ctx *c)
{
    if (!c->b->cmdline)
        c->cmdline = "console=ttyS0";
}

int boot_put_cmdline(struct boot_ctx *c, uint64_t max)
{
    uint64_t len = strlen(c->cmdline);

    if (max > CMDLINE_MAX - 1)
        max = CMDLINE_MAX - 1;
    if (len > max)
        return image_fail(&c->f->kernel,
                          "-append is %llu characters long, "
                          "this kernel takes %llu",
                          (unsigned long long)len, (unsigned long long)max);
    memcpy(boot_low(c, LOW_CMDLINE, len + 1), c->cmdline, len + 1);
    return 0;
}

int boot_put_named_cmdline(struct boot_ctx *c)
{
    const char *args = c->cmdline, *path = c->f->kernel.path;
    uint64_t name = strlen(path);
    char *p;
    int err = boot_put_cmdline(c, CMDLINE_MAX - 2 - name);

    if (err)
        return err;
    p = boot_low(c, LOW_CMDLINE, CMDLINE_MAX);
    memcpy(p, path, name + 1);
    for (uint64_t i = 0; i < name; i++)
        if ((uint8_t)p[i] <= ' ')
            p[i] = '_';
    if (!*args)
        return 0;
    p[name] = ' ';
    memcpy(p + name + 1, args, strlen(args) + 1);
    return 0;
}

uint64_t boot_initrd_size(const struct boot_files *f)
{
    uint64_t sum = 0;

    for (int i = 0; i < f->ninitrd; i++)
        sum = ((sum + 3) & ~3ull) + f->initrd[i].size;
    return sum;
}

int boot_put_initrds(struct boot_ctx *c, gpa_t at)
{
    for (int i = 0; i < c->f->ninitrd; i++) {
        const struct image *img = &c->f->initrd[i];
        uint64_t pad = -at.v & 3;
        void *p = ram_ptr(&c->m->ram, at, pad);
        int err;

        if (p)
            memset(p, 0, pad);
        at = gpa(at.v + pad);
        err = image_load(img, c->m, 0, at, img->size);
        if (err)
            return err;
        at = gpa(at.v + img->size);
    }
    return 0;
}

uint64_t boot_initrd_place(const struct boot_ctx *c, uint64_t size,
                           uint64_t floor, uint64_t limit)
{
    uint64_t at;

    if (limit > c->low_end)
        limit = c->low_end;
    if (size > limit)
        return 0;
    at = (limit - size) & ~0xfffull;
    return at >= floor ? at : 0;
}

int boot_initrd_nofit(const struct boot_ctx *c, uint64_t size, uint64_t floor,
                      uint64_t limit, bool above)
{
    uint64_t end = limit < c->low_end ? limit : c->low_end;
    bool helps = above || (size <= limit && floor <= limit - size);

    return image_fail(&c->f->initrd[0],
                      "%llu KiB do not fit: the kernel "
                      "leaves %llu KiB of guest RAM for it%s",
                      (unsigned long long)((size + 1023) >> 10),
                      (unsigned long long)(floor < end ? end - floor : 0) >> 10,
                      helps ? "; raise -m" : ", and hardly more with any -m");
}

int boot_load_piece(struct boot_ctx *c, uint64_t off, uint64_t to,
                    uint64_t filesz, uint64_t memsz)
{
    const struct image *img = &c->f->kernel;
    uint8_t *p = ram_ptr(&c->m->ram, gpa(to), memsz);

    if (filesz > memsz)
        return image_fail(img,
                          "damaged: a piece of %llu bytes is to fill "
                          "%llu",
                          (unsigned long long)filesz,
                          (unsigned long long)memsz);
    if (to < HIMEM_BASE || !p)
        return image_fail(img,
                          "is to be loaded at %#llx to %#llx, which is "
                          "not all free RAM (100000 to %#llx)",
                          (unsigned long long)to,
                          (unsigned long long)(to + memsz),
                          (unsigned long long)c->low_end);
    memset(p + filesz, 0, memsz - filesz);
    return image_read(img, off, p, filesz);
}
