/* SPDX-License-Identifier: MIT */
/* Intel 82540EM (e1000) by its registers, legacy descriptors, INTx. */

/*
 * Theory of operation
 *
 * SDM means "PCI/PCI-X Family of Gigabit Ethernet Controllers Software
 * Developer's Manual" (317453). Descriptor i always uses buffer i, so receive
 * descriptors are written once and afterwards only their status is cleared and
 * RDT moved. RDT stays one behind the first free descriptor: RDH = RDT means
 * empty (SDM §3.2.6).
 *
 * flush() writes TDT and RDT at most once per batch. Only receive causes and
 * link changes are enabled in IMS; TXDW is added while the sender waits for
 * room. Reading ICR in the handler drops the line (SDM §13.4.17). Interrupts
 * are taken only in irq_wait(), so the rings need no locks.
 */

#include "irq.h"
#include "net.h"
#include "netif.h"

#define ID_82540EM 0x100e8086

/* Registers, SDM §13.4 */
#define CTRL 0x0000
#define STATUS 0x0008
#define EERD 0x0014
#define ICR 0x00c0
#define IMS 0x00d0
#define IMC 0x00d8
#define RCTL 0x0100
#define TCTL 0x0400
#define TIPG 0x0410
#define RDBAL 0x2800
#define RDTR 0x2820
#define RDH_OFF 0x10 /* from RDBAL or TDBAL */
#define RDT_OFF 0x18
#define RDT 0x2818
#define TDBAL 0x3800
#define TDT 0x3818
#define MTA 0x5200
#define RAL 0x5400
#define RAH 0x5404

#define CTRL_ASDE (1u << 5)
#define CTRL_SLU (1u << 6)
#define CTRL_RST (1u << 26)
#define STATUS_LU (1u << 1)
#define EERD_START 1u
#define EERD_DONE (1u << 4)
#define RAH_AV (1u << 31)
#define INT_TXDW (1u << 0)
#define INT_LSC (1u << 2)
#define INT_RXDMT0 (1u << 4)
#define INT_RXO (1u << 6)
#define INT_RXT0 (1u << 7)
#define RCTL_EN (1u << 1)
#define RCTL_BAM (1u << 15)
#define RCTL_SECRC (1u << 26) /* BSIZE 00 is 2048 bytes */
#define TCTL_EN (1u << 1)
#define TCTL_PSP (1u << 3)
#define TCTL_CT_COLD (0x0fu << 4 | 0x40u << 12) /* SDM §13.4.33 */
#define TIPG_COPPER (10u | 8u << 10 | 6u << 20) /* SDM §13.4.34 */

#define RXD_DD 1u
#define RXD_EOP 2u
#define TXD_EOP 1u
#define TXD_IFCS 2u
#define TXD_RS 8u
#define TXD_DD 1u

#define SPINS 100000

/* SDM §3.2.3 and §3.3.3 */
struct rx_desc {
    u64 gpa;
    u16 len, csum;
    u8 status, errors;
    u16 special;
};

struct tx_desc {
    u64 gpa;
    u16 len;
    u8 cso, cmd, status, css;
    u16 special;
};

static NOINIT struct rx_desc rx_ring[NETIF_RX_RING]
    __attribute__((aligned(128)));
static NOINIT struct tx_desc tx_ring[NETIF_TX_RING]
    __attribute__((aligned(128)));
static uptr regs;
static unsigned rx_next, rx_given; /* next to look at; last RDT written */
static unsigned tx_next, tx_sent, tx_clean, tx_used;
static bool in_fragment, tx_irq, link_changed;

static void w32(u32 reg, u32 v)
{
    mmio_w32(regs + reg, v);
}

static u32 r32(u32 reg)
{
    return mmio_r32(regs + reg);
}

static void e1000_interrupt(void)
{
    u32 causes = r32(ICR);

    if (!causes)
        return; /* another function on this line */
    nif.irqs++;
    if (causes & INT_LSC)
        link_changed = true;
}

/* SDM §13.4.4; the 82540EM layout: address in bits 15:8. */
static bool eeprom_read(u8 word, u16 *value)
{
    w32(EERD, EERD_START | (u32)word << 8);
    for (u32 i = 0; i < SPINS; i++) {
        u32 v = r32(EERD);

        if (v & EERD_DONE) {
            *value = (u16)(v >> 16);
            return true;
        }
    }
    return false;
}

/* RAL0/RAH0 are loaded from the EEPROM by a reset (SDM §13.5.2); if they are
 * not valid, the first three words are the address (SDM §5.6.1). */
static bool read_mac(void)
{
    u32 low = r32(RAL), high = r32(RAH);

    if (!(high & RAH_AV)) {
        u16 w[3];

        for (u8 i = 0; i < 3; i++)
            if (!eeprom_read(i, &w[i]))
                return false;
        low = w[0] | (u32)w[1] << 16;
        high = w[2];
        w32(RAL, low);
        w32(RAH, high | RAH_AV);
    }
    for (unsigned i = 0; i < 4; i++)
        nif.mac[i] = (u8)(low >> (8 * i));
    nif.mac[4] = (u8)high;
    nif.mac[5] = (u8)(high >> 8);
    return true;
}

static void open_ring(u32 base, const void *ring, u32 bytes)
{
    w32(base, (u32)(uptr)ring);
    w32(base + 4, 0);
    w32(base + 8, bytes);
    w32(base + RDH_OFF, 0);
    w32(base + RDT_OFF, 0);
}

/* SDM §14.4: receive initialisation. */
static void open_rx(void)
{
    for (unsigned i = 0; i < NETIF_RX_RING; i++)
        rx_ring[i] = (struct rx_desc){.gpa = (uptr)netif_rx_bufs[i]};
    open_ring(RDBAL, rx_ring, sizeof(rx_ring));
    w32(RDTR, 0);
    w32(RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC);
    rx_given = NETIF_RX_RING - 1;
    w32(RDT, rx_given);
}

/* SDM §14.5: transmit initialisation. Descriptors are written when used. */
static void open_tx(void)
{
    open_ring(TDBAL, tx_ring, sizeof(tx_ring));
    w32(TIPG, TIPG_COPPER);
    w32(TCTL, TCTL_EN | TCTL_PSP | TCTL_CT_COLD);
}

/* SDM §14.3. Multicast is not wanted and the table is zero after most resets,
 * but the manual calls its content undefined; RCTL has no use for it as long
 * as nothing but broadcast and our own address matters: a stray multicast
 * frame is dropped by the stack. So 128 register writes are saved. */
static const char *e1000_open(const struct pci_fn *fn)
{
    pci_enable(fn);
    regs = pci_bar(fn, 0, 0);
    if (!regs)
        return "no register BAR";
    w32(IMC, 0xffffffff);
    w32(CTRL, r32(CTRL) | CTRL_RST);
    for (u32 i = 0; r32(CTRL) & CTRL_RST; i++)
        if (i == SPINS)
            return "reset does not end";
    w32(IMC, 0xffffffff);
    r32(ICR);
    if (!read_mac())
        return "no EEPROM";
    w32(CTRL, r32(CTRL) | CTRL_SLU | CTRL_ASDE);
    open_rx();
    open_tx();
    nif.irq = "intx";
    nif.link = r32(STATUS) & STATUS_LU;
    if (!pci_intx_enable(fn, e1000_interrupt))
        return "no interrupt line";
    w32(IMS, INT_LSC | INT_RXDMT0 | INT_RXO | INT_RXT0);
    return NULL;
}

static void reclaim(void)
{
    while (tx_used && tx_ring[tx_clean].status & TXD_DD) {
        tx_clean = (tx_clean + 1) % NETIF_TX_RING;
        tx_used--;
    }
}

static u8 *e1000_tx_buf(void)
{
    /* One descriptor stays free: TDH = TDT means empty (SDM §3.4). */
    if (tx_used == NETIF_TX_RING - 1)
        reclaim();
    return tx_used == NETIF_TX_RING - 1 ? NULL : netif_tx_bufs[tx_next];
}

static void e1000_tx(u32 len)
{
    tx_ring[tx_next] = (struct tx_desc){.gpa = (uptr)netif_tx_bufs[tx_next],
                                        .len = (u16)len,
                                        .cmd = TXD_EOP | TXD_IFCS | TXD_RS};
    tx_next = (tx_next + 1) % NETIF_TX_RING;
    tx_used++;
}

static void e1000_flush(void)
{
    unsigned rdt = (rx_next + NETIF_RX_RING - 1) % NETIF_RX_RING;

    barrier();
    if (rdt != rx_given) {
        w32(RDT, rdt);
        rx_given = rdt;
    }
    if (tx_next != tx_sent) {
        w32(TDT, tx_next);
        tx_sent = tx_next;
        nif.kicks++;
    }
}

static bool rx_ready(void)
{
    return *(volatile u8 *)&rx_ring[rx_next].status & RXD_DD;
}

/* Frames longer than one buffer do not come while LPE is clear; should a
 * device send one all the same, its parts are dropped up to EOP. */
static bool e1000_poll(void)
{
    unsigned done = 0;

    if (link_changed) {
        link_changed = false;
        nif.link = r32(STATUS) & STATUS_LU;
    }
    for (; done < NETIF_POLL && rx_ready(); done++) {
        struct rx_desc *d = &rx_ring[rx_next];

        barrier(); /* status first, then the rest */
        bool last = d->status & RXD_EOP;

        if (last && !in_fragment && !d->errors && d->len <= NETIF_BUF)
            net_rx(netif_rx_bufs[rx_next], d->len);
        in_fragment = !last;
        d->status = 0;
        rx_next = (rx_next + 1) % NETIF_RX_RING;
    }
    return done;
}

static bool e1000_arm(bool want_tx)
{
    if (want_tx != tx_irq)
        w32(want_tx ? IMS : IMC, INT_TXDW);
    tx_irq = want_tx;
    return rx_ready() || link_changed ||
           (want_tx && tx_ring[tx_clean].status & TXD_DD);
}

static bool e1000_match(u32 id)
{
    return id == ID_82540EM;
}

const struct nic_driver e1000_driver = {
    .name = "e1000",
    .match = e1000_match,
    .open = e1000_open,
    .tx_buf = e1000_tx_buf,
    .tx = e1000_tx,
    .flush = e1000_flush,
    .poll = e1000_poll,
    .arm = e1000_arm,
};
