/* SPDX-License-Identifier: MIT */
/* A device that is a vhost-user back-end's: this side has the PCI function, and
 * keeps what is in flight. A file for each kind says what it is. */
#ifndef VIRTIO_SERVED_H
#define VIRTIO_SERVED_H

#include "devices/virtio/vhost.h"
#include "host/chardev.h"
#include "host/peer.h"

struct served;
struct served_queue {
    struct served *s;
    struct event call;    /* the back-end: something is used */
    int kick;             /* a pipe's end, or -1 */
    void *avail, *used;   /* its ring's, in `share` */
    uint16_t given, seen; /* free-running places in them */
    unsigned out;         /* heads that it has, */
    uint8_t *has;         /* each of them 1 */
    uint64_t *mark;       /* of each head: the kind's */
};

/* First in the struct of each kind. */
struct served {
    struct virtio v;
    struct pci_place pci;
    const char *chardev_id;
    uint16_t nq, queue_size;

    /* The kind's, before served_create: bits of what the requests are, and
     * what it makes of the back-end's configuration space, if that is not its
     * own. */
    uint64_t mask;
    unsigned config_len;
    void (*fix_config)(struct served *s, uint8_t *config);
    /* Optional. A request goes to a back-end, for the first time or again;
     * true: it does not, and is in the guest's ring as used. It is back. The
     * back-end has gone by itself. */
    bool (*answers)(struct served *s, unsigned q, uint16_t head);
    void (*returned)(struct served *s, unsigned q, uint16_t head);
    void (*gone)(struct served *s);
    const char *alone; /* where the back-end does not come back */

    struct chardev *chardev;
    struct peer peer;
    struct vhost *vhost;
    bool up, running;
    uint8_t config[VHOST_CONFIG_MAX]; /* as the guest sees it */
    struct ram_region share;          /* the rings that the back-end sees */
    int share_fd;
    struct served_queue q[VIRTIO_QUEUES_MAX];
    uint64_t requests, again; /* given to it; to another one once more */
    struct fault errors, refused;
};

/* Rows of a struct served, and a struct virtio_type's callbacks. */
extern const struct field served_fields[];
/* The options of a device of `kind`; its chardev, if it was not given one
 * otherwise, is taken. 0 or -EINVAL (said). */
int served_check(struct served *s, struct needs *needs);
/* 0 or -errno (said). Waits for the back-end. */
int served_create(struct served *s, struct machine *m,
                  const struct virtio_type *type);

#define SERVED_CALLBACKS                                                       \
    .start = served_start, .queue_start = served_queue_start,                  \
    .queue_stop = served_queue_stop, .config_read = served_config_read,        \
    .kick = served_kick /* and .stop = served_stop */
void served_start(struct virtio *v);
void served_stop(struct virtio *v);
void served_queue_start(struct virtio *v, unsigned q);
void served_queue_stop(struct virtio *v, unsigned q);
void served_config_read(struct virtio *v, unsigned off, void *p, unsigned len);
void served_kick(struct virtio *v, unsigned q);

#endif
