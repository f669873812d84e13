/* SPDX-License-Identifier: MIT */
/* virtio-net inside: what its files share. virtio_net.c makes, starts and stops
 * it; features.c: features and options; rx.c, tx.c: packets; ctrl.c: control
 * queue; filter.c: which frames are received; rss.c: hashes; coal.c: interrupt
 * coalescing; hold.c: what is remembered; dhcp.c: checksums of the host's DHCP
 * server; vhost.c: packets moved by somebody else. */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include "base/eth.h"
#include "base/iov.h"
#include "base/lock.h"
#include "base/thread.h"
#include "devices/nic.h"
#include "devices/virtio/pci.h"
#include "devices/virtio/vhost.h"

enum { /* feature bits, virtio 1.2 §5.1.3 */
       VIRTIO_NET_F_CSUM = 0,
       VIRTIO_NET_F_GUEST_CSUM = 1,
       VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = 2,
       VIRTIO_NET_F_MTU = 3,
       VIRTIO_NET_F_MAC = 5,
       VIRTIO_NET_F_GUEST_TSO4 = 7,
       VIRTIO_NET_F_GUEST_TSO6 = 8,
       VIRTIO_NET_F_GUEST_ECN = 9,
       VIRTIO_NET_F_GUEST_UFO = 10,
       VIRTIO_NET_F_HOST_TSO4 = 11,
       VIRTIO_NET_F_HOST_TSO6 = 12,
       VIRTIO_NET_F_HOST_ECN = 13,
       VIRTIO_NET_F_HOST_UFO = 14,
       VIRTIO_NET_F_MRG_RXBUF = 15,
       VIRTIO_NET_F_STATUS = 16,
       VIRTIO_NET_F_CTRL_VQ = 17,
       VIRTIO_NET_F_CTRL_RX = 18,
       VIRTIO_NET_F_CTRL_VLAN = 19,
       VIRTIO_NET_F_CTRL_RX_EXTRA = 20,
       VIRTIO_NET_F_GUEST_ANNOUNCE = 21,
       VIRTIO_NET_F_MQ = 22,
       VIRTIO_NET_F_CTRL_MAC_ADDR = 23,
       VIRTIO_NET_F_VQ_NOTF_COAL = 52,
       VIRTIO_NET_F_NOTF_COAL = 53,
       VIRTIO_NET_F_GUEST_USO4 = 54,
       VIRTIO_NET_F_GUEST_USO6 = 55,
       VIRTIO_NET_F_HOST_USO = 56,
       VIRTIO_NET_F_HASH_REPORT = 57,
       VIRTIO_NET_F_GUEST_HDRLEN = 59,
       VIRTIO_NET_F_RSS = 60,
       VIRTIO_NET_F_SPEED_DUPLEX = 63,
};

/* One system call takes at most this many pieces (IOV_MAX). */
#define IOV_LIMIT 1024
#define RX_IOV 2048
#define RX_CHAINS 1024
#define PACKET_MAX (sizeof(struct vnet_hdr) + NET_FRAME_MAX)

struct vnet;

/* Receive buffers popped and not yet used, oldest first. iov[first..end) are
 * the pieces of chain[cfirst..cend); iov[first - 1] is always free, for the
 * private header that replaces the guest's first 12 bytes in a read. */
struct rx_window {
    struct iovec iov[2 + RX_IOV]; /* header slot before, spill after */
    unsigned first, end;
    struct vq_chain chain[RX_CHAINS];
    unsigned cfirst, cend;
    uint64_t bytes;
};

/* What leads a packet in guest memory: as much of it as was negotiated (10, 12
 * or 20 bytes: vnet.hdr_len). */
struct vnet_hdr {
    struct net_hdr h;
    le32 hash_value; /* §5.1.6.4.2 */
    le16 hash_report, padding;
};
_Static_assert(sizeof(struct vnet_hdr) == 20, "§5.1.6");

/* Interrupt coalescing of one queue (§5.1.6.5.7). */
struct coal {
    uint32_t max_packets, max_usecs; /* 0: off */
    struct timer timer;
    uint64_t left; /* ns of it, while held */
    struct virtqueue *vq;
    struct vnet_pair *p;
};

#define RSS_LOOK 256 /* bytes of a frame that are enough for a hash */

/* A receive and a transmit queue, bound to one loop and one backend queue. */
struct vnet_pair {
    struct vnet *n;
    unsigned index;
    /* Ring work and everything below; taken inside virtio.lock, and by
     * vnet_pair_lock only. */
    struct lock lock;
    struct lock door;         /* held by who waits for the lock */
    _Atomic unsigned waiting; /* at the door */
    struct loop *loop;
    struct thread thread; /* runs loop, if that is the pair's own */
    bool own_loop;
    struct netbe *be; /* NULL: no cable */
    struct event ev;  /* be->fd */
    struct nic_stats stats;
    bool rx_on, tx_on; /* between start and stop */
    bool active;       /* the driver uses this pair (MQ) */
    bool tx_blocked;   /* a packet waits for EPOLLOUT */
    bool dead;         /* the backend failed for good */
    bool rewatch;      /* a new file is behind be->fd */
    struct virtqueue *rx, *tx;
    struct poller look;                  /* at the transmit ring */
    unsigned tx_unseen, tx_unseen_bytes; /* sent, not shown to the driver */
    struct coal rx_coal, tx_coal;

    struct rx_window win;
    struct vnet_hdr rx_hdr; /* of the packet just read */
    uint8_t peek[RSS_LOOK]; /* its first bytes, where they lie apart */
    uint32_t held; /* bytes of a packet that waits for buffers; 0: none */
    uint32_t held_direct; /* of them, in the window already */
    unsigned alone;       /* turns (nic_one_is_enough) */
    unsigned small;       /* packets of LOOP_SMALL bytes at most, in a row */
    bool rx_stuck;        /* the ring's next chain cannot join the window */
    bool rx_given; /* another pair's loop filled buffers of this one: they are
                        for our loop to show (RSS) */
    struct timer held_timer;
    struct timer gate_timer; /* the rate limit lets a frame go */
    uint8_t *spill;          /* PACKET_MAX bytes; touched only when used */

    struct net_hdr tx_hdr;
    struct iovec tx_iov[1 + VQ_SIZE_MAX];
    uint8_t *bounce; /* for packets in more pieces than IOV_LIMIT */
};

struct vnet_config { /* §5.1.4 */
    uint8_t mac[6];
    le16 status, max_virtqueue_pairs, mtu;
    le32 speed;
    uint8_t duplex, rss_max_key_size;
    le16 rss_max_indirection_table_length;
    le32 supported_hash_types;
} __attribute__((packed));
_Static_assert(sizeof(struct vnet_config) == 24, "§5.1.4");
enum { VNET_S_LINK_UP = 1, VNET_S_ANNOUNCE = 2 };

/* Which frames the driver wants (§5.1.6.5.1 to .3). Written under every pair's
 * lock, read under one. */
#define FILTER_MACS 64
struct filter_list {
    unsigned n;
    bool overflow; /* more than fit: all match */
    uint8_t mac[FILTER_MACS][6];
};
struct vnet_filter {
    bool on; /* the driver has spoken of it; before, all frames pass */
    bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
    struct filter_list uni, multi;
    bool vlan_on;
    uint32_t vlan[4096 / 32];
};

/* §5.1.6.5.6.4, §5.1.6.5.7 */
#define RSS_KEY_MAX 40
#define RSS_TABLE_MAX 128
struct vnet_rss {
    bool steer;  /* the table says which queue */
    bool report; /* the header says which hash */
    uint32_t types;
    uint16_t mask, unclassified;
    uint16_t table[RSS_TABLE_MAX];
    uint8_t key[RSS_KEY_MAX];
};

struct vnet {
    struct virtio v; /* first: its device is the machine's */
    struct nic nic;
    struct vnet_config config;
    uint16_t rx_size, tx_size; /* queue sizes */
    uint16_t host_mtu;         /* 0: not said */
    uint32_t speed;
    uint8_t duplex, mq, iothreads;
    unsigned npairs; /* made; the first `pairs` of them carry packets */
    unsigned pairs;
    bool mergeable; /* negotiated */
    unsigned hdr_len;
    unsigned mtu; /* negotiated, 0: not */
    uint64_t guest_offloads;
    struct vnet_filter filter;
    bool renamed; /* a restored driver goes by this address still */
    uint8_t was[6];
    struct vnet_rss rss;
    struct vnet_pair *pair[NET_QUEUES_MAX];

    /* The control queue; under virtio.lock, but for ctrl_q. */
    bool ctrl_on;
    _Atomic unsigned ctrl_q; /* its number, while started */
    _Atomic uint64_t ctrl_cmds, ctrl_errors;
    struct iovec ctrl_iov[VQ_SIZE_MAX];

    struct vhost *vhost; /* NULL: packets are moved here */
    bool vhost_on;       /* running; under virtio.lock */
    _Atomic uint64_t vhost_starts;

    struct event lost; /* main loop: a pair found its backend dead */
};

static inline struct vnet *vnet_of(struct virtio *v)
{
    return container_of(v, struct vnet, v);
}
/* A loop that has no end of work would have its lock back each time before a
 * reset that waits for it wakes up: where somebody waits, all go by the door
 * (vnet_pair_wait, events.c), so he waits for one burst, or two. */
void vnet_pair_wait(struct vnet_pair *p);
static inline void vnet_pair_lock(struct vnet_pair *p)
{
    if (atomic_load_explicit(&p->waiting, memory_order_relaxed) ||
        !lock_try(&p->lock))
        vnet_pair_wait(p);
}

/* features.c: what it can be told; the first half of making one; what it offers
 * (v.offered, npairs, config), now that the netdev is open. */
extern const struct field vnet_fields[];
int vnet_check(struct device *dev, struct needs *needs);
void vnet_choose(struct vnet *n);
/* Which features the worker of a netdev leaves. */
void vnet_limit_to_vhost(struct vnet *n);
/* f without the features that lack what they need. */
uint64_t vnet_close_features(uint64_t f);
/* Makes f what the guest can receive from now on. virtio.lock held. */
void vnet_set_guest_offloads(struct vnet *n, uint64_t f);
#define VNET_GUEST_OFFLOADS                                                    \
    (1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |       \
     1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN |        \
     1ull << VIRTIO_NET_F_GUEST_UFO | 1ull << VIRTIO_NET_F_GUEST_USO4 |        \
     1ull << VIRTIO_NET_F_GUEST_USO6)

/* rx.c, tx.c: work of one pair, on its loop, p->lock held. A reason the queue
 * broke, or NULL. */
const char *vnet_rx(struct vnet_pair *p);
const char *vnet_tx(struct vnet_pair *p);
/* Shows the driver what was sent, and interrupts it if it wants that. */
void vnet_tx_publish(struct vnet_pair *p);
/* The same of what was received. */
void vnet_rx_publish(struct vnet_pair *p);
/* Forgets what the window holds; the queue is being reset. */
void vnet_rx_stop(struct vnet_pair *p);
/* Gives back what the window holds; a packet that waits does so in the spill,
 * whole. And after it: the loop's thread. */
void vnet_rx_rest(struct vnet_pair *p);
void vnet_rx_go_on(struct vnet_pair *p);
/* vnet_rx with RSS: packets go to the pair their hash says. No lock held. A
 * reason a queue broke, seen in *life (virtio_needs_reset). */
const char *vnet_rx_steered(struct vnet_pair *p, unsigned *life);
/* May the rings be touched? Not while bus mastering is off; its coming on kicks
 * every queue. */
static inline bool vnet_reachable(const struct vnet_pair *p)
{
    return pci_can_dma(&p->n->v.fn);
}
/* window.c: the bytes a window should hold: the largest packet (mergeable
 * buffers) or one chain; pops chains until it does, and some more, or the ring
 * has taken its share of this turn. False: the queue broke. */
uint32_t vnet_window_want(const struct vnet_pair *p);
bool vnet_window_fill(struct vnet_pair *p);
void vnet_window_empty(struct vnet_pair *p); /* no longer what was popped */

/* events.c: a kick of queue q; the other handlers of what a pair watches, on
 * its loop. vnet_run does what there is to receive, or to send, for one burst.
 */
void vnet_kick(struct virtio *v, unsigned q);
void vnet_run(struct vnet_pair *p, bool rx, bool tx);
void vnet_backend_ready(struct event *ev, uint32_t got);
void vnet_lost(struct event *ev, uint32_t got); /* a backend is gone */
void vnet_held_too_long(struct timer *t);
/* The rate limit holds frames back until then. p->lock held. */
void vnet_wait_for_limit(struct vnet_pair *p, uint64_t due);
void vnet_limit_over(struct timer *t);
/* Another limit: all is tried again. */
int vnet_limit(void *dev, const void *told, struct text *out);
/* A pair's poller: its transmit ring is looked at between kicks. */
bool vnet_look_waits(struct poller *l);
void vnet_look_work(struct poller *l);
void vnet_look_arm(struct poller *l);

/* ctrl.c: virtio.lock held. A reason the queue broke, or NULL. */
const char *vnet_ctrl(struct vnet *n, struct virtqueue *vq);
unsigned vnet_ctrl_index(const struct vnet *n);
/* virtio_net.c: the driver uses the first `pairs` pairs. virtio.lock held. */
void vnet_set_pairs(struct vnet *n, unsigned pairs);

/* filter.c: does the driver want this frame? p->lock held; charges a drop to
 * the pair. */
bool vnet_filter_passes(struct vnet_pair *p, const uint8_t *frame,
                        uint32_t len);
void vnet_filter_reset(struct vnet *n);
/* A verb: as it is now. */
int vnet_filter_show(void *dev, const void *told, struct text *out);
/* All pairs' locks: for what bursts read. virtio.lock held. */
void vnet_lock_pairs(struct vnet *n);
void vnet_unlock_pairs(struct vnet *n);

/* rss.c: the hash of a frame (its first `len` bytes) into h, and the index of
 * the pair it is for, if rss.steer. */
#define RSS_TYPES 0x3f
unsigned vnet_rss_hash(const struct vnet_rss *rss, const uint8_t *frame,
                       uint32_t len, struct vnet_hdr *h);
uint32_t vnet_toeplitz(const uint8_t key[RSS_KEY_MAX], const uint8_t *data,
                       unsigned len);

/* dhcp.c: may this be an answer of the host's DHCP server that lacks half its
 * checksum? By the header alone, so that it costs next to nothing. Then: it is,
 * and the frame (all of it) has its checksum now, which h says too. */
#define DHCP_FRAME_MAX 1518
bool vnet_dhcp_maybe(const struct net_hdr *h, uint32_t len);
bool vnet_dhcp_complete(struct net_hdr *h, uint8_t *frame, uint32_t len);

/* coal.c: after vq_flush, on the pair's loop, p->lock held: interrupts, now or
 * later. */
void vnet_coal_init(struct coal *c, struct vnet_pair *p, struct virtqueue *vq);
void vnet_coal_irq(struct coal *c);

/* hold.c: what is remembered beside virtio_fields; of a device's contract. */
extern const struct field vnet_state_fields[];
void vnet_hold(struct device *dev);
void vnet_resume(struct device *dev);
int vnet_loaded(struct device *dev);
/* virtio_net.c, virtio.lock held: what follows from the features; all queues to
 * service, here or at vhost's; the link as the driver sees it. */
void vnet_negotiated(struct vnet *n);
void vnet_start_queues(struct vnet *n);
void vnet_show_link(struct vnet *n, bool up);

/* vhost.c. Who shall move the packets, if the netdev names somebody; before
 * there is anything else. 0 or -errno (said). */
/* From now on the driver goes by config.mac. Under every pair's lock. */
static inline void vnet_go_by_mac(struct vnet *n, const uint8_t mac[6])
{
    memcpy(n->config.mac, mac, 6);
    n->renamed = false;
}

int vnet_vhost_open(struct vnet *n, struct machine *m);
void vnet_vhost_close(struct vnet *n);
/* What they are told of the device. */
struct vhost_device vnet_vhost_device(struct vnet *n);
/* All with virtio.lock held. Makes what runs agree with what should: started,
 * with a cable, and a ring that is on. */
void vnet_vhost_sync(struct vnet *n);
void vnet_vhost_stop(struct vnet *n);
void vnet_vhost_call(struct virtio *v, unsigned q);
/* How many pairs are in use has changed. */
void vnet_vhost_set_pairs(struct vnet *n);

/* Copies out the header of a packet, `len` bytes long there, which most have in
 * their first piece. With a shorter one num_buffers is anything. */
static inline void vnet_hdr_read(const struct iovec *iov, unsigned n,
                                 unsigned len, struct net_hdr *h)
{
    if (iov->iov_len >= NET_HDR_LEN)
        memcpy(h, iov->iov_base, NET_HDR_LEN);
    else
        iov_read(iov, n, 0, h, len < NET_HDR_LEN ? len : NET_HDR_LEN);
}
/* The other way, of a packet for the driver. */
void vnet_hdr_scatter(const struct iovec *iov, unsigned n, unsigned len,
                      const struct vnet_hdr *h);
static inline void vnet_hdr_write(const struct iovec *iov, unsigned n,
                                  unsigned len, const struct vnet_hdr *h)
{
    if (len == NET_HDR_LEN && iov->iov_len >= NET_HDR_LEN)
        memcpy(iov->iov_base, h, NET_HDR_LEN);
    else
        vnet_hdr_scatter(iov, n, len, h);
}

/* Puts the private header in front of a packet's pieces in place of its own
 * first `len` bytes: gives the index of the first piece to hand to the backend.
 * iov[first - 1] must be free; undone by vnet_unmask. */
struct hdr_mask {
    unsigned at;           /* piece that holds the header now */
    struct iovec saved[2]; /* iov[at], iov[at + 1] before */
};
static inline unsigned vnet_mask_hdr(struct iovec *iov, unsigned first,
                                     unsigned len, struct net_hdr *hdr,
                                     struct hdr_mask *m)
{
    size_t skip = len;
    unsigned k = first;
    while (iov[k].iov_len < skip)
        skip -= iov[k++].iov_len;
    /* Piece k holds the header's end: the private header goes before what is
     * left of it, or in its place when nothing is left. */
    m->at = iov[k].iov_len == skip ? k : k - 1;
    m->saved[0] = iov[m->at];
    m->saved[1] = iov[m->at + 1];
    if (m->at < k) {
        iov[k].iov_base = (uint8_t *)iov[k].iov_base + skip;
        iov[k].iov_len -= skip;
    }
    iov[m->at] = (struct iovec){hdr, NET_HDR_LEN};
    return m->at;
}
void vnet_unmask_hdr(struct iovec *iov, const struct hdr_mask *m);

#endif
