/* SPDX-License-Identifier: MIT */
/* bzImage: the Linux boot protocol on x86, by all three entries.
 *
 * Sections quoted are those of Linux's Documentation/arch/x86/boot.rst. Not
 * only Linux speaks it: memtest86+, iPXE (ipxe.lkrn), GRUB (lnxboot.img) and
 * the bundled guest do. The header is not believed: every size and address in
 * it is checked against the file and against RAM before use. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "machine/boot/place.h"

#define HDR_OFF 0x1f1
#define HDR_MAGIC 0x53726448 /* "HdrS" */
#define SETUP_SECTS_MAX 64

/* "Details of Header Fields" */
struct setup_header {
    uint8_t setup_sects;
    le16 root_flags;
    le32 syssize;
    le16 ram_size, vid_mode, root_dev, boot_flag;
    uint8_t jump, jump_len;
    le32 header;
    le16 version;
    le32 realmode_swtch;
    le16 start_sys_seg, kernel_version;
    uint8_t type_of_loader, loadflags;
    le16 setup_move_size;
    le32 code32_start, ramdisk_image, ramdisk_size, bootsect_kludge;
    le16 heap_end_ptr;
    uint8_t ext_loader_ver, ext_loader_type;
    le32 cmd_line_ptr, initrd_addr_max, kernel_alignment;
    uint8_t relocatable_kernel, min_alignment;
    le16 xloadflags;
    le32 cmdline_size, hardware_subarch;
    le64 hardware_subarch_data;
    le32 payload_offset, payload_length;
    le64 setup_data, pref_address;
    le32 init_size, handover_offset, kernel_info_offset;
} __attribute__((packed));
_Static_assert(HDR_OFF + offsetof(struct setup_header, header) == 0x202, "");
_Static_assert(HDR_OFF + offsetof(struct setup_header, cmd_line_ptr) == 0x228,
               "");
_Static_assert(HDR_OFF + offsetof(struct setup_header, init_size) == 0x260, "");

enum { LOADED_HIGH = 1 << 0, CAN_USE_HEAP = 1 << 7 };   /* loadflags */
enum { XLF_KERNEL_64 = 1 << 0, XLF_ABOVE_4G = 1 << 1 }; /* xloadflags */
enum { SETUP_RNG_SEED = 9 };

/* boot_params ("zero page"), the parts a loader writes: zero-page.rst */
struct boot_params {
    uint8_t screen_info[0x40], pad1[0x30];
    le64 acpi_rsdp_addr; /* 070 */
    uint8_t pad2[0x48];
    le32 ext_ramdisk_image, ext_ramdisk_size, ext_cmd_line_ptr; /* 0c0 */
    uint8_t pad3[0x114];
    le32 alt_mem_k; /* 1e0 */
    uint8_t pad4[4];
    uint8_t e820_entries; /* 1e8 */
    uint8_t pad5[8];
    struct setup_header hdr; /* 1f1 */
    uint8_t pad6[0x2d0 - HDR_OFF - sizeof(struct setup_header)];
    struct {
        le64 addr, size;
        le32 type;
    } __attribute__((packed)) e820[128]; /* 2d0 */
    uint8_t pad7[0x330];
} __attribute__((packed));
_Static_assert(offsetof(struct boot_params, ext_ramdisk_image) == 0xc0, "");
_Static_assert(offsetof(struct boot_params, e820_entries) == 0x1e8, "");
_Static_assert(offsetof(struct boot_params, hdr) == HDR_OFF, "");
_Static_assert(offsetof(struct boot_params, e820) == 0x2d0, "");
_Static_assert(sizeof(struct boot_params) == 4096, "");

/* A checked image and where its parts go. */
struct linux_boot {
    struct setup_header hdr; /* zeros beyond what the image has */
    uint64_t setup_size;     /* real-mode part, boot sector included */
    uint64_t payload_size;   /* the rest of the file */
    int bits;                /* entry */
    uint64_t load, need;     /* protected-mode part, what it needs there */
    uint64_t initrd, initrd_size;
    uint32_t setup; /* real-mode part (16-bit entry) */
};

static bool linux_probe(const uint8_t *head, uint64_t n)
{
    le32 magic;

    memcpy(&magic, head + 0x202, 4);
    return n >= 0x206 && head[0x1fe] == 0x55 && head[0x1ff] == 0xaa &&
           magic == HDR_MAGIC;
}

/* ---------------------------------------------------------------- the image */

/* Reads the header up to its own end ("The total size of the header": 0x202
 * plus the byte at 0x201). */
static int linux_read_header(const struct image *img, struct linux_boot *lx)
{
    struct setup_header *h = &lx->hdr;
    uint64_t fixed = offsetof(struct setup_header, realmode_swtch);
    uint64_t sects, end;
    int err = image_read(img, HDR_OFF, h, fixed);

    if (err)
        return err;
    sects = h->setup_sects ? h->setup_sects : 4;
    end = 0x202 + (uint64_t)h->jump_len;
    if (h->version < 0x200)
        return image_fail(img, "boot protocol %x.%02x is older than 2.00",
                          h->version >> 8, h->version & 0xff);
    if (sects > SETUP_SECTS_MAX)
        return image_fail(img,
                          "damaged header: %d sectors of setup, at most "
                          "%d are possible",
                          (int)sects, SETUP_SECTS_MAX);
    lx->setup_size = (sects + 1) * 512;
    if (lx->setup_size >= img->size)
        return image_fail(img,
                          "truncated: the header promises %llu bytes of "
                          "setup and a kernel, the file has %llu",
                          (unsigned long long)lx->setup_size,
                          (unsigned long long)img->size);
    if (end < HDR_OFF + fixed || end > lx->setup_size)
        return image_fail(img, "damaged header: it ends at %#llx",
                          (unsigned long long)end);
    if (end > HDR_OFF + sizeof(*h))
        end = HDR_OFF + sizeof(*h);
    lx->payload_size = img->size - lx->setup_size;
    return image_read(img, HDR_OFF, h, end - HDR_OFF);
}

/* Is it Linux that speaks this protocol? Its version string ("kernel_version")
 * is made by arch/x86/boot/version.c: RELEASE (USER@HOST) #BUILD. Those of
 * iPXE, memtest86+, memdisk and GRUB are not like that. */
static bool linux_is_linux(const struct image *img, const struct linux_boot *lx)
{
    char text[256] = "";
    uint64_t at = (uint64_t)lx->hdr.kernel_version + 0x200;
    uint64_t n = sizeof(text) - 1;
    const char *user, *host;

    if (!lx->hdr.kernel_version || at >= lx->setup_size)
        return false;
    if (n > lx->setup_size - at)
        n = lx->setup_size - at;
    if (image_read(img, at, text, n))
        return false;
    user = strstr(text, " (");
    host = user ? strchr(user, '@') : NULL;
    return host && strstr(host, ") #");
}

/* Fields that an older protocol does not have read as its defaults. */
static void linux_default_fields(struct setup_header *h)
{
    if (h->version < 0x203 || !h->initrd_addr_max)
        h->initrd_addr_max = 0x37ffffff;
    if (h->version < 0x205) {
        h->relocatable_kernel = 0;
        h->kernel_alignment = 0;
    }
    if (h->version < 0x206)
        h->cmdline_size = 255;
    if (h->version < 0x208)
        h->payload_offset = h->payload_length = 0;
    if (h->version < 0x20a) {
        h->pref_address = 0;
        h->init_size = 0;
    }
    if (h->version < 0x20c)
        h->xloadflags = 0;
    if (h->version < 0x204)
        h->syssize &= 0xffff;
}

/* Is all of the kernel there? "syssize" counts 16-byte units, rounded up. */
static int linux_check_payload(const struct image *img,
                               const struct linux_boot *lx)
{
    const struct setup_header *h = &lx->hdr;
    uint64_t end = (uint64_t)h->payload_offset + h->payload_length;

    if (h->version >= 0x204 && (uint64_t)h->syssize * 16 > end)
        end = (uint64_t)h->syssize * 16 - 15;
    if (end > lx->payload_size)
        return image_fail(img,
                          "truncated: the header promises %llu bytes, "
                          "the file has %llu",
                          (unsigned long long)(lx->setup_size + end),
                          (unsigned long long)img->size);
    if (h->kernel_alignment & (h->kernel_alignment - 1))
        return image_fail(img, "damaged header: kernel_alignment is %#x",
                          h->kernel_alignment);
    return 0;
}

/* The entry: 64-bit where the image has one, 32-bit where it says how much
 * memory that needs (2.10), real mode else: older images, which are mostly no
 * Linux (iPXE, GRUB), have nothing sensible at code32_start. */
static int linux_choose_entry(struct boot_ctx *c, struct linux_boot *lx)
{
    const struct setup_header *h = &lx->hdr;
    bool has64 = h->xloadflags & XLF_KERNEL_64;
    bool high = h->loadflags & LOADED_HIGH;

    lx->bits = c->b->entry;
    if (!lx->bits)
        lx->bits = has64 && high ? 64 : high && h->init_size ? 32 : 16;
    if (lx->bits == 64 && !has64)
        return image_fail(&c->f->kernel, "has no 64-bit entry; leave out "
                                         "-entry 64");
    if (lx->bits != 16 && (!high || h->version < 0x202))
        return image_fail(&c->f->kernel,
                          "can be entered in real mode only; "
                          "leave out -entry %d",
                          lx->bits);
    return 0;
}

/* ---------------------------------------------------------------- placement */

/* Where the protected-mode part goes: the preferred address ("pref_address"),
 * else 1 MiB, where every kernel since 2.00 loads. A relocatable kernel whose
 * preferred address is not aligned, or is below 1 MiB, is moved up. Never down:
 * Linux moves itself up to the preferred address again. */
static int linux_place_kernel(struct boot_ctx *c, struct linux_boot *lx)
{
    const struct setup_header *h = &lx->hdr;
    uint64_t align = h->kernel_alignment ? h->kernel_alignment : 1;
    uint64_t at = h->pref_address ? h->pref_address : HIMEM_BASE;

    lx->need = lx->payload_size;
    if (h->init_size > lx->need)
        lx->need = h->init_size;
    if (!(h->loadflags & LOADED_HIGH)) { /* zImage: 10000..90000 */
        lx->load = LOW_REALMODE;
        lx->setup = 0x90000;
        if (lx->need > lx->setup - lx->load)
            return image_fail(&c->f->kernel,
                              "zImage of %llu bytes does not "
                              "fit below 640 KiB",
                              (unsigned long long)lx->need);
        return 0;
    }
    lx->setup = h->version >= 0x202 ? LOW_REALMODE : 0x90000;
    if (lx->bits == 16) /* it moves itself (setup loads at 100000) */
        at = HIMEM_BASE;
    else if (h->relocatable_kernel && (at < HIMEM_BASE || at & (align - 1)))
        at = ((at < HIMEM_BASE ? HIMEM_BASE : at) + align - 1) & -align;
    lx->load = at;
    if (at < HIMEM_BASE || at > c->low_end || lx->need > c->low_end - at)
        return image_fail(&c->f->kernel,
                          "needs %llu MiB of guest RAM below "
                          "4 GiB (%llu KiB at %#llx), -m gives %llu MiB",
                          (unsigned long long)((at + lx->need + 0xfffff) >> 20),
                          (unsigned long long)(lx->need >> 10),
                          (unsigned long long)at,
                          (unsigned long long)(c->low_end >> 20));
    return 0;
}

/* As high as the kernel can reach, above the kernel ("ramdisk_image",
 * "initrd_addr_max"); above 4 GiB where it can and must. */
static int linux_place_initrd(struct boot_ctx *c, struct linux_boot *lx)
{
    const struct setup_header *h = &lx->hdr;
    const struct ram_region *r = &c->m->ram.region[1];
    uint64_t size = boot_initrd_size(c->f);
    uint64_t floor = lx->load + lx->need;
    uint64_t top = (uint64_t)h->initrd_addr_max + 1;
    bool above = lx->bits == 64 && (h->xloadflags & XLF_ABOVE_4G);

    lx->initrd_size = size;
    if (!c->f->ninitrd)
        return 0;
    if (h->pref_address && floor < h->pref_address + lx->need)
        floor = h->pref_address + lx->need; /* where setup will move it */
    if (floor < HIMEM_BASE)
        floor = HIMEM_BASE;
    lx->initrd = boot_initrd_place(c, size, floor, top);
    if (lx->initrd)
        return 0;
    if (above && c->m->ram.n > 1 && size <= r->size) {
        lx->initrd = (r->gpa + r->size - size) & ~0xfffull;
        return 0;
    }
    if (top > LOWRAM_MAX)
        top = LOWRAM_MAX;
    return boot_initrd_nofit(c, size, floor, top, above);
}

/* ----------------------------------------------------------------- contents */

/* A seed for the kernel's random numbers, so that it does not wait for
 * interrupts to become unpredictable ("setup_data").
 *
 * syscalls worker: getrandom */
static uint64_t linux_put_setup_data(struct boot_ctx *c)
{
    struct {
        le64 next;
        le32 type, len;
        uint8_t seed[32];
    } *d = boot_low(c, LOW_SETUP_DATA, sizeof(*d));

    memset(d, 0, sizeof(*d));
    if (getrandom(d->seed, sizeof(d->seed), GRND_NONBLOCK) !=
        (ssize_t)sizeof(d->seed))
        return 0;
    d->type = SETUP_RNG_SEED;
    d->len = sizeof(d->seed);
    return LOW_SETUP_DATA;
}

/* The header fields a loader writes, for all entries. */
static void linux_fill_header(struct linux_boot *lx, uint32_t cmdline)
{
    struct setup_header *h = &lx->hdr;

    h->type_of_loader = 0xff; /* not registered */
    h->vid_mode = 0xffff;     /* normal */
    h->ramdisk_image = (le32)lx->initrd;
    h->ramdisk_size = (le32)lx->initrd_size;
    h->cmd_line_ptr = cmdline;
    h->ext_loader_ver = h->ext_loader_type = 0;
    if (lx->bits != 16)
        h->code32_start = (le32)lx->load;
}

static int linux_put_boot_params(struct boot_ctx *c, struct linux_boot *lx)
{
    struct boot_params *p = boot_low(c, LOW_PARAMS, sizeof(*p));

    memset(p, 0, sizeof(*p));
    linux_fill_header(lx, LOW_CMDLINE);
    if (lx->hdr.version >= 0x209)
        lx->hdr.setup_data = linux_put_setup_data(c);
    p->hdr = lx->hdr;
    p->acpi_rsdp_addr = c->rsdp;
    p->ext_ramdisk_image = (le32)(lx->initrd >> 32);
    p->ext_ramdisk_size = (le32)(lx->initrd_size >> 32);
    p->alt_mem_k = (le32)((c->low_end - HIMEM_BASE) >> 10);
    p->e820_entries = (uint8_t)c->nmap;
    for (int i = 0; i < c->nmap; i++) {
        p->e820[i].addr = c->map[i].addr;
        p->e820[i].size = c->map[i].size;
        p->e820[i].type = c->map[i].type;
    }
    c->e->rsi = LOW_PARAMS;
    return boot_put_cmdline(c, lx->hdr.cmdline_size);
}

/* "Running the Kernel": the real-mode part at X, its heap and stack up to
 * X+E000, the command line there. The ROM enters it after its POST. */
#define HEAP_END 0xe000
static int linux_put_realmode(struct boot_ctx *c, struct linux_boot *lx)
{
    const struct image *img = &c->f->kernel;
    struct setup_header *h = &lx->hdr;
    uint64_t len = strlen(c->cmdline);
    uint64_t max = lx->setup == LOW_REALMODE ? 0x10000 : EBDA_BASE - 0x9e000;
    uint8_t *x = ram_ptr(&c->m->ram, gpa(lx->setup), HEAP_END + max);
    int err;

    if (h->cmdline_size < max)
        max = (uint64_t)h->cmdline_size + 1;
    if (!x || len >= max)
        return image_fail(img,
                          "-append is %llu characters long, this kernel "
                          "takes %llu",
                          (unsigned long long)len, (unsigned long long)max - 1);
    err = image_load(img, c->m, 0, gpa(lx->setup), lx->setup_size);
    if (err)
        return err;
    linux_fill_header(lx, lx->setup + HEAP_END);
    memcpy(x + HDR_OFF + offsetof(struct setup_header, vid_mode), &h->vid_mode,
           2);
    x[0x210] = h->type_of_loader;
    memcpy(x + 0x218, &h->ramdisk_image, 4);
    memcpy(x + 0x21c, &h->ramdisk_size, 4);
    if (h->version >= 0x201) {
        le16 heap_end = HEAP_END - 0x200;
        x[0x211] |= CAN_USE_HEAP;
        memcpy(x + 0x224, &heap_end, 2);
    }
    if (h->version >= 0x202)
        memcpy(x + 0x228, &h->cmd_line_ptr, 4);
    else
        memcpy(x + 0x20, (le16[]){0xa33f, HEAP_END}, 4); /* the old way */
    memcpy(x + HEAP_END, c->cmdline, len + 1);
    err = boot_enter_rom(c, HANDOFF_LINUX);
    if (err)
        return err;
    c->rom->kernel_ds = (uint16_t)(lx->setup >> 4);
    c->rom->kernel_cs = (uint16_t)((lx->setup >> 4) + 0x20);
    c->rom->kernel_sp = HEAP_END;
    return 0;
}

static int linux_load(struct boot_ctx *c)
{
    const struct image *img = &c->f->kernel;
    struct linux_boot lx = {0};
    int err = linux_read_header(img, &lx);

    if (err)
        return err;
    if (linux_is_linux(img, &lx))
        boot_is_linux(c);
    linux_default_fields(&lx.hdr);
    err = linux_check_payload(img, &lx);
    if (!err)
        err = linux_choose_entry(c, &lx);
    if (!err)
        err = linux_place_kernel(c, &lx);
    if (!err)
        err = linux_place_initrd(c, &lx);
    if (!err)
        err =
            image_load(img, c->m, lx.setup_size, gpa(lx.load), lx.payload_size);
    if (!err && c->f->ninitrd)
        err = boot_put_initrds(c, gpa(lx.initrd));
    if (err)
        return err;
    TRACE(BOOT, "boot: %d-bit entry, kernel at %#llx, initrd at %#llx", lx.bits,
          (unsigned long long)lx.load, (unsigned long long)lx.initrd);
    if (lx.bits == 16)
        return linux_put_realmode(c, &lx);
    err = linux_put_boot_params(c, &lx);
    if (err)
        return err;
    return lx.bits == 64 ? boot_enter64(c, lx.load + 0x200)
                         : boot_enter32(c, lx.load);
}

int linux_enter_flat(struct boot_ctx *c, int bits, uint64_t rip, uint64_t end)
{
    struct linux_boot lx = {
        .hdr =
            {
                .boot_flag = 0xaa55,
                .header = HDR_MAGIC,
                .version = 0x20c,
                .loadflags = LOADED_HIGH,
                .initrd_addr_max = 0x7fffffff,
                .kernel_alignment = 0x1000000,
                .xloadflags = XLF_KERNEL_64 | XLF_ABOVE_4G,
                .cmdline_size = 2047,
            },
        .bits = bits,
        .load = HIMEM_BASE,
        .need = end - HIMEM_BASE,
    };
    int err = linux_place_initrd(c, &lx);

    if (!err && c->f->ninitrd)
        err = boot_put_initrds(c, gpa(lx.initrd));
    if (!err)
        err = linux_put_boot_params(c, &lx);
    if (err)
        return err;
    return bits == 64 ? boot_enter64(c, rip) : boot_enter32(c, rip);
}

const struct loader loader_linux = {"a bzImage", true, linux_probe, linux_load};
