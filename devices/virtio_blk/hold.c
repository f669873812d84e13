/* SPDX-License-Identifier: MIT */
/* virtio-blk: starting and stopping its queues, what it remembers, and how it
 * rests.
 *
 * Who waits for whom. Requests are the main loop's, so whoever stops a queue
 * has it done there: on the loop's own thread directly (a reset of the machine,
 * hold, the end), else by loop_call, which waits. That is a vCPU in a register
 * write (status 0, a queue's reset), and it waits with virtio.lock held, since
 * nothing else may be done to the registers meanwhile. So
 *
 *  - the loop never waits for virtio.lock while vCPUs run: what needs it (the
 *    driver is told of a broken ring, of another size) is noted and done in
 *    vblk_later, which only tries;
 *  - the loop, where it waits until the vCPUs are parked, serves calls
 *    meanwhile (loop_serve), and it ends with the vCPUs parked;
 *  - the vCPU holds no other lock, and whoever waits for this one has none
 *    that the loop wants (devices/pci/bus.c, machine/bus.c: no device is
 *    called with theirs held).
 *
 * The loop in turn waits for the drive: in drain(), for what it is at, which is
 * as long as one request takes; what was not begun is cancelled. When a stop
 * returns no request exists and nothing touches the guest's memory. */
#include <errno.h>

#include "devices/virtio_blk/state.h"

/* ------------------------------------------------------------ start, stop */

/* What to stop: one queue, or all of them. */
struct vblk_span {
    struct vblk *d;
    unsigned first, n;
};

/* On the main loop. Others go on: where there are some, all that is under way
 * is finished, not cancelled. */
static void vblk_end(void *arg)
{
    const struct vblk_span *s = arg;
    struct vblk *d = s->d;
    for (unsigned i = s->first; i < s->first + s->n; i++) {
        struct vblk_queue *q = &d->q[i];
        vblk_show(q);
        atomic_store(&q->on, false);
        loop_unlook(d->v.dev.m->loop, &q->look);
    }
    vblk_drain(d, s->n == d->nq);
    for (unsigned i = 0; i < d->nq; i++)
        vblk_show(&d->q[i]);
}

static void vblk_end_on_loop(struct vblk *d, unsigned first, unsigned n)
{
    struct loop *l = d->v.dev.m->loop;
    struct vblk_span s = {d, first, n};
    if (loop_is_mine(l))
        vblk_end(&s);
    else
        loop_call(l, vblk_end, &s);
}

void vblk_queue_start(struct virtio *v, unsigned q)
{
    atomic_store(&vblk_of(v)->q[q].on, v->vq[q].state == VQ_READY);
    virtio_poke(v, q); /* the ring may hold requests already */
}

void vblk_queue_stop(struct virtio *v, unsigned q)
{
    if (v->started)
        vblk_end_on_loop(vblk_of(v), q, 1);
}

void vblk_follow_cache(struct vblk *d)
{
    uint64_t f = d->v.features;
    bool lasting =
        d->b->cache == BLK_WRITETHROUGH || d->b->cache == BLK_DIRECTSYNC;
    bool cached = has(f, VIRTIO_BLK_F_CONFIG_WCE) ? d->config.writeback
                                                  : has(f, VIRTIO_BLK_F_FLUSH);
    atomic_store(&d->through,
                 has(d->v.offered, VIRTIO_BLK_F_FLUSH) && !lasting && !cached);
}

void vblk_start(struct virtio *v)
{
    struct vblk *d = vblk_of(v);
    /* §5.2.5.2 */
    if (has(v->features, VIRTIO_BLK_F_CONFIG_WCE) &&
        !has(v->features, VIRTIO_BLK_F_FLUSH))
        d->config.writeback = 0;
    vblk_follow_cache(d);
    for (unsigned q = 0; q < v->nvq; q++)
        vblk_queue_start(v, q);
}

void vblk_stop(struct virtio *v)
{
    struct vblk *d = vblk_of(v);
    if (v->started)
        vblk_end_on_loop(d, 0, d->nq);
    d->config.writeback = vblk_starts_cached(d);
}

/* --------------------------------------------------- what needs the lock */

void vblk_resized(void *disk)
{
    struct vblk *d = disk;
    d->resized = true;
    loop_again(&d->later);
}

void vblk_broken(struct vblk_queue *q)
{
    struct vblk *d = q->d;
    atomic_store(&q->on, false);
    d->fault = q->vq->fault;
    d->fault_life = d->v.life;
    loop_again(&d->later);
}

/* virtio.lock held. */
static void vblk_show_size(struct vblk *d)
{
    if (d->v.dev.held || d->config.capacity == vblk_capacity(d))
        return; /* vblk_resume looks again */
    d->config.capacity = vblk_capacity(d);
    virtio_config_changed(&d->v);
}

void vblk_later(struct event *ev, uint32_t got)
{
    struct vblk *d = container_of(ev, struct vblk, later);
    (void)got;
    if (pthread_mutex_trylock(&d->v.lock)) {
        loop_again(ev);
        return;
    }
    if (d->resized)
        vblk_show_size(d);
    if (d->fault)
        virtio_broken(&d->v, d->fault_life, d->fault);
    d->resized = false;
    d->fault = NULL;
    pthread_mutex_unlock(&d->v.lock);
}

/* -------------------------------------------------------------- remembered */

const struct field vblk_state_fields[] = {
    /* the reset knows what these become */
    FIELD_AS(STATE | KEPT, NUMBER, "capacity", struct vblk, config.capacity),
    FIELD_AS(STATE | KEPT, FLAG, "writeback", struct vblk, config.writeback),
    {.name = ""},
};

int vblk_loaded(struct device *dev)
{
    struct vblk *d = container_of(dev, struct vblk, v.dev);
    int err = virtio_pci_loaded(&d->v);
    if (err)
        return err;
    if (d->config.capacity > UINT64_MAX / BLK_SECTOR)
        return fail(-EINVAL, "%s: capacity: more than 2^64 bytes", dev->id);
    if (d->config.writeback != vblk_starts_cached(d) &&
        !has(d->v.features, VIRTIO_BLK_F_CONFIG_WCE))
        return fail(-EINVAL, "%s: writeback: not as negotiated", dev->id);
    vblk_follow_cache(d);
    return 0;
}

/* All that was asked for is done, given back and shown. */
void vblk_hold(struct device *dev)
{
    struct vblk *d = container_of(dev, struct vblk, v.dev);
    vblk_drain(d, false);
    for (unsigned i = 0; i < d->nq; i++) {
        struct vblk_queue *q = &d->q[i];
        vblk_show(q);
        atomic_store(&q->on, false);
        loop_unlook(dev->m->loop, &q->look);
        vq_rewind(q->vq);
    }
    virtio_pci_hold(&d->v);
}

/* The drive may have grown meanwhile, or be another one of another size. */
void vblk_resume(struct device *dev)
{
    struct vblk *d = container_of(dev, struct vblk, v.dev);
    pthread_mutex_lock(&d->v.lock);
    vblk_show_size(d);
    for (unsigned q = 0; d->v.started && q < d->nq; q++)
        vblk_queue_start(&d->v, q);
    pthread_mutex_unlock(&d->v.lock);
}
