/* SPDX-License-Identifier: MIT */
/* The vsock device with its packets moved by the kernel (vhost-vsock): a
 * process of the host talks to the guest by an AF_VSOCK socket. The event queue
 * stays with the device. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/fd.h"
#include "devices/virtio_vsock/state.h"

#include <linux/vhost.h>
#include <sys/ioctl.h>

#define LENT 2 /* VSOCK_RX and VSOCK_TX */

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

static int vhost_opened(void *dev, int fd)
{
    struct vsock *s = dev;
    uint64_t cid = s->cid;
    if (!ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &cid))
        return 0;
    return errno == EADDRINUSE
               ? fail(-EADDRINUSE,
                      "%s: guest-cid=%llu: another VM of this "
                      "host has it",
                      s->v.dev.id, (unsigned long long)cid)
               : fail(-errno, "%s: guest-cid=%llu: %s", s->v.dev.id,
                      (unsigned long long)cid, strerror(errno));
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
    if (!s->vhost_on)
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
