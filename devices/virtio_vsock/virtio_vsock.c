/* SPDX-License-Identifier: MIT */
/* virtio-vsock-pci and vhost-vsock-pci: sockets between processes of the host
 * and of the guest, without a network (virtio 1.2 §5.10).
 *
 * Theory of operation
 * -------------------
 *  guest → host: kick ──▶ tx.c: header ──▶ conn.c ──▶ the process's socket
 *  host → guest: socket ready ──▶ rx.c: the line ──▶ a buffer of the guest
 *  host.c has the sockets; with vhost.c the kernel does it all.
 *
 * All of it is the main loop's, under the lock of the registers, in bursts that
 * are bounded (vsock_enter, vsock_leave). A vCPU that resets the device only
 * takes the rings away: the connections of the driver that is gone, which
 * belong to the loop, end there, in its next turn (`life`).
 *
 * Nothing of a connection is saved. A guest that goes on somewhere else is told
 * so by an event, and forgets its own (§5.10.6.7); but in another process of
 * the same host, to which the sockets go, too (streams.c). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/use.h"
#include "devices/virtio_vsock/state.h"

bool vsock_serves(const struct vsock *s)
{
    return s->v.started && !s->broken && !s->v.dev.held &&
           s->life == s->v.life && pci_can_dma(&s->v.fn);
}

/* -------------------------------------------------------------- on the loop */

void vsock_enter(struct vsock *s)
{
    pthread_mutex_lock(&s->v.lock);
}

/* The driver that had these connections is gone. */
static void vsock_settle(struct vsock *s)
{
    if (s->life == s->v.life)
        return;
    s->life = s->v.life;
    vsock_conn_part_all(s);
}

static void vsock_publish(struct vsock *s, unsigned q)
{
    vq_flush(&s->v.vq[q]);
    virtio_queue_irq(&s->v, &s->v.vq[q]);
}

/* Then whatever there is for the guest; `fault` of a ring before. */
static void vsock_go(struct vsock *s, const char *fault)
{
    unsigned life = s->v.life;
    bool serves = vsock_serves(s);
    if (serves && !fault && !s->vhost)
        fault = vsock_rx_run(s);
    if (serves && !fault)
        fault = vsock_rx_event(s);
    for (unsigned q = s->vhost ? VSOCK_EVENT : 0; serves && q < VSOCK_QUEUES;
         q++)
        vsock_publish(s, q);
    if (fault) {
        s->broken = true;
        vsock_conn_part_all(s);
    }
    pthread_mutex_unlock(&s->v.lock);
    if (fault)
        virtio_needs_reset(&s->v, life, fault);
}

void vsock_leave(struct vsock *s)
{
    vsock_settle(s);
    vsock_go(s, NULL);
}

static void vsock_kick(struct virtio *v, unsigned q)
{
    struct vsock *s = vsock_of(v);
    vsock_enter(s);
    vsock_settle(s);
    bool tx = q == VSOCK_TX && !s->vhost && vsock_serves(s);
    vsock_go(s, tx ? vsock_tx_run(s) : NULL);
}

static void vsock_wake(struct event *ev, uint32_t got)
{
    struct vsock *s = container_of(ev, struct vsock, wake);
    (void)got;
    event_drain(ev->fd);
    vsock_enter(s);
    vsock_leave(s);
}

/* ------------------------------------------------------------ start, stop */

static void vsock_start(struct virtio *v)
{
    struct vsock *s = vsock_of(v);
    s->broken = false;
    if (s->vhost)
        vsock_vhost_start(s);
    for (unsigned q = s->vhost ? VSOCK_EVENT : 0; q < VSOCK_QUEUES; q++)
        virtio_poke(v, q);
}

/* A reset's: `life` has not changed yet, but does under the same lock. */
static void vsock_stop(struct virtio *v)
{
    struct vsock *s = vsock_of(v);
    vsock_vhost_stop(s);
    s->reset_owed = s->broken = false;
    event_signal(s->wake.fd);
}

/* The rings are touched under the lock only, and one that is off is empty. */
static void vsock_queue_stop(struct virtio *v, unsigned q)
{
    (void)v;
    (void)q;
}

static void vsock_queue_start(struct virtio *v, unsigned q)
{
    virtio_poke(v, q);
}

static void vsock_config_read(struct virtio *v, unsigned off, void *p,
                              unsigned len)
{
    const le64 guest_cid = vsock_of(v)->cid;
    memcpy(p, (const uint8_t *)&guest_cid + off, len);
}

#define VSOCK_TYPE                                                             \
    .name = "virtio-vsock", .id = 19, .class24 = 0x078000,                     \
    .config_len = sizeof(le64), .start = vsock_start, .stop = vsock_stop,      \
    .queue_stop = vsock_queue_stop, .queue_start = vsock_queue_start,          \
    .config_read = vsock_config_read, .kick = vsock_kick
static const struct virtio_type vsock_type = {VSOCK_TYPE};
static const struct virtio_type vsock_vhost_type = {
    VSOCK_TYPE, .call_changed = vsock_vhost_call};

/* -------------------------------------------------------- rest, and go on */

static void vsock_hold(struct device *dev)
{
    struct vsock *s = container_of(dev, struct vsock, v.dev);
    vsock_enter(s);
    vsock_vhost_stop(s);
    vsock_settle(s);
    vsock_conn_watch_all(s, false);
    loop_del(&s->listen);
    vsock_conn_rest(s);
    pthread_mutex_unlock(&s->v.lock);
    virtio_pci_hold(&s->v);
}

static void vsock_resume(struct device *dev)
{
    struct vsock *s = container_of(dev, struct vsock, v.dev);
    vsock_enter(s);
    if (s->loaded) {
        vsock_conn_part_all(s);
        s->reset_owed = s->v.started;
        s->loaded = false;
    }
    if (!s->vhost) {
        vsock_conn_watch_all(s, true);
        vsock_conn_go_on(s);
        s->listen.want = EPOLLIN;
        loop_add(dev->m->loop, &s->listen);
        vsock_host_dial(s);
    } else {
        vsock_vhost_wait(s);
        if (s->v.started)
            vsock_vhost_start(s);
    }
    /* Whatever the rings say of kicks: what is in them is looked at. */
    for (unsigned q = s->vhost ? VSOCK_EVENT : 0; q < VSOCK_QUEUES; q++)
        virtio_poke(&s->v, q);
    vsock_leave(s);
}

static int vsock_loaded(struct device *dev)
{
    struct vsock *s = container_of(dev, struct vsock, v.dev);
    s->loaded = true;
    return virtio_pci_loaded(&s->v);
}

/* ------------------------------------------------------------------ making */

static void vsock_destroy(struct device *dev)
{
    struct vsock *s = container_of(dev, struct vsock, v.dev);
    vsock_enter(s);
    vsock_vhost_stop(s);
    timer_cancel(&s->due);
    timer_cancel(&s->later);
    vsock_host_close(s);
    pthread_mutex_unlock(&s->v.lock);
    if (s->vhost)
        s->vhost->ops->close(s->vhost);
    virtio_pci_destroy(&s->v);
    loop_del(&s->wake);
    close(s->wake.fd);
    free(s);
}

static int vsock_make(struct vsock *s, struct machine *m)
{
    const struct virtio_type *type = s->vhost ? &vsock_vhost_type : &vsock_type;
    int err = 0;
    s->v.nvq = VSOCK_QUEUES;
    for (unsigned q = 0; q < VSOCK_QUEUES; q++)
        s->v.vq[q].size_max = VSOCK_QUEUE_SIZE;
    s->wake = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                             .want = EPOLLIN,
                             .ready = vsock_wake};
    err = s->wake.fd < 0 ? -errno : loop_add(m->loop, &s->wake);
    if (err)
        return fail(err, "%s: %s", s->v.dev.id, strerror(-err));
    err = virtio_pci_init(&s->v, m, type, &s->pci);
    if (err)
        return err;
    s->v.dev.hold = vsock_hold;
    s->v.dev.resume = vsock_resume;
    s->v.dev.destroy = vsock_destroy;
    device_register(m, &s->v.dev);
    return 0;
}

static void vsock_init(struct vsock *s, struct machine *m)
{
    struct vsock_link *lists[] = {&s->all,   &s->rx,   &s->hellos,
                                  &s->dials, &s->dues, &s->drains};
    s->v.dev.m = m;
    s->v.offered = s->v.asked | 1ull << VIRTIO_F_VERSION_1;
    s->listen.fd = s->wake.fd = -1;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        vsock_list_init(lists[i]);
    timer_init(&s->due, m->loop, vsock_conn_due);
    timer_init(&s->later, m->loop, vsock_host_later);
}

static int vsock_create(struct machine *m, struct device *dev)
{
    struct vsock *s = container_of(dev, struct vsock, v.dev);
    vsock_init(s, m);
    thread_uses(USE_VSOCK);
    int err = vsock_host_open(s);
    return err ? err : vsock_make(s, m);
}

static int vsock_vhost_create(struct machine *m, struct device *dev)
{
    struct vsock *s = container_of(dev, struct vsock, v.dev);
    vsock_init(s, m);
    int err = vsock_vhost_open(s, m);
    return err ? err : vsock_make(s, m);
}

static int vsock_check_any(struct vsock *s, struct needs *needs)
{
    const char *what = s->v.dev.opts.what;
    if (!s->cid)
        return fail(-EINVAL,
                    "%s: guest-cid=N is missing: the guest's address, "
                    "3 or more",
                    what);
    if (s->v.disable_legacy == OFF || s->v.no_modern)
        return fail(-EINVAL, "%s: %s: vsock came with virtio 1.0", what,
                    s->v.no_modern ? "disable-modern=on"
                                   : "disable-legacy=off");
    int err = virtio_check(&s->v, what);
    return err ? err : pci_check(&s->pci, what, needs);
}

static int vsock_check(struct device *dev, struct needs *needs)
{
    struct vsock *s = container_of(dev, struct vsock, v.dev);
    char label[64];
    int err = vsock_check_any(s, needs);
    if (!err && !s->uds_path)
        err = fail(-EINVAL,
                   "%s: uds_path=PATH is missing: where host "
                   "processes connect",
                   dev->opts.what);
    if (!err)
        err = addr_unix(dev->opts.what, s->uds_path, false, &s->addr);
    if (err)
        return err;
    helper_need_unlink(&s->addr);
    snprintf(label, sizeof(label), "guest connections of %s", dev->id);
    s->way = helper_ports(label, &s->addr);
    return s->way < 0 ? s->way : 0;
}

static int vsock_check_vhost(struct device *dev, struct needs *needs)
{
    struct vsock *s = container_of(dev, struct vsock, v.dev);
    int err = vsock_check_any(s, needs);
    return err ? err : vsock_vhost_check(s, dev->opts.what);
}

#define VSOCK_ROWS                                                             \
    FIELDS_OF(device_fields, "", struct vsock, v.dev),                         \
        FIELDS_OF(pci_fields, "", struct vsock, pci),                          \
        FIELDS_OF(virtio_fields, "", struct vsock, v),                         \
        FIELD_AS(STATE, FLAG, "reset_owed", struct vsock, reset_owed),         \
        FIELD(NUMBER, "guest-cid", struct vsock, cid, .min = 3,                \
              .max = UINT32_MAX - 1, .help = "the guest's address"),           \
        FIELDS_OF(virtio_options, "", struct vsock, v)

static const struct field vsock_fields[] = {
    VSOCK_ROWS,
    /* so that a guest does not take a new connection for one of before */
    FIELD_AS(STATE | KEPT, NUMBER, "next_port", struct vsock, next_port),
    FIELD(TEXT, "uds_path", struct vsock, uds_path, .arg = "PATH",
          .help = "a socket for host processes; the guest's port N of the "
                  "host is PATH_N"),
    FIELD(NUMBER, "connections", struct vsock, most, .min = 1, .max = 16384,
          .def = 1023, .help = "at a time"),
#define X(field, what) COUNT(#field, struct vsock, field, what),
    VSOCK_COUNTERS(X)
#undef X
        {.name = ""},
};

static const struct field vsock_vhost_fields[] = {
    VSOCK_ROWS,
    FIELD(TEXT, "vhostfd", struct vsock, vhostfd, .arg = "N",
          .help = "an opened /dev/vhost-vsock"),
    COUNT("vhost_errors", struct vsock, vhost_errors, "rings found broken"),
    COUNT("vhost_refused", struct vsock, vhost_refused,
          "starts that vhost-vsock did not take"),
    {.name = ""},
};

const struct device_class virtio_vsock_class = {
    .name = "virtio-vsock-pci",
    .help = "sockets between host and guest, by UNIX sockets on the host",
    .fields = vsock_fields,
    .size = sizeof(struct vsock),
    .kinds = "virtio-pci",
    .check = vsock_check,
    .create = vsock_create,
    .loaded = vsock_loaded,
    .leave = vsock_streams_leave,
    .arrive = vsock_streams_arrive,
};

const struct device_class vhost_vsock_class = {
    .name = "vhost-vsock-pci",
    .help = "the same by AF_VSOCK sockets, moved by the kernel",
    .fields = vsock_vhost_fields,
    .size = sizeof(struct vsock),
    .kinds = "virtio-pci vhost-vsock-device",
    .check = vsock_check_vhost,
    .create = vsock_vhost_create,
    .loaded = vsock_loaded,
};
