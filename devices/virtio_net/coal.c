/* SPDX-License-Identifier: MIT */
/* virtio-net: interrupt coalescing (virtio 1.3 §5.1.6.5.8): an interrupt once
 * max_packets packets are done, or max_usecs after the first of them. */
#include "devices/virtio_net/state.h"

/* A ring holds far less than this; vq->moved must not wrap. */
#define MOVED_LIMIT 16384

static void vnet_coal_count_irq(struct coal *c)
{
    if (c->vq == c->p->rx)
        nic_count(&c->p->stats, rx_irqs, 1);
    else
        nic_count(&c->p->stats, tx_irqs, 1);
}

static void vnet_coal_irq_now(struct coal *c)
{
    if (c->timer.due)
        timer_cancel(&c->timer);
    if (virtio_queue_irq(&c->p->n->v, c->vq))
        vnet_coal_count_irq(c);
}

/* The queue may have been switched off or reset since the timer was armed, by a
 * thread that may not cancel it. */
static void vnet_coal_overdue(struct timer *t)
{
    struct coal *c = container_of(t, struct coal, timer);
    vnet_pair_lock(c->p);
    if (vnet_reachable(c->p) && (c->vq == c->p->rx ? c->p->rx_on : c->p->tx_on))
        vnet_coal_irq_now(c);
    lock_give(&c->p->lock);
}

void vnet_coal_irq(struct coal *c)
{
    if (c->max_packets < 2 || !c->max_usecs || c->vq->moved >= c->max_packets ||
        c->vq->moved >= MOVED_LIMIT)
        vnet_coal_irq_now(c);
    else if (c->vq->moved && !c->timer.due)
        timer_arm(&c->timer, now_ns() + c->max_usecs * 1000ull);
}

void vnet_coal_init(struct coal *c, struct vnet_pair *p, struct virtqueue *vq)
{
    *c = (struct coal){.p = p, .vq = vq};
    timer_init(&c->timer, p->loop, vnet_coal_overdue);
}
