/* SPDX-License-Identifier: MIT */
/* vhost-user: another process serves the rings, told how over a UNIX socket.
 *
 * Theory of operation. The other process is the back-end of the vhost-user
 * protocol (QEMU's docs/interop/vhost-user.rst), this the front-end: it sends
 * the memory as a memfd, the rings' addresses, and their eventfds, and is out
 * of the way. What the back-end can do must be known before a device offers
 * features, so opening waits for it.
 *
 * When the back-end goes the device is told, and takes its rings back; when it
 * (or another one) comes, it is told everything again and goes on where the
 * used rings stand: what it had taken and not given back is taken again. That
 * needs split rings: a packed ring does not show where its device is, so it is
 * not offered.
 *
 * The back-end is as hostile as a guest. Nothing waits for it but the start of
 * the VM, and for a moment who stops the rings (STOP_MS): it greets on the main
 * loop in a second (vhost_talk.c), and is hung up on when it leaves what it is
 * sent unread. The eventfds it gets are fresh for each start, and nobody here
 * reads or writes them: with the file behind a descriptor goes the power to
 * make it block. The memory is sealed against being cut (machine/kvm/vm.c).
 *
 * start and stop come from the device, connections from the main loop; the lock
 * is for both. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/use.h"
#include "devices/virtio/vhost_user.h"

/* ------------------------------------------------------------ the session */

static int user_put_memory(struct vuser *u)
{
    struct vu_message m = {0};
    int fd[VU_REGIONS], n = u->ram.n + !!u->v.dev.share.size;
    for (int i = 0; i < n; i++) {
        bool own = i == u->ram.n;
        const struct ram_region *r = own ? &u->v.dev.share : &u->ram.region[i];
        m.mem.region[i].gpa = r->gpa;
        m.mem.region[i].size = r->size;
        m.mem.region[i].uva = (uintptr_t)r->hva;
        m.mem.region[i].offset = r->offset;
        fd[i] = own ? u->v.dev.share_fd : u->ram.fd;
    }
    m.mem.n = (uint32_t)n;
    size_t size = 8 + (size_t)n * sizeof(m.mem.region[0]);
    return vu_put(u, &m, VU_SET_MEM_TABLE, size, fd, n);
}

static int user_put_ring(struct vuser *u, uint32_t i)
{
    const struct vhost_ring *g = &u->ring[i];
    struct vu_message m = {.addr = {.index = i,
                                    .desc = (uintptr_t)g->desc,
                                    .used = (uintptr_t)g->used,
                                    .avail = (uintptr_t)g->avail,
                                    .log = g->used_gpa}};
    int err = vu_put_state(u, VU_SET_VRING_NUM, i, g->num);
    if (!err)
        err = vu_put_state(u, VU_SET_VRING_BASE, i, g->base);
    if (!err)
        err = vu_put(u, &m, VU_SET_VRING_ADDR, sizeof(m.addr), NULL, 0);
    if (!err)
        err = vu_put_fd(u, VU_SET_VRING_ERR, i, u->err.fd);
    if (!err)
        err = vu_put_fd(u, VU_SET_VRING_CALL, i, g->call);
    if (!err)
        err = vu_put_fd(u, VU_SET_VRING_KICK, i, g->kick);
    if (!err && u->can & VU_F_PROTOCOL)
        err = vu_put_state(u, VU_SET_VRING_ENABLE, i, 1);
    return err;
}

/* Everything the device has asked for, to whoever is there. */
static int user_put_all(struct vuser *u)
{
    int err =
        vu_put_u64(u, VU_SET_FEATURES, u->acked | (u->can & VU_F_PROTOCOL));
    if (!err)
        err = user_put_memory(u);
    for (uint32_t i = 0; i < u->n && !err; i++)
        if (u->ring[i].num)
            err = user_put_ring(u, i);
    return err;
}

/* Where a split ring stands: virtio 1.2 §2.7.8, used.idx. */
static uint32_t user_position(const struct vhost_ring *g)
{
    return __atomic_load_n((uint16_t *)g->used + 1, __ATOMIC_ACQUIRE);
}

/* ---------------------------------------------------------- struct vhost */

static struct vuser *user_of(struct vhost *v)
{
    return container_of(v, struct vuser, v);
}

/* A back-end that fails now is like one that is away: the VM lives.
 *
 * syscalls loop vcpu if vhost_user: eventfd2 */
static int user_start(struct vhost *v, uint64_t features,
                      const struct vhost_ring *rings, unsigned n)
{
    struct vuser *u = user_of(v);
    pthread_mutex_lock(&u->lock);
    u->acked = features & v->dev.mask;
    u->n = n;
    memcpy(u->ring, rings, n * sizeof(*rings));
    u->running = true;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd >= 0)
        loop_refile(&u->err, fd);
    if (u->acked & ~u->can)
        vu_give_up(u, -EPROTO, vu_lacks_features);
    else if (u->fd >= 0)
        user_put_all(u);
    pthread_mutex_unlock(&u->lock);
    return 0;
}

/* All questions, then all answers, so that slowness counts once; and who needs
 * longer than this is taken for dead. */
#define STOP_MS 250

static void user_stop(struct vhost *v, uint32_t *base)
{
    struct vuser *u = user_of(v);
    int64_t end = real_ms() + STOP_MS;
    pthread_mutex_lock(&u->lock);
    unsigned n = u->running ? u->n : 0;
    int err = 0;
    for (uint32_t i = 0; i < n && !err; i++) {
        if (!u->ring[i].num)
            continue;
        if (u->can & VU_F_PROTOCOL)
            err = vu_put_state(u, VU_SET_VRING_ENABLE, i, 0);
        if (!err)
            err = vu_put_state(u, VU_GET_VRING_BASE, i, 0);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct vu_message m = {0};
        if (!u->ring[i].num)
            continue;
        if (!err)
            err = vu_get(u, &m, VU_GET_VRING_BASE, sizeof(m.state), end);
        if (!err && m.state.index != i)
            err = vu_give_up(u, -EPROTO, "broke the protocol");
        if (base)
            base[i] = err ? user_position(&u->ring[i]) : m.state.num;
    }
    u->running = false;
    pthread_mutex_unlock(&u->lock);
}

static int user_set_call(struct vhost *v, unsigned ring, int fd)
{
    struct vuser *u = user_of(v);
    pthread_mutex_lock(&u->lock);
    u->ring[ring].call = fd;
    if (u->running && u->fd >= 0)
        vu_put_fd(u, VU_SET_VRING_CALL, ring, fd);
    pthread_mutex_unlock(&u->lock);
    return 0;
}

static int user_set_rings(struct vhost *v, unsigned n)
{
    struct vuser *u = user_of(v);
    pthread_mutex_lock(&u->lock);
    for (uint32_t i = 0; u->running && u->fd >= 0 && i < u->n; i++)
        if (u->ring[i].num && u->can & VU_F_PROTOCOL)
            vu_put_state(u, VU_SET_VRING_ENABLE, i, i < n);
    pthread_mutex_unlock(&u->lock);
    return 0;
}

static void user_get_config(struct vhost *v, unsigned off, void *p,
                            unsigned len)
{
    struct vuser *u = user_of(v);
    pthread_mutex_lock(&u->lock);
    memcpy(p, u->config + off, len);
    pthread_mutex_unlock(&u->lock);
}

static void user_set_config(struct vhost *v, unsigned off, const void *p,
                            unsigned len)
{
    struct vuser *u = user_of(v);
    struct vu_message m = {.config = {.off = off, .size = len}};
    memcpy(m.config.bytes, p, len);
    pthread_mutex_lock(&u->lock);
    memcpy(u->config + off, p, len);
    vu_put(u, &m, VU_SET_CONFIG, VU_CONFIG_HEAD + len, NULL, 0);
    pthread_mutex_unlock(&u->lock);
}

/* One of the rings is broken. Told once for each start: the eventfd is the
 * back-end's, too, and is not read. */
static void user_err(struct event *ev, uint32_t got)
{
    struct vuser *u = container_of(ev, struct vuser, err);
    (void)got;
    loop_refile(ev, -1);
    fault_note(u->v.dev.errors, "%s: %s found a broken ring", u->v.dev.id,
               u->c->addr.text);
    u->v.dev.broken(u->v.dev.dev);
}

static void user_hang_up(struct vhost *v, const char *why)
{
    struct vuser *u = user_of(v);
    pthread_mutex_lock(&u->lock);
    vu_give_up(u, 0, why);
    pthread_mutex_unlock(&u->lock);
}

/* What a back-end may ask for, with what it is told that it can, is that its
 * configuration space be looked at again (VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
 * without an answer). So whatever comes here means that: it may be cut, or of
 * one that is gone. */
static void user_hinted(struct event *ev, uint32_t got)
{
    struct vuser *u = container_of(ev, struct vuser, hint);
    char any[256];
    (void)got;
    if (recv(ev->fd, any, sizeof(any), MSG_DONTWAIT) > 0)
        vu_look(u);
}

/* ---------------------------------------------------------- open and close */

static void user_close(struct vhost *v)
{
    struct vuser *u = user_of(v);
    user_stop(v, NULL);
    chardev_part(u->c);
    loop_del(&u->err);
    loop_del(&u->hint);
    if (u->err.fd >= 0)
        close(u->err.fd);
    if (u->hint_fd >= 0) {
        close(u->hint.fd);
        close(u->hint_fd);
    }
    pthread_mutex_destroy(&u->lock);
    free(u);
}

static const struct vhost_ops user_ops = {
    .start = user_start,
    .stop = user_stop,
    .set_call = user_set_call,
    .set_rings = user_set_rings,
    .get_config = user_get_config,
    .set_config = user_set_config,
    .hang_up = user_hang_up,
    .close = user_close,
};

static int user_open_hints(struct vuser *u, struct loop *l)
{
    int sv[2];
    if (!u->v.dev.config_len)
        return 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
        return -errno;
    u->hint =
        (struct event){.fd = sv[0], .want = EPOLLIN, .ready = user_hinted};
    u->hint_fd = sv[1];
    return loop_add(l, &u->hint);
}

static int user_meet(struct vuser *u, struct machine *m)
{
    if (m->ram.fd < 0)
        return fail(-EINVAL, "%s: guest memory is not shared", u->v.dev.id);
    int err = u->err.fd < 0 ? -errno : loop_add(m->loop, &u->err);
    if (!err)
        err = user_open_hints(u, m->loop);
    if (err)
        return fail(err, "%s: %s", u->v.dev.id, strerror(-err));
    vu_greet(u);
    return chardev_meet(u->c, m->loop, "vhost-user back-end");
}

int vhost_user_open(const struct vhost_device *dev, struct chardev *c,
                    struct machine *m, struct vhost **out)
{
    struct vuser *u = calloc(1, sizeof(*u));
    if (!u)
        return fail(-ENOMEM, "%s: out of memory", dev->id);
    thread_uses(USE_VHOST);
    thread_uses(USE_VHOST_USER);
    u->v.ops = &user_ops;
    u->v.dev = *dev;
    u->c = c;
    u->peer = c->peer;
    u->ram = m->ram;
    u->fd = u->hint_fd = -1;
    pthread_mutex_init(&u->lock, NULL);
    u->err = (struct event){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                            .want = EPOLLIN | EPOLLET,
                            .ready = user_err};
    int err = user_meet(u, m);
    if (err) {
        user_close(&u->v);
        return err;
    }
    m->pinned = "a vhost-user process";
    u->v.features = u->can & dev->mask & ~(1ull << VIRTIO_F_RING_PACKED);
    *out = &u->v;
    return 0;
}
