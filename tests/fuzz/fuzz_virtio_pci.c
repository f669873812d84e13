/* SPDX-License-Identifier: MIT */
/* The virtio-pci register file: every structure of the BAR, the legacy ports,
 * the configuration window, MSI-X and COMMAND, directly and through
 * configuration space, while rings run that nobody protects. */
#include "tests/fuzz/fuzz_virtio.h"

static struct fv v;

/* Values a register may take: small ones, addresses, extremes. */
static uint64_t value(struct fuzz *f)
{
    uint8_t how = fuzz_u8(f);
    switch (how & 3) {
    case 0:
        return how >> 2;
    case 1:
        return fv_ring(how >> 2 & 3) + 0x200ull * (how >> 4 & 3);
    case 2:
        return 1ull << (how >> 2);
    default:
        return fuzz_take(f, 8);
    }
}

static void access_bar(struct fuzz *f, bool write)
{
    uint8_t where = fuzz_u8(f);
    unsigned width = 1u << (where >> 6);
    uint64_t at = v.common + (where & 0x3f);
    if ((where & 0x3f) >= 0x3c)
        at = v.bar + fuzz_u16(f) % 0x4010;
    if (write)
        guest_write(v.m, false, at, width, value(f));
    else
        guest_read(v.m, false, at, width);
}

/* The ports of a transitional device; its rings lie where FV_RAM has pages. */
static void legacy(struct fuzz *f)
{
    uint8_t where = fuzz_u8(f);
    uint64_t at = drv_bar(v.m, v.slot, 0) + (where & 0x3f);
    unsigned width = 1u << (where >> 6) % 3;
    if (fuzz_u8(f) & 1)
        guest_write(v.m, true, at, width, value(f));
    else
        guest_read(v.m, true, at, width);
}

/* A configuration of one queue, all registers in their order. */
static void configure(struct fuzz *f)
{
    static const uint8_t reg[][2] = {{0x16, 2}, {0x18, 2}, {0x1a, 2}, {0x20, 8},
                                     {0x28, 8}, {0x30, 8}, {0x1c, 2}};
    for (size_t i = 0; i < ARRAY_LEN(reg); i++)
        guest_write(v.m, false, v.common + reg[i][0], reg[i][1], value(f));
}

static void window(struct fuzz *f, bool write)
{
    unsigned cap = v.window;
    uint8_t how = fuzz_u8(f);
    drv_cfg_write(v.m, v.slot, cap + 4, 1, how & 0x80 ? fuzz_u8(f) : 4);
    drv_cfg_write(v.m, v.slot, cap + 8, 4,
                  how & 0x40 ? fuzz_u32(f) : fuzz_u16(f) & 0x3fff);
    drv_cfg_write(v.m, v.slot, cap + 12, 4,
                  how & 0x20 ? fuzz_u32(f) : 1u << (how & 3));
    unsigned width = 1u << (how >> 2 & 3);
    if (width > 4)
        width = 4;
    if (write)
        drv_cfg_write(v.m, v.slot, cap + 16, width, (uint32_t)value(f));
    else
        drv_cfg_read(v.m, v.slot, cap + 16, width);
}

static void config_space(struct fuzz *f)
{
    unsigned off = fuzz_u8(f), width = 1u << (fuzz_u8(f) % 3);
    if ((off & 3) + width > 4)
        off &= ~3u;
    drv_cfg_write(v.m, v.slot, off, width, fuzz_u32(f));
    drv_cfg_read(v.m, v.slot, off, width);
    /* The BAR may have moved; follow it. */
    uint64_t bar = drv_bar(v.m, v.slot, 4), by = bar - v.bar;
    v.bar += by;
    v.common += by;
    v.notify += by;
    v.isr += by;
    v.config += by;
}

static void msix(struct fuzz *f)
{
    uint64_t table = drv_msix_table(v.m, v.slot);
    uint8_t how = fuzz_u8(f);
    if (how & 1)
        drv_msix_on(v.m, v.slot, v.nq + 1);
    else
        guest_write(v.m, false, table + fuzz_u16(f) % 0x1000, 1u << (how >> 6),
                    value(f));
}

static void act(struct fuzz *f)
{
    uint8_t b = fuzz_u8(f);
    switch (b & 15) {
    case 0:
    case 1:
    case 2:
        access_bar(f, true);
        break;
    case 3:
        access_bar(f, false);
        break;
    case 4:
        configure(f);
        break;
    case 5:
        window(f, b & 0x80);
        break;
    case 6:
        config_space(f);
        break;
    case 7:
        msix(f);
        break;
    case 8:
        fv_start(&v, fv_features(fuzz_u8(f)) | (uint64_t)(b >> 4) << 34);
        break;
    case 9: /* status, by itself: the most fertile one */
        drv_w8(v.m, v.common + 0x14, fuzz_u8(f));
        break;
    case 10:
        fake_kick_fail(v.m, b >> 4, -28);
        break;
    case 11:
        fake_run_loop(v.m);
        break;
    case 12:
    case 13:
        legacy(f);
        break;
    default:
        fv_act(&v, f);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    if (!v.m)
        fv_make(&v, "netdev=n0,mac=52:54:00:12:34:56,disable-legacy=off", 1);
    fv_begin(&v);
    fv_layout(&v, fuzz_u8(&f));
    if (fuzz_u8(&f) & 1)
        fv_start(&v, fv_features(fuzz_u8(&f)));
    for (int i = 0; f.n && i < FV_ACTS; i++)
        act(&f);
    fv_end(&v, true);
    return 0;
}
