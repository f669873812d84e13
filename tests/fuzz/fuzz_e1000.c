/* SPDX-License-Identifier: MIT */
/* The e1000: register accesses of every width, descriptors and frames in RAM,
 * packets from the wire, time. The first bytes of an input say where its rings
 * and buffers are: against RAM's end, which is guarded, as often as inside it;
 * and frames are as long as a buffer, or nearly, as often as not. The wire is
 * in this process's memory: a system call costs more than the packet. */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/list.h"
#include "base/iov.h"
#include "devices/e1000/state.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fakedrv.h"

#define RAM 0x20000u
#define TXRING 0x1000u
#define RXRING 0x2000u
#define BUF 0x8000u
#define RING 32u /* descriptors, at most */
#define QUEUE 16 /* packets on their way to the card */
#define FRAME 66000u
#define SENT 60000u /* bytes and packets that an input sends, about */

static struct machine *m;
static struct e1000 *e;
static unsigned slot;
static uint64_t bar, io;

/* What the card has not read yet, and how many sends fail. */
static struct {
    uint8_t data[QUEUE][NET_HDR_LEN + FRAME];
    uint32_t len[QUEUE], at, n, budget, sent;
    int fails, err, fd;
} wire;

/* This input's rings. */
static struct {
    uint32_t tx, rx, ntx, nrx, bufsize;
    unsigned resets; /* that it may still make */
    bool end;        /* receive buffers lie at RAM's end */
} place;

/* ---------------------------------------------------------------- the wire */

static void wire_signal(bool on)
{
    uint64_t one = 1;
    ssize_t n = on ? write(wire.fd, &one, 8) : read(wire.fd, &one, 8);
    (void)n;
}

static ssize_t wire_recv(struct netbe *be, const struct iovec *iov, int n)
{
    uint32_t i = wire.at;
    (void)be;
    if (!wire.n) {
        wire_signal(false);
        return 0;
    }
    wire.at = (wire.at + 1) % QUEUE;
    wire.n--;
    return (ssize_t)iov_write(iov, n, 0, wire.data[i], wire.len[i]);
}

/* All that goes out must be readable and make sense to a kernel. */
static ssize_t wire_send(struct netbe *be, const struct iovec *iov, int n)
{
    static uint8_t out[NET_HDR_LEN + NET_FRAME_MAX + 64];
    struct net_hdr h;
    size_t len = iov_read(iov, n, 0, out, sizeof(out));
    (void)be;
    CHECK_EQ(iov_len(iov, n), len);
    wire.sent += (uint32_t)len + 500;
    CHECK(len >= NET_HDR_LEN + ETH_HLEN);
    len -= NET_HDR_LEN;
    memcpy(&h, out, NET_HDR_LEN);
    if (h.flags & NET_F_NEEDS_CSUM)
        CHECK(h.csum_start + h.csum_offset + 2u <= len);
    if (h.gso_type)
        CHECK(h.gso_size && h.hdr_len < len);
    else
        CHECK(len <= E1000_TX_MAX + VLAN_HLEN);
    if (wire.fails > 0) {
        wire.fails--;
        return wire.err;
    }
    return (ssize_t)len;
}

/* A packet for the card; `frame` has `len` bytes. Each input may give so many
 * bytes in all. */
static void wire_give(const struct net_hdr *h, const uint8_t *frame,
                      uint32_t len)
{
    uint32_t i = (wire.at + wire.n) % QUEUE;
    if (wire.n == QUEUE || wire.budget < len + 500)
        return;
    wire.budget -= len + 500;
    memcpy(wire.data[i], h, NET_HDR_LEN);
    memcpy(wire.data[i] + NET_HDR_LEN, frame, len);
    wire.len[i] = NET_HDR_LEN + len;
    if (!wire.n++)
        wire_signal(true);
}

static void make(void)
{
    struct fake_net *net = fake_net_new("n0", 1);
    struct netbe *be = fake_net_dev(net)->q[0];
    wire.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    be->fd = wire.fd;
    be->send = wire_send;
    be->recv = wire_recv;
    m = fake_pc(RAM);
    CHECK_EQ(fake_device(m, &e1000_class, "fuzz", "netdev=n0,fcs=on"), 0);
    slot = (unsigned)drv_find(m, 0x8086, 0x100e, 0);
    e = pci_fn_at(m->pci, slot)->owner;
}

/* --------------------------------------------------------------- the guest */

/* Where a buffer of `len` bytes begins: at the end, or at `inside`. */
static uint64_t buffer(bool end, uint32_t len, uint32_t inside)
{
    return end && len && len < RAM ? RAM - len : BUF + inside;
}

static void post_all(void)
{
    for (uint32_t i = 0; i < place.nrx; i++) {
        uint64_t a = place.end && i % 3 < 2 ? RAM - place.bufsize * (i % 3 + 1)
                                            : BUF + 1024 * i;
        memcpy(fake_ram(m, place.rx + 16 * i, 8), &a, 8);
    }
}

/* Rings of 8, 16 or 32 descriptors, or of one; one of them may end RAM, its
 * buffers then lie inside. */
static uint32_t layout(struct fuzz *f)
{
    uint8_t how = fuzz_u8(f), size = fuzz_u8(f);
    uint32_t rctl = RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_LPE;
    rctl |= (uint32_t)(size & 3) << RCTL_BSIZE_SHIFT;
    rctl |= size & 4 ? RCTL_BSEX : 0;
    rctl |= size & 8 ? RCTL_SECRC : 0;
    place.bufsize = 2048u >> (size & 3);
    if (size & 4 && size & 3)
        place.bufsize *= 16;
    place.ntx = (how & 0x30) == 0x30 ? 1 : 8u << (how >> 4 & 3);
    place.nrx = (how & 0xc0) == 0xc0 ? 1 : 8u << (how >> 6);
    place.tx = (how & 3) == 1 ? RAM - 16 * place.ntx : TXRING;
    place.rx = (how & 3) == 2 ? RAM - 16 * place.nrx : RXRING;
    place.end = (how & 3) == 3;
    place.resets = 2;
    e->offload = how & 4 ? e->nic.nd->offload : 0;
    return rctl;
}

/* A card that runs: link up, both rings. */
static void start(struct fuzz *f)
{
    const uint32_t rctl = layout(f);
    const uint32_t set[][2] = {
        {CTRL, CTRL_SLU | CTRL_VME},
        {TDBAL, place.tx},
        {TDLEN, 16 * place.ntx},
        {RDBAL, place.rx},
        {RDLEN, 16 * place.nrx},
        {TCTL, TCTL_EN | TCTL_PSP},
        {RCTL, rctl},
    };
    drv_enable(m, slot, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
    bar = drv_bar(m, slot, 0);
    io = drv_bar(m, slot, 1);
    for (unsigned i = 0; i < ARRAY_LEN(set); i++)
        drv_w32(m, bar + set[i][0], set[i][1]);
    post_all();
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

/* Going through a long ring takes long, so most are not; so do resets. */
static uint64_t reg_value(struct fuzz *f, uint8_t how, uint32_t off,
                          unsigned width)
{
    uint64_t val = fuzz_take(f, width);
    if (off == CTRL && val & CTRL_RST && !(place.resets && place.resets--))
        val &= ~(uint64_t)CTRL_RST;
    return off == TDLEN && !(how & 0x80) ? val & 0x7ff : val;
}

static void access_register(struct fuzz *f, uint8_t how)
{
    uint32_t off = reg_offset(f);
    unsigned width = how & 0x40 ? fuzz_width(f) : 4;
    if (how & 0x20) {
        guest_write(m, true, io, 4, off);
        guest_write(m, true, io + 4, width, reg_value(f, how, off, 4));
        guest_read(m, true, io + fuzz_u8(f) % 64, width);
    } else if (how & 0x10) {
        guest_read(m, false, bar + off, width);
    } else {
        guest_write(m, false, bar + off, width, reg_value(f, how, off, width));
    }
}

/* A transmit descriptor. Buffers mostly in RAM, every other at its end. */
static void tx_descriptor(struct fuzz *f, uint8_t how)
{
    uint64_t *p =
        fake_ram(m, place.tx + 16 * (fuzz_u8(f) & (place.ntx - 1)), 16);
    uint64_t lower = (uint64_t)fuzz_u8(f) << 24 | fuzz_u16(f);
    p[1] = how & 0x40 ? fuzz_take(f, 8) : lower | fuzz_take(f, 4) << 32;
    p[0] = how & 0x20
               ? fuzz_take(f, 8)
               : buffer(how & 0x10, (uint32_t)p[1] & 0xffff, fuzz_u16(f));
}

/* The receive ring again: its buffers, or one of them anywhere; the tail. */
static void rx_descriptor(struct fuzz *f, uint8_t how)
{
    uint8_t at = fuzz_u8(f);
    uint64_t a = how & 0x20 ? fuzz_take(f, 8)
                            : buffer(how & 0x10, place.bufsize, 256u * at);
    if (how & 0x40)
        post_all();
    else
        memcpy(fake_ram(m, place.rx + 16 * (at & (place.nrx - 1)), 8), &a, 8);
    guest_write(m, false, bar + RDT, 4,
                (drv_r32(m, bar + RDH) + place.nrx - 1) % (place.nrx + !at));
}

/* The legacy descriptor of a frame, or its data descriptor after one for its
 * checksums, and the doorbell; what a driver does all day. */
static void send_frame(struct fuzz *f, uint8_t how)
{
    uint32_t len = 14 + fuzz_u16(f) % 1600, at = drv_r32(m, bar + TDT);
    uint32_t cmd = TXD_EOP | TXD_RS | (how & 0x20 ? TXD_IFCS : 0);
    uint64_t *d;
    if (at >= place.ntx)
        return;
    d = fake_ram(m, place.tx + 16 * at, 16);
    d[0] = buffer(how & 0x10, len, 0);
    d[1] = len | cmd;
    if (how & 0x40)
        d[1] |= TXD_DEXT | TXD_DTYP_DATA | (uint64_t)fuzz_u8(f) << 40;
    if (how & 0x80) /* ends with its FCS */
        memcpy(fake_ram(m, d[0] + len - 4, 4),
               &(uint32_t){eth_crc(0, fake_ram(m, d[0], len), len - 4)}, 4);
    guest_write(m, false, bar + TDT, 4,
                place.ntx == 1 ? 1 : (at + 1) % place.ntx);
}

/* A TCP packet's beginning, its context and its data descriptor. */
static void tso(struct fuzz *f, uint8_t how)
{
    static const uint8_t ip[] = {0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6};
    uint32_t len = fuzz_u16(f), at = fuzz_u8(f) & 15 & (place.ntx / 2);
    uint64_t mss = fuzz_u16(f) | len / 64, *d; /* segments take their time */
    uint64_t a = buffer(how & 0x10, len + 54, 0);
    uint8_t *p = fake_ram(m, a, 54);
    if (place.ntx < 2)
        return;
    d = fake_ram(m, place.tx + 16 * at, 32);
    memcpy(p + 14, ip, sizeof(ip));
    p[46] = 0x50;
    d[0] = 14 | 24 << 8 | 33 << 16 | 34ull << 32 | 50ull << 40;
    d[1] = (len | TXD_DEXT | TXD_TSE | TUCMD_TCP | TUCMD_IP) |
           (54ull << 8 | mss << 16) << 32;
    d[2] = a;
    d[3] = (len + 54) | TXD_DEXT | TXD_DTYP_DATA | TXD_TSE | TXD_EOP | TXD_RS |
           TXD_IFCS | (uint64_t)fuzz_u16(f) << 40;
    if (how & 0x20)
        guest_write(m, false, bar + TDH, 4, at);
    guest_write(m, false, bar + TDT, 4, (at + 2) % place.ntx);
}

/* --------------------------------------------------------------- the world */

/* Any packet: header and frame hardly look like one. */
static void odd_packet(struct fuzz *f)
{
    static uint8_t frame[FRAME];
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
    wire_give(&h, frame, len);
}

/* A TCP frame with its headers in order. Returns their length. */
static uint32_t make_headers(uint8_t *p, bool v6, bool tag, uint32_t options,
                             uint32_t len)
{
    uint32_t l3 = tag ? 18 : 14, l4 = l3 + (v6 ? 40 : 20);
    memset(p, 0, l4 + 20 + options);
    eth_put16(p + 12, 0x8100);
    eth_put16(p + l3 - 2, v6 ? 0x86dd : 0x0800);
    p[l3] = v6 ? 0x60 : 0x45;
    eth_put16(p + l3 + (v6 ? 4 : 2), (uint16_t)(len - (v6 ? l4 : l3)));
    p[l3 + (v6 ? 6 : 9)] = PROTO_TCP;
    p[l4 + 12] = (uint8_t)((20 + options) / 4 << 4);
    return l4 + 20 + options;
}

/* A sane packet, of one frame or several, as long as this input's buffers are
 * or nearly: what a peer gets by announcing an MSS. */
static void near_packet(struct fuzz *f)
{
    static uint8_t frame[FRAME];
    uint8_t how = fuzz_u8(f), off = fuzz_u8(f), count = fuzz_u8(f);
    bool v6 = how & 1, tag = how & 2, gso = how & 4;
    uint32_t options = how & 8 ? 4u * (off >> 4 & 7) : 0;
    uint32_t hlen = 34 + (v6 ? 40 : 20) + (tag ? 4 : 0) + options;
    uint32_t seg = place.bufsize * (1 + (how >> 6)) + 8 - off % 16;
    uint32_t mss = seg > hlen ? seg - hlen : 1, len = seg;
    struct net_hdr h = {.flags = how & 0x10 ? NET_F_NEEDS_CSUM : 0};
    if (gso)
        len = hlen + mss * (1 + (count & 7)) - (count >> 3) % mss;
    if (len < hlen)
        len = hlen;
    if (len > NET_FRAME_MAX)
        return;
    make_headers(frame, v6, tag, options, len);
    h.csum_start = (uint16_t)(hlen - 20 - options);
    h.csum_offset = 16;
    if (gso) {
        h.gso_type = v6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4;
        h.gso_size = (uint16_t)mss;
        h.hdr_len = (uint16_t)hlen;
    }
    wire_give(&h, frame, len);
}

static void act(struct fuzz *f)
{
    uint8_t b = fuzz_u8(f);
    switch (b & 15) {
    case 0: /* the doorbells */
        guest_write(m, false, bar + (b & 0x10 ? RDT : TDT), 4, fuzz_u8(f) & 63);
        break;
    case 1:
        tx_descriptor(f, b);
        break;
    case 2:
        rx_descriptor(f, b);
        break;
    case 3:
        odd_packet(f);
        break;
    case 4:
        fake_run_loop(m);
        break;
    case 5:
        fake_advance_ns((uint64_t)fuzz_u8(f) << (b >> 4));
        break;
    case 6:
        tso(f, b);
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
        wire.fails = b >> 6;
        wire.err = b & 0x10 ? 0 : -5;
        break;
    case 11:
    case 12:
        near_packet(f);
        break;
    case 13:
        send_frame(f, b);
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
    wire.n = 0;
    wire.fails = 0;
    wire.budget = 60000;
    wire.sent = 0;
    fake_reset(m);
    start(&f);
    for (int i = 0; f.n && i < 60 && wire.sent < SENT; i++)
        act(&f);
    fake_run_loop(m);
    return 0;
}
