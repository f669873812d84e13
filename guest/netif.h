/* SPDX-License-Identifier: MIT */
/* One network interface: what the stack needs of a NIC driver. */
#ifndef GUEST_NETIF_H
#define GUEST_NETIF_H

#include "pci.h"

#define NETIF_BUF 2048 /* one packet buffer */
#define NETIF_RX_RING 128
#define NETIF_TX_RING 256
#define NETIF_POLL 64 /* frames per poll, so that timers get their turn */
#define ETH_FRAME_MAX 1514
#define ETH_FRAME_MIN 60

/* The guest drives a single NIC, so drivers keep their state in statics. */
struct netif {
    const struct nic_driver *driver;
    u8 mac[6];
    const char *irq; /* "msix" or "intx" */
    bool link;
    u64 rx_frames, rx_bytes, tx_frames, tx_bytes, kicks, irqs;
};

struct nic_driver {
    const char *name;
    bool (*match)(u32 id);
    /* NULL, or the step that failed. Fills in mac, irq, link. */
    const char *(*open)(const struct pci_fn *fn);
    /* Room for one frame of up to ETH_FRAME_MAX bytes, or NULL while the ring
     * is full. The same room until tx(). */
    u8 *(*tx_buf)(void);
    /* Queues the frame in the last tx_buf(). The device is told by flush(). */
    void (*tx)(u32 len);
    void (*flush)(void);
    /* Hands up to NETIF_POLL frames to net_rx(); true if there were any. */
    bool (*poll)(void);
    /* Allows interrupts for received frames and link changes, and for free
     * room if want_tx. True if there is something to do already. */
    bool (*arm)(bool want_tx);
};

extern struct netif nif;
extern const struct nic_driver virtio_net_driver, e1000_driver;

/* Packet memory shared by the drivers. A TX buffer's last 8 bytes belong to
 * whoever fills it: flood.c notes there that its frame is still in place. */
extern u8 netif_rx_bufs[NETIF_RX_RING][NETIF_BUF];
extern u8 netif_tx_bufs[NETIF_TX_RING][NETIF_BUF];

#endif
