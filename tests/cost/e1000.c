/* SPDX-License-Identifier: MIT */
/* What a packet through the e1000 costs, from the loop's waking to its next
 * sleep; and the registers that its driver touches for it. */
#include <stdio.h>

#include "tests/cost/cost.h"
#include "tests/unit/devices/e1000/drv.h"

#define SIZE 64 /* of the transmit ring */
#define RX_SIZE 64
#define PIECE 4096u
/* ns for each look at the clock: too far apart to look, or nap, for more. */
#define FAR_APART 200000000
#define DATA (TXD_DEXT | TXD_DTYP_DATA | TXD_IFCS)
#define MSS 1448
#define CAUSES                                                                 \
    0x9d /* what Linux's driver enables: RXT0 RXDMT0 RXSEQ LSC TXDW */

static struct {
    struct drv *d;
    unsigned batch;
    uint32_t len;
    struct net_hdr hdr;
} s;

static uint8_t frame[NET_FRAME_MAX], got[NET_FRAME_MAX];

/* A large packet is a TSO request: context, headers, pages. */
static void put_packet(void)
{
    if (s.len <= 1514) {
        drv_desc(s.d, DRV_TXBUF, s.len | TXD_EOP | TXD_IFCS | TXD_RS, 0);
        return;
    }
    struct tx_ctx c = drv_tso(s.len - HDR, MSS);
    drv_context(s.d, &c);
    for (uint32_t at = 0, k = HDR; at < s.len; at += k) {
        k = at ? s.len - at < PIECE ? s.len - at : PIECE : k;
        uint32_t end = at + k == s.len ? TXD_EOP | TXD_RS : 0;
        drv_desc(s.d, DRV_TXBUF + at, k | DATA | TXD_TSE | end,
                 (POPTS_IXSM | POPTS_TXSM) << 8);
    }
}

static void tx_work(void *arg)
{
    unsigned sent = 0;
    (void)arg;
    for (unsigned i = 0; i < s.batch; i++)
        put_packet();
    wr(s.d, TDT, s.d->tail);
    while (!(drv_tx_status(s.d, (s.d->tail + SIZE - 1) % SIZE) & TXD_DD))
        cost_turn(s.d->m);
    while (fake_net_take(s.d->net, 0, NULL, got, sizeof(got)) >= 0)
        sent++;
    REQUIRE_EQ(sent, s.batch);
    REQUIRE(irq_line(s.d));
    rd(s.d, ICR);
    run(s.d);
}

static void rx_work(void *arg)
{
    unsigned each = s.len <= 1514 ? 1 : (s.len - HDR + MSS - 1) / MSS, n = 0;
    (void)arg;
    for (unsigned i = 0; i < s.batch; i++)
        fake_net_give(s.d->net, 0, &s.hdr, frame, s.len);
    while (n < s.batch * each) {
        cost_turn(s.d->m);
        while (drv_recv(s.d, got, NULL) > 0)
            n++;
    }
    REQUIRE_EQ(n, s.batch * each);
    REQUIRE(irq_line(s.d));
    rd(s.d, ICR);
    wr(s.d, RDT, (s.d->rx_next + RX_SIZE - 1) % RX_SIZE);
    run(s.d);
}

static void up(uint32_t len, unsigned batch)
{
    s.d = drv_new(NULL);
    s.batch = batch;
    s.len = len;
    s.hdr = (struct net_hdr){0};
    make_tcp(frame, len - HDR, -1);
    memcpy(fake_ram(s.d->m, DRV_TXBUF, len), frame, len);
    if (len > 1514)
        s.hdr = (struct net_hdr){.flags = NET_F_NEEDS_CSUM,
                                 .gso_type = NET_GSO_TCPV4,
                                 .gso_size = MSS,
                                 .hdr_len = HDR,
                                 .csum_start = 34,
                                 .csum_offset = 16};
    drv_tx_ring(s.d, SIZE);
    drv_rx_ring(s.d, RX_SIZE, RCTL_EN | RCTL_BAM);
    rd(s.d, ICR);
    wr(s.d, IMS, CAUSES);
    run(s.d);
    fake_tick_ns(FAR_APART);
}

static void down(void)
{
    fake_tick_ns(0);
    drv_free(s.d);
}

static void rows(uint32_t len, unsigned batch)
{
    char name[80];
    up(len, batch);
    snprintf(name, sizeof(name), "e1000, from guest, %u B, %u a turn", len,
             batch);
    cost_row(name, batch, tx_work, NULL);
    down();
    up(len, batch);
    snprintf(name, sizeof(name), "e1000, to guest, %u B, %u a turn", len,
             batch);
    cost_row(name, batch, rx_work, NULL);
    down();
}

struct reg {
    const char *name;
    bool write;
    uint32_t off, val;
};

static void reg_work(void *arg)
{
    const struct reg *r = arg;
    struct bus *bus = s.d->m->mmio;
    cost_on();
    if (r->write)
        bus_write(bus, s.d->bar + r->off, 4, r->val);
    else
        bus_read(bus, s.d->bar + r->off, 4);
    cost_off();
}

/* A doorbell with a packet behind it: what the vCPU pays. */
static void doorbell_work(void *arg)
{
    (void)arg;
    put_packet();
    cost_on();
    bus_write(s.d->m->mmio, s.d->bar + TDT, 4, s.d->tail);
    cost_off();
    run(s.d);
    fake_net_take(s.d->net, 0, NULL, got, sizeof(got));
    rd(s.d, ICR);
    run(s.d);
}

static void registers(void)
{
    static struct reg rows[] = {
        {"e1000, STATUS read", false, STATUS, 0},
        {"e1000, ICR read, nothing set", false, ICR, 0},
        {"e1000, IMC write", true, IMC, ~0u},
        {"e1000, IMS write", true, IMS, CAUSES},
    };
    up(64, 1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cost_row(rows[i].name, 1, reg_work, &rows[i]);
    cost_row("e1000, TDT write, a packet", 1, doorbell_work, NULL);
    down();
}

void cost_e1000(void)
{
    registers();
    rows(64, 1);
    rows(64, 32);
    rows(1514, 1);
    rows(1514, 32);
    rows(65000, 1);
}
