/* SPDX-License-Identifier: MIT */
/* The fake e1000 driver: see drv.h. */
#include "devices/list.h"
#include "tests/unit/devices/e1000/drv.h"

#include <stdio.h>
#include <stdlib.h>

const uint8_t drv_mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static struct drv one; /* tests run one after another */

struct drv *drv_new(const char *more)
{
    static int number;
    struct drv *d = &one;
    char text[200], id[16];
    snprintf(id, sizeof(id), "n%d", number++);
    memset(d, 0, sizeof(*d));
    d->m = fake_pc(DRV_RAM);
    d->net = fake_net_new(id, 1);
    snprintf(text, sizeof(text), "netdev=%s,mac=52:54:00:12:34:56%s%s", id,
             more ? "," : "", more ? more : "");
    REQUIRE_EQ(fake_device(d->m, &e1000_class, "-device e1000", text), 0);
    d->slot = (unsigned)drv_find(d->m, 0x8086, 0x100e, 0);
    d->e = pci_fn_at(d->m->pci, d->slot)->owner;
    d->gsi = pci_slot_gsi(d->slot);
    drv_enable(d->m, d->slot, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
    d->bar = drv_bar(d->m, d->slot, 0);
    d->io = drv_bar(d->m, d->slot, 1);
    run(d);
    fake_sleep_ns(d->m, 2 * MS);
    rd(d, ICR);
    return d;
}

void drv_free(struct drv *d)
{
    fake_free(d->m);
    netdev_close_all();
}

void drv_tx_ring(struct drv *d, uint32_t n)
{
    memset(fake_ram(d->m, DRV_TXRING, n * 16), 0, n * 16);
    d->ntx = n;
    d->tail = 0;
    wr(d, TDBAL, DRV_TXRING);
    wr(d, TDBAH, 0);
    wr(d, TDLEN, n * 16);
    wr(d, TDH, 0);
    wr(d, TDT, 0);
    wr(d, TCTL, TCTL_EN | TCTL_PSP);
    run(d);
}

struct tx_ctx drv_tso(uint32_t payload, uint16_t mss)
{
    return (struct tx_ctx){.ipcss = 14,
                           .ipcso = 24,
                           .ipcse = 33,
                           .tucss = 34,
                           .tucso = 50,
                           .hdrlen = HDR,
                           .mss = mss,
                           .cmd = TUCMD_TCP | TUCMD_IP | TXD_TSE | payload};
}

void drv_rx_desc(struct drv *d, uint32_t at, uint64_t addr)
{
    uint64_t *p = fake_ram(d->m, DRV_RXRING + at * 16, 16);
    p[0] = addr;
    p[1] = 0;
}

void drv_rx_ring(struct drv *d, uint32_t n, uint32_t rctl)
{
    d->nrx = n;
    d->rx_next = 0;
    for (uint32_t i = 0; i < n; i++)
        drv_rx_desc(d, i, DRV_RXBUF + (uint64_t)i * DRV_RXSTEP);
    wr(d, RDBAL, DRV_RXRING);
    wr(d, RDBAH, 0);
    wr(d, RDLEN, n * 16);
    wr(d, RDH, 0);
    wr(d, RDT, 0);
    wr(d, RCTL, rctl);
    wr(d, RDT, n - 1);
    run(d);
}

void drv_rings(struct drv *d, uint32_t n)
{
    drv_tx_ring(d, n);
    drv_rx_ring(d, n, RCTL_EN | RCTL_BAM);
}

void drv_desc(struct drv *d, uint64_t addr, uint32_t lower, uint32_t upper)
{
    uint32_t *p = fake_ram(d->m, DRV_TXRING + d->tail * 16, 16);
    memcpy(p, &addr, 8);
    p[2] = lower;
    p[3] = upper;
    d->tail = (d->tail + 1) % d->ntx;
}

void drv_context(struct drv *d, const struct tx_ctx *c)
{
    uint64_t a = c->ipcss | (uint64_t)c->ipcso << 8 | (uint64_t)c->ipcse << 16 |
                 (uint64_t)c->tucss << 32 | (uint64_t)c->tucso << 40 |
                 (uint64_t)c->tucse << 48;
    drv_desc(d, a, c->cmd | TXD_DEXT,
             (uint32_t)c->hdrlen << 8 | (uint32_t)c->mss << 16);
}

void drv_go(struct drv *d)
{
    wr(d, TDT, d->tail);
    run(d);
}

void drv_send(struct drv *d, const void *frame, uint32_t len, uint32_t cmd)
{
    memcpy(fake_ram(d->m, DRV_TXBUF, len), frame, len);
    drv_desc(d, DRV_TXBUF, len | cmd, 0);
    drv_go(d);
}

uint8_t drv_tx_status(struct drv *d, uint32_t at)
{
    return *(uint8_t *)fake_ram(d->m, DRV_TXRING + at * 16 + 12, 1);
}

uint64_t drv_rx_result(struct drv *d, uint32_t at)
{
    uint64_t v;
    memcpy(&v, fake_ram(d->m, DRV_RXRING + at * 16 + 8, 8), 8);
    return v;
}

int drv_recv(struct drv *d, uint8_t *frame, uint64_t *result)
{
    int len = 0;
    for (;;) {
        uint64_t addr, v = drv_rx_result(d, d->rx_next);
        if (!(v >> 32 & RXD_DD))
            return -1;
        memcpy(&addr, fake_ram(d->m, DRV_RXRING + d->rx_next * 16, 8), 8);
        memcpy(frame + len, fake_ram(d->m, addr, v & 0xffff), v & 0xffff);
        len += (int)(v & 0xffff);
        drv_rx_desc(d, d->rx_next, addr);
        d->rx_next = (d->rx_next + 1) % d->nrx;
        if (v >> 32 & RXD_EOP) {
            if (result)
                *result = v;
            return len;
        }
    }
}

static uint32_t make_eth(uint8_t *f, uint16_t type, int tag)
{
    memcpy(f, drv_mac, 6);
    static const uint8_t from[6] = {2, 0, 0, 0, 0, 1};
    memcpy(f + 6, from, 6);
    if (tag >= 0) {
        eth_put16(f + 12, 0x8100);
        eth_put16(f + 14, (uint16_t)tag);
        eth_put16(f + 16, type);
        return 18;
    }
    eth_put16(f + 12, type);
    return 14;
}

static void make_ip(uint8_t *ip, uint8_t proto, uint32_t l4len)
{
    memset(ip, 0, 20);
    ip[0] = 0x45;
    eth_put16(ip + 2, (uint16_t)(20 + l4len));
    eth_put16(ip + 4, 0x1234);
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = proto;
    static const uint8_t addr[8] = {10, 0, 0, 1, 10, 0, 0, 2};
    memcpy(ip + 12, addr, 8);
    eth_put16(ip + 10, csum_fold(csum_partial(ip, 20, 0, false)));
}

static void fill(uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 + (i >> 8));
}

static void l4_sum(const uint8_t *f, uint8_t *l4, uint32_t at, uint32_t len)
{
    struct eth_info i;
    eth_put16(l4 + at, 0);
    eth_parse(&i, f, 65535, 65600, 0x8100);
    eth_put16(l4 + at,
              csum_fold(csum_partial(l4, len, eth_pseudo(&i, f, len), false)));
}

static void make_tcp_header(uint8_t *t)
{
    memset(t, 0, 20);
    eth_put16(t, 1000);
    eth_put16(t + 2, 2000);
    eth_put32(t + 4, 0xfffff000);
    t[12] = 0x50;
    t[13] = 0x19; /* ACK PSH FIN */
    eth_put16(t + 14, 0x4000);
}

uint32_t make_tcp(uint8_t *f, uint32_t payload, int tag)
{
    uint32_t l3 = make_eth(f, 0x0800, tag), l4 = l3 + 20;
    make_ip(f + l3, 6, 20 + payload);
    make_tcp_header(f + l4);
    fill(f + l4 + 20, payload);
    l4_sum(f, f + l4, 16, 20 + payload);
    return l4 + 20 + payload;
}

uint32_t make_udp(uint8_t *f, uint32_t payload)
{
    uint32_t l4 = make_eth(f, 0x0800, -1) + 20;
    make_ip(f + 14, 17, 8 + payload);
    memset(f + l4, 0, 8);
    eth_put16(f + l4, 1000);
    eth_put16(f + l4 + 2, 2000);
    eth_put16(f + l4 + 4, (uint16_t)(8 + payload));
    fill(f + l4 + 8, payload);
    l4_sum(f, f + l4, 6, 8 + payload);
    return l4 + 8 + payload;
}

uint32_t make_tcp6(uint8_t *f, uint32_t payload)
{
    uint32_t l4 = make_eth(f, 0x86dd, -1) + 40;
    memset(f + 14, 0, 40);
    f[14] = 0x60;
    eth_put16(f + 18, (uint16_t)(20 + payload));
    f[20] = 6;
    f[21] = 64;
    fill(f + 22, 32);
    make_tcp_header(f + l4);
    fill(f + l4 + 20, payload);
    l4_sum(f, f + l4, 16, 20 + payload);
    return l4 + 20 + payload;
}

bool sums_ok(const uint8_t *f, uint32_t len)
{
    struct eth_info i;
    uint32_t n;
    eth_parse(&i, f, len, len, 0x8100);
    if (!i.ip || i.end > len)
        return false;
    n = i.end - i.l4;
    if (i.ip == 4 && csum_fold(csum_partial(f + i.l3, 20, 0, false)))
        return false;
    return !csum_fold(csum_partial(f + i.l4, n, eth_pseudo(&i, f, n), false));
}
