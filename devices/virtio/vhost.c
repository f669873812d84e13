/* SPDX-License-Identifier: MIT */
/* vhost-net: the kernel moves packets between rings and a tap.
 *
 * One /dev/vhost-net file, and so one kernel thread, for each queue pair. The
 * files are set up at open (owner, memory) and given rings and the tap at start
 * (drivers/vhost/net.c, vhost_net_set_backend); stopping takes the tap away,
 * which waits for what is in flight. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/iov.h"
#include "devices/virtio/vhost.h"

#define BIT(n) (1ull << (n))
#ifndef VIRTIO_F_IN_ORDER
#define VIRTIO_F_IN_ORDER 35
#endif

/* What the ring's other end must be able to do. Offloads are the tap's.
 * ACCESS_PLATFORM is between driver and NIC: given to vhost, it would ask for
 * every address by IOTLB messages, and there is no IOMMU here. */
#define KERNEL_MASK                                                            \
    (BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) |         \
     BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT(VIRTIO_F_ANY_LAYOUT) |                \
     BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED) |                     \
     BIT(VIRTIO_F_IN_ORDER) | BIT(VIRTIO_F_ORDER_PLATFORM) |                   \
     BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(57) /* HASH_REPORT */)

struct kvhost {
    struct vhost v;
    struct netdev *nd;
    int fd[NET_QUEUES_MAX];
    unsigned pairs;                /* running */
    bool on[NET_QUEUES_MAX];       /* has its tap queue */
    bool used[2 * NET_QUEUES_MAX]; /* ring given */
    struct event err;              /* any ring's */
};

static int set_backend(struct kvhost *k, unsigned pair, bool on)
{
    int r = 0;
    for (unsigned i = 0; i < 2; i++) {
        struct vhost_vring_file f = {.index = i,
                                     .fd = on ? k->nd->q[pair]->fd : -1};
        if (on && !k->used[2 * pair + i])
            continue;
        if (ioctl(k->fd[pair], VHOST_NET_SET_BACKEND, &f) < 0 && on)
            r = -errno;
    }
    k->on[pair] = on;
    return r;
}

static int set_ring(struct kvhost *k, unsigned ring, const struct vhost_ring *r)
{
    int fd = k->fd[ring / 2];
    unsigned i = ring & 1;
    struct vhost_vring_state num = {i, r->num}, base = {i, r->base};
    struct vhost_vring_addr a = {
        .index = i,
        .desc_user_addr = (uintptr_t)r->desc,
        .used_user_addr = (uintptr_t)r->used,
        .avail_user_addr = (uintptr_t)r->avail,
        .log_guest_addr = r->used_gpa,
    };
    struct vhost_vring_file kick = {i, r->kick}, call = {i, r->call},
                            err = {i, k->err.fd};
    if (ioctl(fd, VHOST_SET_VRING_NUM, &num) < 0 ||
        ioctl(fd, VHOST_SET_VRING_BASE, &base) < 0 ||
        ioctl(fd, VHOST_SET_VRING_ADDR, &a) < 0 ||
        ioctl(fd, VHOST_SET_VRING_KICK, &kick) < 0 ||
        ioctl(fd, VHOST_SET_VRING_CALL, &call) < 0 ||
        ioctl(fd, VHOST_SET_VRING_ERR, &err) < 0)
        return -errno;
    if (k->nd->poll_us) { /* Linux 4.7; a wish only */
        struct vhost_vring_state us = {i, k->nd->poll_us};
        ioctl(fd, VHOST_SET_VRING_BUSYLOOP_TIMEOUT, &us);
    }
    return 0;
}

static void kernel_stop(struct vhost *v, uint32_t *base)
{
    struct kvhost *k = container_of(v, struct kvhost, v);
    for (unsigned p = 0; p < k->pairs; p++)
        set_backend(k, p, false);
    for (unsigned i = 0; i < 2 * k->pairs; i++) {
        struct vhost_vring_state s = {i & 1, 0};
        struct vhost_vring_file none = {i & 1, -1};
        if (!k->used[i])
            continue;
        if (ioctl(k->fd[i / 2], VHOST_GET_VRING_BASE, &s) == 0 && base)
            base[i] = s.num;
        ioctl(k->fd[i / 2], VHOST_SET_VRING_KICK, &none);
        ioctl(k->fd[i / 2], VHOST_SET_VRING_CALL, &none);
        k->used[i] = false;
    }
    k->pairs = 0;
}

static int kernel_start(struct vhost *v, uint64_t features,
                        const struct vhost_ring *rings, unsigned pairs)
{
    struct kvhost *k = container_of(v, struct kvhost, v);
    int r = 0;
    features &= v->mask & v->features; /* unknown bits are EOPNOTSUPP */
    k->pairs = pairs;
    for (unsigned p = 0; p < pairs && r == 0; p++) {
        if (ioctl(k->fd[p], VHOST_SET_FEATURES, &features) < 0)
            r = -errno;
        for (unsigned i = 2 * p; i < 2 * p + 2 && r == 0; i++) {
            if (!rings[i].num)
                continue;
            r = set_ring(k, i, &rings[i]);
            k->used[i] = r == 0;
        }
    }
    for (unsigned p = 0; p < pairs && r == 0; p++)
        r = set_backend(k, p, true);
    if (r < 0) {
        kernel_stop(v, NULL);
        /* A guest may do as it likes to its queues, as often as it likes. */
        fault_note(&k->nd->vhost_refused, "%s: vhost-net: %s", k->nd->id,
                   strerror(-r));
        return r;
    }
    for (unsigned i = 0; i < 2 * pairs; i++)
        if (rings[i].num && rings[i].kick >= 0)
            eventfd_write(rings[i].kick, 1);
    return 0;
}

static int kernel_set_call(struct vhost *v, unsigned ring, int fd)
{
    struct kvhost *k = container_of(v, struct kvhost, v);
    struct vhost_vring_file call = {ring & 1, fd};
    return ioctl(k->fd[ring / 2], VHOST_SET_VRING_CALL, &call) < 0 ? -errno : 0;
}

static int kernel_set_pairs(struct vhost *v, unsigned n)
{
    struct kvhost *k = container_of(v, struct kvhost, v);
    for (unsigned p = 0; p < k->pairs; p++) {
        int r = k->on[p] == (p < n) ? 0 : set_backend(k, p, p < n);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Rings share an eventfd: which one broke is not told. */
static void kernel_err(struct event *ev, uint32_t got)
{
    struct kvhost *k = container_of(ev, struct kvhost, err);
    eventfd_t n;
    (void)got;
    eventfd_read(ev->fd, &n);
    fault_note(&k->nd->vhost_errors, "%s: vhost-net found a broken ring",
               k->nd->id);
    if (k->v.broken)
        k->v.broken(k->v.nic, 0);
}

static void kernel_close(struct vhost *v)
{
    struct kvhost *k = container_of(v, struct kvhost, v);
    kernel_stop(v, NULL);
    loop_del(&k->err);
    if (k->err.fd >= 0)
        close(k->err.fd);
    for (unsigned i = 0; i < k->nd->nq; i++)
        if (k->fd[i] >= 0)
            close(k->fd[i]);
    free(k);
}

/* One file: ours from now on, with the guest's memory. */
static int kernel_open_pair(struct kvhost *k, unsigned pair,
                            struct vhost_memory *mem)
{
    int given = k->nd->vhostfd[pair];
    uint64_t f;
    int fd = given >= 0 ? fcntl(given, F_DUPFD_CLOEXEC, 3)
                        : open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
    const char *what = given >= 0 ? "vhostfd=" : "/dev/vhost-net";
    if (fd < 0)
        return fail(-errno, "%s: %s: %s%s", k->nd->id, what, strerror(errno),
                    errno == ENOENT ? "; sudo modprobe vhost_net" : "");
    k->fd[pair] = fd;
    if (ioctl(fd, VHOST_SET_OWNER) < 0 ||
        ioctl(fd, VHOST_GET_FEATURES, &f) < 0 ||
        ioctl(fd, VHOST_SET_MEM_TABLE, mem) < 0)
        return fail(-errno, "%s: %s is no vhost-net that can be used: %s",
                    k->nd->id, what, strerror(errno));
    k->v.features = pair ? k->v.features & f : f;
    return 0;
}

static int kernel_open(struct netdev *nd, struct loop *l,
                       struct vhost_memory *mem, struct vhost **out)
{
    struct kvhost *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    k->nd = nd;
    k->v.mask = KERNEL_MASK;
    k->v.pairs = nd->nq;
    k->v.start = kernel_start;
    k->v.stop = kernel_stop;
    k->v.set_call = kernel_set_call;
    k->v.set_pairs = kernel_set_pairs;
    k->v.close = kernel_close;
    for (unsigned i = 0; i < nd->nq; i++)
        k->fd[i] = -1;
    k->err = (struct event){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                            .want = EPOLLIN,
                            .ready = kernel_err,
                            .name = "vhost"};
    int r = k->err.fd < 0 ? -errno : loop_add(l, &k->err);
    for (unsigned i = 0; i < nd->nq && r == 0; i++)
        r = kernel_open_pair(k, i, mem);
    if (r < 0) {
        kernel_close(&k->v);
        return r;
    }
    /* The tap has the headers, not vhost. LOG_ALL is for migration. */
    k->v.features &= ~(BIT(VHOST_NET_F_VIRTIO_NET_HDR) | BIT(VHOST_F_LOG_ALL));
    *out = &k->v;
    return 0;
}

int vhost_open(struct netdev *nd, struct loop *l,
               const struct vhost_region *mem, int nmem, struct vhost **out)
{
    if (nd->vhost == VHOST_USER)
        return vhost_user_attach(nd, mem, nmem, out);
    if (nd->vhost == VHOST_NONE)
        return -EOPNOTSUPP;
    if (!nd->vnet_hdr)
        return fail(-EINVAL, "%s: vhost=on needs vnet_hdr=on", nd->id);
    struct vhost_memory *m =
        calloc(1, sizeof(*m) + (size_t)nmem * sizeof(m->regions[0]));
    if (!m)
        return -ENOMEM;
    m->nregions = (uint32_t)nmem;
    for (int i = 0; i < nmem; i++)
        m->regions[i] = (struct vhost_memory_region){
            .guest_phys_addr = mem[i].gpa,
            .memory_size = mem[i].size,
            .userspace_addr = (uintptr_t)mem[i].hva};
    int r = kernel_open(nd, l, m, out);
    free(m);
    return r;
}
