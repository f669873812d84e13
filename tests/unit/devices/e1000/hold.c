/* SPDX-License-Identifier: MIT */
/* The e1000 held, saved, loaded into another machine with the same memory, and
 * resumed, in the middle of whatever it was at. */
#include <errno.h>
#include <stdio.h>

#include "devices/list.h"
#include "tests/unit/devices/e1000/drv.h"
#include "tests/unit/records.h"

#define DATA (TXD_DEXT | TXD_DTYP_DATA | TXD_IFCS)

static const char *options;

static void make(struct machine *m, void *ctx)
{
    struct drv *d = ctx;
    struct netdev *nd = fake_net_dev(d->net);
    char text[200];
    nd->taken = false;
    snprintf(text, sizeof(text), "netdev=%s,mac=52:54:00:12:34:56%s", nd->id,
             options);
    REQUIRE_EQ(fake_device(m, &e1000_class, "-device e1000", text), 0);
    d->m = m;
    d->e = pci_fn_at(m->pci, d->slot)->owner;
}

/* In the middle of what it was moved. */
static struct {
    unsigned gathered, ready, cut, segments_left, received, frames_left;
} amid;

static void note(struct machine *m, void *ctx)
{
    const struct e1000 *e = ((struct drv *)ctx)->e;
    const struct e1000_tx *t = &e->tx;
    (void)m;
    amid.gathered += t->open && !t->ready;
    amid.ready += t->ready && !t->cut;
    amid.cut += t->cut;
    amid.segments_left += t->cut && t->seg.off;
    amid.received += e->rx.p.on;
    amid.frames_left += e->rx.p.on && e->rx.p.seg.off;
}

static void move(struct drv *d)
{
    records_move(d->m, make, note, d);
}

static struct drv *start(const char *more)
{
    options = more;
    return drv_new(*more ? more + 1 : NULL);
}

/* ------------------------------------------------------------ two histories */

/* The same driver and network, once left alone and once moved at any moment:
 * what comes out must be the same, packet for packet. */
#define SEEN 32768
#define RING 256
struct history {
    struct drv *d;
    bool moves;
    uint32_t dice;
    unsigned packets, frames, slot; /* since all was drained; buffers in turn */
    unsigned rx_free;               /* descriptors to give back */
    uint64_t wire[SEEN], rx[SEEN], nwire, nrx;
    uint32_t rest; /* descriptors of a packet that are still to come */
    uint64_t rest_at;
    uint32_t rest_len, rest_bits, rest_upper;
};

static uint32_t dice(struct history *h, uint32_t n)
{
    h->dice = h->dice * 1664525 + 1013904223;
    return (h->dice >> 8) % n;
}

static uint64_t hash(const void *p, size_t len, uint64_t sum)
{
    for (const uint8_t *b = p; len; len--, b++)
        sum = (sum ^ *b) * 0x100000001b3ull;
    return sum ^ len;
}

static void look_at_wire(struct history *h)
{
    static uint8_t got[NET_FRAME_MAX];
    struct net_hdr nh;
    ssize_t n;
    while ((n = fake_net_take(h->d->net, 0, &nh, got, sizeof(got))) >= 0) {
        REQUIRE(h->nwire < SEEN);
        h->wire[h->nwire++] = hash(&nh, sizeof(nh), hash(got, (size_t)n, 1));
    }
}

/* Only after an interrupt. */
static void serve(struct history *h)
{
    static uint8_t got[NET_FRAME_MAX];
    int n;
    run(h->d);
    if (!irq_line(h->d))
        return;
    rd(h->d, ICR);
    while ((n = drv_recv(h->d, got, NULL)) >= 0) {
        REQUIRE(h->nrx < SEEN);
        h->rx[h->nrx++] = hash(got, (size_t)n, 1);
    }
}

static void refill(struct history *h)
{
    /* few, so that packets wait for more */
    wr(h->d, RDT, (h->d->rx_next + 6) % RING);
}

static void drain(struct history *h)
{
    fake_net_block(h->d->net, 0, false);
    for (unsigned i = 0; i < 40; i++) {
        fake_sleep_ns(h->d->m, 50000);
        serve(h);
        refill(h);
        look_at_wire(h);
    }
    h->packets = h->frames = 0;
}

/* The next piece of a packet, the last one with EOP. */
static void tx_piece(struct history *h)
{
    struct drv *d = h->d;
    uint32_t k = h->rest_len / h->rest;
    drv_desc(d, h->rest_at,
             k | h->rest_bits | TXD_RS | (h->rest == 1 ? TXD_EOP : 0),
             h->rest_upper);
    h->rest_at += k;
    h->rest_len -= k;
    h->rest--;
    wr(d, TDT, d->tail);
}

static void tx_packet(struct history *h, bool tso)
{
    static uint8_t frame[NET_FRAME_MAX];
    struct drv *d = h->d;
    uint32_t payload = tso ? 2000 + dice(h, 40000) : dice(h, 1400);
    uint32_t len = make_tcp(frame, payload, -1);
    if (h->packets++ == 16)
        drain(h);
    frame[60] = (uint8_t)h->dice;
    h->slot = (h->slot + 1) % 28;
    h->rest_at = DRV_TXBUF + 0x10000ull * h->slot;
    h->rest = 1 + dice(h, 3);
    h->rest_len = len;
    h->rest_bits = TXD_IFCS | (dice(h, 2) ? TXD_IDE : 0);
    h->rest_upper = 0;
    if (tso) {
        struct tx_ctx c = drv_tso(payload, (uint16_t)(120 + dice(h, 1340)));
        eth_put16(frame + 16, 0);
        eth_put16(frame + 50, 0x1234);
        drv_context(d, &c);
        h->rest_bits |= DATA | TXD_TSE;
        h->rest_upper = (POPTS_IXSM | POPTS_TXSM) << 8;
    }
    memcpy(fake_ram(d->m, h->rest_at, len), frame, len);
    tx_piece(h);
}

static void give(struct history *h, bool gso)
{
    static uint8_t frame[NET_FRAME_MAX];
    uint32_t len =
        make_tcp(frame, gso ? 3000 + dice(h, 9000) : dice(h, 1400), -1);
    struct net_hdr nh = {.flags = NET_F_NEEDS_CSUM,
                         .gso_type = NET_GSO_TCPV4,
                         .gso_size = 1448,
                         .csum_start = 34,
                         .csum_offset = 16};
    if (h->frames++ == 12)
        drain(h);
    frame[HDR] = (uint8_t)h->dice;
    fake_net_give(h->d->net, 0, gso ? &nh : NULL, frame, len);
}

static void happen(struct history *h)
{
    if (h->rest && dice(h, 3)) {
        tx_piece(h);
        return;
    }
    switch (dice(h, 12)) {
    case 0:
        fake_net_block(h->d->net, 0, true);
        break;
    case 1:
        fake_net_block(h->d->net, 0, false);
        look_at_wire(h);
        break;
    case 2:
    case 3:
    case 4:
        if (!h->rest)
            tx_packet(h, dice(h, 2));
        break;
    case 5:
    case 6:
        give(h, dice(h, 2));
        break;
    case 7:
        refill(h);
        break;
    case 8:
        fake_sleep_ns(h->d->m, 30000);
        break;
    case 9:
        loop_poll(h->d->m->loop, 0);
        break;
    default:
        serve(h);
    }
}

static void live(struct history *h, bool moves, const char *more)
{
    memset(h, 0, sizeof(*h));
    h->dice = 7;
    h->moves = moves;
    h->d = start(more);
    drv_tx_ring(h->d, RING);
    drv_rx_ring(h->d, RING, 0);
    wr(h->d, RDT, 6);
    wr(h->d, RCTL, RCTL_EN | RCTL_BAM);
    wr(h->d, ITR, 200);
    wr(h->d, RDTR, 20);
    wr(h->d, RADV, 60);
    wr(h->d, TIDV, 30);
    wr(h->d, TADV, 80);
    wr(h->d, IMS, ICR_RXT0 | ICR_TXDW | ICR_RXDMT0);
    for (unsigned i = 0; i < 1200; i++) {
        happen(h);
        if (moves && i % 9 == 3)
            move(h->d);
        if (moves && i % 9 == 5) {
            device_hold(&h->d->e->dev);
            run(h->d);
            device_resume(&h->d->e->dev);
        }
    }
    while (h->rest)
        tx_piece(h);
    drain(h);
    CHECK_EQ(rd(h->d, TDH), h->d->tail);
    for (uint32_t at = 0; at < RING; at++) /* RS was on each, none is owed */
        CHECK(drv_tx_status(h->d, at) & TXD_DD ||
              !*(uint32_t *)fake_ram(h->d->m, DRV_TXRING + at * 16 + 8, 4) ||
              *(uint8_t *)fake_ram(h->d->m, DRV_TXRING + at * 16 + 11, 1) ==
                  (TXD_DEXT | TXD_TSE | TUCMD_TCP | TUCMD_IP) >> 24);
    drv_free(h->d);
}

static void compare(const char *more)
{
    static struct history alone, moved;
    test_timeout(120);
    memset(&amid, 0, sizeof(amid));
    live(&alone, false, more);
    live(&moved, true, more);
    CHECK(alone.nwire > 100 && alone.nrx > 100);
    CHECK_EQ(moved.nwire, alone.nwire);
    CHECK_EQ(moved.nrx, alone.nrx);
    CHECK_MEM(moved.wire, alone.wire, alone.nwire * 8);
    CHECK_MEM(moved.rx, alone.rx, alone.nrx * 8);
}

TEST(e1000_hold_traffic_moves_with_gso_left_to_the_backend)
{
    compare("");
    CHECK(amid.ready > 10);
}

TEST(e1000_hold_traffic_moves_while_segments_are_cut)
{
    compare(",offload=off");
    CHECK(amid.ready > 5 && amid.cut > 10 && amid.segments_left > 5);
}

/* ------------------------------------------------------------- step by step */

static uint8_t frame[NET_FRAME_MAX], got[NET_FRAME_MAX];

/* A TSO request of `payload` bytes in front of the card. */
static uint32_t put_tso(struct drv *d, uint32_t payload, uint16_t mss)
{
    uint32_t len = make_tcp(frame, payload, -1);
    struct tx_ctx c = drv_tso(payload, mss);
    struct eth_info info;
    eth_parse(&info, frame, len, len, 0x8100);
    eth_put16(frame + 16, 0);
    eth_put16(frame + 50, (uint16_t)~csum_fold(eth_pseudo(&info, frame, 0)));
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    drv_context(d, &c);
    drv_desc(d, DRV_TXBUF, len | DATA | TXD_TSE | TXD_EOP | TXD_RS,
             (POPTS_IXSM | POPTS_TXSM) << 8);
    return len;
}

/* Moved between two segments; the guest's buffer is its own meanwhile. */
TEST(e1000_hold_a_tso_packet_goes_on_with_its_next_segment)
{
    struct drv *d = start(",offload=off");
    uint32_t n = 0;
    drv_rings(d, 64);
    uint32_t len = put_tso(d, 60000, 100);
    wr(d, TDT, d->tail);
    while (!d->e->tx.seg.off) /* bounded bursts: it is not done at once */
        loop_poll(d->m->loop, 0);
    fake_net_block(d->net, 0, true);
    run(d);
    CHECK(d->e->tx.cut && d->e->tx.seg.off < d->e->tx.seg.bytes);
    CHECK_EQ(rd(d, STATUS) & STATUS_TXOFF, STATUS_TXOFF);
    move(d);
    CHECK_EQ(rd(d, STATUS) & STATUS_TXOFF, 0);
    memset(fake_ram(d->m, DRV_TXBUF, len), 0x55, len);
    for (unsigned turn = 0; turn < 100; turn++) {
        ssize_t k;
        fake_net_block(d->net, 0, false);
        run(d);
        while ((k = fake_net_take(d->net, 0, NULL, got, sizeof(got))) > 0) {
            CHECK_EQ(k, HDR + 100);
            CHECK_EQ(eth_get32(got + 38), 0xfffff000 + 100 * n);
            CHECK_MEM(got + HDR, frame + HDR + 100 * n, 100);
            CHECK(sums_ok(got, (uint32_t)k));
            n++;
        }
    }
    CHECK_EQ(n, 600);
    CHECK_EQ(drv_tx_status(d, 1) & TXD_DD, TXD_DD);
    CHECK_EQ(rd(d, TSCTC), 1);
    CHECK_EQ(rd(d, GPTC), 600); /* those before the move too */
    drv_free(d);
}

/* A context, and a packet without its end: what follows comes later. */
TEST(e1000_hold_half_a_packet_waits_for_its_other_half)
{
    struct drv *d = start("");
    struct net_hdr nh;
    uint32_t len = make_udp(frame, 800);
    struct tx_ctx c = {.ipcss = 14,
                       .ipcso = 24,
                       .ipcse = 33,
                       .tucss = 34,
                       .tucso = 40,
                       .hdrlen = 0,
                       .cmd = TUCMD_IP};
    drv_rings(d, 64);
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    drv_context(d, &c);
    drv_desc(d, DRV_TXBUF, 300 | DATA, (POPTS_IXSM | POPTS_TXSM) << 8);
    drv_go(d);
    CHECK_EQ(fake_net_announced(d->net), 0);
    move(d);
    run(d);
    CHECK_EQ(fake_net_announced(d->net), 1);
    CHECK_EQ(fake_net_take(d->net, 0, NULL, got, sizeof(got)), -1);
    move(d);
    drv_desc(d, DRV_TXBUF + 300, (len - 300) | DATA | TXD_EOP | TXD_RS, 0);
    drv_go(d);
    CHECK_EQ(fake_net_take(d->net, 0, &nh, got, sizeof(got)), len);
    CHECK_EQ(nh.csum_start, 34); /* by the context */
    CHECK_MEM(got + 42, frame + 42, len - 42);
    drv_free(d);
}

TEST(e1000_hold_interrupts_are_held_back_as_long_as_before)
{
    struct drv *d = start("");
    make_udp(frame, 100);
    drv_rings(d, 64);
    wr(d, ITR, 4000); /* 1.024 ms */
    wr(d, IMS, ICR_TXDW);
    drv_send(d, frame, 142, TXD_EOP | TXD_RS | TXD_IFCS);
    CHECK(irq_line(d));
    CHECK(rd(d, ICR) & ICR_TXDW);
    fake_sleep_ns(d->m, 500000);
    drv_send(d, frame, 142, TXD_EOP | TXD_RS | TXD_IFCS);
    CHECK(!irq_line(d));
    device_hold(&d->e->dev);
    fake_sleep_ns(d->m, 5 * MS);
    CHECK(!irq_line(d)); /* time stands still for it */
    move(d);
    fake_sleep_ns(d->m, 400000);
    CHECK(!irq_line(d));
    fake_sleep_ns(d->m, 200000);
    CHECK(irq_line(d));
    move(d); /* a line that is up stays so */
    CHECK(irq_line(d));
    CHECK(rd(d, ICR) & ICR_TXDW);
    CHECK(!irq_line(d));
    drv_free(d);
}

TEST(e1000_hold_delays_keep_what_is_left_of_them)
{
    struct drv *d = start("");
    make_udp(frame, 100);
    drv_rings(d, 64);
    wr(d, TIDV, 1000); /* 1.024 ms */
    wr(d, RDTR, 2000);
    wr(d, IMS, ICR_TXDW | ICR_RXT0);
    drv_send(d, frame, 142, TXD_EOP | TXD_RS | TXD_IFCS | TXD_IDE);
    fake_net_give(d->net, 0, NULL, frame, 142);
    run(d);
    fake_sleep_ns(d->m, 1000000);
    move(d);
    CHECK(!irq_line(d));
    fake_sleep_ns(d->m, 30000);
    CHECK(irq_line(d));
    CHECK_EQ(rd(d, ICR) & (ICR_TXDW | ICR_RXT0), ICR_TXDW);
    fake_sleep_ns(d->m, 980000);
    CHECK(!irq_line(d));
    fake_sleep_ns(d->m, 50000);
    CHECK_EQ(rd(d, ICR) & (ICR_TXDW | ICR_RXT0), ICR_RXT0);
    drv_free(d);
}

static void eecd(struct drv *d, bool di)
{
    wr(d, EECD, EECD_CS | EECD_REQ | (di ? EECD_DI : 0));
    wr(d, EECD, EECD_CS | EECD_REQ | (di ? EECD_DI : 0) | EECD_SK);
}

TEST(e1000_hold_eeprom_phy_filters_and_counters_move)
{
    struct drv *d = start("");
    uint16_t word = 0;
    drv_rings(d, 64);
    make_udp(frame, 100);
    drv_send(d, frame, 142, TXD_EOP | TXD_RS | TXD_IFCS);
    wr(d, VFTA + 4 * 5, 0x1234);
    wr(d, RAL + 8 * 3, 0xaabbccdd);
    wr(d, PBM + 4 * 77, 0x77);
    wr(d, MDIC, MDIC_OP_WRITE | 1 << 21 | 24 << 16 | 0x4321);
    outl(d->m, d->io, CTRL);
    for (unsigned i = 9; i--;) { /* 1 10 000001: read word 1 */
        if (i == 4)
            move(d);
        eecd(d, 0x181 >> i & 1);
    }
    for (unsigned i = 0; i < 16; i++) {
        eecd(d, false);
        if (i == 6)
            move(d);
        word = (uint16_t)(word << 1 | (rd(d, EECD) & EECD_DO ? 1 : 0));
    }
    CHECK_EQ(word, 0x1200); /* of the MAC */
    CHECK_EQ(rd(d, VFTA + 4 * 5), 0x1234);
    CHECK_EQ(rd(d, RAL + 8 * 3), 0xaabbccdd);
    CHECK_EQ(rd(d, PBM + 4 * 77), 0x77);
    wr(d, MDIC, MDIC_OP_READ | 1 << 21 | 24 << 16);
    CHECK_EQ(rd(d, MDIC) & 0xffff, 0x4321);
    CHECK_EQ(inl(d->m, (unsigned)d->io), CTRL);
    CHECK_EQ(rd(d, GPTC), 1);
    CHECK_EQ(rd(d, GPTC), 0);
    drv_free(d);
}

/* A new MAC is in the EEPROM, for the driver when it begins anew; it goes by
 * the old one until then, which is not announced. */
TEST(e1000_hold_a_new_mac_is_the_eeproms_and_its_sum_is_right)
{
    struct drv *d = start("");
    uint32_t sum = 0;
    drv_rings(d, 64);
    wr(d, TCTL, rd(d, TCTL) | TCTL_EN);
    uint32_t ral = rd(d, RAL), rah = rd(d, RAH);
    options = ",mac=52:54:00:12:34:99,new-mac=on";
    move(d);
    CHECK_EQ(rd(d, RAL), ral);
    CHECK_EQ(rd(d, RAH), rah);
    CHECK_EQ(fake_net_announced(d->net), 0);
    for (uint32_t i = 0; i < 64; i++) {
        wr(d, EERD, i << 8 | EERD_START);
        uint32_t word = rd(d, EERD) >> 16;
        sum += word;
        if (i == 2)
            CHECK_EQ(word, 0x9934);
    }
    CHECK_EQ(sum & 0xffff, 0xbaba);
    wr(d, CTRL, CTRL_RST);
    CHECK_EQ(rd(d, RAH) & 0xffff, 0x9934);
    options = "";
    drv_free(d);
}

TEST(e1000_hold_link_comes_up_and_goes_down_afterwards)
{
    struct drv *d = start("");
    wr(d, IMS, ICR_LSC);
    wr(d, CTRL, rd(d, CTRL) | CTRL_PHY_RST);
    CHECK_EQ(rd(d, STATUS) & STATUS_LU, 0);
    rd(d, ICR);
    device_hold(&d->e->dev);
    fake_sleep_ns(d->m, 5 * MS);
    CHECK_EQ(d->e->phy.up, 0);
    move(d);
    fake_sleep_ns(d->m, 2 * MS);
    CHECK_EQ(rd(d, STATUS) & STATUS_LU, STATUS_LU);
    CHECK_EQ(rd(d, ICR) & ICR_LSC, ICR_LSC);
    move(d); /* the link is as it was: nothing to tell */
    fake_sleep_ns(d->m, 2 * MS);
    CHECK_EQ(rd(d, ICR) & ICR_LSC, 0);
    device_hold(&d->e->dev);
    netdev_set_link(fake_net_dev(d->net), false);
    run(d);
    CHECK_EQ(rd(d, STATUS) & STATUS_LU, STATUS_LU);
    device_resume(&d->e->dev);
    CHECK_EQ(rd(d, STATUS) & STATUS_LU, 0);
    CHECK_EQ(rd(d, ICR) & ICR_LSC, ICR_LSC);
    netdev_set_link(fake_net_dev(d->net), true);
    drv_free(d);
}

/* ------------------------------------------------------------------ hostile */

/* A driver with a packet under way each way. */
static struct drv *busy(const char *more)
{
    struct drv *d = start(more);
    struct net_hdr nh = {.flags = NET_F_NEEDS_CSUM,
                         .gso_type = NET_GSO_TCPV4,
                         .gso_size = 1448,
                         .csum_start = 34,
                         .csum_offset = 16};
    drv_rings(d, 64);
    wr(d, RDT, 2);
    wr(d, ITR, 300);
    wr(d, RDTR, 30);
    wr(d, TIDV, 30);
    wr(d, IMS, ICR_TXDW | ICR_RXT0);
    fake_net_give(d->net, 0, &nh, frame, make_tcp(frame, 4500, -1));
    run(d);
    REQUIRE(d->e->rx.p.on && d->e->rx.p.seg.off);
    fake_net_block(d->net, 0, true);
    put_tso(d, 3000, 700);
    drv_go(d);
    REQUIRE(d->e->tx.ready);
    return d;
}

TEST(e1000_hold_each_row_of_a_busy_card_at_its_bounds)
{
    test_timeout(120);
    for (int cut = 0; cut < 2; cut++) {
        struct drv *d = busy(cut ? ",offload=off" : "");
        CHECK_EQ(d->e->tx.cut, cut);
        device_hold(&d->e->dev);
        records_try_all(&d->e->dev, 4099);
        device_resume(&d->e->dev);
        fake_net_block(d->net, 0, false);
        run(d);
        drv_free(d);
    }
}

TEST(e1000_hold_what_cannot_be_is_refused_by_name)
{
    static const struct bend tries[] = {
        {"tx.open", 0, 0, "tx.open"},
        {"tx.ready", 0, 0, "tx.packet: not gathered"},
        {"tx.ctx.mss", 0, 20000, "tx.packet: not made ready"},
        {"tx.ctx.tucso", 0, 255, "tx.packet: not made ready"},
        {"tx.ctx.hdrlen", 0, 20, "tx.packet: not made ready"},
        {"tx.ctx.cmd", 0, 0xfffff, "tx.packet: not made ready"},
        {"tx.cut", 0, 0, NULL}, /* then it is a frame, and sent as one */
        {"rx.cut_off", 0, 5792, "rx.cut_off: no segment"},
        {"rx.cut_off", 0, 7, "rx.cut_off: no segment"},
        {"rx.cut_k", 0, 0, "rx.cut_off: no segment"},
        {"rx.header", 1, NET_GSO_UDP, "rx.packet: not of the kind"},
        {"rx.header", 3, 0xff, NULL},
        {"rx.packet", 12, 0, "rx.packet: not of the kind"},
        {"tx.nsegs", 0, 3, "tx.packet: not made ready"},
    };
    struct drv *d = busy(",offload=off");
    struct device *dev = &d->e->dev;
    device_hold(dev);
    struct records r = records_of(dev);
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        records_bend(dev, &r, &tries[i]);
        device_resume(dev);
        run(d);
        device_hold(dev);
        CHECK_EQ(records_load(dev, &r), 0);
    }
    records_free(&r);
    drv_free(d);
}

/* The header of a packet that is ready goes to the backend, which may be the
 * host's kernel. */
TEST(e1000_hold_headers_the_card_would_not_make_are_refused)
{
    static const struct {
        uint32_t i;
        uint8_t val;
        bool good;
    } tries[] = {
        {0, 0, false},           /* GSO without NEEDS_CSUM */
        {0, 2, false},           /* DATA_VALID is the receiver's */
        {1, NET_GSO_UDP, false}, /* not a card's */
        {1, NET_GSO_TCPV6, true},
        {1, 0, false}, /* a GSO size of no GSO */
        {5, 0, true},  /* gso_size 700: low byte only */
        {4, 0, true},
        {7, 0xff, false}, /* csum_start beyond it */
        {10, 1, false},   /* num_buffers */
        {3, 0xff, false}, /* hdr_len */
    };
    struct drv *d = busy("");
    struct device *dev = &d->e->dev;
    device_hold(dev);
    struct records r = records_of(dev);
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        struct records c = records_copy(&r, r.len);
        records_set(&c, "tx.header", tries[i].i, tries[i].val);
        test_log();
        int err = device_load(dev, c.p, c.len);
        if (!CHECK_EQ(err, tries[i].good ? 0 : -EINVAL))
            FAIL("header[%u] = %u", tries[i].i, tries[i].val);
        records_free(&c);
        CHECK_EQ(records_load(dev, &r), 0);
    }
    records_free(&r);
    drv_free(d);
}
