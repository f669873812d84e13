/* SPDX-License-Identifier: MIT */
/* From files to the first instruction: what every boot needs, whatever the
 * kernel is, and the choice of the loader.
 *
 * Theory of operation. boot_load runs at start and at every reset, so it takes
 * nothing for granted about RAM: whatever the new kernel may read is written.
 * It lays out low memory as a BIOS would have left it (vectors, data area,
 * EBDA), copies the ROM below 1 MiB, builds the firmware tables, and lets the
 * first loader that knows the image put it into RAM. The boot CPU then starts
 * in the kernel itself, 32- or 64-bit, or in the ROM when the kernel wants
 * real mode. Files stay open for the next reset: they may be deleted. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine/boot/boot.h"
#include "machine/boot/place.h"

static const struct loader *const loaders[] = {
    &loader_linux,
    &loader_multiboot2,
    &loader_multiboot1,
    &loader_elf,
};

/* ------------------------------------------------------------ low memory */

/* The BIOS data area's fields that programs read without a BIOS call. */
enum {
    BDA_COM1 = 0x400,
    BDA_EBDA_SEG = 0x40e,
    BDA_EQUIPMENT = 0x410,
    BDA_BASE_KIB = 0x413,
};
#define BASE_KIB (EBDA_BASE / 1024)

static void boot_put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}

/* Interrupt vectors (all IRET), BIOS data area, EBDA. The ROM's POST writes its
 * own over them. */
static void boot_low_memory_init(struct machine *m, uint16_t iret)
{
    uint8_t *page0 = ram_ptr(&m->ram, gpa(0), 0x1000);
    uint8_t *ebda = ram_ptr(&m->ram, gpa(EBDA_BASE), 0x400);

    memset(page0 + 0x400, 0, 0x200);
    for (int i = 0; i < 256; i++) {
        boot_put16(page0 + 4 * i, iret);
        boot_put16(page0 + 4 * i + 2, BIOS_BASE >> 4);
    }
    boot_put16(page0 + BDA_COM1, PORT_COM1);
    boot_put16(page0 + BDA_EBDA_SEG, EBDA_BASE >> 4);
    boot_put16(page0 + BDA_EQUIPMENT, 0x0222); /* 1 COM, 80x25, FPU */
    if (m->serials > 1) {
        boot_put16(page0 + BDA_COM1 + 2, PORT_COM2);
        boot_put16(page0 + BDA_EQUIPMENT, 0x0422);
    }
    boot_put16(page0 + BDA_BASE_KIB, BASE_KIB);
    memset(ebda, 0, 16);
    ebda[0] = (0xa0000 - EBDA_BASE) / 1024;
}

/* ------------------------------------------------------------ memory map */

int e820_build(const struct machine *m, struct e820 *map, int max)
{
    const struct ram *ram = &m->ram;
    struct e820 all[] = {
        {0, EBDA_BASE, 1},
        {EBDA_BASE, 0xa0000 - EBDA_BASE, 2},
        {TABLES_BASE, HIMEM_BASE - TABLES_BASE, 2},
        {HIMEM_BASE, ram->region[0].size - HIMEM_BASE, 1},
        {PCI_ECAM_BASE, PCI_ECAM_SIZE, 2},
        {KVM_IDENTITY_BASE, 0xff000000ull - KVM_IDENTITY_BASE, 2},
        {0xfffc0000, 0x40000, 2}, /* the ROM at the reset vector */
        {0, 0, 1},
    };
    int n = ARRAY_LEN(all) - 1;

    if (ram->n > 1) {
        all[n].addr = ram->region[1].gpa;
        all[n++].size = ram->region[1].size;
    }
    if (n > max)
        n = max;
    memcpy(map, all, (size_t)n * sizeof(*map));
    return n;
}

/* ------------------------------------------------------------------ files */

/* Cuts -initrd at its commas (",," is one) and opens each part. */
static int boot_open_initrds(struct boot_files *f, const char *list)
{
    char *out, *start;

    if (!list)
        return 0;
    f->initrd_names = out = start = calloc(1, strlen(list) + 1);
    if (!out)
        return fail(-ENOMEM, "-initrd: out of memory");
    for (const char *p = list;; p++) {
        int err;
        if (*p && !(p[0] == ',' && p[1] != ',')) {
            *out++ = *p;
            p += *p == ',';
            continue;
        }
        *out++ = 0;
        if (f->ninitrd == INITRDS_MAX)
            return fail(-EINVAL, "-initrd: more than %d files", INITRDS_MAX);
        err = image_open(&f->initrd[f->ninitrd], "-initrd", start);
        if (err)
            return err;
        f->ninitrd++;
        start = out;
        if (!*p)
            return 0;
    }
}

int boot_open(struct boot *b)
{
    struct boot_files *f = calloc(1, sizeof(*f));
    int err = 0;

    if (!f)
        return fail(-ENOMEM, "out of memory");
    b->files = f;
    f->kernel.fd = f->rom.fd = -1;
    if (b->bios)
        err = image_open(&f->rom, "-bios", b->bios);
    else
        image_from_memory(&f->rom, "-bios", "(built in)", bios_image,
                          (uint64_t)(bios_image_end - bios_image));
    if (!err && b->kernel)
        err = image_open(&f->kernel, "-kernel", b->kernel);
    else if (!err && !b->rom && !b->bios)
        image_from_memory(&f->kernel, "-kernel", "(built in)", guest_image,
                          (uint64_t)(guest_image_end - guest_image));
    if (!err)
        err = boot_open_initrds(f, b->initrd);
    if (err)
        boot_close(b);
    return err;
}

#define PIPE_MAX (4ull << 30) /* kernels and initrds lie below 4 GiB */

static int boot_fill_files(struct boot_files *f, const struct ram *ram)
{
    uint64_t max = 0;
    for (int i = 0; i < ram->n; i++)
        max += ram->region[i].size;
    if (max > PIPE_MAX)
        max = PIPE_MAX;
    int err = image_fill(&f->rom, max);
    if (!err)
        err = image_fill(&f->kernel, max);
    for (int i = 0; !err && i < f->ninitrd; i++)
        err = image_fill(&f->initrd[i], max);
    return err;
}

void boot_close(struct boot *b)
{
    struct boot_files *f = b->files;

    if (!f)
        return;
    image_close(&f->kernel);
    image_close(&f->rom);
    for (int i = 0; i < f->ninitrd; i++)
        image_close(&f->initrd[i]);
    if (f->rom_map)
        munmap(f->rom_map, f->rom_size);
    free(f->initrd_names);
    free(f);
    b->files = NULL;
}

/* -------------------------------------------------------------------- ROM */

#define ROM_LOW_MAX 0x20000    /* what is copied below 1 MiB */
#define ROM_FILE_MAX 0x1000000 /* what fits below 4 GiB under the LAPIC */

/* Finds the tag in the ROM's last bytes and the handoff it names. */
static struct handoff *boot_rom_handoff(struct boot_ctx *c, uint16_t *iret)
{
    struct rom_tag tag;
    const uint8_t *seg = ram_ptr(&c->m->ram, gpa(BIOS_BASE), 0x10000);

    memcpy(&tag, seg + ROM_TAG_OFF, sizeof(tag));
    if (memcmp(tag.magic, ROM_TAG_MAGIC, sizeof(tag.magic)) != 0 ||
        (uint64_t)tag.handoff + sizeof(struct handoff) > 0x10000)
        return NULL;
    *iret = tag.iret;
    return ram_ptr(&c->m->ram, gpa(BIOS_BASE + tag.handoff),
                   sizeof(struct handoff));
}

/* Maps the whole ROM below 4 GiB, where a CPU looks after INIT. Of the built-in
 * ROM its RAM copy is mapped there, by whole pages: it costs no memory. */
static int boot_rom_map(struct machine *m, struct boot_files *f, uint64_t size)
{
    const struct image *rom = &f->rom;
    void *hva = NULL;
    int err;

    if (!m->ops || !m->ops->map)
        return 0;
    if (rom->fd >= 0) {
        hva = mmap(NULL, rom->size, PROT_READ, MAP_PRIVATE, rom->fd, 0);
        if (hva == MAP_FAILED)
            return fail(-errno, "-bios %s: %s", rom->path, strerror(errno));
        f->rom_map = hva;
    } else {
        hva = ram_ptr(&m->ram, gpa(HIMEM_BASE - size), size);
    }
    f->rom_size = size;
    err = m->ops->map(m, HIGHRAM_BASE - size, hva, size, true);
    if (err)
        return fail(err, "-bios %s: cannot be mapped: %s", rom->path,
                    strerror(-err));
    f->rom_mapped = true;
    return 0;
}

uint32_t boot_rom_size(const struct boot *b)
{
    return b->files && b->files->rom_mapped ? (uint32_t)b->files->rom_size : 0;
}

int boot_rom_again(struct machine *m, struct boot *b, uint32_t size, bool bios)
{
    struct boot_files *f = b->files;
    const uint32_t most = bios ? ROM_FILE_MAX : ROM_LOW_MAX;

    if (bios != (b->bios != NULL))
        return fail(-EINVAL, bios ? "the saved machine has a ROM of its own: "
                                    "-bios FILE is missing"
                                  : "-bios: the saved machine has none");
    int err = bios ? image_fill(&f->rom, ROM_FILE_MAX) : 0;
    if (err)
        return err;
    if (!size || size % 4096 || size > most || (bios && size != f->rom.size))
        return fail(-EINVAL, "the saved machine's ROM has %u bytes", size);
    return boot_rom_map(m, f, size);
}

/* Copies the end of the ROM below 1 MiB. */
static int boot_rom_load(struct boot_ctx *c, uint16_t *iret)
{
    struct boot_files *f = c->f;
    const struct image *rom = &f->rom;
    uint64_t low = rom->size < ROM_LOW_MAX ? rom->size : ROM_LOW_MAX;
    int err;

    if (rom->size == 0 || rom->size > ROM_FILE_MAX ||
        (rom->fd >= 0 && rom->size % 4096))
        return image_fail(rom,
                          "is no ROM: %llu bytes, not a multiple of 4096 "
                          "up to 16 MiB",
                          (unsigned long long)rom->size);
    err = image_load(rom, c->m, rom->size - low, gpa(HIMEM_BASE - low), low);
    if (err)
        return err;
    c->rom = boot_rom_handoff(c, iret);
    if (f->rom_mapped)
        return 0;
    return boot_rom_map(c->m, f, (rom->size + 4095) & ~4095ull);
}

/* ------------------------------------------------------------------- boot */

static int boot_load_kernel(struct boot_ctx *c)
{
    static uint8_t head[LOADER_HEAD];
    const struct image *img = &c->f->kernel;
    uint64_t n = img->size < sizeof(head) ? img->size : sizeof(head);
    int err = image_read(img, 0, head, n);

    if (err)
        return err;
    memset(head + n, 0, sizeof(head) - n);
    for (size_t i = 0; i < ARRAY_LEN(loaders); i++)
        if ((loaders[i]->any_entry || !c->b->entry) &&
            loaders[i]->probe(head, n)) {
            TRACE(BOOT, "boot: %s is %s", img->path, loaders[i]->name);
            return loaders[i]->load(c);
        }
    return image_fail(img, "not a kernel: neither a bzImage, an ELF file nor "
                           "a Multiboot image");
}

/* Slots by their rank; of the same rank, as they come. */
static void boot_fill_order(const struct machine *m, uint8_t *order)
{
    uint32_t slots = 0;

    for (unsigned n = 0; n < sizeof(((struct handoff *)0)->order) - 1; n++) {
        unsigned best = 0;
        for (unsigned s = 1; s < ARRAY_LEN(m->boot_rank); s++)
            if (m->boot_rank[s] && !(slots >> s & 1) &&
                (!best || m->boot_rank[s] < m->boot_rank[best]))
                best = s;
        order[n] = (uint8_t)best;
        slots |= 1u << best;
    }
}

/* What the ROM must know, if it is ours. */
static void boot_fill_handoff(struct boot_ctx *c)
{
    const struct boot *b = c->b;
    struct handoff *h = c->rom;

    if (!h)
        return;
    boot_fill_order(c->m, h->order);
    h->net_first = (b->once ? b->once : b->order) == 'n';
    h->strict = b->strict && h->order[0];
    h->reboot = b->reboot;
    memcpy(h->smbios, c->smbios, sizeof(h->smbios));
    h->kind = HANDOFF_RESET;
    h->ncpus = (uint16_t)c->m->ncpus;
    h->rsdp = (uint32_t)c->rsdp;
    h->nmap = (uint16_t)c->nmap;
    for (int i = 0; i < c->nmap; i++)
        h->map[i] = (struct handoff_e820){
            .addr = (uint32_t)c->map[i].addr,
            .addr_hi = (uint32_t)(c->map[i].addr >> 32),
            .size = (uint32_t)c->map[i].size,
            .size_hi = (uint32_t)(c->map[i].size >> 32),
            .type = c->map[i].type,
        };
}

int boot_load(struct machine *m, struct boot *b, struct boot_entry *e)
{
    struct boot_ctx c = {.m = m, .b = b, .e = e};
    uint16_t iret = 0;
    int err = b->files ? 0 : boot_open(b);

    if (!err)
        err = boot_fill_files(b->files, &m->ram);
    if (err)
        return err;
    *e = (struct boot_entry){0};
    c.f = b->files;
    c.cmdline = b->cmdline ? b->cmdline : "";
    c.low_end = m->ram.region[0].size;
    if (c.low_end < 2 * HIMEM_BASE)
        return fail(-EINVAL, "-m: a guest needs at least 2 MiB");
    err = firmware_build(m, b, &c.rsdp, c.smbios);
    if (!err)
        err = boot_rom_load(&c, &iret); /* a large one lies over the tables */
    if (err)
        return err;
    boot_low_memory_init(m, iret);
    c.nmap = e820_build(m, c.map, E820_MAX);
    boot_fill_handoff(&c);
    if (c.f->kernel.opt)
        return boot_load_kernel(&c);
    b->once = 0;
    if (c.rom || b->order == 'n')
        return boot_enter_rom(&c, HANDOFF_BOOT);
    e->bits = 16;
    e->cs = BIOS_BASE >> 4;
    e->rip = ROM_RESET_OFF;
    return 0;
}
