/* SPDX-License-Identifier: MIT */
/* The e1000's registers: the table of regs.h, and accesses by it. */
#include "devices/e1000/state.h"

/* ------------------------------------------------------------ the table */

#define e1000_rd_plain NULL
#define e1000_wr_none NULL
#define IS_HOT_hot true
#define IS_HOT_cold false

const struct e1000_row e1000_rows[] = {{.name = ""}, /* row 0: no register */
#define REG(reg, o, n, step, value, mask, lock, rd, wr)                        \
    {.name = #reg,                                                             \
     .off = o,                                                                 \
     .count = n,                                                               \
     .stride = step,                                                           \
     .reset = value,                                                           \
     .wmask = mask,                                                            \
     .hot = IS_HOT_##lock,                                                     \
     .read = e1000_rd_##rd,                                                    \
     .write = e1000_wr_##wr},
#define ALIAS(o, n, target) {.off = o, .count = n, .stride = 4, .to = target},
                                       E1000_REGS(REG, ALIAS)
#undef REG
#undef ALIAS
};
const unsigned e1000_nrows = ARRAY_LEN(e1000_rows);

/* Row of each dword below PBM, the last row; 0: none. */
static uint8_t row_of[PBM / 4];
_Static_assert(ARRAY_LEN(e1000_rows) < 256, "row_of is bytes");

void e1000_fill_row_of(void)
{
    for (unsigned i = 1; i < e1000_nrows; i++) {
        const struct e1000_row *r = &e1000_rows[i];
        for (uint32_t k = 0; k < r->count && r->off < PBM; k++)
            row_of[(r->off + k * r->stride) / 4] = (uint8_t)i;
    }
}

static const struct e1000_row *e1000_pbm_row(void)
{
    const struct e1000_row *r = e1000_rows;
    while (r->off != PBM)
        r++;
    return r;
}

/* The row of a dword offset, NULL if there is none. An alias becomes what it
 * stands for. */
const struct e1000_row *e1000_row_at(uint32_t *off)
{
    const struct e1000_row *r;
    if (*off >= PBM)
        return *off < E1000_MMIO_SIZE ? e1000_pbm_row() : NULL;
    r = &e1000_rows[row_of[*off / 4]];
    if (r->to) {
        *off = r->to + (*off - r->off);
        r = &e1000_rows[row_of[*off / 4]];
    }
    return *r->name ? r : NULL;
}

/* -------------------------------------------------------------- accesses */

static void e1000_trace_access(struct e1000 *e, const char *what, uint32_t off,
                               const struct e1000_row *r, uint32_t val)
{
    if (!r)
        trace_print("%s: %s %05x %08x (no register)", e->dev.id, what, off,
                    val);
    else if (r->count == 1)
        trace_print("%s: %s %s %08x", e->dev.id, what, r->name, val);
    else
        trace_print("%s: %s %s[%u] %08x", e->dev.id, what, r->name,
                    (off - r->off) / r->stride, val);
}

/* As wide as what the bus hands out, so that a read of a dword ends with it. */
static uint64_t e1000_read32(struct e1000 *e, uint32_t off)
{
    const struct e1000_row *r = e1000_row_at(&off);
    uint32_t v = 0;
    if (r)
        v = r->read ? r->read(e, off) : reg_get(e, off);
    if (__builtin_expect(trace_mask & TRACE_E1000, 0))
        e1000_trace_access(e, "read", off, r, v);
    return v;
}

static void e1000_write32(struct e1000 *e, uint32_t off, uint32_t val)
{
    const struct e1000_row *r = e1000_row_at(&off);
    if (__builtin_expect(trace_mask & TRACE_E1000, 0))
        e1000_trace_access(e, "write", off, r, val);
    if (!r || !r->write)
        return;
    if (r->hot) {
        r->write(e, off, val & r->wmask);
        return;
    }
    e1000_lock(e);
    r->write(e, off, val & r->wmask);
    e1000_unlock(e);
}

void e1000_wr_plain(struct e1000 *e, uint32_t off, uint32_t val)
{
    uint32_t mask = e1000_row_at(&off)->wmask;
    reg_put(e, off, (reg_get(e, off) & ~mask) | val);
}

/* SDM 13.2: registers are dwords. Smaller reads get their lanes of one read;
 * smaller writes change the lanes of registers that only store, others ignore
 * them; what is not inside one dword (or two whole ones) does nothing. */
static uint32_t e1000_lanes(unsigned width)
{
    return width < 4 ? (1u << 8 * width) - 1 : ~0u;
}

static RARE uint64_t e1000_read_odd(struct e1000 *e, uint32_t at, unsigned lane,
                                    unsigned width)
{
    if (width == 8 && !lane)
        return e1000_read32(e, at) | e1000_read32(e, at + 4) << 32;
    if (lane + width > 4)
        return 0;
    return e1000_read32(e, at) >> 8 * lane & e1000_lanes(width);
}

static RARE void e1000_write_odd(struct e1000 *e, uint32_t at, unsigned lane,
                                 unsigned width, uint64_t val)
{
    uint32_t mask, to = at;
    const struct e1000_row *r;
    if (width == 8 && !lane) {
        e1000_write32(e, at, (uint32_t)val);
        e1000_write32(e, at + 4, (uint32_t)(val >> 32));
        return;
    }
    r = e1000_row_at(&to);
    if (lane + width > 4 || !r ||
        (r->write != e1000_wr_plain && r->write != e1000_wr_filter))
        return;
    mask = e1000_lanes(width) << 8 * lane;
    e1000_write32(
        e, at, (reg_get(e, to) & ~mask) | ((uint32_t)val << 8 * lane & mask));
}

/* Dwords, which is what drivers use, save no registers for the others. */
uint64_t e1000_mmio_read(void *owner, uint64_t off, unsigned width)
{
    uint32_t at = (uint32_t)off & ~3u, lane = (uint32_t)off & 3;
    if (width == 4 && !lane)
        return e1000_read32(owner, at);
    return e1000_read_odd(owner, at, lane, width);
}

void e1000_mmio_write(void *owner, uint64_t off, unsigned width, uint64_t val)
{
    uint32_t at = (uint32_t)off & ~3u, lane = (uint32_t)off & 3;
    if (width == 4 && !lane)
        e1000_write32(owner, at, (uint32_t)val);
    else
        e1000_write_odd(owner, at, lane, width, val);
}

/* SDM 13.2.2: IOADDR at 0, IODATA at 4, dwords. Addresses that are not a
 * register's do nothing. */
uint64_t e1000_io_read(void *owner, uint64_t off, unsigned width)
{
    struct e1000 *e = owner;
    uint32_t addr = atomic_load(&e->ioaddr);
    if (off < 4 && (off & 3) + width <= 4)
        return addr >> 8 * off & e1000_lanes(width);
    if (off != 4 || width != 4 || addr & 3 || addr >= E1000_MMIO_SIZE)
        return 0;
    return e1000_read32(e, addr);
}

void e1000_io_write(void *owner, uint64_t off, unsigned width, uint64_t val)
{
    struct e1000 *e = owner;
    uint32_t addr = atomic_load(&e->ioaddr);
    if (width != 4)
        return;
    if (off == 0)
        atomic_store(&e->ioaddr, (uint32_t)val & 0xfffff);
    else if (off == 4 && !(addr & 3) && addr < E1000_MMIO_SIZE)
        e1000_write32(e, addr, (uint32_t)val);
}
