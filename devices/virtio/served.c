/* SPDX-License-Identifier: MIT */
/* A device that is a vhost-user back-end's (see served.h).
 *
 * Theory of operation. A back-end may die with requests in its hands, and what
 * comes next must get just those, and none that were answered. The guest's own
 * rings do not tell which: requests are answered in any order, and the avail
 * ring is written over while an old one is still out. So the back-end is not
 * lent the guest's rings but a pair for each queue in memory of this process
 * (`share`), with the guest's descriptors: heads go across in one direction
 * when the guest kicks, and back when the back-end calls, and what has gone and
 * not come back is known at any time. A back-end that returns what it does not
 * have is hung up on. (The protocol's own way, VHOST_USER_PROTOCOL_F_INFLIGHT_
 * SHMFD, has the back-end keep that list; qemu-storage-daemon does not.)
 *
 * Requests may be done twice, the second time by another back-end, if the first
 * one was ended before it could say so; nobody was told that they are done.
 *
 * The pair's rings have no event index, so that suppression is one flag, and
 * the guest's are served by the ordinary verbs, with all that these can do. The
 * back-end's doorbell is a pipe: of an eventfd, both ends are one file, and it
 * could have our write block; its calls are an eventfd that is never read.
 *
 * Everything under virtio.lock; requests move on the main loop. */
#include "devices/virtio/served.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/use.h"
#include "devices/virtio/walk.h"

#define DRAIN_MS 250 /* for what is in flight when the rings stop */
/* A ring pair: avail and its entries, then (page aligned) used. */
#define PAGE 4096u
#define RING_AVAIL PAGE
#define RING_SIZE (RING_AVAIL + 3 * PAGE)
_Static_assert(4 + 2 * VQ_SIZE_MAX + 2 <= RING_AVAIL, "§2.7.6");
_Static_assert(4 + 8 * VQ_SIZE_MAX + 2 <= RING_SIZE - RING_AVAIL, "§2.7.8");
#define SHARE_GPA (1ull << 46) /* where no guest has memory */

#define NO_NOTIFY 1 /* §2.7.10 */
struct pair_avail {
    le16 flags, idx, ring[];
};
struct pair_used {
    le16 flags, idx;
    struct pair_entry {
        le32 id, len;
    } ring[];
};

static struct served *served_of(struct virtio *v)
{
    return container_of(v, struct served, v);
}

/* --------------------------------------------------------------- requests */

static void served_put(struct served *s, unsigned q, uint16_t head)
{
    struct served_queue *k = &s->q[q];
    struct pair_avail *a = k->avail;
    a->ring[k->given++ & (s->v.vq[q].size - 1u)] = head;
}

/* Shows what was put. */
static void served_show(struct served_queue *k)
{
    const struct pair_used *u = k->used;
    struct pair_avail *a = k->avail;
    __atomic_store_n(&a->idx, k->given, __ATOMIC_RELEASE);
    /* Pairs with the back-end's barrier between its flag and its look. */
    atomic_thread_fence(memory_order_seq_cst);
    if (!(__atomic_load_n(&u->flags, __ATOMIC_RELAXED) & NO_NOTIFY))
        event_signal(k->kick);
}

/* What the guest has made available goes to the back-end. A ring full at a
 * time: what is answered here comes again as fast as a vCPU can write it. */
static void served_forward(struct served *s, unsigned q)
{
    struct served_queue *k = &s->q[q];
    struct virtqueue *vq = &s->v.vq[q];
    unsigned left = vq->size;
    uint16_t was = k->given, head;
    do {
        for (; left && vq_pop_head(vq, &head); left--) {
            if (k->has[head]) {
                vq_broken(vq, "a buffer was made available twice");
                break;
            }
            if (s->answers && s->answers(s, q, head))
                continue;
            k->has[head] = 1;
            k->out++;
            served_put(s, q, head);
        }
    } while (left && vq_rearm(vq));
    if (!left)
        virtio_poke(&s->v, q);
    vq_flush(vq); /* what was answered */
    virtio_queue_irq(&s->v, vq);
    s->requests += (uint16_t)(k->given - was);
    if (k->given != was)
        served_show(k);
}

/* What the back-end has used goes to the guest. False: it is none of what it
 * has. */
static bool served_back(struct served *s, unsigned q)
{
    struct served_queue *k = &s->q[q];
    struct virtqueue *vq = &s->v.vq[q];
    const struct pair_used *u = k->used;
    uint16_t idx = __atomic_load_n(&u->idx, __ATOMIC_ACQUIRE);
    bool right = (uint16_t)(idx - k->seen) <= k->out;
    for (; right && k->seen != idx; k->seen += right) {
        struct pair_entry e;
        memcpy(&e, &u->ring[k->seen & (vq->size - 1u)], sizeof(e));
        right = e.id < vq->size && k->has[e.id];
        if (!right)
            break;
        k->has[e.id] = 0;
        k->out--;
        if (s->returned)
            s->returned(s, q, (uint16_t)e.id);
        vq_push(vq, &(struct vq_chain){.id = (uint16_t)e.id}, e.len);
    }
    vq_flush(vq);
    virtio_queue_irq(&s->v, vq);
    return right;
}

static bool served_on(const struct served *s, unsigned q)
{
    return s->running && s->q[q].kick >= 0 && pci_can_dma(&s->v.fn);
}

static void served_back_all(struct served *s)
{
    for (unsigned q = 0; q < s->v.nvq; q++)
        if (served_on(s, q) && !served_back(s, q))
            s->vhost->ops->hang_up(s->vhost, "returned what it does not have");
}

void served_kick(struct virtio *v, unsigned q)
{
    struct served *s = served_of(v);
    const char *fault = NULL;
    pthread_mutex_lock(&v->lock);
    unsigned life = v->life;
    if (served_on(s, q)) {
        served_back_all(s);
        served_forward(s, q);
        if (v->vq[q].state == VQ_BROKEN)
            fault = v->vq[q].fault;
    }
    pthread_mutex_unlock(&v->lock);
    if (fault)
        virtio_needs_reset(v, life, fault);
}

static void served_called(struct event *ev, uint32_t got)
{
    struct served_queue *k = container_of(ev, struct served_queue, call);
    (void)got;
    served_kick(&k->s->v, (unsigned)(k - k->s->q));
}

/* ------------------------------------------------------------ start, stop */

/* Its rings as a back-end finds them that has seen nothing yet, with what is
 * still to be done already in them.
 *
 * syscalls loop vcpu if vhost_user: eventfd2 dup3 close pipe2, only the lab's
 * guests have a driver for such a device */
static int served_make_pair(struct served *s, unsigned q,
                            struct vhost_ring *ring)
{
    struct served_queue *k = &s->q[q];
    const struct virtqueue *vq = &s->v.vq[q];
    int p[2];
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int err = fd < 0 ? -errno : loop_refile(&k->call, fd);
    if (!err && pipe2(p, O_NONBLOCK | O_CLOEXEC))
        err = -errno;
    if (err)
        return err;
    memset(k->avail, 0, RING_SIZE);
    k->given = k->seen = 0;
    k->kick = p[1];
    for (unsigned head = 0; head < vq->size; head++) {
        if (!k->has[head])
            continue;
        if (s->answers && s->answers(s, q, (uint16_t)head)) {
            k->has[head] = 0;
            k->out--;
        } else {
            served_put(s, q, (uint16_t)head);
        }
    }
    s->again += k->given;
    served_show(k);
    *ring = (struct vhost_ring){.num = vq->size,
                                .desc = vq->desc,
                                .avail = k->avail,
                                .used = k->used,
                                .used_gpa = vq->used_gpa,
                                .kick = p[0],
                                .call = k->call.fd};
    return 0;
}

static void served_end_pairs(struct served *s)
{
    for (unsigned q = 0; q < s->v.nvq; q++) {
        struct served_queue *k = &s->q[q];
        if (k->kick < 0)
            continue;
        loop_refile(&k->call, -1);
        close(k->kick);
        k->kick = -1;
    }
}

/* Where everybody is there who is needed. Errors are as if the back-end were
 * away. */
static void served_begin(struct served *s)
{
    struct vhost_ring rings[VIRTIO_QUEUES_MAX];
    int err = 0, some = 0;
    if (s->running || !s->up || !s->v.started || s->v.dev.held)
        return;
    for (unsigned q = 0; q < s->v.nvq; q++)
        rings[q] = (struct vhost_ring){.kick = -1, .call = -1};
    for (unsigned q = 0; q < s->v.nvq && !err; q++) {
        if (s->v.vq[q].state != VQ_READY)
            continue;
        err = served_make_pair(s, q, &rings[q]);
        some++;
    }
    if (!err && some)
        err = s->vhost->ops->start(s->vhost, s->v.features, rings, s->v.nvq);
    for (unsigned q = 0; q < s->v.nvq; q++)
        if (rings[q].kick >= 0)
            close(rings[q].kick); /* the back-end has it */
    s->running = !err && some;
    if (!s->running)
        served_end_pairs(s);
    if (err)
        fault_note(&s->refused, "%s: its queues cannot begin: %s", s->v.dev.id,
                   strerror(-err));
    for (unsigned q = 0; q < s->v.nvq; q++)
        if (s->running)
            virtio_poke(&s->v, q);
}

static unsigned served_out(const struct served *s)
{
    unsigned n = 0;
    for (unsigned q = 0; q < s->v.nvq; q++)
        n += served_on(s, q) ? s->q[q].out : 0;
    return n;
}

/* Nothing new is given; what is out has a moment to come back. Who has some
 * left then may still be writing to guest memory, and is hung up on: that ends
 * a program of ours. What is left is given again when the queues go on.
 *
 * syscalls loop vcpu if vhost_user: poll close, the same */
static void served_quiet(struct served *s)
{
    int64_t end = real_ms() + DRAIN_MS;
    if (!s->running)
        return;
    served_back_all(s);
    while (s->up && served_out(s) && real_ms() < end) {
        poll(NULL, 0, 1);
        served_back_all(s);
    }
    if (s->up && served_out(s))
        s->vhost->ops->hang_up(s->vhost, "does not finish");
    s->vhost->ops->stop(s->vhost, NULL);
    s->running = false;
    served_end_pairs(s);
}

static void served_forget(struct served *s, unsigned q)
{
    memset(s->q[q].has, 0, s->v.vq[q].size_max);
    s->q[q].out = 0;
}

void served_start(struct virtio *v)
{
    served_begin(served_of(v));
}

void served_stop(struct virtio *v)
{
    struct served *s = served_of(v);
    served_quiet(s);
    for (unsigned q = 0; q < v->nvq; q++)
        served_forget(s, q);
}

/* A queue's service changes only while the back-end is out of the way. */
void served_queue_start(struct virtio *v, unsigned q)
{
    (void)q;
    served_quiet(served_of(v));
    served_begin(served_of(v));
}

void served_queue_stop(struct virtio *v, unsigned q)
{
    struct served *s = served_of(v);
    served_quiet(s);
    served_forget(s, q);
    v->vq[q].state = VQ_OFF; /* its reset follows */
    served_begin(s);
}

static void served_hold(struct device *dev)
{
    struct served *s = container_of(dev, struct served, v.dev);
    pthread_mutex_lock(&s->v.lock);
    served_quiet(s);
    pthread_mutex_unlock(&s->v.lock);
    virtio_pci_hold(&s->v);
}

/* ---------------------------------------------------------- configuration */

void served_config_read(struct virtio *v, unsigned off, void *p, unsigned len)
{
    memcpy(p, served_of(v)->config + off, len);
}

/* As it is now; told to the guest where that differs. */
static void served_look_at_config(struct served *s)
{
    uint8_t now[VHOST_CONFIG_MAX];
    unsigned len = s->config_len;
    if (!len || s->v.dev.held)
        return;
    s->vhost->ops->get_config(s->vhost, 0, now, len);
    s->fix_config(s, now);
    if (!memcmp(now, s->config, len))
        return;
    memcpy(s->config, now, len);
    virtio_config_changed(&s->v);
}

static void served_config_changed(void *dev)
{
    struct served *s = dev;
    pthread_mutex_lock(&s->v.lock);
    served_look_at_config(s);
    pthread_mutex_unlock(&s->v.lock);
}

static void served_resume(struct device *dev)
{
    struct served *s = container_of(dev, struct served, v.dev);
    pthread_mutex_lock(&s->v.lock);
    served_look_at_config(s);
    served_begin(s);
    pthread_mutex_unlock(&s->v.lock);
}

/* ---------------------------------------------------------- the back-end */

/* What it had finished before it went is finished. */
static void served_here(void *dev, bool up)
{
    struct served *s = dev;
    if (!s->vhost) { /* the first one: served_create goes on */
        s->up = up;
        return;
    }
    pthread_mutex_lock(&s->v.lock);
    s->up = up;
    if (up) {
        served_look_at_config(s);
        served_begin(s);
    } else {
        served_quiet(s);
        if (s->gone && !strcmp(s->peer.lost, "hung up"))
            s->gone(s);
    }
    pthread_mutex_unlock(&s->v.lock);
}

static void served_broken(void *dev)
{
    struct served *s = dev;
    pthread_mutex_lock(&s->v.lock);
    bool on = s->running;
    unsigned life = s->v.life;
    pthread_mutex_unlock(&s->v.lock);
    if (on)
        virtio_needs_reset(&s->v, life, "the back-end found a ring broken");
}

/* ------------------------------------------------------------------ making */

static void served_free(struct served *s)
{
    if (s->vhost)
        s->vhost->ops->close(s->vhost);
    s->vhost = NULL;
    chardev_release(s->chardev);
    for (unsigned q = 0; q < s->v.nvq; q++) {
        loop_del(&s->q[q].call);
        if (s->q[q].call.fd >= 0)
            close(s->q[q].call.fd);
        free(s->q[q].has);
        free(s->q[q].mark);
    }
    if (s->share.hva)
        munmap(s->share.hva, s->share.size);
    if (s->share_fd >= 0)
        close(s->share_fd);
}

static void served_destroy(struct device *dev)
{
    struct served *s = container_of(dev, struct served, v.dev);
    pthread_mutex_lock(&s->v.lock);
    served_quiet(s);
    pthread_mutex_unlock(&s->v.lock);
    virtio_pci_destroy(&s->v);
    served_free(s);
    free(s);
}

/* Sealed: the back-end has it, too, and a file that is cut ends who looks. */
static int served_make_share(struct served *s)
{
    s->share = (struct ram_region){.gpa = SHARE_GPA,
                                   .size = (uint64_t)s->v.nvq * RING_SIZE};
    s->share_fd = memfd_create("rings", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (s->share_fd < 0 || ftruncate(s->share_fd, (off_t)s->share.size) ||
        fcntl(s->share_fd, F_ADD_SEALS,
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        return -errno;
    void *p = mmap(NULL, s->share.size, PROT_READ | PROT_WRITE, MAP_SHARED,
                   s->share_fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    s->share.hva = p;
    return 0;
}

static int served_make_queue(struct served *s, struct machine *m, unsigned q)
{
    struct served_queue *k = &s->q[q];
    k->s = s;
    k->avail = s->share.hva + (size_t)q * RING_SIZE;
    k->used = s->share.hva + (size_t)q * RING_SIZE + RING_AVAIL;
    k->has = calloc(1, s->queue_size);
    k->mark = calloc(s->queue_size, sizeof(*k->mark));
    k->call = (struct event){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                             .want = EPOLLIN | EPOLLET,
                             .ready = served_called};
    if (!k->has || !k->mark)
        return -ENOMEM;
    return k->call.fd < 0 ? -errno : loop_add(m->loop, &k->call);
}

static int served_make_queues(struct served *s, struct machine *m)
{
    s->v.nvq = s->nq;
    s->share_fd = -1;
    for (unsigned q = 0; q < s->nq; q++) {
        s->v.vq[q].size_max = s->queue_size;
        s->q[q].kick = s->q[q].call.fd = -1;
    }
    int err = served_make_share(s);
    for (unsigned q = 0; q < s->nq && !err; q++)
        err = served_make_queue(s, m, q);
    return err ? fail(err, "%s: %s", s->v.dev.id, strerror(-err)) : 0;
}

/* Ring features whose half in the back-end's rings is its own business. */
#define SERVED_RING                                                            \
    (1ull << VIRTIO_F_ANY_LAYOUT | 1ull << VIRTIO_F_INDIRECT_DESC |            \
     1ull << VIRTIO_F_VERSION_1)
/* What an option may ask for and the rings here cannot have. */
#define SERVED_NOT                                                             \
    (1ull << VIRTIO_F_RING_PACKED | 1ull << VIRTIO_F_IN_ORDER |                \
     1ull << VIRTIO_F_NOTIFICATION_DATA | 1ull << VIRTIO_F_ACCESS_PLATFORM)

static int served_meet(struct served *s, struct machine *m)
{
    struct vhost_device dev = {.id = s->v.dev.id,
                               .rings = s->nq,
                               .mask = s->mask | SERVED_RING,
                               .queues = s->nq,
                               .config_len = s->config_len,
                               .share = s->share,
                               .share_fd = s->share_fd,
                               .errors = &s->errors,
                               .refused = &s->refused,
                               .here = served_here,
                               .broken = served_broken,
                               .config_changed = served_config_changed,
                               .dev = s};
    s->peer.alone = s->alone;
    int err = vhost_user_open(&dev, s->chardev, m, &s->vhost);
    if (err)
        return err;
    uint64_t own = s->v.asked | dev.mask;
    s->v.offered =
        ((own & ~dev.mask) | (own & s->vhost->features)) & ~SERVED_NOT;
    if (s->config_len)
        s->vhost->ops->get_config(s->vhost, 0, s->config, s->config_len);
    if (s->fix_config)
        s->fix_config(s, s->config);
    return 0;
}

int served_create(struct served *s, struct machine *m,
                  const struct virtio_type *type)
{
    s->v.dev.hold = served_hold;
    s->v.dev.resume = served_resume;
    s->v.dev.destroy = served_destroy;
    int err = served_make_queues(s, m);
    if (!err)
        err = served_meet(s, m);
    if (!err)
        err = virtio_pci_init(&s->v, m, type, &s->pci);
    if (err) {
        served_free(s);
        return err;
    }
    device_register(m, &s->v.dev);
    return 0;
}

int served_check(struct served *s, struct needs *needs)
{
    const char *what = s->v.dev.opts.what;
    needs->shared_ram = true;
    int err = virtio_check(&s->v, what);
    if (!err)
        err = pci_check(&s->pci, what, needs);
    if (!err && s->queue_size & (s->queue_size - 1))
        err = fail(-EINVAL, "%s: queue-size=%u: must be a power of two", what,
                   s->queue_size);
    if (err || s->chardev)
        return err;
    if (!s->chardev_id)
        return fail(-EINVAL,
                    "%s: chardev= is missing; write -chardev "
                    "socket,id=ID,path=PATH and chardev=ID",
                    what);
    err = chardev_take(what, s->chardev_id, &s->peer, &s->chardev);
    return err ? err : chardev_need_helper(s->chardev);
}

const struct field served_fields[] = {
    FIELDS_OF(device_fields, "", struct served, v.dev),
    FIELDS_OF(pci_fields, "", struct served, pci),
    FIELDS_OF(virtio_options, "", struct served, v),
    FIELD(TEXT, "chardev", struct served, chardev_id, .arg = "ID",
          .help = "a -chardev socket,id=ID,path=PATH: the back-end"),
    FIELD(NUMBER, "queue-size", struct served, queue_size, .min = 2,
          .max = VQ_SIZE_MAX, .def = 128, .help = "entries of each queue"),
    COUNT("requests", struct served, requests, "given to the back-end"),
    COUNT("again", struct served, again,
          "given to another one, as the first had not answered"),
    COUNT("errors", struct served, errors, "rings that it found broken"),
    COUNT("refused", struct served, refused,
          "times the queues could not begin"),
    COUNT("connects", struct served, peer.connects, "connections made"),
    COUNT("hangups", struct served, peer.drops, "connections lost"),
    {.name = ""},
};
