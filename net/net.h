/* SPDX-License-Identifier: MIT */
/* Where frames go: the contract between a NIC and a backend. A backend knows
 * no guest and no device; it sends and receives whole packets. */
#ifndef NET_H
#define NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/bytes.h"
#include "base/eth.h"
#include "base/field.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/opts.h"

/* virtio 1.2 §5.1.6, struct virtio_net_hdr with num_buffers: leads every
 * packet, both ways, whatever the backend. Little-endian. */
struct net_hdr {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
_Static_assert(sizeof(struct net_hdr) == 12, "virtio_net_hdr_v1");
#define NET_HDR_LEN 12
enum { NET_F_NEEDS_CSUM = 1, NET_F_DATA_VALID = 2 };
enum {
    NET_GSO_NONE = 0,
    NET_GSO_TCPV4 = 1,
    NET_GSO_UDP = 3,
    NET_GSO_TCPV6 = 4,
    NET_GSO_UDP_L4 = 5,
    NET_GSO_ECN = 0x80,
};
/* Longest packet: 64 KiB of IP behind an Ethernet header and a VLAN tag. */
#define NET_FRAME_MAX (65535 + 14 + 4)
#define NET_QUEUES_MAX 16

/* What the receiver of recv() can take; also what a backend may offer. The
 * values are TUN_F_* of <linux/if_tun.h>. */
enum {
    NETBE_CSUM = 0x01, /* partial checksums (NET_F_NEEDS_CSUM) */
    NETBE_TSO4 = 0x02,
    NETBE_TSO6 = 0x04,
    NETBE_ECN = 0x08,
    NETBE_UFO = 0x10,
    NETBE_USO4 = 0x20,
    NETBE_USO6 = 0x40,
};

struct chardev;
struct netdev;
struct nic_gate;

/* One queue of a backend. The NIC queue bound to it is the only caller of send
 * and recv, on its loop's thread. */
struct netbe {
    struct netdev *dev;
    int fd; /* pollable: EPOLLIN: recv has a packet; EPOLLOUT: send has room.
               Constant for the backend's life, -1: never ready. The file
               behind it may be another one after link_changed(nic, true)
               (a new connection), and epoll knows files: the NIC then does
               loop_del and loop_add */
    /* One whole packet, header first. Bytes taken (all of it); 0: would block,
     * nothing taken: wait for EPOLLOUT; <0: -errno, the packet is lost. */
    ssize_t (*send)(struct netbe *be, const struct iovec *iov, int n);
    /* One whole packet, header first (num_buffers undefined), cut off where
     * the iovec ends. Bytes filled; 0: would block; <0: -errno. */
    ssize_t (*recv)(struct netbe *be, const struct iovec *iov, int n);
    void *priv; /* the backend's own */
    /* A NIC with a rate limit (devices/nic.h), whose send and recv these are
     * then; NULL: none. */
    struct nic_gate *gate;
};

/* Who moves a netdev's frames. */
enum netdev_vhost {
    VHOST_NONE,   /* this process: netbe.recv and netbe.send */
    VHOST_KERNEL, /* vhost=on: q[i]->fd are TAPs that vhost-net may drive */
    VHOST_USER,   /* another process serves the rings; no frame comes here */
};

/* COUNTER rows for what is at `base`; embedded in it. */
struct netdev_counts {
    const struct field *table;
    const void *base;
    struct netdev_counts *next;
};

/* One -netdev: what an operator named. First in its class's struct. */
struct netdev {
    const struct netdev_class *cls;
    const char *id;
    const char *pcap; /* capture to there, or NULL */
    struct opts opts; /* what it was told; texts in the struct point here */
    unsigned offload; /* NETBE_*: what recv could be made to deliver, and what
                         send understands (CSUM and GSO types alike) */
    bool vnet_hdr;    /* false: headers are dropped on the way, offload is 0 */
    unsigned nq;      /* queues open, 1..NET_QUEUES_MAX */
    struct netbe *q[NET_QUEUES_MAX];
    enum netdev_vhost vhost;
    struct chardev *chardev;     /* VHOST_USER: where that process is met */
    int vhostfd[NET_QUEUES_MAX]; /* given by the operator, or -1 */
    uint32_t poll_us;            /* busy-poll window, 0: the loop decides */
    bool vhost_forced;           /* without vhost-net it does not start */
    bool taken;                  /* a NIC uses it */
    bool away;                   /* drop has been, and no swap since */
    bool handed;                 /* can be, to another process (-upgrade) */
    unsigned mtu;                /* of the host interface, 0: unknown */

    /* Says what the guest can receive from now on (NETBE_* bits, a subset of
     * offload). 0 or -errno. NULL: nothing to do. */
    int (*set_offload)(struct netdev *nd, unsigned bits);
    /* How many queues, from q[0], carry packets from now on. NULL: all. */
    int (*set_queues)(struct netdev *nd, unsigned n);
    /* Another interface in its place, by open descriptors, one for each of its
     * queues, which are taken over: the cable is out for a moment, so that the
     * guest announces itself. `ifname` NULL: as the descriptors say. On the
     * main loop's thread. 0 or -errno (said). NULL: cannot. */
    int (*swap)(struct netdev *nd, const int *fd, const char *ifname);
    /* Lets go of its interface: the cable is out until another one takes its
     * place, and nobody looks for this one. On the main loop's thread. NULL:
     * cannot. */
    void (*drop)(struct netdev *nd);
    /* Ends it, also one that was opened in part: closes, runs the down-script,
     * ends children, unlinks. Frees its struct. NULL: not opened. */
    void (*close)(struct netdev *nd);
    struct netdev_counts *counts; /* what went wrong, for -stats */
    struct fault vhost_errors;    /* rings that vhost found broken */
    struct fault vhost_refused;   /* starts that it did not take */

    /* Set by the NIC: the cable was plugged (up) or pulled. Called on the main
     * loop's thread. */
    void (*link_changed)(void *nic, bool up);
    void *nic;
    _Atomic bool link_up;   /* the backend's side of the cable; netdev_link */
    _Atomic bool unplugged; /* the operator pulled it; netdev_plug */
    struct netdev *next;
};

/* One kind of backend: the one const row at the end of its file, listed once
 * in the wiring table of vmm.c. */
struct netdev_class {
    const char *name;           /* as in -netdev NAME */
    const char *help;           /* what it is */
    const struct field *fields; /* of its struct */
    size_t size;                /* of it */
    enum netdev_vhost vhost;    /* VHOST_USER: needs memory that is shared */
    /* Optional. Looks whether what the fields say can be had. Touches nothing
     * outside. 0 or -errno, said. */
    int (*check)(struct netdev *nd);
    /* Opens it; `l` is the main loop, for backends with work of their own
     * (connecting, reading a stream). Sets nd->close as soon as there is
     * something to end. 0 or -errno, said. */
    int (*open)(struct netdev *nd, struct loop *l);
};
/* The rows that every class's table begins with. */
extern const struct field netdev_fields[];

/* First half: one as `o` (taken over) wants it, checked and listed. 0 or -errno
 * (said), nothing left then. */
int netdev_new(const struct netdev_class *cls, struct opts *o,
               struct netdev **out);
/* Ends and frees one that is not listed any more. */
void netdev_free(struct netdev *nd);
/* For backends, on the main loop's thread (or before it runs): the cable came
 * or went. The NIC hears of it unless the operator has pulled the cable. */
void netdev_set_link(struct netdev *nd, bool up);
extern _Atomic bool netdevs_unplugged; /* netdev_toggle_cables */
/* Is the cable in, at both ends? What a NIC's link status shows. */
static inline bool netdev_link(const struct netdev *nd)
{
    return nd->link_up && !nd->unplugged && !netdevs_unplugged;
}
/* Has -stats show a table's counters, which are in `base`, until the netdev
 * ends or netdev_uncount. */
void netdev_count(struct netdev *nd, struct netdev_counts *c,
                  const struct field *table, const void *base);
void netdev_uncount(struct netdev *nd, struct netdev_counts *c);
/* Link state and counters of every netdev. */
void netdev_stats(struct tally *t);
/* SIGUSR2: pulls every cable, or puts them all back. Main loop's thread. */
void netdev_toggle_cables(void);
/* The same with one; both must be in. Main loop's thread. */
void netdev_plug(struct netdev *nd, bool in);

/* The list of netdevs. */
struct netdev *netdev_find(const char *id);
void netdev_register(struct netdev *nd);
void netdev_close_all(void);
extern struct netdev *netdevs;

/* ---------------------------------------------------------------- captures */

/* -object filter-dump, and pcap= of a -netdev. */
struct dump;
extern const struct field dump_fields[];
/* First half: one as `o` (taken over) wants it, for a netdev that is checked.
 * 0 or -errno (said), nothing left then. */
int dump_new(struct opts *o, struct dump **out);
/* Second half, before a NIC takes the netdev: makes the file and wraps the
 * netdev's queues. What is made ends with the netdev. 0 or -errno (said). */
int dump_open(struct dump *d);
/* One that is not open. */
void dump_free(struct dump *d);
/* Those of this id, or of the netdev of this id, go on or leave frames out.
 * -ENOENT (not said): there is none. Main loop's thread. */
int dump_switch(const char *id, bool on);

#endif
