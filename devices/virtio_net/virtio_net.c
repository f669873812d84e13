/* SPDX-License-Identifier: MIT */
/* virtio-net-pci: the network device (virtio 1.2 §5.1): making it, link,
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
 * With iothreads=on each pair has a loop and a thread of its own, which is the
 * only one to touch the pair's timers and watched files: others set what they
 * want under the pair's lock and kick its queue (rewatch, rx_given). A timer
 * may outlive what it was armed for, so it looks whether the queue is on.
 * Counters are per pair, so no two threads share one. The control queue, the
 * link and vhost belong to the main loop.
 *
 * Offloads: what the driver may ask of us (HOST_*) and what it can take
 * (GUEST_*) is what the backend can do; what was negotiated is handed to the
 * backend when the driver is ready and taken back at reset. */
#include "devices/virtio_net/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ------------------------------------------------------------ start, stop */

void vnet_lock_pairs(struct vnet *n)
{
    for (unsigned i = 0; i < n->npairs; i++)
        vnet_pair_lock(n->pair[i]);
}

void vnet_unlock_pairs(struct vnet *n)
{
    for (unsigned i = n->npairs; i-- > 0;)
        lock_give(&n->pair[i]->lock);
}

/* Which of the two sides of which pair; NULL: the control queue. */
static struct vnet_pair *vnet_pair_of(struct vnet *n, unsigned q)
{
    return q / 2 < n->npairs && q != vnet_ctrl_index(n) ? n->pair[q / 2] : NULL;
}

static void vnet_start_queue(struct vnet *n, unsigned q)
{
    struct vnet_pair *p = vnet_pair_of(n, q);
    bool on = n->v.vq[q].state == VQ_READY;
    if (q == vnet_ctrl_index(n)) {
        n->ctrl_on = on;
    } else if (p) {
        vnet_pair_lock(p);
        if (q & 1)
            p->tx_on = on && !n->vhost_on;
        else
            p->rx_on = on && !n->vhost_on;
        lock_give(&p->lock);
    }
    /* The rings may hold buffers already. */
    if (!p || !n->vhost_on)
        virtio_poke(&n->v, q);
}

static void vnet_stop_queue(struct vnet *n, unsigned q)
{
    struct vnet_pair *p = vnet_pair_of(n, q);
    if (q == vnet_ctrl_index(n))
        n->ctrl_on = false;
    if (!p)
        return;
    vnet_pair_lock(p);
    if ((q & 1 ? p->tx_on : p->rx_on) && vnet_reachable(p)) {
        /* What was put off. Not vnet_X_publish: the timer is the loop's. */
        vq_flush(&n->v.vq[q]);
        virtio_queue_irq(&n->v, &n->v.vq[q]);
    }
    if (q & 1) {
        p->tx_unseen = p->tx_unseen_bytes = 0;
        p->tx_on = p->tx_blocked = false;
    } else {
        p->rx_on = false;
        vnet_rx_stop(p);
        loop_want(&p->ev, p->ev.want & ~(uint32_t)EPOLLIN);
    }
    lock_give(&p->lock);
}

/* The rings go to vhost, if there is one and it can have them, or are worked on
 * here. */
void vnet_start_queues(struct vnet *n)
{
    bool before = n->vhost_on;
    for (unsigned q = 0; n->vhost && !before && q < 2 * n->npairs; q++) {
        if (!vnet_pair_of(n, q))
            continue;
        vnet_stop_queue(n, q);
        vq_rewind(&n->v.vq[q]);
    }
    vnet_vhost_sync(n);
    for (unsigned q = 0; q < n->v.nvq; q++)
        vnet_start_queue(n, q);
}

/* A queue's service changes only while vhost is out of the way. */
static void vnet_queue_start(struct virtio *v, unsigned q)
{
    struct vnet *n = vnet_of(v);
    if (!n->vhost) {
        vnet_start_queue(n, q);
        return;
    }
    vnet_vhost_stop(n);
    vnet_start_queues(n);
}

static void vnet_queue_stop(struct virtio *v, unsigned q)
{
    struct vnet *n = vnet_of(v);
    vnet_vhost_stop(n);
    vnet_stop_queue(n, q);
    v->vq[q].state = VQ_OFF; /* its reset follows */
    if (n->vhost && v->started)
        vnet_start_queues(n);
}

void vnet_set_pairs(struct vnet *n, unsigned pairs)
{
    struct netdev *nd = n->nic.nd;
    n->pairs = pairs;
    vnet_lock_pairs(n);
    for (unsigned i = pairs; i < n->npairs; i++)
        n->pair[i]->active = false;
    vnet_unlock_pairs(n);
    /* A detached queue may be read and watched only after it is attached. */
    if (nd && nd->nq > 1 && nd->set_queues)
        nd->set_queues(nd, pairs);
    vnet_lock_pairs(n);
    for (unsigned i = 0; i < pairs; i++)
        n->pair[i]->active = true;
    vnet_unlock_pairs(n);
    vnet_vhost_set_pairs(n);
    /* All: what steers the frames may have changed, and with that who reads. */
    for (unsigned i = 0; i < n->npairs && !n->vhost_on; i++) {
        virtio_poke(&n->v, 2 * i);
        if (2 * i + 1 < n->v.nvq)
            virtio_poke(&n->v, 2 * i + 1);
    }
}

/* §5.1.6: 12 bytes of header, but for legacy drivers. */
static unsigned vnet_header_len(uint64_t f)
{
    if (has(f, VIRTIO_NET_F_HASH_REPORT))
        return sizeof(struct vnet_hdr);
    return has(f, VIRTIO_F_VERSION_1) || has(f, VIRTIO_NET_F_MRG_RXBUF) ? 12
                                                                        : 10;
}

void vnet_negotiated(struct vnet *n)
{
    const struct virtio *v = &n->v;
    n->hdr_len = vnet_header_len(v->features);
    n->mergeable = has(v->features, VIRTIO_NET_F_MRG_RXBUF);
    n->mtu = has(v->features, VIRTIO_NET_F_MTU) ? n->config.mtu : 0;
    atomic_store(&n->ctrl_q,
                 v->started ? vnet_ctrl_index(n) : VIRTIO_QUEUES_MAX);
}

static void vnet_start(struct virtio *v)
{
    struct vnet *n = vnet_of(v);
    if (v->legacy) /* nobody could refuse the set */
        v->features = vnet_close_features(v->features);
    vnet_negotiated(n);
    n->rss =
        (struct vnet_rss){.report = has(v->features, VIRTIO_NET_F_HASH_REPORT)};
    vnet_filter_reset(n);
    vnet_set_guest_offloads(n, v->features);
    vnet_set_pairs(n, 1);
    vnet_start_queues(n);
}

static void vnet_stop(struct virtio *v)
{
    struct vnet *n = vnet_of(v);
    vnet_vhost_stop(n);
    for (unsigned q = 0; q < v->nvq; q++)
        vnet_stop_queue(n, q);
    atomic_store(&n->ctrl_q, VIRTIO_QUEUES_MAX);
    vnet_lock_pairs(n);
    fields_reset(vnet_state_fields, n, STATE);
    vnet_go_by_mac(n, n->nic.mac);
    vnet_unlock_pairs(n);
    n->config.status &= (le16)~VNET_S_ANNOUNCE;
    vnet_set_guest_offloads(n, 0);
}

/* ----------------------------------------------------------- configuration */

static void vnet_config_read(struct virtio *v, unsigned off, void *p,
                             unsigned len)
{
    memcpy(p, (const uint8_t *)&vnet_of(v)->config + off, len);
}

/* §5.1.5: legacy drivers write their MAC here; for the others it is constant,
 * or theirs to change by the control queue. */
static void vnet_config_write(struct virtio *v, unsigned off, const void *p,
                              unsigned len)
{
    struct vnet *n = vnet_of(v);
    if (!v->legacy || off >= 6)
        return;
    vnet_lock_pairs(n);
    memcpy(n->config.mac + off, p, len < 6 - off ? len : 6 - off);
    n->renamed = false;
    vnet_unlock_pairs(n);
}

/* A cable that comes back may be in another socket: the guest is asked to tell
 * the network where it is now (§5.1.6.5.4). */
void vnet_show_link(struct vnet *n, bool up)
{
    unsigned status = n->config.status & ~(VNET_S_LINK_UP | VNET_S_ANNOUNCE);
    if (up)
        status |= VNET_S_LINK_UP;
    if (up && n->ctrl_on && has(n->v.features, VIRTIO_NET_F_GUEST_ANNOUNCE))
        status |= VNET_S_ANNOUNCE;
    n->config.status = (le16)status;
}

/* The cable; on the main loop's thread. A new connection has a new file under
 * the same descriptor, so it is watched anew. */
static void vnet_link_changed(void *nic, bool up)
{
    struct vnet *n = nic;
    pthread_mutex_lock(&n->v.lock);
    for (unsigned i = 0; i < n->npairs; i++) {
        struct vnet_pair *p = n->pair[i];
        vnet_pair_lock(p);
        p->rewatch = up;
        p->dead = p->dead && !up;
        lock_give(&p->lock);
    }
    if (!n->v.dev.held) { /* vnet_resume looks again */
        vnet_show_link(n, up);
        if (!up)
            vnet_vhost_stop(n);
        if (n->v.started)
            vnet_start_queues(n);
        virtio_config_changed(&n->v);
    }
    pthread_mutex_unlock(&n->v.lock);
}

static bool vnet_features_ok(struct virtio *v, uint64_t f)
{
    (void)v;
    return vnet_close_features(f) == f;
}

static struct loop *vnet_loop_of(struct virtio *v, unsigned q)
{
    struct vnet *n = vnet_of(v);
    return q / 2 < n->npairs ? n->pair[q / 2]->loop : v->dev.m->loop;
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
    .config_write = vnet_config_write,
    .kick = vnet_kick,
    .loop_of = vnet_loop_of,
    .call_changed = vnet_vhost_call,
};

/* ------------------------------------------------------------------ making */

static int vnet_make_pair(struct vnet *n, struct machine *m, unsigned i)
{
    struct vnet_pair *p = calloc(1, sizeof(*p) + PACKET_MAX);
    if (!p)
        return -ENOMEM;
    p->spill = (uint8_t *)(p + 1); /* apart, it would cost two more pages */
    n->pair[i] = p;
    p->n = n;
    p->index = i;
    p->loop = m->loop;
    p->rx = &n->v.vq[2 * i];
    p->tx = &n->v.vq[2 * i + 1];
    p->ev = (struct event){.fd = -1, .ready = vnet_backend_ready};
    p->look = (struct poller){
        .look = vnet_look_waits, .ready = vnet_look_work, .arm = vnet_look_arm};
    if (n->iothreads) {
        int err = loop_new(&p->loop);
        if (err)
            return err;
        p->own_loop = true;
        p->bounce = malloc(PACKET_MAX); /* its thread may ask for no memory */
        if (!p->bounce)
            return -ENOMEM;
    }
    timer_init(&p->held_timer, p->loop, vnet_held_too_long);
    timer_init(&p->gate_timer, p->loop, vnet_limit_over);
    if (!i)
        timer_init(&n->nic.tell, p->loop, nic_tell);
    vnet_coal_init(&p->rx_coal, p, p->rx);
    vnet_coal_init(&p->tx_coal, p, p->tx);
    vnet_rx_stop(p);
    if (n->nic.nd) {
        p->be = n->nic.nd->q[i];
        loop_window(p->loop, n->nic.nd->poll_us * 1000ull);
        p->ev.fd = p->be->fd;
    }
    return 0;
}

static void vnet_pair_thread(void *arg)
{
    loop_run(((struct vnet_pair *)arg)->loop);
}

static int vnet_make_pairs(struct vnet *n, struct machine *m)
{
    struct virtio *v = &n->v;
    bool ctrl = has(v->offered, VIRTIO_NET_F_CTRL_VQ);
    int err = 0;
    v->nvq = 2 * n->npairs + ctrl;
    for (unsigned q = 0; q < v->nvq; q++)
        v->vq[q].size_max = q & 1 ? n->tx_size : n->rx_size;
    for (unsigned i = 0; !err && i < n->npairs; i++)
        err = vnet_make_pair(n, m, i);
    n->lost = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                             .want = EPOLLIN,
                             .ready = vnet_lost};
    if (!err)
        err = n->lost.fd < 0 ? -errno : loop_add(m->loop, &n->lost);
    return err ? fail(err, "%s: %s", n->nic.id, strerror(-err)) : 0;
}

static int vnet_start_threads(struct vnet *n)
{
    for (unsigned i = 0; i < n->npairs; i++) {
        struct vnet_pair *p = n->pair[i];
        if (!p->own_loop)
            continue;
        p->thread = (struct thread){
            .kind = THREAD_PAIR, .run = vnet_pair_thread, .arg = p};
        snprintf(p->thread.name, sizeof(p->thread.name), "pair%u", i);
        int err = thread_start(&p->thread);
        if (err)
            return err;
    }
    return 0;
}

static void vnet_end_threads(struct vnet *n)
{
    for (unsigned i = 0; i < n->npairs; i++) {
        struct vnet_pair *p = n->pair[i];
        if (!p->own_loop)
            continue;
        loop_stop(p->loop, 0);
        thread_join(&p->thread);
    }
}

/* Of all pairs together, and of each where there are several. */
static void vnet_stats(struct device *dev, struct tally *t)
{
    struct vnet *n = container_of(dev, struct vnet, v.dev);
    struct nic_stats sum = {0};
    for (unsigned i = 0; i < n->npairs; i++)
        nic_stats_add(&sum, &n->pair[i]->stats);
    fields_count(nic_counters, &sum, dev->id, t);
    for (unsigned i = 0; n->npairs > 1 && i < n->npairs; i++) {
        char id[96];
        snprintf(id, sizeof(id), "%s.pair%u", dev->id, i);
        fields_count(nic_counters, &n->pair[i]->stats, id, t);
    }
}

/* By a ring that is lent, too. */
static bool vnet_sent(struct device *dev)
{
    struct vnet *n = container_of(dev, struct vnet, v.dev);
    bool sent = false;
    pthread_mutex_lock(&n->v.lock);
    for (unsigned i = 0; i < n->npairs && !sent; i++)
        sent = n->pair[i]->stats.tx_frames ||
               (n->vhost_on && vq_any_used(n->pair[i]->tx));
    pthread_mutex_unlock(&n->v.lock);
    return sent;
}

static void vnet_destroy(struct device *dev)
{
    struct vnet *n = container_of(dev, struct vnet, v.dev);
    vnet_end_threads(n);
    pthread_mutex_lock(&n->v.lock);
    vnet_stop(&n->v);
    pthread_mutex_unlock(&n->v.lock);
    vnet_vhost_close(n);
    nic_limit_free(&n->nic);
    if (n->nic.nd)
        n->nic.nd->link_changed = NULL;
    virtio_pci_destroy(&n->v);
    loop_del(&n->lost);
    close(n->lost.fd);
    for (unsigned i = 0; i < n->npairs; i++) {
        struct vnet_pair *p = n->pair[i];
        loop_del(&p->ev);
        loop_unlook(p->loop, &p->look);
        timer_cancel(&p->held_timer);
        timer_cancel(&p->gate_timer);
        if (!i)
            timer_cancel(&n->nic.tell);
        timer_cancel(&p->rx_coal.timer);
        timer_cancel(&p->tx_coal.timer);
        if (p->own_loop)
            loop_free(p->loop);
        free(p->bounce);
        free(p);
    }
    free(n);
}

static int vnet_make(struct vnet *n, struct machine *m)
{
    vnet_choose(n);
    int err = vnet_vhost_open(n, m);
    n->nic.elsewhere = n->vhost != NULL;
    if (!err)
        err = nic_limit_open(&n->nic);
    if (err)
        return err;
    n->v.dev.hold = vnet_hold;
    n->v.dev.resume = vnet_resume;
    n->v.dev.stats = vnet_stats;
    n->v.dev.sent = vnet_sent;
    n->v.dev.destroy = vnet_destroy;
    vnet_show_link(n, n->nic.nd && netdev_link(n->nic.nd));
    err = vnet_make_pairs(n, m);
    if (!err)
        err = virtio_pci_init(&n->v, m, &vnet_type, &n->nic.pci);
    return err ? err : vnet_start_threads(n);
}

static int vnet_create(struct machine *m, struct device *dev)
{
    struct vnet *n = container_of(dev, struct vnet, v.dev);
    n->ctrl_q = VIRTIO_QUEUES_MAX;
    int err = vnet_make(n, m);
    if (err)
        return err;
    vnet_set_pairs(n, 1);
    if (n->nic.nd) {
        n->nic.nd->link_changed = vnet_link_changed;
        n->nic.nd->nic = n;
    }
    device_register(m, &n->v.dev);
    return 0;
}

static const struct device_alias vnet_aliases[] = {
    {"virtio", {0}, {0}},
    VIRTIO_ALIASES("virtio-net"),
};

static const struct verb vnet_verbs[] = {
    {"limit", "another rate limit", nic_limit_fields,
     sizeof(struct nic_limit_told), vnet_limit},
    {NIC_FILTER_VERB, vnet_filter_show},
    {.name = NULL},
};

const struct device_class virtio_net_class = {
    .name = "virtio-net-pci",
    .help = "virtio network device",
    .fields = vnet_fields,
    .size = sizeof(struct vnet),
    .aliases = vnet_aliases,
    .kinds = "virtio-pci virtio-net-device",
    .check = vnet_check,
    .create = vnet_create,
    .loaded = vnet_loaded,
    .verbs = vnet_verbs,
};
