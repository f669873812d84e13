/* SPDX-License-Identifier: MIT */
/* The vsock device with its packets moved by the kernel (vhost-vsock): a
 * process of the host talks to the guest by an AF_VSOCK socket. The event queue
 * stays with the device. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/fd.h"
#include "base/handed.h"
#include "devices/virtio_vsock/state.h"

#include <linux/vhost.h>
#include <sys/ioctl.h>

#define LENT 2 /* VSOCK_RX and VSOCK_TX */
#define CID_NS 100000000ull

/* Main loop: of rings that were given back it says nothing. */
static void vhost_broken(void *dev)
{
    struct vsock *s = dev;
    pthread_mutex_lock(&s->v.lock);
    bool on = s->vhost_on;
    unsigned life = s->v.life;
    pthread_mutex_unlock(&s->v.lock);
    if (on)
        virtio_needs_reset(&s->v, life, "vhost found a ring broken");
}

static void vhost_here(void *dev, bool up)
{
    (void)dev;
    (void)up; /* the kernel never goes */
}

/* syscalls loop if vhost: ioctl(VHOST_VSOCK_SET_GUEST_CID), only the lab has
 * vhost-vsock */
static int vhost_set_cid(struct vsock *s)
{
    uint64_t cid = s->cid;
    int err = ioctl(s->vhost_fd, VHOST_VSOCK_SET_GUEST_CID, &cid) ? -errno : 0;
    s->cid_owed = err == -EADDRINUSE && s->cid_owed;
    if (!err || s->cid_owed)
        return err;
    return fail(
        err, "%s: guest-cid=%llu: %s", s->v.dev.id, (unsigned long long)cid,
        err == -EADDRINUSE ? "another VM of this host has it" : strerror(-err));
}

/* A process that hands over has the CID until it has ended; and only when it
 * has, this kernel's sockets learn that their connections are no more. */
static int vhost_opened(void *dev, int fd)
{
    struct vsock *s = dev;
    s->vhost_fd = fd;
    s->cid_owed = handed_waits();
    return s->cid_owed ? 0 : vhost_set_cid(s);
}

void vsock_vhost_wait(struct vsock *s)
{
    if (s->cid_owed)
        timer_arm(&s->later, now_ns() + CID_NS);
}

static void vhost_later(struct timer *t)
{
    struct vsock *s = container_of(t, struct vsock, later);
    vsock_enter(s);
    vhost_set_cid(s);
    vsock_vhost_wait(s);
    if (s->v.started)
        vsock_vhost_start(s);
    vsock_leave(s);
}

/* Both rings begin together, when the second is set up, and end with the first.
 *
 * syscalls loop vcpu if vhost: ioctl(VHOST_VSOCK_SET_RUNNING), only the lab has
 * vhost-vsock */
static int vhost_run(void *dev, int fd, unsigned ring, bool on)
{
    int start = on;
    (void)dev;
    if (ring != (on ? VSOCK_TX : VSOCK_RX))
        return 0;
    return ioctl(fd, VHOST_VSOCK_SET_RUNNING, &start) < 0 ? -errno : 0;
}

int vsock_vhost_check(struct vsock *s, const char *what)
{
    uint64_t fd;
    if (!s->vhostfd)
        return 0;
    if (parse_u64("vhostfd", s->vhostfd, 0, 1 << 20, &fd))
        return -EINVAL;
    if (fcntl((int)fd, F_GETFD) < 0)
        return fail(-EINVAL, "%s: vhostfd=%s: no such descriptor is open", what,
                    s->vhostfd);
    fd_take((int)fd);
    return 0;
}

int vsock_vhost_open(struct vsock *s, struct machine *m)
{
    uint64_t given = 0;
    if (s->vhostfd)
        parse_u64("vhostfd", s->vhostfd, 0, 1 << 20, &given);
    int fd = s->vhostfd ? (int)given : -1;
    const struct vhost_device dev = {.id = s->v.dev.id,
                                     .rings = LENT,
                                     .mask = VHOST_RING_FEATURES,
                                     .errors = &s->vhost_errors,
                                     .refused = &s->vhost_refused,
                                     .here = vhost_here,
                                     .broken = vhost_broken,
                                     .dev = s};
    const struct vhost_kernel kernel = {.name = "vhost-vsock",
                                        .files = 1,
                                        .per_file = LENT,
                                        .given = &fd,
                                        .opened = vhost_opened,
                                        .run = vhost_run};
    timer_init(&s->later, m->loop, vhost_later);
    int err = vhost_kernel_open(&dev, &kernel, m, &s->vhost);
    if (err)
        return err;
    /* Both rings are its, or none: one alone is not reset. */
    s->v.offered &= ~(1ull << VIRTIO_F_RING_RESET);
    s->v.offered &= ~VHOST_RING_FEATURES | s->vhost->features;
    return 0;
}

void vsock_vhost_start(struct vsock *s)
{
    if (!s->vhost_on && !s->cid_owed)
        s->vhost_on = !virtio_lend(&s->v, s->vhost, LENT, VIRTIO_QUEUES_MAX);
}

void vsock_vhost_stop(struct vsock *s)
{
    if (s->vhost_on)
        virtio_take_back(&s->v, s->vhost, LENT);
    s->vhost_on = false;
}

void vsock_vhost_call(struct virtio *v, unsigned q)
{
    struct vsock *s = vsock_of(v);
    if (s->vhost_on && q < LENT && atomic_load(&v->kick[q].lent))
        s->vhost->ops->set_call(s->vhost, q, virtio_call_fd(v, q));
}
