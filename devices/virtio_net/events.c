/* SPDX-License-Identifier: MIT */
/* virtio-net's queue events: kicks and frames, and what a loop does then. */
#include "devices/virtio_net/state.h"

#include <unistd.h>

void vnet_pair_wait(struct vnet_pair *p)
{
    atomic_fetch_add(&p->waiting, 1);
    lock_take(&p->door);
    lock_take(&p->lock);
    atomic_fetch_sub(&p->waiting, 1);
    lock_give(&p->door);
}

/* Is there somebody to exchange frames with? */
static bool vnet_connected(const struct vnet_pair *p)
{
    return p->active && !p->dead && p->be;
}

static RARE void vnet_watch_anew(struct vnet_pair *p)
{
    bool want = vnet_connected(p) && p->be->fd >= 0;
    if (p->ev.loop && (!want || p->rewatch))
        loop_del(&p->ev);
    p->rewatch = false;
    if (want && !p->ev.loop)
        loop_add(p->loop, &p->ev);
}

/* Watches the backend's file while the pair is in use: a tap's detached queue
 * reports errors only. On the pair's loop, p->lock held. */
static void vnet_watch(struct vnet_pair *p)
{
    if (p->rewatch || vnet_connected(p) != (p->ev.loop != NULL))
        vnet_watch_anew(p);
}

/* Being told of frames that nobody reads would spin. */
static void vnet_deaf(struct vnet_pair *p)
{
    loop_want(&p->ev, p->ev.want & ~(uint32_t)EPOLLIN);
}

/* A broken ring is left alone until the reset. p->lock held; it is given. */
static RARE void vnet_retire(struct vnet_pair *p, const char *fault)
{
    unsigned life = p->n->v.life; /* a reset waits for p->lock first */
    p->rx_on = p->rx_on && p->rx->state == VQ_READY;
    p->tx_on = p->tx_on && p->tx->state == VQ_READY;
    if (!p->rx_on)
        vnet_deaf(p);
    lock_give(&p->lock);
    virtio_needs_reset(&p->n->v, life, fault);
}

static SELDOM void vnet_run_steered(struct vnet_pair *p)
{
    unsigned life = 0;
    const char *fault = vnet_rx_steered(p, &life);
    if (fault)
        virtio_needs_reset(&p->n->v, life, fault);
}

void vnet_run(struct vnet_pair *p, bool rx, bool tx)
{
    const char *fault = NULL;
    vnet_pair_lock(p);
    vnet_watch(p);
    bool reach = vnet_reachable(p);
    if (reach && p->rx_given && p->rx_on)
        vnet_rx_publish(p);
    if (!reach || !p->rx_on || !vnet_connected(p)) {
        vnet_deaf(p);
        rx = false;
    }
    bool steered = rx && p->n->rss.steer;
    if (rx && !steered)
        fault = vnet_rx(p);
    if (tx && reach && p->tx_on && p->active && !p->tx_blocked && !fault)
        fault = vnet_tx(p);
    if (fault) {
        vnet_retire(p, fault);
        return;
    }
    lock_give(&p->lock);
    if (steered)
        vnet_run_steered(p);
}

static RARE void vnet_ctrl_kick(struct vnet *n, unsigned q)
{
    const char *fault = NULL;
    pthread_mutex_lock(&n->v.lock);
    if (n->ctrl_on && pci_can_dma(&n->v.fn))
        fault = vnet_ctrl(n, &n->v.vq[q]);
    if (fault)
        n->ctrl_on = false;
    unsigned life = n->v.life;
    pthread_mutex_unlock(&n->v.lock);
    if (fault)
        virtio_needs_reset(&n->v, life, fault);
}

void vnet_kick(struct virtio *v, unsigned q)
{
    struct vnet *n = vnet_of(v);
    /* It may have the number of a pair that is not in use (§5.1.2). */
    if (q == atomic_load(&n->ctrl_q)) {
        vnet_ctrl_kick(n, q);
        return;
    }
    if (q / 2 >= n->npairs)
        return;
    struct vnet_pair *p = n->pair[q / 2];
    if (q & 1)
        nic_count(&p->stats, tx_kicks, 1);
    else
        nic_count(&p->stats, rx_kicks, 1);
    vnet_run(p, !(q & 1), q & 1);
}

/* The file is of no use any more (a deleted tap): watching it on would spin.
 * The link is the main loop's. */
static void vnet_backend_lost(struct vnet_pair *p)
{
    vnet_pair_lock(p);
    if (p->active)
        p->dead = true;
    vnet_watch(p);
    bool dead = p->dead;
    lock_give(&p->lock);
    if (!dead)
        return;
    event_signal(p->n->lost.fd);
}

void vnet_lost(struct event *ev, uint32_t got)
{
    struct vnet *n = container_of(ev, struct vnet, lost);
    uint64_t count;
    (void)got;
    if (read(ev->fd, &count, sizeof(count)) == sizeof(count))
        netdev_set_link(n->nic.nd, false);
}

void vnet_backend_ready(struct event *ev, uint32_t got)
{
    struct vnet_pair *p = container_of(ev, struct vnet_pair, ev);
    bool tx = got & EPOLLOUT;
    if (tx) {
        vnet_pair_lock(p);
        p->tx_blocked = false;
        loop_want(ev, ev->want & ~(uint32_t)EPOLLOUT);
        lock_give(&p->lock);
    }
    vnet_run(p, got & EPOLLIN, tx);
    if (got & (EPOLLERR | EPOLLHUP) && !(got & (EPOLLIN | EPOLLOUT)))
        vnet_backend_lost(p);
}

void vnet_held_too_long(struct timer *t)
{
    struct vnet_pair *p = container_of(t, struct vnet_pair, held_timer);
    vnet_pair_lock(p);
    if (p->held)
        nic_count(&p->stats, rx_drop_fit, 1);
    p->held = 0;
    lock_give(&p->lock);
    vnet_run(p, true, false);
}

/* One timer for both ways: who is early is told to wait again. */
void vnet_wait_for_limit(struct vnet_pair *p, uint64_t due)
{
    if (!p->gate_timer.due || due < p->gate_timer.due)
        timer_arm(&p->gate_timer, due);
}

/* p->lock held. */
static void vnet_unblock_limited(struct vnet_pair *p)
{
    const struct nic_gate *g = p->be ? p->be->gate : NULL;
    p->tx_blocked = p->tx_blocked && !(g && g->tx_due);
}

void vnet_limit_over(struct timer *t)
{
    struct vnet_pair *p = container_of(t, struct vnet_pair, gate_timer);
    vnet_pair_lock(p);
    vnet_unblock_limited(p);
    lock_give(&p->lock);
    vnet_run(p, true, true);
}

int vnet_limit(void *dev, const void *told, struct text *out)
{
    struct vnet *n = container_of((struct device *)dev, struct vnet, v.dev);
    (void)out;
    vnet_lock_pairs(n);
    int err = nic_limit(&n->nic, told);
    for (unsigned i = 0; i < n->npairs; i++)
        vnet_unblock_limited(n->pair[i]);
    vnet_unlock_pairs(n);
    for (unsigned q = 0; !err && q < 2 * n->npairs; q++)
        virtio_poke(&n->v, q);
    return err;
}

/* The loop looks at the transmit ring for itself (loop.h). A queue may be
 * stopped from another thread at any time, so under the lock. */
bool vnet_look_waits(struct poller *l)
{
    struct vnet_pair *p = container_of(l, struct vnet_pair, look);
    vnet_pair_lock(p);
    bool waits = p->tx_on && p->active && !p->tx_blocked && vnet_reachable(p) &&
                 (vq_more(p->tx) || p->tx->state == VQ_BROKEN);
    lock_give(&p->lock);
    return waits;
}

void vnet_look_work(struct poller *l)
{
    vnet_run(container_of(l, struct vnet_pair, look), false, true);
}

void vnet_look_arm(struct poller *l)
{
    struct vnet_pair *p = container_of(l, struct vnet_pair, look);
    vnet_pair_lock(p);
    if (p->tx_on && vnet_reachable(p)) {
        vnet_tx_publish(p);
        if (vq_rearm(p->tx))
            loop_again(&p->n->v.kick[2 * p->index + 1].ev);
    }
    lock_give(&p->lock);
}
