/* SPDX-License-Identifier: MIT */
/* vhost: the kernel serves the rings.
 *
 * One file of /dev, and so one kernel thread, for every few rings, which is its
 * kind's to say (vhost-net: a receive and a transmit ring). The files are set
 * up at open (owner, memory) and given rings at start; then each ring begins by
 * a call that is the kind's own, and ends by it, which waits for what is in
 * flight (drivers/vhost/net.c, vhost_net_set_backend). */
#include "devices/virtio/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/use.h"

struct kvhost {
    struct vhost v;
    struct vhost_kernel k;
    int fd[VIRTIO_QUEUES_MAX];    /* k.files of them */
    unsigned n;                   /* rings, running */
    bool on[VIRTIO_QUEUES_MAX];   /* begun */
    bool used[VIRTIO_QUEUES_MAX]; /* ring given */
    struct event err;             /* any ring's */
};

static struct kvhost *kernel_of(struct vhost *v)
{
    return container_of(v, struct kvhost, v);
}

static int kernel_file(const struct kvhost *k, unsigned ring)
{
    return k->fd[ring / k->k.per_file];
}

static unsigned kernel_index(const struct kvhost *k, unsigned ring)
{
    return ring % k->k.per_file;
}

/* One that was left out only ever ends. */
static int kernel_run(struct kvhost *k, unsigned ring, bool on)
{
    int err = 0;
    if (!on || k->used[ring])
        err = k->k.run(k->v.dev.dev, kernel_file(k, ring), ring, on);
    k->on[ring] = on;
    return on ? err : 0;
}

/* syscalls loop vcpu if vhost: ioctl(VHOST_SET_VRING_NUM|VHOST_SET_VRING_BASE|
 * VHOST_SET_VRING_ADDR|VHOST_SET_VRING_KICK|VHOST_SET_VRING_CALL|
 * VHOST_SET_VRING_ERR|VHOST_SET_VRING_BUSYLOOP_TIMEOUT), only the lab has
 * vhost-net */
static int kernel_set_ring(struct kvhost *k, unsigned ring,
                           const struct vhost_ring *r)
{
    int fd = kernel_file(k, ring);
    unsigned i = kernel_index(k, ring);
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
    if (k->k.poll_us) { /* Linux 4.7; a wish only */
        struct vhost_vring_state us = {i, k->k.poll_us};
        ioctl(fd, VHOST_SET_VRING_BUSYLOOP_TIMEOUT, &us);
    }
    return 0;
}

/* syscalls loop vcpu if vhost: ioctl(VHOST_GET_VRING_BASE), only the lab
 * has vhost-net */
static void kernel_stop(struct vhost *v, uint32_t *base)
{
    struct kvhost *k = kernel_of(v);
    for (unsigned i = 0; i < k->n; i++)
        kernel_run(k, i, false);
    for (unsigned i = 0; i < k->n; i++) {
        struct vhost_vring_state s = {kernel_index(k, i), 0};
        struct vhost_vring_file none = {kernel_index(k, i), -1};
        if (!k->used[i])
            continue;
        if (ioctl(kernel_file(k, i), VHOST_GET_VRING_BASE, &s) == 0 && base)
            base[i] = s.num;
        ioctl(kernel_file(k, i), VHOST_SET_VRING_KICK, &none);
        ioctl(kernel_file(k, i), VHOST_SET_VRING_CALL, &none);
        k->used[i] = false;
    }
    k->n = 0;
}

/* Features, then the rings of each file; the first error.
 *
 * syscalls loop vcpu if vhost: ioctl(VHOST_SET_FEATURES), only the lab
 * has vhost-net */
static int kernel_set_rings_up(struct kvhost *k, uint64_t features,
                               const struct vhost_ring *rings)
{
    for (unsigned i = 0; i < k->n; i++) {
        if (kernel_index(k, i) == 0 &&
            ioctl(kernel_file(k, i), VHOST_SET_FEATURES, &features) < 0)
            return -errno;
        if (!rings[i].num)
            continue;
        int err = kernel_set_ring(k, i, &rings[i]);
        if (err)
            return err;
        k->used[i] = true;
    }
    return 0;
}

static int kernel_start(struct vhost *v, uint64_t features,
                        const struct vhost_ring *rings, unsigned n)
{
    struct kvhost *k = kernel_of(v);
    k->n = n; /* unknown feature bits would be EOPNOTSUPP */
    int err = kernel_set_rings_up(k, features & v->features, rings);
    for (unsigned i = 0; i < n && !err; i++)
        err = kernel_run(k, i, true);
    if (err) {
        kernel_stop(v, NULL);
        /* A guest may do as it likes to its queues, as often as it likes. */
        fault_note(v->dev.refused, "%s: %s: %s", v->dev.id, k->k.name,
                   strerror(-err));
        return err;
    }
    for (unsigned i = 0; i < n; i++)
        if (rings[i].num && rings[i].kick >= 0)
            eventfd_write(rings[i].kick, 1);
    return 0;
}

static int kernel_set_call(struct vhost *v, unsigned ring, int fd)
{
    struct kvhost *k = kernel_of(v);
    struct vhost_vring_file call = {kernel_index(k, ring), fd};
    return ioctl(kernel_file(k, ring), VHOST_SET_VRING_CALL, &call) < 0 ? -errno
                                                                        : 0;
}

static int kernel_set_rings(struct vhost *v, unsigned n)
{
    struct kvhost *k = kernel_of(v);
    int err = 0;
    for (unsigned i = 0; i < k->n && !err; i++)
        if (k->on[i] != (i < n))
            err = kernel_run(k, i, i < n);
    return err;
}

/* Rings share an eventfd: which one broke is not told. */
static void kernel_err(struct event *ev, uint32_t got)
{
    struct kvhost *k = container_of(ev, struct kvhost, err);
    eventfd_t n;
    (void)got;
    eventfd_read(ev->fd, &n);
    fault_note(k->v.dev.errors, "%s: %s found a broken ring", k->v.dev.id,
               k->k.name);
    k->v.dev.broken(k->v.dev.dev);
}

static void kernel_close(struct vhost *v)
{
    struct kvhost *k = kernel_of(v);
    kernel_stop(v, NULL);
    loop_del(&k->err);
    if (k->err.fd >= 0)
        close(k->err.fd);
    for (unsigned i = 0; i < k->k.files; i++)
        if (k->fd[i] >= 0)
            close(k->fd[i]);
    free(k);
}

/* One file: ours from now on, with the guest's memory. */
static int kernel_open_file(struct kvhost *k, unsigned file,
                            struct vhost_memory *mem)
{
    int given = k->k.given ? k->k.given[file] : -1;
    char path[32], what[32];
    uint64_t f = 0;
    snprintf(path, sizeof(path), "/dev/%s", k->k.name);
    int fd = given >= 0 ? fcntl(given, F_DUPFD_CLOEXEC, 3)
                        : open(path, O_RDWR | O_CLOEXEC);
    snprintf(what, sizeof(what), "%s", given >= 0 ? "vhostfd=" : path);
    if (fd < 0)
        return fail(-errno, "%s: %s: %s%s%s", k->v.dev.id, what,
                    strerror(errno), errno == ENOENT ? "; sudo modprobe " : "",
                    errno == ENOENT ? k->k.name : "");
    k->fd[file] = fd;
    if (ioctl(fd, VHOST_SET_OWNER) < 0 ||
        ioctl(fd, VHOST_GET_FEATURES, &f) < 0 ||
        ioctl(fd, VHOST_SET_MEM_TABLE, mem) < 0)
        return fail(-errno, "%s: %s is no %s that can be used: %s", k->v.dev.id,
                    what, k->k.name, strerror(errno));
    k->v.features &= f;
    return k->k.opened ? k->k.opened(k->v.dev.dev, fd) : 0;
}

static int kernel_open_files(struct kvhost *k, struct machine *m)
{
    union { /* its regions follow it */
        struct vhost_memory m;
        char room[sizeof(struct vhost_memory) +
                  RAM_REGIONS * sizeof(struct vhost_memory_region)];
    } mem = {.m.nregions = (uint32_t)m->ram.n};
    for (int i = 0; i < m->ram.n; i++)
        mem.m.regions[i] = (struct vhost_memory_region){
            .guest_phys_addr = m->ram.region[i].gpa,
            .memory_size = m->ram.region[i].size,
            .userspace_addr = (uintptr_t)m->ram.region[i].hva};
    int err = k->err.fd < 0 ? -errno : loop_add(m->loop, &k->err);
    for (unsigned i = 0; i < k->k.files && !err; i++)
        err = kernel_open_file(k, i, &mem.m);
    return err;
}

static const struct vhost_ops kernel_ops = {
    .start = kernel_start,
    .stop = kernel_stop,
    .set_call = kernel_set_call,
    .set_rings = kernel_set_rings,
    .close = kernel_close,
};

int vhost_kernel_open(const struct vhost_device *dev,
                      const struct vhost_kernel *kernel, struct machine *m,
                      struct vhost **out)
{
    struct kvhost *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    thread_uses(USE_VHOST);
    k->v =
        (struct vhost){.ops = &kernel_ops, .dev = *dev, .features = dev->mask};
    k->k = *kernel;
    for (unsigned i = 0; i < kernel->files; i++)
        k->fd[i] = -1;
    k->err = (struct event){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                            .want = EPOLLIN,
                            .ready = kernel_err};
    int err = kernel_open_files(k, m);
    if (err)
        kernel_close(&k->v);
    else
        *out = &k->v;
    return err;
}
