/* SPDX-License-Identifier: MIT */
/* A fake e1000 driver, and the frames it and its network exchange. */
#ifndef E1000_DRV_H
#define E1000_DRV_H

#include "devices/e1000/state.h"
#include "tests/unit/fake.h"
#include "tests/unit/fakedrv.h"

#define DRV_RAM (8u << 20)
#define DRV_TXRING 0x10000
#define DRV_RXRING 0x20000
#define DRV_TXBUF 0x100000 /* 64 KiB a packet */
#define DRV_RXBUF 0x300000 /* 16 KiB a descriptor */
#define DRV_RXSTEP 0x4000
#define MS 1000000ull
#define HDR 54 /* Ethernet, IPv4, TCP */

struct drv {
    struct machine *m;
    struct fake_net *net;
    struct e1000 *e;
    unsigned slot, gsi;
    uint64_t bar, io;
    uint32_t ntx, nrx, tail; /* TX tail */
    uint32_t rx_next;        /* next RX descriptor to look at */
};

/* A machine with one card, cable plugged and link up; `more` as after
 * "netdev=n0,". */
struct drv *drv_new(const char *more);
void drv_free(struct drv *d);
/* Both rings of n descriptors (RX buffers posted: n - 1), EN set. */
void drv_rings(struct drv *d, uint32_t n);
void drv_tx_ring(struct drv *d, uint32_t n);
void drv_rx_ring(struct drv *d, uint32_t n, uint32_t rctl);

static inline uint32_t rd(struct drv *d, uint32_t off)
{
    return drv_r32(d->m, d->bar + off);
}
static inline void wr(struct drv *d, uint32_t off, uint32_t v)
{
    drv_w32(d->m, d->bar + off, v);
}
static inline void run(struct drv *d)
{
    fake_run_loop(d->m);
}
static inline bool irq_line(struct drv *d)
{
    return fake_level(d->m, d->gsi);
}

/* Puts descriptors at the tail without moving TDT. */
void drv_desc(struct drv *d, uint64_t addr, uint32_t lower, uint32_t upper);
void drv_context(struct drv *d, const struct tx_ctx *c);
/* Of make_tcp's packets (IPv4, no tag), to be cut into segments. */
struct tx_ctx drv_tso(uint32_t payload, uint16_t mss);
/* Moves TDT and runs the loop. */
void drv_go(struct drv *d);
/* Sends a frame with one legacy descriptor, from DRV_TXBUF. */
void drv_send(struct drv *d, const void *frame, uint32_t len, uint32_t cmd);
uint8_t drv_tx_status(struct drv *d, uint32_t at);

/* Posts a buffer of another address in RX descriptor `at`. */
void drv_rx_desc(struct drv *d, uint32_t at, uint64_t addr);
uint64_t drv_rx_result(struct drv *d, uint32_t at);
/* Next received frame (up to EOP), -1: none. FCS is included when there is
 * one. *result is the EOP descriptor's second half. */
int drv_recv(struct drv *d, uint8_t *frame, uint64_t *result);

/* Ethernet + IPv4 + TCP + payload (a counting pattern); checksums right.
 * `tag`: -1, or a VLAN TCI. Returns its length. */
uint32_t make_tcp(uint8_t *f, uint32_t payload, int tag);
uint32_t make_udp(uint8_t *f, uint32_t payload);
uint32_t make_tcp6(uint8_t *f, uint32_t payload);
/* Is the TCP or UDP checksum right? IP's, for v4? */
bool sums_ok(const uint8_t *f, uint32_t len);
extern const uint8_t drv_mac[6];

#endif
