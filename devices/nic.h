/* SPDX-License-Identifier: MIT */
/* What both NIC models share: their options, and why frames were dropped. */
#ifndef NIC_H
#define NIC_H

#include <pthread.h>

#include "base/bucket.h"
#include "base/text.h"
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
    X(tx_blocked, "times the backend was full (frame kept)")                   \
    X(rx_limited, "times the rate limit held frames back")                     \
    X(tx_limited, "times it held the guest's back")

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

/* A queue's receive turns: how many in a row brought one packet alone. After
 * some such a turn ends with its packet, without a read that would find
 * nothing: the backend's file, which is level-triggered, tells of the next one.
 * Now and then a turn reads on, to find out whether that still holds. */
#define NIC_ALONE 16
static inline bool nic_one_is_enough(const unsigned *alone)
{
    return *alone > NIC_ALONE && *alone % NIC_ALONE;
}
static inline void nic_turn_brought(unsigned *alone, unsigned packets)
{
    if (packets)
        *alone = packets == 1 ? *alone + 1 : 0;
}

/* A rate limit: between a NIC's queue and its backend's. A frame that may not
 * go yet stays where it is: in the guest's ring, or in the backend. send and
 * recv give 0 then, as if the backend were full, or empty, and say in tx_due
 * or rx_due when to try again: waiting for the backend's file would spin. */
struct nic_gate {
    ssize_t (*send)(struct netbe *be, const struct iovec *iov, int n);
    ssize_t (*recv)(struct netbe *be, const struct iovec *iov, int n);
    struct nic *nic;
    uint64_t rx_due, tx_due; /* ns; 0: it was not the limit */
};

/* What every NIC model has, and can be told. */
struct nic {
    const char *id;
    struct netdev *nd; /* NULL: no cable */
    const char *netdev;
    uint8_t mac[6];
    uint8_t new_mac;   /* a restored guest does not know it yet */
    struct timer tell; /* on the loop of its first queue; nic_announce */
    uint8_t told[6];
    unsigned tells;
    char default_id[24];
    struct pci_place pci;
    struct nic_stats stats;
    struct rate rx_rate, tx_rate; /* as told at the start */
    bool elsewhere;               /* vhost moves the frames */
    _Atomic bool filter_told;     /* and nobody has asked since */
    pthread_mutex_t limit_lock;   /* innermost: its queues have threads */
    struct limit rx_limit, tx_limit;
    struct nic_gate *gate[NET_QUEUES_MAX]; /* NULL: never limited so far */
};
extern const struct field nic_fields[];
/* The first half of making one, of `dev`: its id; a missing mac= becomes
 * 52:54:00:xx:xx:xx, different for each NIC and VM and the same in each run
 * with the same -name and order. The netdev is found, checked for being free,
 * and taken. 0 or -errno (said). */
int nic_check(struct nic *nic, struct device *dev, struct needs *needs,
              const char *model);

/* The guest wants other frames from now on. Who hears of it is told once, and
 * again after nic_put_filter: a guest may do it as often as it likes. Any
 * thread, under the NIC's locks or not. */
void nic_filter_changed(struct nic *nic, struct device *dev);
/* Which frames a NIC takes, for who asks: a copy made after nic_filter_asked.
 * Modes are "none", "normal" (those listed) and "all". */
struct nic_filter {
    bool promiscuous, broadcast;
    bool uni_more, multi_more; /* others than those listed, too */
    const char *uni, *multi, *vlan;
    uint8_t mac[6];
    unsigned nunis, nmultis;
    uint8_t unis[64][6], multis[64][6];
    uint32_t vlans[4096 / 32];
};
#define NIC_FILTER_VERB "rx-filter", "which frames the guest wants", NULL, 0
void nic_filter_asked(struct nic *nic);
/* As JSON, in the words of QMP's query-rx-filter. */
void nic_put_filter(const struct nic *nic, const struct nic_filter *f,
                    struct text *out);

/* Tells the network that `mac` is here now, without the guest: of a machine
 * that was somewhere else. A few times, as a bridge's port that has just come
 * up may not be listening yet; nic->tell, which its owner initializes with
 * nic_tell and cancels, is for that. On the loop of its first queue. */
void nic_announce(struct nic *nic, const uint8_t mac[6]);
void nic_tell(struct timer *t);

/* The second half, once the netdev is open: its limits, if it was told some. 0
 * or -errno (said). */
int nic_limit_open(struct nic *nic);
/* What of `told` is said becomes the limit. No queue of the NIC's sends or
 * receives meanwhile; its owner tries both again. 0 or -errno (said). */
struct nic_limit_told {
    struct limit_told rx, tx;
};
extern const struct field nic_limit_fields[]; /* of one */
int nic_limit(struct nic *nic, const struct nic_limit_told *told);
/* With the NIC. */
void nic_limit_free(struct nic *nic);

#endif
