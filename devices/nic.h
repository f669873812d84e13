/* SPDX-License-Identifier: MIT */
/* What both NIC models share: their options, and why frames were dropped. */
#ifndef NIC_H
#define NIC_H

#include "devices/pci/pci.h"
#include "machine/machine.h"
#include "net/net.h"

/* Every frame that does not reach the other side is charged to one of these.
 * rx and tx are the guest's directions. The man page has the same sentences
 * (tests/unit/devices/stats.c). */
#define NIC_COUNTERS(X)                                                        \
    X(rx_frames, "frames given to the guest")                                  \
    X(rx_bytes, "their bytes, without virtio header and FCS")                  \
    X(tx_frames, "frames taken from the guest and sent")                       \
    X(tx_bytes, "their bytes")                                                 \
    X(rx_irqs, "interrupts raised for receive")                                \
    X(tx_irqs, "interrupts raised for transmit")                               \
    X(tx_kicks, "doorbells of the transmit ring")                              \
    X(rx_kicks, "doorbells of the receive ring")                               \
    X(rx_drop_off, "receiver not enabled")                                     \
    X(rx_drop_link, "link down")                                               \
    X(rx_drop_no_buffer, "no receive buffer")                                  \
    X(rx_drop_filter, "address or VLAN filter")                                \
    X(rx_drop_long, "longer than the guest accepts")                           \
    X(rx_drop_short, "shorter than an Ethernet header")                        \
    X(rx_drop_fit, "does not fit the buffers posted")                          \
    X(rx_drop_offload, "checksum or segmentation not negotiated")              \
    X(rx_drop_desc, "bad receive descriptor")                                  \
    X(rx_drop_backend, "backend read error")                                   \
    X(tx_drop_off, "transmitter not enabled")                                  \
    X(tx_drop_link, "link down")                                               \
    X(tx_drop_desc, "bad transmit descriptor")                                 \
    X(tx_drop_long, "frame too long")                                          \
    X(tx_drop_short, "frame too short")                                        \
    X(tx_drop_offload, "offload request not negotiated or wrong")              \
    X(tx_drop_backend, "backend write error")                                  \
    X(tx_blocked, "times the backend was full (frame kept)")

struct nic_stats {
#define X(name, what) _Atomic uint64_t name;
    NIC_COUNTERS(X)
#undef X
};
/* Statistics are read by other threads but written by one: no locked add. */
#define nic_count(s, name, n)                                                  \
    atomic_store_explicit(                                                     \
        &(s)->name,                                                            \
        atomic_load_explicit(&(s)->name, memory_order_relaxed) + (n),          \
        memory_order_relaxed)
/* sum += s */
void nic_stats_add(struct nic_stats *sum, const struct nic_stats *s);
extern const struct field nic_counters[]; /* of a struct nic_stats */

/* What every NIC model has, and can be told. */
struct nic {
    const char *id;
    struct netdev *nd; /* NULL: no cable */
    const char *netdev;
    uint8_t mac[6];
    char default_id[24];
    struct pci_place pci;
    struct nic_stats stats;
};
extern const struct field nic_fields[];
/* The first half of making one, of `dev`: its id; a missing mac= becomes
 * 52:54:00:xx:xx:xx, different for each NIC and VM and the same in each run
 * with the same -name and order. The netdev is found, checked for being free,
 * and taken. 0 or -errno (said). */
int nic_check(struct nic *nic, struct device *dev, struct needs *needs,
              const char *model);

/* The NIC models. */

#endif
