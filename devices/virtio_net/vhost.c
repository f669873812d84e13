/* SPDX-License-Identifier: MIT */
/* virtio-net with the packets moved by vhost-net or a vhost-user process.
 *
 * Theory of operation
 * -------------------
 * The device works as ever; only the rings of the pairs are lent out, with
 * their doorbells, while there is somebody at the other end of the cable
 * (devices/virtio/lend.c). vhost-net is given the taps; a vhost-user back-end
 * is the cable, which is in while it is there.
 *
 * A masked MSI-X vector needs nothing: its eventfd collects. INTx goes by an
 * eventfd on the main loop (virtio_call_fd). What is lent may be in the hands
 * of a hostile process: it is fresh for each lending, and never touched. */
#include <errno.h>

#include "devices/virtio_net/state.h"

#include <linux/vhost.h>
#include <sys/ioctl.h>

/* Feature bits about packets: what moves them must be able to do them. The rest
 * (MAC, STATUS, the control queue) is the device's own; with vhost-net the
 * offloads are the tap's. */
#define VHOST_NET_BITS                                                         \
    (1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_HASH_REPORT)
#define VHOST_USER_BITS                                                        \
    (VHOST_NET_BITS | VNET_GUEST_OFFLOADS | 1ull << VIRTIO_NET_F_CSUM |        \
     1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_TSO6 |         \
     1ull << VIRTIO_NET_F_HOST_ECN | 1ull << VIRTIO_NET_F_HOST_UFO |           \
     1ull << VIRTIO_NET_F_HOST_USO | 1ull << VIRTIO_NET_F_GUEST_HDRLEN)

/* Main loop. An error of rings that have been given back says nothing about
 * those of the driver that came after. */
static void vnet_vhost_broken(void *dev)
{
    struct vnet *n = dev;
    pthread_mutex_lock(&n->v.lock);
    bool on = n->vhost_on;
    unsigned life = n->v.life;
    pthread_mutex_unlock(&n->v.lock);
    if (on)
        virtio_needs_reset(&n->v, life, "vhost found a ring broken");
}

static void vnet_vhost_here(void *dev, bool up)
{
    netdev_set_link(((struct vnet *)dev)->nic.nd, up);
}

struct vhost_device vnet_vhost_device(struct vnet *n)
{
    struct netdev *nd = n->nic.nd;
    bool user = nd->vhost == VHOST_USER;
    return (struct vhost_device){
        .id = nd->id,
        .rings = 2 * nd->nq,
        .mask = VHOST_RING_FEATURES | (user ? VHOST_USER_BITS : VHOST_NET_BITS),
        .queues = nd->nq,
        .errors = &nd->vhost_errors,
        .refused = &nd->vhost_refused,
        .here = vnet_vhost_here,
        .broken = vnet_vhost_broken,
        .dev = n};
}

void vnet_vhost_sync(struct vnet *n)
{
    /* The tap's headers have 12 bytes; old drivers' have 10. */
    if (!n->vhost || n->vhost_on || !n->v.started || n->hdr_len != 12 ||
        !netdev_link(n->nic.nd) ||
        virtio_lend(&n->v, n->vhost, 2 * n->npairs, vnet_ctrl_index(n)))
        return;
    n->vhost_on = true;
    nic_count(n, vhost_starts, 1);
    vnet_vhost_set_pairs(n);
    TRACE(VIRTIO, "%s vhost started", n->nic.id);
}

void vnet_vhost_set_pairs(struct vnet *n)
{
    if (n->vhost_on && n->npairs > 1)
        n->vhost->ops->set_rings(n->vhost, 2 * n->pairs);
}

void vnet_vhost_stop(struct vnet *n)
{
    if (!n->vhost_on)
        return;
    virtio_take_back(&n->v, n->vhost, 2 * n->npairs);
    n->vhost_on = false;
    TRACE(VIRTIO, "%s vhost stopped", n->nic.id);
}

void vnet_vhost_call(struct virtio *v, unsigned q)
{
    struct vnet *n = vnet_of(v);
    if (n->vhost_on && q < 2 * n->npairs && atomic_load(&v->kick[q].lent))
        n->vhost->ops->set_call(n->vhost, q, virtio_call_fd(v, q));
}

/* -------------------------------------------------------------- vhost-net */

/* The tap's queue is taken by the ring, or away from it.
 *
 * syscalls loop vcpu if vhost: ioctl(VHOST_NET_SET_BACKEND), only the lab
 * has vhost-net */
static int vnet_vhost_run_tap(void *dev, int fd, unsigned ring, bool on)
{
    const struct netdev *nd = ((struct vnet *)dev)->nic.nd;
    struct vhost_vring_file f = {.index = ring & 1,
                                 .fd = on ? nd->q[ring / 2]->fd : -1};
    return ioctl(fd, VHOST_NET_SET_BACKEND, &f) < 0 ? -errno : 0;
}

static int vnet_vhost_open_net(struct vnet *n, struct machine *m)
{
    const struct netdev *nd = n->nic.nd;
    struct vhost_device dev = vnet_vhost_device(n);
    struct vhost_kernel kernel = {.name = "vhost-net",
                                  .files = nd->nq,
                                  .per_file = 2,
                                  .given = nd->vhostfd,
                                  .poll_us = nd->poll_us,
                                  .run = vnet_vhost_run_tap};
    if (!nd->vnet_hdr)
        return fail(-EINVAL, "%s: vhost=on needs vnet_hdr=on", nd->id);
    int err = vhost_kernel_open(&dev, &kernel, m, &n->vhost);
    /* The tap has the headers, not vhost. */
    if (!err)
        n->vhost->features &= ~(1ull << VHOST_NET_F_VIRTIO_NET_HDR);
    return err;
}

/* ------------------------------------------------------------------ making */

int vnet_vhost_open(struct vnet *n, struct machine *m)
{
    struct netdev *nd = n->nic.nd;
    if (!nd || nd->vhost == VHOST_NONE)
        return 0;
    struct vhost_device dev = vnet_vhost_device(n);
    int err = nd->vhost == VHOST_USER
                  ? vhost_user_open(&dev, nd->chardev, m, &n->vhost)
                  : vnet_vhost_open_net(n, m);
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
        n->vhost->ops->close(n->vhost);
    n->vhost = NULL;
}
