/* SPDX-License-Identifier: MIT */
/* Somebody else moves the packets: the kernel (vhost-net) or another process
 * (vhost-user). Both look the same to virtio-net: it hands over rings, doorbell
 * and interrupt descriptors, and takes the rings back with their position. */
#ifndef VIRTIO_VHOST_H
#define VIRTIO_VHOST_H

#include "net/net.h"

/* A piece of guest memory; fd and offset: the memfd behind it (vhost-user
 * cannot do without). */
struct vhost_region {
    uint64_t gpa, size; /* bytes, page-aligned */
    void *hva;
    int fd;
    uint64_t offset;
};

struct vhost_ring {
    uint16_t num;              /* entries; 0: not enabled, leave it out */
    void *desc, *avail, *used; /* hva */
    uint64_t used_gpa;         /* for the log address only */
    int kick, call;            /* eventfds; call -1: no interrupts */
    /* Next avail index; packed: avail | avail wrap << 15 | used << 16 | used
     * wrap << 31 (VHOST_SET_VRING_BASE). */
    uint32_t base;
};

struct vhost {
    /* Feature bits that are the worker's business, and those of them it can
     * do: offer (own & ~mask) | (own & mask & features). */
    uint64_t mask, features;
    unsigned pairs; /* queue pairs it can serve */
    /* Set by the NIC. On the main loop: the worker found ring `ring` broken
     * (NEEDS_RESET). */
    void (*broken)(void *nic, unsigned ring);
    void *nic;

    /* Begins with rings[0..2*pairs): rx0, tx0, rx1 …, as negotiated. 0 or
     * -errno (said), nothing running then. No kick is lost: each ring is
     * looked at once. May block for a moment. */
    int (*start)(struct vhost *v, uint64_t features,
                 const struct vhost_ring *rings, unsigned pairs);
    /* Ends; when it returns nothing touches guest memory. Where the rings
     * stand goes to base[0..2*pairs). Raise the interrupts once afterwards:
     * the last call may be on its way. */
    void (*stop)(struct vhost *v, uint32_t *base);
    /* While running: another interrupt eventfd (masking, vector change). */
    int (*set_call)(struct vhost *v, unsigned ring, int fd);
    /* While running: only the first n pairs carry packets (MQ). */
    int (*set_pairs)(struct vhost *v, unsigned n);
    void (*close)(struct vhost *v); /* stops first; frees v */
};

/* For the netdev behind a virtio-net NIC. `l`: the main loop. 0, -EOPNOTSUPP
 * when this netdev has no such worker (nd->vhost == 0), else -errno (said): for
 * a tap that is a warning and the NIC moves packets itself, unless forced. */
int vhost_open(struct netdev *nd, struct loop *l,
               const struct vhost_region *mem, int nmem, struct vhost **out);

/* vhost_user.c's half of it. */
int vhost_user_attach(struct netdev *nd, const struct vhost_region *mem,
                      int nmem, struct vhost **out);

#endif
