/* SPDX-License-Identifier: MIT */
/* virtio-net with the packets moved by vhost-net or a vhost-user process.
 *
 * Theory of operation
 * -------------------
 * The device works as ever; only the rings of the pairs are lent out, with
 * their doorbells, while there is somebody at the other end of the cable. When
 * they come back (link down, a queue's reset) they go on here from where they
 * stand: both sides use buffers in order, so the used index is all there is to
 * know. Buffers popped and not used are popped again.
 *
 * A masked MSI-X vector needs nothing: its eventfd collects. INTx goes by an
 * eventfd on the main loop (virtio_call_fd). What is lent may be in the hands
 * of a hostile process: it is fresh for each lending, and never touched. */
#include <errno.h>

#include "devices/virtio_net/state.h"

static bool lent(const struct vnet *n, unsigned q)
{
    return n->vhost_on && atomic_load(&n->v.kick[q].lent);
}

/* Rings of pairs that are on, with their doorbells; the others have num 0. How
 * many there are; -errno. */
static int lend(struct vnet *n, struct vhost_ring *rings)
{
    int some = 0;
    for (unsigned q = 0; q < 2 * n->npairs; q++) {
        const struct virtqueue *vq = &n->v.vq[q];
        rings[q] = (struct vhost_ring){.kick = -1, .call = -1};
        if (vq->state != VQ_READY || q == vnet_ctrl_index(n))
            continue;
        int kick = virtio_lend_kick(&n->v, q);
        if (kick < 0)
            return kick;
        rings[q] = (struct vhost_ring){.num = vq->size,
                                       .desc = vq->desc,
                                       .avail = vq->avail,
                                       .used = vq->used,
                                       .used_gpa = vq->used_gpa,
                                       .kick = kick,
                                       .call = virtio_call_fd(&n->v, q),
                                       .base = vq_position(vq)};
        some++;
    }
    return some;
}

/* Main loop. An error of rings that have been given back says nothing about
 * those of the driver that came after. */
static void broken(void *nic, unsigned ring)
{
    struct vnet *n = nic;
    (void)ring;
    pthread_mutex_lock(&n->v.lock);
    bool on = n->vhost_on;
    unsigned life = n->v.life;
    pthread_mutex_unlock(&n->v.lock);
    if (on)
        virtio_needs_reset(&n->v, life, "vhost found a ring broken");
}

void vnet_vhost_sync(struct vnet *n)
{
    struct vhost_ring rings[2 * NET_QUEUES_MAX];
    /* The tap's headers have 12 bytes; old drivers' have 10. */
    if (!n->vhost || n->vhost_on || !n->v.started || n->hdr_len != 12 ||
        !netdev_link(n->nic.nd))
        return;
    n->vhost->broken = broken;
    n->vhost->nic = n;
    if (lend(n, rings) <= 0 ||
        n->vhost->start(n->vhost, n->v.features, rings, n->npairs)) {
        virtio_unlend(&n->v);
        return;
    }
    n->vhost_on = true;
    nic_count(n, vhost_starts, 1);
    if (n->npairs > 1 && n->vhost->set_pairs)
        n->vhost->set_pairs(n->vhost, n->pairs);
    TRACE(VIRTIO, "%s vhost started", n->nic.id);
}

void vnet_vhost_stop(struct vnet *n)
{
    uint32_t base[2 * NET_QUEUES_MAX];
    if (!n->vhost_on)
        return;
    for (unsigned q = 0; q < 2 * n->npairs; q++)
        base[q] = vq_position(&n->v.vq[q]);
    n->vhost->stop(n->vhost, base);
    for (unsigned q = 0; q < 2 * n->npairs; q++) {
        if (!lent(n, q))
            continue;
        vq_go_on(&n->v.vq[q], base[q]);
        virtio_call(&n->v, q); /* the last one may have been on its way */
    }
    n->vhost_on = false;
    virtio_unlend(&n->v);
    TRACE(VIRTIO, "%s vhost stopped", n->nic.id);
}

void vnet_vhost_call(struct virtio *v, unsigned q)
{
    struct vnet *n = vnet_of(v);
    if (q < 2 * n->npairs && lent(n, q))
        n->vhost->set_call(n->vhost, q, virtio_call_fd(v, q));
}

int vnet_vhost_open(struct vnet *n, struct machine *m)
{
    struct netdev *nd = n->nic.nd;
    struct vhost_region mem[RAM_REGIONS];
    if (!nd || nd->vhost == VHOST_NONE)
        return 0;
    for (int i = 0; i < m->ram.n; i++) {
        const struct ram_region *r = &m->ram.region[i];
        mem[i] = (struct vhost_region){.gpa = r->gpa,
                                       .size = r->size,
                                       .hva = r->hva,
                                       .fd = m->ram.fd,
                                       .offset = r->offset};
    }
    int err = vhost_open(nd, m->loop, mem, m->ram.n, &n->vhost);
    /* Who hands over a descriptor, or forces it, wants nothing else. */
    if (err && nd->vhost == VHOST_KERNEL && !nd->vhost_forced) {
        log_line("%s: without vhost-net; packets are moved by this process",
                 n->nic.id);
        n->vhost = NULL;
        return 0;
    }
    if (err)
        return err;
    n->iothreads = false; /* others do the work */
    vnet_limit_to_vhost(n);
    return 0;
}

void vnet_vhost_close(struct vnet *n)
{
    if (n->vhost)
        n->vhost->close(n->vhost);
    n->vhost = NULL;
}
