/* SPDX-License-Identifier: MIT */
/* Reads boot_params, hvm_start_info and Multiboot information. */

#include "boot.h"

#define E820_RAM 1
#define RANGES_MAX 128

/* boot_params offsets, zero-page.rst */
#define ZP_RSDP 0x070
#define ZP_E820_ENTRIES 0x1e8
#define ZP_CMD_LINE_PTR 0x228
#define ZP_E820_TABLE 0x2d0
#define ZP_E820_SIZE 20

/* Loader structures are packed and unaligned: read by offset. */
static u32 get32(const u8 *p)
{
    return *(const u32_unaligned *)p;
}

static u64 get64(const u8 *p)
{
    return *(const u64_unaligned *)p;
}

static void add_range(struct boot_info *bi, const u8 *size, u32 type)
{
    if (type == E820_RAM)
        bi->ram_bytes += get64(size);
}

static void parse_zero_page(struct boot_info *bi, const u8 *zp)
{
    unsigned n = zp[ZP_E820_ENTRIES];

    for (unsigned i = 0; i < n && i < RANGES_MAX; i++) {
        const u8 *e = zp + ZP_E820_TABLE + i * ZP_E820_SIZE;

        add_range(bi, e + 8, get32(e + 16));
    }
    bi->rsdp = get64(zp + ZP_RSDP);
    bi->cmdline = phys(get32(zp + ZP_CMD_LINE_PTR));
}

/* Xen's public/arch-x86/hvm/start_info.h: magic, version, flags, nr_modules,
 * modlist 16, cmdline 24, rsdp 32; from version 1 memmap 40, entries 48. */
static void parse_pvh(struct boot_info *bi, const u8 *si)
{
    if (get32(si) != 0x336ec578)
        return;
    bi->cmdline = phys(get64(si + 24));
    bi->rsdp = get64(si + 32);
    if (get32(si + 4) < 1)
        return;
    for (u32 i = 0; i < get32(si + 48) && i < RANGES_MAX; i++) {
        const u8 *e = (const u8 *)phys(get64(si + 40)) + i * 24;

        add_range(bi, e + 8, get32(e + 16));
    }
}

/* Multiboot 0.6.96 §3.3: flags bit 2 command line, bit 6 memory map. */
static void parse_mb1(struct boot_info *bi, const u8 *mbi)
{
    u32 flags = get32(mbi);

    if (flags & 1 << 2)
        bi->cmdline = phys(get32(mbi + 16));
    if (!(flags & 1 << 6))
        return;
    const u8 *e = phys(get32(mbi + 48));
    const u8 *end = e + get32(mbi + 44);

    for (unsigned i = 0; i < RANGES_MAX && e + 24 <= end; i++) {
        add_range(bi, e + 12, get32(e + 20));
        e += get32(e) + 4;
    }
}

/* One memory map tag (type 6): entry size at 8, entries from 16. */
static void parse_mb2_map(struct boot_info *bi, const u8 *tag, u32 size)
{
    u32 each = get32(tag + 8);

    for (u32 at = 16; each >= 24 && at + each <= size; at += each)
        add_range(bi, tag + at + 8, get32(tag + at + 16));
}

/* Multiboot 2 §3.6: tags of 8-byte alignment, type and size first. */
static void parse_mb2(struct boot_info *bi, const u8 *mbi)
{
    u32 total = get32(mbi);

    for (u32 at = 8; at + 8 <= total;) {
        u32 type = get32(mbi + at), size = get32(mbi + at + 4);

        if (type == 0 || size < 8 || size > total - at)
            return;
        if (type == 1)
            bi->cmdline = (const char *)mbi + at + 8;
        else if (type == 6)
            parse_mb2_map(bi, mbi + at, size);
        else if (type == 14 || type == 15)
            bi->rsdp = (uptr)mbi + at + 8;
        at += (size + 7) & ~7u;
    }
}

/* GRUB and QEMU put the kernel's file name first on Multiboot command
 * lines; options.c skips words it does not know, so nothing is needed. */
void boot_parse(struct boot_info *bi, u32 kind, const void *info)
{
    switch (kind) {
    case BOOT_PVH:
        bi->entry = "pvh";
        parse_pvh(bi, info);
        break;
    case BOOT_MB1:
        bi->entry = "multiboot1";
        parse_mb1(bi, info);
        break;
    case BOOT_MB2:
        bi->entry = "multiboot2";
        parse_mb2(bi, info);
        break;
    default:
        bi->entry = kind == BOOT_16 ? "16" : kind == BOOT_32 ? "32" : "64";
        parse_zero_page(bi, info);
    }
    if (!bi->cmdline)
        bi->cmdline = "";
}
