/* SPDX-License-Identifier: MIT */
/* virtio-net inside: shared by virtio_net.c and its receive, transmit and
 * control parts. */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include "devices/nic.h"
#include "devices/virtio_pci.h"

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
       VIRTIO_NET_F_NOTF_COAL = 53,
       VIRTIO_NET_F_GUEST_USO4 = 54,
       VIRTIO_NET_F_GUEST_USO6 = 55,
       VIRTIO_NET_F_HOST_USO = 56,
       VIRTIO_NET_F_HASH_REPORT = 57,
       VIRTIO_NET_F_RSS = 60,
       VIRTIO_NET_F_SPEED_DUPLEX = 63,
};

/* One system call takes at most this many pieces (IOV_MAX). */
#define IOV_LIMIT 1024
#define RX_IOV 2048
#define RX_CHAINS 1024
#define PACKET_MAX (NET_HDR_LEN + NET_FRAME_MAX)

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

/* A receive and a transmit queue, bound to one loop and one backend queue. */
struct vnet_pair {
    struct vnet *n;
    unsigned index;
    /* Ring work and everything below; taken inside virtio.lock. */
    pthread_mutex_t lock;
    struct loop *loop;
    struct netbe *be;  /* NULL: no cable */
    struct event ev;   /* be->fd */
    bool rx_on, tx_on; /* between start and stop */
    bool tx_blocked;   /* a packet waits for EPOLLOUT */
    bool dead;         /* the backend failed for good */
    struct virtqueue *rx, *tx;

    struct rx_window win;
    struct net_hdr rx_hdr; /* of the packet just read */
    uint32_t held; /* bytes of a packet that waits for buffers; 0: none */
    uint32_t held_direct; /* of them, in the window already */
    struct timer held_timer;
    uint8_t *spill; /* PACKET_MAX bytes; touched only when used */

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

struct vnet {
    struct virtio v; /* first: its device is the machine's */
    struct nic nic;
    struct vnet_config config;
    unsigned npairs; /* made; the first `pairs` of them carry packets */
    unsigned pairs;
    bool mergeable; /* negotiated */
    uint64_t guest_offloads;
    struct vnet_pair *pair[NET_QUEUES_MAX];
};

/* rx.c, tx.c: work of one pair, on its loop, p->lock held. A reason the queue
 * broke, or NULL. */
const char *vnet_rx(struct vnet_pair *p);
const char *vnet_tx(struct vnet_pair *p);
/* Forgets what the window holds; the queue is being reset. */
void vnet_rx_stop(struct vnet_pair *p);

/* Bytes from and to scattered buffers; false when they are shorter. */
bool iov_read(const struct iovec *iov, unsigned n, size_t at, void *p,
              size_t len);
bool iov_write(const struct iovec *iov, unsigned n, size_t at, const void *p,
               size_t len);

/* Puts the private header in front of a packet's pieces in place of its own
 * first 12 bytes: gives the index of the first piece to hand to the backend.
 * iov[first - 1] must be free; undone by vnet_unmask. */
struct hdr_mask {
    unsigned at;           /* piece that holds the header now */
    struct iovec saved[2]; /* iov[at], iov[at + 1] before */
};
unsigned vnet_mask_hdr(struct iovec *iov, unsigned first, struct net_hdr *hdr,
                       struct hdr_mask *m);
void vnet_unmask_hdr(struct iovec *iov, const struct hdr_mask *m);

#endif
