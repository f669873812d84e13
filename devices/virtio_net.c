/* SPDX-License-Identifier: MIT */
/* virtio-net-pci: the network device (virtio 1.2 §5.1): features, link,
 * starting and stopping its queue pairs.
 *
 * Theory of operation
 * -------------------
 * A pair is one receive and one transmit queue, one backend queue and one
 * loop. Its lock is held for one bounded burst of packets at a time (vnet_rx,
 * vnet_tx); the registers' lock (virtio.lock) is only ever taken outside of it.
 * Stopping a pair means taking its lock and clearing rx_on and tx_on: after
 * that no burst touches the rings.
 *
 * Offloads: what the driver may ask of us (HOST_*) and what it can take
 * (GUEST_*) is what the backend can do; what was negotiated is handed to the
 * backend when the driver is ready and taken back at reset. */
#include "devices/virtio_net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_SIZE 256

static struct vnet *vnet_of(struct virtio *v)
{
    return container_of(v, struct vnet, v);
}

static uint64_t bit(unsigned n)
{
    return 1ull << n;
}

/* --------------------------------------------------------------- features */

/* A feature, the offload the backend must have for it, and the option that
 * switches it. */
static const struct feature {
    uint8_t bit;
    uint8_t offload; /* NETBE_*, 0: none */
    const char *option;
} feature_rows[] = {
    {VIRTIO_NET_F_CSUM, NETBE_CSUM, "csum"},
    {VIRTIO_NET_F_GUEST_CSUM, NETBE_CSUM, "guest_csum"},
    {VIRTIO_NET_F_HOST_TSO4, NETBE_TSO4, "host_tso4"},
    {VIRTIO_NET_F_HOST_TSO6, NETBE_TSO6, "host_tso6"},
    {VIRTIO_NET_F_HOST_ECN, NETBE_ECN, "host_ecn"},
    {VIRTIO_NET_F_HOST_UFO, NETBE_UFO, "host_ufo"},
    {VIRTIO_NET_F_HOST_USO, NETBE_USO4, "host_uso"},
    {VIRTIO_NET_F_GUEST_TSO4, NETBE_TSO4, "guest_tso4"},
    {VIRTIO_NET_F_GUEST_TSO6, NETBE_TSO6, "guest_tso6"},
    {VIRTIO_NET_F_GUEST_ECN, NETBE_ECN, "guest_ecn"},
    {VIRTIO_NET_F_GUEST_UFO, NETBE_UFO, "guest_ufo"},
    {VIRTIO_NET_F_GUEST_USO4, NETBE_USO4, "guest_uso4"},
    {VIRTIO_NET_F_GUEST_USO6, NETBE_USO6, "guest_uso6"},
    {VIRTIO_NET_F_MRG_RXBUF, 0, "mrg_rxbuf"},
    {VIRTIO_NET_F_STATUS, 0, "status"},
    {VIRTIO_F_INDIRECT_DESC, 0, "indirect_desc"},
    {VIRTIO_F_EVENT_IDX, 0, "event_idx"},
    {VIRTIO_F_RING_RESET, 0, "queue_reset"},
};

/* §5.1.3.1: who needs whom. */
static const struct {
    uint8_t bit;
    uint64_t needs_one_of;
} feature_needs[] = {
    {VIRTIO_NET_F_GUEST_TSO4, 1ull << VIRTIO_NET_F_GUEST_CSUM},
    {VIRTIO_NET_F_GUEST_TSO6, 1ull << VIRTIO_NET_F_GUEST_CSUM},
    {VIRTIO_NET_F_GUEST_UFO, 1ull << VIRTIO_NET_F_GUEST_CSUM},
    {VIRTIO_NET_F_GUEST_USO4, 1ull << VIRTIO_NET_F_GUEST_CSUM},
    {VIRTIO_NET_F_GUEST_USO6, 1ull << VIRTIO_NET_F_GUEST_CSUM},
    {VIRTIO_NET_F_GUEST_ECN,
     1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6},
    {VIRTIO_NET_F_HOST_TSO4, 1ull << VIRTIO_NET_F_CSUM},
    {VIRTIO_NET_F_HOST_TSO6, 1ull << VIRTIO_NET_F_CSUM},
    {VIRTIO_NET_F_HOST_UFO, 1ull << VIRTIO_NET_F_CSUM},
    {VIRTIO_NET_F_HOST_USO, 1ull << VIRTIO_NET_F_CSUM},
    {VIRTIO_NET_F_HOST_ECN,
     1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_TSO6},
};

/* Drops features whose dependency is missing, until nothing changes. */
static uint64_t close_features(uint64_t f)
{
    uint64_t before;
    do {
        before = f;
        for (size_t i = 0; i < ARRAY_LEN(feature_needs); i++)
            if (!(f & feature_needs[i].needs_one_of))
                f &= ~bit(feature_needs[i].bit);
    } while (f != before);
    return f;
}

static int offer_features(struct vnet *n, struct opts *o)
{
    unsigned can = n->nic.nd ? n->nic.nd->offload : 0;
    uint64_t f = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_NET_F_MAC);
    for (size_t i = 0; i < ARRAY_LEN(feature_rows); i++) {
        const struct feature *r = &feature_rows[i];
        bool on = true;
        int err = opts_bool(o, r->option, &on);
        if (err)
            return err;
        if (on && (!r->offload || can & r->offload))
            f |= bit(r->bit);
    }
    n->v.offered = close_features(f);
    return 0;
}

/* What the guest can receive, as the backend names it. */
static unsigned guest_offload_bits(uint64_t f)
{
    unsigned bits = 0;
    for (size_t i = 0; i < ARRAY_LEN(feature_rows); i++) {
        const struct feature *r = &feature_rows[i];
        bool guest = !strncmp(r->option, "guest_", 6);
        if (guest && has(f, r->bit))
            bits |= r->offload;
    }
    return bits;
}

static void set_guest_offloads(struct vnet *n, uint64_t f)
{
    struct netdev *nd = n->nic.nd;
    n->guest_offloads = f;
    if (nd && nd->set_offload)
        nd->set_offload(nd, guest_offload_bits(f));
}

static bool vnet_features_ok(struct virtio *v, uint64_t f)
{
    (void)v;
    return close_features(f) == f;
}

/* ----------------------------------------------------------- queue events */

static struct vnet_pair *pair_of(struct vnet *n, unsigned q)
{
    return n->pair[q / 2];
}

static void run(struct vnet_pair *p, bool rx, bool tx)
{
    const char *fault = NULL;
    pthread_mutex_lock(&p->lock);
    if (rx && p->rx_on && p->be && !p->dead)
        fault = vnet_rx(p);
    if (tx && p->tx_on && !p->tx_blocked && !fault)
        fault = vnet_tx(p);
    pthread_mutex_unlock(&p->lock);
    if (fault)
        virtio_needs_reset(&p->n->v, fault);
}

static void vnet_kick(struct virtio *v, unsigned q)
{
    struct vnet *n = vnet_of(v);
    if (q & 1)
        nic_count(&n->nic.stats, tx_kicks, 1);
    else
        nic_count(&n->nic.stats, rx_kicks, 1);
    run(pair_of(n, q), !(q & 1), q & 1);
}

/* The backend's fd. An error without data means that it went away for good (a
 * deleted tap): watching it on would spin. */
static void backend_ready(struct event *ev, uint32_t got)
{
    struct vnet_pair *p = container_of(ev, struct vnet_pair, ev);
    bool tx = got & EPOLLOUT;
    if (tx) {
        p->tx_blocked = false;
        loop_want(ev, ev->want & ~(uint32_t)EPOLLOUT);
    }
    run(p, got & EPOLLIN, tx);
    if (got & (EPOLLERR | EPOLLHUP) && !(got & (EPOLLIN | EPOLLOUT))) {
        loop_del(ev);
        p->dead = true;
        netdev_set_link(p->be->dev, false);
    }
}

static void held_too_long(struct timer *t)
{
    struct vnet_pair *p = container_of(t, struct vnet_pair, held_timer);
    pthread_mutex_lock(&p->lock);
    if (p->held)
        nic_count(&p->n->nic.stats, rx_drop_fit, 1);
    p->held = 0;
    pthread_mutex_unlock(&p->lock);
    run(p, true, false);
}

/* ------------------------------------------------------------ start, stop */

/* The rings may hold buffers already: look at both, on their loop. */
static void poke(struct vnet *n, unsigned q)
{
    uint64_t one = 1;
    ssize_t ignored = write(n->v.kick[q].ev.fd, &one, sizeof(one));
    (void)ignored;
}

static void vnet_queue_start(struct virtio *v, unsigned q)
{
    struct vnet *n = vnet_of(v);
    struct vnet_pair *p = pair_of(n, q);
    bool on = v->vq[q].state == VQ_READY;
    pthread_mutex_lock(&p->lock);
    if (q & 1)
        p->tx_on = on;
    else
        p->rx_on = on;
    pthread_mutex_unlock(&p->lock);
    poke(n, q);
}

static void vnet_queue_stop(struct virtio *v, unsigned q)
{
    struct vnet_pair *p = pair_of(vnet_of(v), q);
    pthread_mutex_lock(&p->lock);
    if (q & 1) {
        p->tx_on = false;
    } else {
        p->rx_on = false;
        vnet_rx_stop(p);
        loop_want(&p->ev, p->ev.want & ~(uint32_t)EPOLLIN);
    }
    pthread_mutex_unlock(&p->lock);
}

static void vnet_start(struct virtio *v)
{
    struct vnet *n = vnet_of(v);
    n->mergeable = has(v->features, VIRTIO_NET_F_MRG_RXBUF);
    set_guest_offloads(n, v->features);
    for (unsigned q = 0; q < v->nvq; q++)
        vnet_queue_start(v, q);
}

static void vnet_stop(struct virtio *v)
{
    struct vnet *n = vnet_of(v);
    for (unsigned q = 0; q < v->nvq; q++)
        vnet_queue_stop(v, q);
    set_guest_offloads(n, 0);
    memcpy(n->config.mac, n->nic.mac, 6);
}

/* ----------------------------------------------------------- configuration */

static void vnet_config_read(struct virtio *v, unsigned off, void *p,
                             unsigned len)
{
    memcpy(p, (const uint8_t *)&vnet_of(v)->config + off, len);
}

static void show_link(struct vnet *n, bool up)
{
    n->config.status = up ? n->config.status | VNET_S_LINK_UP
                          : n->config.status & (le16)~VNET_S_LINK_UP;
}

/* The cable; on the main loop's thread. A new connection has a new file under
 * the same descriptor, so it is watched anew. */
static void vnet_link_changed(void *nic, bool up)
{
    struct vnet *n = nic;
    for (unsigned i = 0; i < n->npairs; i++) {
        struct vnet_pair *p = n->pair[i];
        if (!up || !p->be || p->be->fd < 0)
            continue;
        loop_del(&p->ev);
        p->dead = false;
        loop_add(p->loop, &p->ev);
        poke(n, 2 * i);
        poke(n, 2 * i + 1);
    }
    pthread_mutex_lock(&n->v.lock);
    show_link(n, up);
    virtio_config_changed(&n->v);
    pthread_mutex_unlock(&n->v.lock);
}

static const struct virtio_type vnet_type = {
    .name = "virtio-net",
    .id = 1,
    .class24 = 0x020000,
    .config_len = sizeof(struct vnet_config),
    .features_ok = vnet_features_ok,
    .start = vnet_start,
    .stop = vnet_stop,
    .queue_stop = vnet_queue_stop,
    .queue_start = vnet_queue_start,
    .config_read = vnet_config_read,
    .kick = vnet_kick,
};

/* ------------------------------------------------------------------ making */

static struct loop *loop_of(struct virtio *v, unsigned q)
{
    return pair_of(vnet_of(v), q)->loop;
}

static int make_pair(struct vnet *n, struct machine *m, unsigned i)
{
    struct vnet_pair *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    n->pair[i] = p;
    p->n = n;
    p->index = i;
    p->loop = m->loop;
    p->rx = &n->v.vq[2 * i];
    p->tx = &n->v.vq[2 * i + 1];
    p->spill = malloc(PACKET_MAX);
    if (!p->spill)
        return -ENOMEM;
    pthread_mutex_init(&p->lock, NULL);
    timer_init(&p->held_timer, p->loop, held_too_long, "rx hold");
    vnet_rx_stop(p);
    p->ev = (struct event){.fd = -1, .ready = backend_ready, .name = "netbe"};
    if (!n->nic.nd)
        return 0;
    p->be = n->nic.nd->q[i];
    p->ev.fd = p->be->fd;
    return p->be->fd < 0 ? 0 : loop_add(p->loop, &p->ev);
}

static int make_pairs(struct vnet *n, struct machine *m)
{
    int err = 0;
    n->npairs = n->pairs = 1;
    for (unsigned i = 0; !err && i < n->npairs; i++)
        err = make_pair(n, m, i);
    n->v.nvq = 2 * n->npairs;
    for (unsigned q = 0; q < n->v.nvq; q++)
        n->v.vq[q].size_max = QUEUE_SIZE;
    return err ? fail(err, "%s: %s", n->nic.id, strerror(-err)) : 0;
}

static void vnet_reset(struct device *dev)
{
    struct vnet *n = container_of(dev, struct vnet, v.dev);
    virtio_pci_reset(&n->v);
}

static void vnet_stats(struct device *dev, int fd)
{
    struct vnet *n = container_of(dev, struct vnet, v.dev);
    nic_stats_print(&n->nic.stats, n->nic.id, fd);
}

static void vnet_destroy(struct device *dev)
{
    struct vnet *n = container_of(dev, struct vnet, v.dev);
    vnet_stop(&n->v);
    if (n->nic.nd)
        n->nic.nd->link_changed = NULL;
    virtio_pci_destroy(&n->v);
    for (unsigned i = 0; i < n->npairs; i++) {
        struct vnet_pair *p = n->pair[i];
        loop_del(&p->ev);
        timer_cancel(&p->held_timer);
        free(p->spill);
        free(p->bounce);
        free(p);
    }
    nic_free(&n->nic);
    free(n);
}

static int vnet_create(struct machine *m, struct opts *o)
{
    struct vnet *n = calloc(1, sizeof(*n));
    int err;
    if (!n)
        return fail(-ENOMEM, "%s: out of memory", o->what);
    err = nic_options(&n->nic, m, o, "virtio-net");
    if (!err)
        err = offer_features(n, o);
    if (!err)
        err = opts_done(o);
    if (err)
        return err;
    n->v.dev = (struct device){.cls = &virtio_net_class,
                               .id = n->nic.id,
                               .m = m,
                               .reset = vnet_reset,
                               .stats = vnet_stats,
                               .destroy = vnet_destroy};
    memcpy(n->config.mac, n->nic.mac, 6);
    n->config.max_virtqueue_pairs = 1;
    show_link(n, n->nic.nd && netdev_link(n->nic.nd));
    n->v.romfile = n->nic.romfile;
    err = make_pairs(n, m);
    if (!err)
        err = virtio_pci_init(&n->v, m, &vnet_type, n->nic.slot, loop_of);
    if (err)
        return err;
    if (n->nic.nd) {
        n->nic.nd->link_changed = vnet_link_changed;
        n->nic.nd->nic = n;
    }
    device_register(m, &n->v.dev);
    return 0;
}

const struct device_class virtio_net_class = {
    .name = "virtio-net-pci",
    .help = "netdev=ID,mac=MAC,addr=SLOT,id=ID; on|off: csum, guest_csum, "
            "host_tso4, host_tso6, host_ecn, host_ufo, host_uso, guest_tso4, "
            "guest_tso6, guest_ecn, guest_ufo, guest_uso4, guest_uso6, "
            "mrg_rxbuf, status, indirect_desc, event_idx, queue_reset",
    .create = vnet_create,
};
