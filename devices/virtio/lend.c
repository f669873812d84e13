/* SPDX-License-Identifier: MIT */
/* The rings of a device that works, lent to who serves them elsewhere, and
 * taken back.
 *
 * When they come back (link down, a queue's reset) the device goes on from
 * where they stand: both sides use buffers in order, so the used index is all
 * there is to know. Buffers popped and not used are popped again. */
#include "devices/virtio/vhost.h"

#include <errno.h>

/* Those that are on, with their doorbells; the others have num 0. How many
 * there are; -errno. */
static int lend_rings(struct virtio *v, struct vhost_ring *rings, unsigned n,
                      unsigned own)
{
    int some = 0;
    for (unsigned q = 0; q < n; q++) {
        const struct virtqueue *vq = &v->vq[q];
        rings[q] = (struct vhost_ring){.kick = -1, .call = -1};
        if (vq->state != VQ_READY || q == own)
            continue;
        int kick = virtio_lend_kick(v, q);
        if (kick < 0)
            return kick;
        rings[q] = (struct vhost_ring){.num = vq->size,
                                       .desc = vq->desc,
                                       .avail = vq->avail,
                                       .used = vq->used,
                                       .used_gpa = vq->used_gpa,
                                       .kick = kick,
                                       .call = virtio_call_fd(v, q),
                                       .base = vq_position(vq)};
        some++;
    }
    return some;
}

int virtio_lend(struct virtio *v, struct vhost *vh, unsigned n, unsigned own)
{
    struct vhost_ring rings[VIRTIO_QUEUES_MAX];
    int err = lend_rings(v, rings, n, own);
    if (err >= 0)
        err = err ? vh->ops->start(vh, v->features, rings, n) : -ENOENT;
    if (err)
        virtio_unlend(v);
    return err;
}

void virtio_take_back(struct virtio *v, struct vhost *vh, unsigned n)
{
    uint32_t base[VIRTIO_QUEUES_MAX];
    for (unsigned q = 0; q < n; q++)
        base[q] = vq_position(&v->vq[q]);
    vh->ops->stop(vh, base);
    for (unsigned q = 0; q < n; q++) {
        if (!atomic_load(&v->kick[q].lent))
            continue;
        vq_go_on(&v->vq[q], base[q]);
        virtio_call(v, q); /* the last one may have been on its way */
    }
    virtio_unlend(v);
}
