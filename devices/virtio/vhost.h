/* SPDX-License-Identifier: MIT */
/* Somebody else serves a device's rings: the kernel (vhost) or another process
 * (vhost-user). Both look the same to the device: it lends its rings, doorbells
 * and interrupts, and takes the rings back with their position. What the rings
 * carry only the device knows. */
#ifndef VIRTIO_VHOST_H
#define VIRTIO_VHOST_H

#include "devices/virtio/pci.h"

/* Features of the rings themselves, which are always the business of who serves
 * them. ACCESS_PLATFORM is not: given to vhost, it would ask for every address
 * by IOTLB messages, and there is no IOMMU here. */
#define VHOST_RING_FEATURES                                                    \
    (1ull << VIRTIO_F_NOTIFY_ON_EMPTY | 1ull << VIRTIO_F_ANY_LAYOUT |          \
     1ull << VIRTIO_F_INDIRECT_DESC | 1ull << VIRTIO_F_EVENT_IDX |             \
     1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_PACKED |               \
     1ull << VIRTIO_F_IN_ORDER | 1ull << VIRTIO_F_ORDER_PLATFORM)
#define VHOST_CONFIG_MAX 256

struct vhost_ring {
    uint16_t num;              /* entries; 0: not enabled, leave it out */
    void *desc, *avail, *used; /* hva */
    uint64_t used_gpa;         /* for the log address only */
    int kick, call;            /* eventfds; call -1: no interrupts */
    /* Next avail index; packed: avail | avail wrap << 15 | used << 16 | used
     * wrap << 31 (VHOST_SET_VRING_BASE). */
    uint32_t base;
};

/* What a device says of itself before somebody serves it. It outlives them. */
struct vhost_device {
    const char *id;      /* opens each line */
    unsigned rings;      /* that may be lent: its queues 0 to rings - 1 */
    uint64_t mask;       /* feature bits that are the business of who serves:
                            VHOST_RING_FEATURES, and those about what the rings
                            carry */
    unsigned queues;     /* the same as rings in units of vhost-user's
                            GET_QUEUE_NUM: network devices count pairs */
    unsigned config_len; /* bytes of the configuration space that are
                            vhost-user's; 0: all of it is the device's own */
    /* Memory that is no guest's, which vhost-user's rings may lie in, too: a
     * sealed file; or size 0. */
    struct ram_region share;
    int share_fd;
    struct fault *errors, *refused; /* broken rings; starts that failed */
    /* All on the main loop, no lock held. Whoever serves is there, and start is
     * worth a try; or is gone, and stop is due. The kernel never goes. */
    void (*here)(void *dev, bool up);
    /* A ring was found broken: NEEDS_RESET. Which one is not told. */
    void (*broken)(void *dev);
    /* The configuration space may be another one. Not needed by who has no
     * config_len. */
    void (*config_changed)(void *dev);
    void *dev;
};

struct vhost {
    const struct vhost_ops *ops;
    struct vhost_device dev;
    /* Of dev.mask, what it can do: offer (own & ~mask) | (own & features). */
    uint64_t features;
};

struct vhost_ops {
    /* Begins with rings[0..n) as negotiated. 0 or -errno (said), nothing
     * running then. No kick is lost: each ring is looked at once. May block for
     * a moment. */
    int (*start)(struct vhost *v, uint64_t features,
                 const struct vhost_ring *rings, unsigned n);
    /* Ends; when it returns nothing touches guest memory. Where the rings
     * stand goes to base[0..n) (NULL: nobody wants to know). Raise the
     * interrupts once afterwards: the last call may be on its way. */
    void (*stop)(struct vhost *v, uint32_t *base);
    /* While running: another interrupt eventfd (masking, vector change). */
    int (*set_call)(struct vhost *v, unsigned ring, int fd);
    /* While running: only the first n rings carry anything. */
    int (*set_rings)(struct vhost *v, unsigned n);
    /* Of the config_len bytes of the configuration space; the range is in them.
     * As it was when whoever serves came, with what the driver has written
     * since. NULL, both: config_len is 0. */
    void (*get_config)(struct vhost *v, unsigned off, void *p, unsigned len);
    void (*set_config)(struct vhost *v, unsigned off, const void *p,
                       unsigned len);
    /* Whoever serves did `why`, and is no good any more: here() follows. NULL:
     * the kernel does no wrong. */
    void (*hang_up)(struct vhost *v, const char *why);
    void (*close)(struct vhost *v); /* stops first; frees v */
};

/* A kind of worker in the kernel, as one device uses it. */
struct vhost_kernel {
    const char *name;  /* "vhost-net": in /dev/ */
    unsigned files;    /* of it; ring i is number i % per_file of file */
    unsigned per_file; /* i / per_file */
    const int *given;  /* opened by the operator: each -1 or to be used instead
                          of a file of our own */
    uint32_t poll_us;  /* it looks at rings for so long before it sleeps */
    /* Optional: what the kind is told of each file, once. 0 or -errno (said).
     */
    int (*opened)(void *dev, int fd);
    /* A ring that is set up begins, or ends: what each kind has a call of its
     * own for. The dev of the device's. -errno. */
    int (*run)(void *dev, int fd, unsigned ring, bool on);
};

/* Each makes one. 0 or -errno (said). The device's memory is the machine's;
 * events come on its loop.
 * vhost.c: */
int vhost_kernel_open(const struct vhost_device *dev,
                      const struct vhost_kernel *kernel, struct machine *m,
                      struct vhost **out);
/* vhost_user.c: whoever is at the other end of a chardev, whose peer nobody
 * uses so far (host/chardev.h). Waits for it. Memory must be shared. */
struct chardev;
int vhost_user_open(const struct vhost_device *dev, struct chardev *c,
                    struct machine *m, struct vhost **out);

/* lend.c, all with the device's lock held. Lends the rings that are on of the
 * first n but queue `own` (VIRTIO_QUEUES_MAX: none is left out), and their
 * doorbells. 0, or -errno: they are the device's as before, or none is on. */
int virtio_lend(struct virtio *v, struct vhost *vh, unsigned n, unsigned own);
/* They are the device's again, and stand where whoever served them got to. */
void virtio_take_back(struct virtio *v, struct vhost *vh, unsigned n);

#endif
