/* SPDX-License-Identifier: MIT */
/* The e1000: register accesses of every width, descriptors and frames in RAM,
 * packets from the wire, time; rings are small and near each other so that
 * inputs find their way. */
#include <stdlib.h>

#include "devices/e1000/state.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fakedrv.h"

#define RAM 0x40000u

static struct machine *m;
static struct fake_net *net;
static unsigned slot;
static uint64_t bar, io;
static uint32_t budget; /* bytes the socket to the card still takes */

static void make(void)
{
    m = fake_pc(RAM);
    net = fake_net_new("n0", 1);
    CHECK_EQ(fake_device(m, &e1000_class, "fuzz", "netdev=n0,fcs=on"), 0);
}

/* A card that runs: link up, both rings, contexts sane enough for TSO. */
static void start(bool offload)
{
    static const uint32_t set[][2] = {
        {CTRL, CTRL_SLU | CTRL_VME},
        {TDBAL, 0x1000},
        {TDLEN, 0x200},
        {RDBAL, 0x2000},
        {RDLEN, 0x200},
        {TCTL, TCTL_EN | TCTL_PSP},
        {RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_LPE},
    };
    struct e1000 *e;
    slot = (unsigned)drv_find(m, 0x8086, 0x100e, 0);
    e = pci_fn_at(m->pci, slot)->owner;
    e->offload = offload ? fake_net_dev(net)->offload : 0;
    drv_enable(m, slot, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
    bar = drv_bar(m, slot, 0);
    io = drv_bar(m, slot, 1);
    fake_run_loop(m);
    fake_advance_ns(2000000);
    fake_run_loop(m);
    memset(fake_ram(m, 0, RAM), 0, RAM);
    for (unsigned i = 0; i < 32; i++) {
        uint64_t a = 0x10000 + 2048 * i;
        memcpy(fake_ram(m, 0x2000 + 16 * i, 8), &a, 8);
    }
    for (unsigned i = 0; i < ARRAY_LEN(set); i++)
        drv_w32(m, bar + set[i][0], set[i][1]);
}

static uint32_t reg_offset(struct fuzz *f)
{
    const struct e1000_row *r;
    uint8_t b = fuzz_u8(f);
    if (b == 0xff)
        return fuzz_u32(f) % (E1000_MMIO_SIZE - 7);
    r = &e1000_rows[1 + b % (e1000_nrows - 1)];
    return r->off + fuzz_u8(f) % r->count * r->stride;
}

static void access_register(struct fuzz *f, uint8_t how)
{
    uint32_t off = reg_offset(f);
    unsigned width = how & 0x40 ? fuzz_width(f) : 4;
    if (how & 0x20) {
        guest_write(m, true, io, 4, off);
        guest_write(m, true, io + 4, width, fuzz_u32(f));
        guest_read(m, true, io + fuzz_u8(f) % 64, width);
    } else if (how & 0x10) {
        guest_read(m, false, bar + off, width);
    } else {
        guest_write(m, false, bar + off, width, fuzz_take(f, width));
    }
}

/* A descriptor in either ring. Buffers mostly in RAM. */
static void descriptor(struct fuzz *f, uint8_t how)
{
    uint64_t *p = fake_ram(
        m, (how & 0x10 ? 0x2000 : 0x1000) + 16 * (fuzz_u8(f) & 31), 16);
    p[0] = how & 0x20 ? fuzz_take(f, 8) : 0x8000 + fuzz_u16(f);
    p[1] = how & 0x40 ? fuzz_take(f, 8)
                      : (uint64_t)fuzz_u8(f) << 24 | fuzz_u16(f) |
                            (uint64_t)fuzz_take(f, 4) << 32;
}

/* A TCP packet's beginning at 0x8000, its context and its data descriptor. */
static void tso(struct fuzz *f)
{
    static const uint8_t ip[] = {0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6};
    uint32_t len = fuzz_u16(f), at = fuzz_u8(f) & 15;
    uint64_t mss = fuzz_u16(f), *d = fake_ram(m, 0x1000 + 32 * at, 32);
    uint8_t *p = fake_ram(m, 0x8000, 64);
    memcpy(p + 14, ip, sizeof(ip));
    p[46] = 0x50;
    d[0] = 14 | 24 << 8 | 33 << 16 | 34ull << 32 | 50ull << 40;
    d[1] = (len | TXD_DEXT | TXD_TSE | TUCMD_TCP | TUCMD_IP) |
           (54ull << 8 | mss << 16) << 32;
    d[2] = 0x8000;
    d[3] = (len + 54) | TXD_DEXT | TXD_DTYP_DATA | TXD_TSE | TXD_EOP | TXD_RS |
           TXD_IFCS | (uint64_t)fuzz_u16(f) << 40;
    guest_write(m, false, bar + TDT, 4, fuzz_u8(f) & 31);
}

static void wire(struct fuzz *f)
{
    static uint8_t frame[66000];
    struct net_hdr h = {0};
    uint32_t len = 1 + fuzz_u16(f), n = fuzz_u8(f) & 63;
    uint8_t how = fuzz_u8(f);
    if (how & 1) {
        uint64_t v = fuzz_take(f, 8);
        memcpy(&h, &v, 8);
        h.csum_offset = fuzz_u8(f);
    }
    eth_put16(frame + 12, how & 2 ? 0x0800 : 0x86dd);
    frame[14] = how & 2 ? 0x45 : 0x60;
    frame[23] = how & 4 ? 6 : 17;
    frame[46] = 0x50;
    for (uint32_t i = 0; i < n; i++)
        frame[(how & 8 ? 12 : 0) + i] = fuzz_u8(f);
    if (len > 9000 && !(how & 0x80))
        len = 1 + len % 9000;
    uint32_t cost = 2 * len + 1000; /* the kernel rounds up to 2^n */
    if (cost > budget)
        return;
    budget -= cost;
    fake_net_give(net, 0, &h, frame, len);
}

static void drain(void)
{
    static uint8_t frame[70000];
    while (fake_net_take(net, 0, NULL, frame, sizeof(frame)) >= 0)
        continue;
}

/* What the card did not read of the input before. */
static void flush_wire(void)
{
    static uint8_t frame[70000];
    struct netbe *be = fake_net_dev(net)->q[0];
    struct iovec iov = {frame, sizeof(frame)};
    fake_net_fail_recv(net, 0, 0);
    while (be->recv(be, &iov, 1) > 0)
        continue;
    budget = 150000;
}

static void act(struct fuzz *f)
{
    uint8_t b = fuzz_u8(f);
    switch (b & 15) {
    case 0: /* the doorbells */
        guest_write(m, false, bar + (b & 0x10 ? RDT : TDT), 4, fuzz_u8(f) & 63);
        break;
    case 1:
    case 2:
        descriptor(f, b);
        break;
    case 3:
        wire(f);
        fake_run_loop(m);
        break;
    case 4:
        fake_run_loop(m);
        drain();
        break;
    case 5:
        fake_advance_ns((uint64_t)fuzz_u8(f) << (b >> 4));
        break;
    case 6:
        tso(f);
        break;
    case 7:
        drv_cfg_write(m, slot, PCI_COMMAND, 2, fuzz_u8(f) | PCI_CMD_MEM);
        break;
    case 8: /* EEPROM and PHY need sequences */
        guest_write(m, false, bar + EECD, 4, fuzz_u8(f));
        break;
    case 9:
        guest_write(m, false, bar + MDIC, 4,
                    (uint32_t)fuzz_u16(f) << 16 | fuzz_u16(f));
        break;
    case 10:
        fake_net_fail_send(net, b >> 6, b & 0x10 ? 0 : -5);
        break;
    default:
        access_register(f, b);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    if (!m)
        make();
    fake_reset(m);
    fake_net_fail_send(net, 0, 0);
    flush_wire();
    start(fuzz_u8(&f) & 1);
    for (int i = 0; f.n && i < 300; i++)
        act(&f);
    fake_run_loop(m);
    drain();
    return 0;
}
