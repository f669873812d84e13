/* SPDX-License-Identifier: MIT */
/* An e1000 driver that keeps to the rules (SDM 3.2, 3.4): descriptors are
 * written before a tail is, and are its own again when DD is seen or the unit
 * was switched off. So each race that is reported is the card's. */
#include <string.h>

#include "devices/list.h"
#include "devices/e1000/state.h"
#include "tests/tsan/rig.h"

#define N 64
#define RX_AT(life) (0x700000u + ((life)&1) * 0x8000u)
#define TX_AT(life) (0x704000u + ((life)&1) * 0x8000u)
#define RX_BUF 0x1800000u
#define TX_BUF 0x1900000u
#define BUF_LEN 2048
#define REGS(d) (bar_at((d)->c->slot, 0))

struct drv {
    struct vcpu *c;
    unsigned life;
    uint64_t rx, tx; /* rings */
    unsigned rx_next, tx_next, tx_done;
    uint64_t since; /* the last time a frame was sent, or none was waiting */
};

static bool set(struct drv *d, unsigned off, uint32_t val)
{
    for (;;) {
        wr(REGS(d) + off, 4, val);
        if ((uint32_t)rd(REGS(d) + off, 4) == val)
            return true;
        if (!vcpu_step(d->c))
            return false;
    }
}

/* Off, so that the rings are ours; then other rings, and on. */
static bool make_rings(struct drv *d)
{
    if (!set(d, RCTL, 0) || !set(d, TCTL, 0))
        return false;
    d->life++;
    d->rx = RX_AT(d->life);
    d->tx = TX_AT(d->life);
    memset(ram_at(d->rx), 0, 16 * N);
    memset(ram_at(d->tx), 0, 16 * N);
    for (unsigned i = 0; i < N; i++) {
        uint64_t at = RX_BUF + i * BUF_LEN;
        memcpy(ram_at(d->rx + 16 * i), &at, 8);
    }
    d->rx_next = d->tx_next = d->tx_done = 0;
    d->since = now_ns();
    const struct {
        unsigned off;
        uint32_t val;
    } regs[] = {{RDBAL, (uint32_t)d->rx},
                {RDBAH, 0},
                {RDLEN, 16 * N},
                {RDH, 0},
                {RDT, N - 1},
                {TDBAL, (uint32_t)d->tx},
                {TDBAH, 0},
                {TDLEN, 16 * N},
                {TDH, 0},
                {TDT, 0},
                {RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_BAM},
                {TCTL, TCTL_EN | TCTL_PSP},
                {IMS, 0x9f}};
    for (unsigned i = 0; i + 1 < ARRAY_LEN(regs); i++)
        if (!set(d, regs[i].off, regs[i].val))
            return false;
    wr(REGS(d) + IMS, 4, 0x9f);
    return true;
}

static bool reset(struct drv *d)
{
    do {
        wr(REGS(d) + CTRL, 4, CTRL_RST);
        if (!vcpu_step(d->c))
            return false;
    } while (rd(REGS(d) + RCTL, 4) != 0);
    return set(d, CTRL, CTRL_SLU | CTRL_FD | CTRL_ASDE);
}

static void transmit(struct drv *d)
{
    for (unsigned i = rnd(d->c, 8); i && (d->tx_next + 1) % N != d->tx_done;
         i--) {
        uint64_t at = TX_BUF + d->tx_next * BUF_LEN;
        uint32_t len = 60 + rnd(d->c, 1400);
        uint32_t lower = len | TXD_EOP | TXD_IFCS | TXD_RS, upper = 0;
        if (rnd(d->c, 2))
            lower |= TXD_IDE;
        memset(ram_at(at), 0xff, 6);
        memcpy(ram_at(d->tx + 16 * d->tx_next), &at, 8);
        memcpy(ram_at(d->tx + 16 * d->tx_next + 8), &lower, 4);
        memcpy(ram_at(d->tx + 16 * d->tx_next + 12), &upper, 4);
        d->tx_next = (d->tx_next + 1) % N;
    }
    wr(REGS(d) + TDT, 4, d->tx_next);
}

static void reap(struct drv *d)
{
    unsigned n = 0;
    while (d->tx_done != d->tx_next &&
           get_acquire(uint8_t, d->tx + 16 * d->tx_done + 12) & TXD_DD) {
        d->tx_done = (d->tx_done + 1) % N;
        n++;
    }
    atomic_fetch_add(&rig.sent, n);
    if (n || d->tx_done == d->tx_next)
        d->since = now_ns();
    if (now_ns() - d->since > PATIENCE_NS)
        rig_fail("e1000: nothing was sent for a long time");
}

static void receive(struct drv *d)
{
    unsigned n = 0;
    while (n < N - 1 &&
           get_acquire(uint8_t, d->rx + 16 * d->rx_next + 12) & 1) {
        put(uint64_t, d->rx + 16 * d->rx_next + 8, 0);
        d->rx_next = (d->rx_next + 1) % N;
        n++;
    }
    atomic_fetch_add(&rig.received, n);
    if (n)
        wr(REGS(d) + RDT, 4, (d->rx_next + N - 1) % N);
}

/* Delays, moderation, loopback, negotiation. */
static void tune(struct drv *d)
{
    static const uint16_t delay[] = {RDTR, RADV, TIDV, TADV, ITR};
    static const uint32_t lbm[] = {0, RCTL_LBM_MAC};
    switch (rnd(d->c, 8)) {
    case 0:
        wr(REGS(d) + MDIC, 4, 1u << 26 | 1u << 21 | 0x1200); /* restart */
        break;
    case 1:
        wr(REGS(d) + RCTL, 4,
           RCTL_EN | RCTL_UPE | RCTL_BAM | lbm[rnd(d->c, 2)]);
        break;
    case 2:
        wr(REGS(d) + RDTR, 4, 1u << 31); /* FPD */
        break;
    case 3:
        wr(REGS(d) + RXCSUM, 4, rnd(d->c, 2) ? 0x300 : 0);
        break;
    default:
        wr(REGS(d) + delay[rnd(d->c, 5)], 4, rnd(d->c, 3) * rnd(d->c, 100));
        break;
    }
}

static void driver(struct vcpu *c)
{
    static unsigned lives;
    struct drv d = {.c = c, .life = lives++};
    if (!reset(&d) || !make_rings(&d))
        return;
    atomic_fetch_add(&rig.lives, 1);
    for (unsigned i = 20 + rnd(c, 400); i; i--) {
        rd(REGS(&d) + ICR, 4);
        receive(&d);
        reap(&d);
        transmit(&d);
        if (!rnd(c, 30))
            tune(&d);
        if (!rnd(c, 80) && !make_rings(&d))
            return;
        if (!vcpu_sleep(c, rnd(c, 4) ? 0 : rnd(c, 300)))
            return;
    }
}

static void rude(struct vcpu *c)
{
    static const uint16_t causes[] = {ICR, ICS, IMS, IMC};
    uint64_t bar = bar_at(c->slot, 0);
    switch (rnd(c, 4)) {
    case 0: /* statistics: reading clears */
        rd(bar + 0x4000 + 4 * rnd(c, 64), 4);
        break;
    case 1:
        rd(bar + 4 * rnd(c, 0x1500), 4);
        break;
    case 2:
        wr(bar + causes[rnd(c, 4)], 4, rnd(c, 0x20000));
        break;
    default:
        wr(bar + 0x5200 + 4 * rnd(c, 128), 4, rnd(c, 1 << 30)); /* MTA */
        break;
    }
}

const struct guest e1000_guest = {
    .driver = driver, .rude = rude, .cls = &e1000_class};
