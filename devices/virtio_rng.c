/* SPDX-License-Identifier: MIT */
/* virtio-rng-pci: random bytes for the guest (virtio 1.2 §5.4).
 *
 * One request is served a turn, so that a guest which asks without end takes
 * turns with everything else on the loop. The bytes are the host kernel's,
 * written straight into the guest's buffers, without waiting; or of another
 * file (-object rng-random,filename=), which is opened before the guest runs
 * and read by a thread of its own, a few bytes ahead, since a hardware source
 * may take as long as it likes. All of the device runs under virtio.lock. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/iov.h"
#include "base/worker.h"
#include "devices/virtio/pci.h"

/* A request gets no more: descriptors that overlap make chains of any length.
 */
#define REQUEST_MAX 65536u
#define QUEUE_SIZE 64
/* Read ahead from another file: small, as /dev/hwrng comes back only with all
 * that was asked of it, from a TPM perhaps. */
#define AHEAD 256
#define RETRY_NS 100000000ull  /* the host's own source is not ready */
#define EMPTY_NS 1000000000ull /* a file gave nothing */
#define END_NS 200000000ull    /* for a read under way, at the end */

/* -object rng-random, rng-builtin */
struct rng_source {
    struct object o; /* first */
    const char *filename;
};

/* Another file than the kernel's. */
struct rng_file {
    struct rng *r;
    int fd;
    struct worker worker;
    struct event done; /* the worker has read */
    ssize_t got;       /* the worker's, until then */
    bool reading;
    unsigned from, to; /* bytes that are there */
    uint8_t bytes[AHEAD];
};

struct rng {
    struct virtio v; /* first */
    struct pci_place pci;
    const char *name; /* rng= */
    const struct rng_source *source;
    uint64_t max_bytes; /* in each period; 0: as many as are asked for */
    uint32_t period_ms;
    uint64_t used; /* of max_bytes */
    uint64_t left; /* ns of the period, while held */
    struct timer period, retry;
    struct rng_file *file; /* NULL: getrandom */
    _Atomic uint64_t requests, bytes, limited;
    struct iovec iov[VQ_SIZE_MAX];
};

static struct rng *rng_of(struct virtio *v)
{
    return container_of(v, struct rng, v);
}

/* ------------------------------------------------------------- the sources */

/* syscalls loop if rng: getrandom, asked for by a driver that only the lab's
 * guests have */
static size_t rng_getrandom(const struct iovec *iov, unsigned n, size_t len)
{
    size_t done = 0;
    for (unsigned i = 0; i < n && done < len; i++) {
        size_t k = iov[i].iov_len;
        if (k > len - done)
            k = len - done;
        for (size_t at = 0; at < k;) {
            ssize_t got = getrandom((uint8_t *)iov[i].iov_base + at, k - at,
                                    GRND_NONBLOCK);
            if (got <= 0)
                return done;
            at += (size_t)got;
            done += (size_t)got;
        }
    }
    return done;
}

static void rng_file_job(void *arg)
{
    struct rng_file *f = arg;
    f->got = read(f->fd, f->bytes, sizeof(f->bytes));
    event_signal(f->done.fd);
}

/* What is there; where that is nothing, more is read. */
static size_t rng_take_ahead(struct rng_file *f, const struct iovec *iov,
                             unsigned n, size_t len)
{
    if (f->from == f->to) {
        if (!f->reading)
            worker_do(&f->worker, rng_file_job, f);
        f->reading = true;
        return 0;
    }
    if (len > f->to - f->from)
        len = f->to - f->from;
    iov_write(iov, n, 0, f->bytes + f->from, len);
    memset(f->bytes + f->from, 0, len);
    f->from += (unsigned)len;
    return len;
}

/* ------------------------------------------------------------------- work */

/* Bytes that may be given now; where max-bytes= has been, the end of the period
 * makes up for it. */
static size_t rng_allowed(struct rng *r)
{
    if (!r->max_bytes)
        return REQUEST_MAX;
    uint64_t left = r->used < r->max_bytes ? r->max_bytes - r->used : 0;
    if (!left)
        r->limited++;
    return left < REQUEST_MAX ? (size_t)left : REQUEST_MAX;
}

static void rng_count(struct rng *r, size_t len)
{
    r->requests++;
    r->bytes += len;
    if (!r->max_bytes)
        return;
    if (!r->period.due)
        timer_arm(&r->period, now_ns() + r->period_ms * 1000000ull);
    r->used += len;
}

/* One request. What breaks the queue, or NULL. */
static const char *rng_serve(struct rng *r)
{
    struct virtqueue *vq = &r->v.vq[0];
    struct event *again = &r->v.kick[0].ev;
    struct vq_chain c;
    if (!vq_more(vq)) {
        if (vq_rearm(vq))
            loop_again(again);
        return NULL;
    }
    size_t len = rng_allowed(r), got = 0;
    if (!len)
        return NULL;
    if (vq_pop(vq, &c, r->iov, VQ_SIZE_MAX) != VQ_CHAIN)
        return vq->fault;
    if (len > c.wlen)
        len = c.wlen;
    if (len && r->file)
        got = rng_take_ahead(r->file, r->iov + c.nr, c.nw, len);
    else if (len)
        got = rng_getrandom(r->iov + c.nr, c.nw, len);
    if (len && !got) {
        vq_undo_pop(vq, &c);
        if (!r->file)
            timer_arm(&r->retry, now_ns() + RETRY_NS);
        return NULL;
    }
    rng_count(r, got);
    vq_push(vq, &c, (uint32_t)got);
    vq_flush(vq);
    virtio_queue_irq(&r->v, vq);
    loop_again(again);
    return NULL;
}

static void rng_kick(struct virtio *v, unsigned q)
{
    struct rng *r = rng_of(v);
    const char *fault = NULL;
    pthread_mutex_lock(&v->lock);
    unsigned life = v->life;
    if (v->started && !v->dev.held && v->vq[q].state == VQ_READY &&
        pci_can_dma(&v->fn))
        fault = rng_serve(r);
    pthread_mutex_unlock(&v->lock);
    if (fault)
        virtio_needs_reset(v, life, fault);
}

static void rng_period_ends(struct timer *t)
{
    struct rng *r = container_of(t, struct rng, period);
    pthread_mutex_lock(&r->v.lock);
    r->used = 0;
    pthread_mutex_unlock(&r->v.lock);
    rng_kick(&r->v, 0);
}

static void rng_retry(struct timer *t)
{
    rng_kick(&container_of(t, struct rng, retry)->v, 0);
}

static void rng_file_done(struct event *ev, uint32_t got)
{
    struct rng_file *f = container_of(ev, struct rng_file, done);
    (void)got;
    event_drain(ev->fd);
    worker_wait(&f->worker, 0); /* it is about to say so */
    pthread_mutex_lock(&f->r->v.lock);
    f->reading = false;
    f->from = 0;
    f->to = f->got > 0 ? (unsigned)f->got : 0;
    pthread_mutex_unlock(&f->r->v.lock);
    if (f->to)
        rng_kick(&f->r->v, 0);
    else
        timer_arm(&f->r->retry, now_ns() + EMPTY_NS);
}

/* ------------------------------------------------------------------- type */

static void rng_start_queue(struct virtio *v, unsigned q)
{
    virtio_poke(v, q); /* there may be requests already */
}

static void rng_start(struct virtio *v)
{
    virtio_poke(v, 0);
}

/* Requests are served under the lock that is held here: none is under way. */
static void rng_stop(struct virtio *v)
{
    (void)v;
}

static void rng_stop_queue(struct virtio *v, unsigned q)
{
    (void)v;
    (void)q;
}

static const struct virtio_type rng_type = {
    .name = "virtio-rng",
    .id = 4,
    .class24 = 0x00ff00,
    .start = rng_start,
    .stop = rng_stop,
    .queue_stop = rng_stop_queue,
    .queue_start = rng_start_queue,
    .kick = rng_kick,
};

/* ------------------------------------------------------------ state, making */

static const struct field rng_source_fields[] = {
    FIELDS_OF(object_fields, "", struct rng_source, o),
    FIELD(TEXT, "filename", struct rng_source, filename, .arg = "FILE",
          .help = "rng-random: a device or a pipe (/dev/urandom)"),
    {.name = ""},
};
static const struct object_class rng_source_class = {
    .types = "rng-random rng-builtin",
    .help = "where a virtio-rng-pci takes its bytes",
    .fields = rng_source_fields,
    .size = sizeof(struct rng_source),
};

#define RNG(uses, kind, key, member, ...)                                      \
    FIELD_AS(uses, kind, key, struct rng, member, __VA_ARGS__)
static const struct field rng_fields[] = {
    FIELDS_OF(device_fields, "", struct rng, v.dev),
    FIELDS_OF(pci_fields, "", struct rng, pci),
    FIELDS_OF(virtio_fields, "", struct rng, v),
    FIELDS_OF(virtio_options, "", struct rng, v),
    RNG(OPTION, TEXT, "rng", name, .arg = "ID",
        .help = "an -object rng-random (the host kernel's bytes)"),
    RNG(OPTION, SIZE, "max-bytes", max_bytes, .min = 1,
        .help = "given at most in each period (no limit)"),
    RNG(OPTION, NUMBER, "period", period_ms, .min = 1, .max = INT32_MAX,
        .def = 65536, .help = "of max-bytes=, in milliseconds"),
    /* A guest's reset is no way to more. */
    RNG(STATE | KEPT, NUMBER, "used", used),
    RNG(STATE | KEPT, NUMBER, "left", left),
    COUNT("requests", struct rng, requests, "requests served"),
    COUNT("bytes", struct rng, bytes, "random bytes given to the guest"),
    COUNT("limited", struct rng, limited,
          "times a request waited for the end of max-bytes= period"),
    {.name = ""},
};

static int rng_loaded(struct device *dev)
{
    struct rng *r = container_of(dev, struct rng, v.dev);
    int err = virtio_pci_loaded(&r->v);
    if (!err && r->left > r->period_ms * 1000000ull)
        err = fail(-EINVAL, "%s: left: longer than period=", dev->id);
    if (err)
        r->left = 0;
    return err;
}

static void rng_hold(struct device *dev)
{
    struct rng *r = container_of(dev, struct rng, v.dev);
    r->left = timer_stop(&r->period);
    timer_cancel(&r->retry);
    virtio_pci_hold(&r->v);
}

static void rng_resume(struct device *dev)
{
    struct rng *r = container_of(dev, struct rng, v.dev);
    timer_go(&r->period, r->left);
    if (!r->left)
        r->used = 0;
    virtio_poke(&r->v, 0);
}

/* A read that is under way may be for ever: then it ends with the process. */
static void rng_close(struct rng_file *f)
{
    loop_del(&f->done);
    if (f->worker.thread.runs && !worker_wait(&f->worker, END_NS))
        return;
    if (f->worker.thread.runs)
        worker_end(&f->worker);
    if (f->done.fd >= 0)
        close(f->done.fd);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

static void rng_destroy(struct device *dev)
{
    struct rng *r = container_of(dev, struct rng, v.dev);
    timer_cancel(&r->period);
    timer_cancel(&r->retry);
    if (r->file)
        rng_close(r->file);
    virtio_pci_destroy(&r->v);
    free(r);
}

/* The kernel's own source by its device numbers, random and urandom alike. */
static bool rng_is_kernels(const struct stat *st)
{
    return S_ISCHR(st->st_mode) &&
           (st->st_rdev == makedev(1, 8) || st->st_rdev == makedev(1, 9));
}

/* 0; 1: the kernel's bytes are meant; -EINVAL (said). */
static int rng_check_file(const char *what, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return fail(-EINVAL, "%s: filename=%s: %s", what, path,
                    strerror(errno));
    if (rng_is_kernels(&st))
        return 1;
    if (!S_ISCHR(st.st_mode) && !S_ISFIFO(st.st_mode))
        return fail(-EINVAL,
                    "%s: filename=%s: must be a device or a pipe; a file has "
                    "the same bytes each time",
                    what, path);
    return 0;
}

static int rng_check_source(struct rng *r, struct needs *needs)
{
    const char *what = r->v.dev.opts.what;
    struct object *o = object_take(needs->objects, &rng_source_class, r->name);
    if (!o)
        return fail(-EINVAL,
                    "%s: rng=%s: there is no -object rng-random with that id",
                    what, r->name);
    r->source = container_of(o, struct rng_source, o);
    const char *path = r->source->filename;
    if (!path)
        return 0;
    if (strcmp(o->type, "rng-random") != 0)
        return fail(-EINVAL, "%s: filename= is for rng-random", o->opts.what);
    int err = rng_check_file(o->opts.what, path);
    if (err > 0)
        r->source = NULL;
    return err < 0 ? err : 0;
}

static int rng_check(struct device *dev, struct needs *needs)
{
    struct rng *r = container_of(dev, struct rng, v.dev);
    int err = virtio_check(&r->v, dev->opts.what);
    if (!err)
        err = pci_check(&r->pci, dev->opts.what, needs);
    if (!err && r->name)
        err = rng_check_source(r, needs);
    return err;
}

static int rng_open(struct rng *r, const char *path)
{
    struct loop *loop = r->v.dev.m->loop;
    struct rng_file *f = calloc(1, sizeof(*f));
    if (!f)
        return fail(-ENOMEM, "%s: out of memory", r->v.dev.id);
    r->file = f;
    f->r = r;
    f->done = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                             .want = EPOLLIN,
                             .ready = rng_file_done};
    /* Without waiting for the other end of a pipe. */
    f->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (f->fd < 0 || fcntl(f->fd, F_SETFL, 0) < 0)
        return fail(-errno, "%s: %s: %s", r->source->o.opts.what, path,
                    strerror(errno));
    int err = f->done.fd < 0 ? -EMFILE : loop_add(loop, &f->done);
    if (err)
        return fail(err, "%s: %s", r->v.dev.id, strerror(-err));
    return worker_start(&f->worker, "rng");
}

static int rng_create(struct machine *m, struct device *dev)
{
    struct rng *r = container_of(dev, struct rng, v.dev);
    dev->hold = rng_hold;
    dev->resume = rng_resume;
    dev->destroy = rng_destroy;
    thread_uses(USE_RNG);
    timer_init(&r->period, m->loop, rng_period_ends);
    timer_init(&r->retry, m->loop, rng_retry);
    r->v.offered = r->v.asked | 1ull << VIRTIO_F_VERSION_1;
    r->v.nvq = 1;
    r->v.vq[0].size_max = QUEUE_SIZE;
    int err = 0;
    if (r->source && r->source->filename)
        err = rng_open(r, r->source->filename);
    if (!err)
        err = virtio_pci_init(&r->v, m, &rng_type, &r->pci);
    if (!err)
        device_register(m, dev);
    return err;
}

static const struct device_alias rng_aliases[] = {VIRTIO_ALIASES("virtio-rng")};

const struct device_class virtio_rng_class = {
    .name = "virtio-rng-pci",
    .help = "random numbers",
    .fields = rng_fields,
    .size = sizeof(struct rng),
    .aliases = rng_aliases,
    .kinds = "virtio-pci virtio-rng-device",
    .object = &rng_source_class,
    .check = rng_check,
    .create = rng_create,
    .loaded = rng_loaded,
};
