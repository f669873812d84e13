/* SPDX-License-Identifier: MIT */
/* virtio-blk's requests (virtio 1.2 §5.2.6): taken from the ring, checked,
 * handed to the drive, given back. All of it on the main loop.
 *
 * A request is a chain of any layout: the header is its first 16 readable
 * bytes, the status its last writable one, data is what lies between. The
 * header is copied once; data goes from the guest's memory to the drive and
 * back without us. Requests lie in a pool made with the queue: nothing is
 * allocated while they come and go. What a guest can make of it is bounded for
 * the disk; beyond it, requests wait in the ring.
 *
 * Showing. What ends is given back to the ring at once and shown at the end of
 * the loop's turn, all of it with one index and one interrupt; with nothing
 * else under way there is nothing to wait for, and it is shown at once. */
#include <errno.h>
#include <stdlib.h>

#include "base/iov.h"
#include "devices/virtio_blk/state.h"

/* What bounds a call of vblk_run: so many requests, or so many descriptors and
 * what the last request has of them (VQ_SIZE_MAX), whatever the ring holds. */
#define BURST 64
#define BURST_DESCS 2048

enum { /* §5.2.6 */
       T_IN = 0,
       T_OUT = 1,
       T_FLUSH = 4,
       T_GET_ID = 8,
       T_DISCARD = 11,
       T_WRITE_ZEROES = 13,
};
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
#define ID_LEN 20
#define SEG_UNMAP 1u

struct vblk_header {
    le32 type, ioprio;
    le64 sector;
};
struct vblk_segment { /* of DISCARD and WRITE_ZEROES */
    le64 sector;
    le32 num, flags;
};
_Static_assert(sizeof(struct vblk_header) == 16, "§5.2.6");
_Static_assert(sizeof(struct vblk_segment) == 16, "§5.2.6");

/* ------------------------------------------------------------------- pool */

#define POOL_MAX (32u << 20) /* bytes, of all queues */

static size_t vblk_req_size(const struct vblk_queue *q)
{
    return sizeof(struct vblk_req) + q->vq->size_max * sizeof(struct iovec);
}

/* The last one freed first: as many pages are touched as there were requests
 * at a time. NULL: all are under way. */
static struct vblk_req *vblk_take(struct vblk_queue *q)
{
    struct vblk_req *r = q->free;
    if (r) {
        q->free = r->next;
        return r;
    }
    q->full = q->fresh == q->most;
    if (q->full)
        return NULL;
    r = (void *)((char *)q->pool + vblk_req_size(q) * q->fresh++);
    r->q = q;
    return r;
}

static void vblk_release(struct vblk_req *r)
{
    r->next = r->q->free;
    r->q->free = r;
}

/* ----------------------------------------------------------------- ending */

static bool vblk_on(const struct vblk_queue *q)
{
    return atomic_load_explicit(&q->on, memory_order_acquire);
}

static void vblk_begin_all(struct vblk *d)
{
    bool any = d->unkicked;
    d->unkicked = false;
    if (any)
        d->b->kick(d->b);
}

void vblk_show(struct vblk_queue *q)
{
    struct vblk *d = q->d;
    if (!q->unshown)
        return;
    q->unshown = 0;
    vq_flush(q->vq);
    if (virtio_queue_irq(&d->v, q->vq))
        vblk_count(d, irqs, 1);
}

static void vblk_show_now(struct event *ev, uint32_t got)
{
    struct vblk_queue *q = container_of(ev, struct vblk_queue, show);
    (void)got;
    vblk_begin_all(q->d); /* flushes after writes */
    vblk_show(q);
}

/* There is memory for a request again. */
static void vblk_go_on(struct vblk_queue *q)
{
    q->full = false;
    loop_again(&q->d->v.kick[q->vq - q->d->v.vq].ev);
}

/* Back to the ring, with `len` bytes written, the status included. A queue that
 * is off, or broken, is told nothing. */
static void vblk_give(struct vblk_req *r, uint8_t status, uint32_t len)
{
    struct vblk_queue *q = r->q;
    q->inflight--;
    vblk_release(r);
    if (q->full)
        vblk_go_on(q);
    if (!vblk_on(q) || q->vq->state != VQ_READY)
        return;
    if (status == S_IOERR)
        vblk_count(q->d, failed, 1);
    else if (status == S_UNSUPP)
        vblk_count(q->d, unsupported, 1);
    *r->status = status;
    vq_push(q->vq, &r->chain, len);
    q->unshown++;
}

static void vblk_submit(struct vblk *d, struct vblk_req *r)
{
    d->unkicked = d->b->kick;
    d->b->submit(d->b, &r->b);
}

/* §5.2.6.2: without a cache that the driver knows of, what is written is on
 * stable storage before it hears that it is done. */
static bool vblk_flush_first(struct vblk *d, struct vblk_req *r)
{
    if (r->b.err || r->b.op == BLK_FLUSH || !vblk_on(r->q) ||
        (r->type != T_OUT && r->type != T_WRITE_ZEROES) ||
        !atomic_load_explicit(&d->through, memory_order_relaxed))
        return false;
    r->b.op = BLK_FLUSH;
    if (d->draining) {
        r->next = d->owed;
        d->owed = r;
        return true;
    }
    vblk_submit(d, r);
    loop_again(&r->q->show);
    return true;
}

static void vblk_done(struct blk_req *b)
{
    struct vblk_req *r = container_of(b, struct vblk_req, b);
    struct vblk_queue *q = r->q;
    struct vblk *d = q->d;
    if (vblk_flush_first(d, r))
        return;
    if (b->err)
        vblk_give(r, b->err == -EOPNOTSUPP ? S_UNSUPP : S_IOERR, 1);
    else
        vblk_give(r, S_OK, 1 + (b->op == BLK_READ ? (uint32_t)b->len : 0));
    if (!q->inflight)
        vblk_show(q);
    else
        loop_again(&q->show);
}

void vblk_drain(struct vblk *d, bool cancel)
{
    d->draining = true;
    do {
        struct vblk_req *r = d->owed, *next;
        for (d->owed = NULL; r; r = next) {
            next = r->next;
            vblk_submit(d, r);
        }
        if (!cancel)
            vblk_begin_all(d);
        d->b->drain(d->b, cancel);
    } while (d->owed);
    d->draining = d->unkicked = false;
}

/* -------------------------------------------------------------- beginning */

/* Whole blocks of the disk, without overflow. */
static bool vblk_inside(const struct vblk *d, uint64_t sector, uint64_t len)
{
    uint64_t size = d->b->size & ~(d->logical - 1ull);
    if (sector > size / BLK_SECTOR)
        return false;
    uint64_t at = sector * BLK_SECTOR;
    return len <= size - at && !((at | len) & (d->logical - 1));
}

static void vblk_ask(struct vblk_req *r, enum blk_op op, uint64_t sector,
                     uint64_t len)
{
    r->b = (struct blk_req){.op = op,
                            .unmap = r->b.unmap,
                            .offset = sector * BLK_SECTOR,
                            .len = len,
                            .iov = r->b.iov,
                            .niov = r->b.niov,
                            .done = vblk_done};
    if (!len && op != BLK_FLUSH) /* nothing, done */
        vblk_give(r, S_OK, 1);
    else
        vblk_submit(r->q->d, r);
}

/* Data is what follows the header, or comes before the status. */
static void vblk_data(struct vblk_req *r, bool write)
{
    const struct vq_chain *c = &r->chain;
    struct iovec *iov = r->iov;
    unsigned n = c->nr;
    size_t skip = sizeof(struct vblk_header);
    if (!write) {
        iov += n;
        n = c->nw;
        if (!--iov[n - 1].iov_len)
            n--;
        skip = 0;
    }
    for (; n && iov->iov_len <= skip; n--, iov++)
        skip -= iov->iov_len;
    if (skip) {
        iov->iov_base = (char *)iov->iov_base + skip;
        iov->iov_len -= skip;
    }
    r->b.iov = iov;
    r->b.niov = (int)n;
}

static void vblk_transfer(struct vblk_req *r, uint64_t sector)
{
    struct vblk *d = r->q->d;
    bool write = r->type == T_OUT;
    uint64_t len =
        write ? r->chain.rlen - sizeof(struct vblk_header) : r->chain.wlen - 1u;
    if ((write && d->b->readonly) || !vblk_inside(d, sector, len)) {
        vblk_give(r, S_IOERR, 1);
        return;
    }
    vblk_data(r, write);
    vblk_ask(r, write ? BLK_WRITE : BLK_READ, sector, len);
}

static void vblk_flush(struct vblk_req *r)
{
    struct blockdev *b = r->q->d->b;
    if (b->can_flush) {
        vblk_ask(r, BLK_FLUSH, 0, 0);
        return;
    }
    vblk_give(r, S_OK, 1); /* there is nothing to do it with */
}

/* §5.2.6.2: the ranges of DISCARD and WRITE_ZEROES; one of them at a time, as
 * max_*_seg says. */
static void vblk_range(struct vblk_req *r)
{
    struct vblk *d = r->q->d;
    bool zero = r->type == T_WRITE_ZEROES;
    struct vblk_segment seg = {0};
    uint32_t most = zero ? d->config.max_write_zeroes_sectors
                         : d->config.max_discard_sectors;
    if (!has(d->v.offered,
             zero ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD)) {
        vblk_give(r, d->b->readonly ? S_IOERR : S_UNSUPP, 1);
        return;
    }
    if (r->chain.rlen != sizeof(struct vblk_header) + sizeof(seg)) {
        vblk_give(r, S_IOERR, 1);
        return;
    }
    iov_read(r->iov, r->chain.nr, sizeof(struct vblk_header), &seg,
             sizeof(seg));
    if (seg.flags & ~(zero ? SEG_UNMAP : 0)) {
        vblk_give(r, S_UNSUPP, 1);
        return;
    }
    uint64_t len = (uint64_t)seg.num * BLK_SECTOR;
    if (seg.num > most || !vblk_inside(d, seg.sector, len)) {
        vblk_give(r, S_IOERR, 1);
        return;
    }
    if (zero && d->limited) /* the drive writes these, too */
        limit_take(&d->limit, len, now_ns());
    r->b.unmap = seg.flags & SEG_UNMAP && d->b->zero_may_unmap;
    r->b.niov = 0;
    vblk_ask(r, zero ? BLK_WRITE_ZEROES : BLK_DISCARD, seg.sector, len);
}

/* 20 bytes, and no end mark where the name has as many (§5.2.6). */
static void vblk_get_id(struct vblk_req *r)
{
    const struct vblk *d = r->q->d;
    char id[ID_LEN] = {0};
    uint32_t room = r->chain.wlen - 1;
    const char *serial = d->serial ? d->serial : d->b->serial;
    memcpy(id, serial, strnlen(serial, ID_LEN));
    size_t n = iov_write(r->iov + r->chain.nr, r->chain.nw, 0, id,
                         room < ID_LEN ? room : ID_LEN);
    vblk_give(r, S_OK, (uint32_t)n + 1);
}

/* A reason why the chain is no request that could be answered, or NULL. */
static const char *vblk_begin(struct vblk_req *r)
{
    const struct vq_chain *c = &r->chain;
    struct vblk_header h = {0};
    if (c->rlen < sizeof(h))
        return "a request without a whole header";
    if (!c->wlen)
        return "a request without a byte for its status";
    iov_read(r->iov, c->nr, 0, &h, sizeof(h));
    const struct iovec *last = &r->iov[c->nr + c->nw - 1];
    r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
    r->type = h.type;
    r->b.unmap = false;
    switch (h.type) {
    case T_IN:
    case T_OUT:
        vblk_transfer(r, h.sector);
        break;
    case T_FLUSH:
        vblk_flush(r);
        break;
    case T_GET_ID:
        vblk_get_id(r);
        break;
    case T_DISCARD:
    case T_WRITE_ZEROES:
        vblk_range(r);
        break;
    default:
        vblk_give(r, S_UNSUPP, 1);
    }
    return NULL;
}

/* -------------------------------------------------------------------- ring */

/* May it go now? Else it stays in the ring, and the timer is armed for the
 * moment when it may. How long it is, is what the driver made the chain, once:
 * what is in the header may change. */
static bool vblk_may_go(struct vblk *d, const struct vq_chain *c)
{
    const uint64_t around = sizeof(struct vblk_header) + 1, now = now_ns();
    uint64_t bytes = (uint64_t)c->rlen + c->wlen;
    bytes -= bytes < around ? bytes : around;
    uint64_t wait = limit_wait(&d->limit, bytes, now);
    if (!wait) {
        limit_take(&d->limit, bytes, now);
        return true;
    }
    vblk_count(d, limited, 1);
    timer_arm(&d->gate, now + wait);
    return false;
}

/* Of several queues none waits longer than the others: one that had something
 * done lets the next one begin. */
static void vblk_held_back(struct vblk_queue *q, bool had)
{
    struct vblk *d = q->d;
    d->turn = ((unsigned)(q - d->q) + had) % d->nq;
}

/* The next request of the ring; what vq_pop gives. EMPTY, too, where it is held
 * back, or there is no memory for it. */
static enum vq_got vblk_next(struct vblk_queue *q)
{
    struct vblk_req *r = vblk_take(q);
    if (!r)
        return VQ_EMPTY;
    enum vq_got got = vq_pop(q->vq, &r->chain, r->iov, q->vq->size_max);
    if (got != VQ_CHAIN) {
        vblk_release(r);
        return got != VQ_FULL_IOV
                   ? got
                   : vq_broken(q->vq, "a request in more pieces than its queue "
                                      "has entries");
    }
    if (q->d->limited && !vblk_may_go(q->d, &r->chain)) {
        vq_undo_pop(q->vq, &r->chain);
        vblk_release(r);
        return VQ_EMPTY;
    }
    q->inflight++;
    const char *why = vblk_begin(r);
    if (!why)
        return VQ_CHAIN;
    q->inflight--;
    vblk_release(r);
    return vq_broken(q->vq, why);
}

/* On, and nothing is held back. */
static bool vblk_reachable(const struct vblk_queue *q)
{
    return vblk_on(q) && !q->d->gate.due && pci_can_dma(&q->d->v.fn);
}

void vblk_run(struct vblk_queue *q)
{
    struct vblk *d = q->d;
    struct virtqueue *vq = q->vq;
    if (!vblk_reachable(q))
        return;
    uint32_t before = vq->walked;
    vq_kicks_off(vq);
    for (int n = 1;; n++) {
        enum vq_got got = vblk_next(q);
        if (got == VQ_EMPTY && d->gate.due) {
            vblk_held_back(q, n > 1);
            break;
        }
        if (got == VQ_EMPTY) {
            if (q->full)
                break;
            if (!loop_look(d->v.dev.m->loop, &q->look) && vq_rearm(vq))
                continue;
            break;
        }
        if (got != VQ_CHAIN)
            break;
        if (n >= BURST || vq->walked - before >= BURST_DESCS) {
            loop_again(&d->v.kick[vq - d->v.vq].ev);
            break;
        }
    }
    vblk_begin_all(d);
    vblk_show(q);
    if (vq->state == VQ_BROKEN)
        vblk_broken(q);
}

void vblk_limit_over(struct timer *t)
{
    struct vblk *d = container_of(t, struct vblk, gate);
    unsigned first = d->turn;
    for (unsigned i = 0; i < d->nq && !d->gate.due; i++)
        vblk_run(&d->q[(first + i) % d->nq]);
}

int vblk_limit(void *dev, const void *told, struct text *out)
{
    struct vblk *d = container_of((struct device *)dev, struct vblk, v.dev);
    int err = limit_check(told);
    (void)out;
    if (err)
        return err;
    limit_set(&d->limit, told);
    d->limited = limit_is_on(&d->limit);
    timer_cancel(&d->gate);
    vblk_limit_over(&d->gate);
    return 0;
}

void vblk_kick(struct virtio *v, unsigned q)
{
    struct vblk *d = vblk_of(v);
    vblk_count(d, kicks, 1);
    vblk_run(&d->q[q]);
}

/* The loop looks at the ring for itself (loop.h). */
static bool vblk_look_waits(struct poller *l)
{
    struct vblk_queue *q = container_of(l, struct vblk_queue, look);
    return vblk_reachable(q) && !q->full &&
           (vq_more(q->vq) || q->vq->state == VQ_BROKEN);
}

static void vblk_look_work(struct poller *l)
{
    vblk_run(container_of(l, struct vblk_queue, look));
}

static void vblk_look_arm(struct poller *l)
{
    struct vblk_queue *q = container_of(l, struct vblk_queue, look);
    if (vblk_reachable(q) && vq_rearm(q->vq))
        loop_again(&q->d->v.kick[q->vq - q->d->v.vq].ev);
}

int vblk_queue_init(struct vblk *d, unsigned n)
{
    struct vblk_queue *q = &d->q[n];
    q->d = d;
    q->vq = &d->v.vq[n];
    q->show = (struct event){
        .fd = -1, .ready = vblk_show_now, .loop = d->v.dev.m->loop};
    q->look = (struct poller){
        .look = vblk_look_waits, .ready = vblk_look_work, .arm = vblk_look_arm};
    size_t most = POOL_MAX / d->nq / vblk_req_size(q);
    q->most = most < q->vq->size_max ? (unsigned)most : q->vq->size_max + 1u;
    q->pool = calloc(q->most, vblk_req_size(q));
    return q->pool ? 0 : -ENOMEM;
}

void vblk_queue_free(struct vblk_queue *q)
{
    if (!q->d)
        return;
    loop_unlook(q->d->v.dev.m->loop, &q->look);
    loop_del(&q->show);
    free(q->pool);
}
