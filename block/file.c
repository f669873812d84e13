/* SPDX-License-Identifier: MIT */
/* -blockdev file: a file or a block device of the host's as a disk.
 *
 * Theory of operation. submit() lines requests up, kick() hands those to the
 * threads of the disk's own (pool.c) that may run now: a discard, zeroes, and a
 * write of a part of a block wait for all before them, and all after wait for
 * those. So a late discard does not reach what was written after it, and no two
 * requests change one block at once. With aio=io_uring reads and writes go to a
 * ring (ring.c) instead, and to a thread what a ring does not take, or did only
 * in part. What is done comes back by one eventfd, many at a time. All of this
 * is the loop's thread's; the threads touch nothing but the request they were
 * given (transfer.c). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/handed.h"
#include "block/file.h"
#include "block/list.h"
#include "host/fdset.h"

#define FILE_HOLE_MAX (1ull << 30)  /* made in no time */
#define DEVICE_ZERO_MAX (16u << 20) /* may be written, a byte for a byte */
#define READ_NOW_MAX (256u << 10)   /* some 20 us of the loop's time */
enum { AIO_THREADS, AIO_RING, AIO_NATIVE };
/* Of 4 KiB reads 32 at a time past the page cache, 1, 4, 8, 16 and 32 threads
 * did 9, 19, 39, 48 and 37 thousand a second. In the page cache more than one
 * only wait for each other. */
#define DIRECT_THREADS 16

static struct file *file_of(struct blockdev *b)
{
    return container_of(b, struct file, b);
}

/* What a line begins with. */
static const char *file_who(const struct file *f)
{
    static char who[512];
    snprintf(who, sizeof(who), "disk %s: %s", f->b.id, f->path);
    return who;
}

/* ---------------------------------------------------------------- requests */

static void file_finish(struct file *f, struct blk_req *r, int err)
{
    f->running--;
    f->alone &= f->running != 0;
    blockdev_end(&f->b, r, err);
}

static bool file_takes_ring(const struct file *f, const struct blk_req *r)
{
    return f->ring.fd >= 0 && r->op <= BLK_WRITE &&
           r->niov <= RING_PIECES_MAX && transfer_fits(f, r);
}

static void file_begin_ring(struct file *f)
{
    struct blk_req *r = ring_submit(&f->ring);
    if (r)
        pool_give(&f->pool, r, RING_ENTRIES);
}

/* What is in the page cache is read at once, so much a time: to hand it to a
 * thread takes several times as long. It is told of in the loop's next turn. */
static bool file_reads_now(struct file *f, struct blk_req *r, uint64_t *left)
{
    if (r->op != BLK_READ || r->len > *left || f->b.direct || f->never_now)
        return false;
    int now = transfer_now(f, r);
    f->never_now = now < 0;
    if (now <= 0)
        return false;
    *left -= r->len;
    r->next = f->now;
    f->now = r;
    loop_again(&f->ev);
    return true;
}

static void file_reap_now(struct file *f)
{
    struct blk_req *r = f->now, *next;
    f->now = NULL;
    for (; r; r = next) {
        next = r->next;
        file_finish(f, r, 0);
    }
}

/* Begins what may run. */
static void file_feed(struct file *f)
{
    struct blk_req *list = NULL, **last = &list;
    uint64_t left = READ_NOW_MAX;
    unsigned n = 0;
    while (f->first) {
        struct blk_req *r = f->first;
        bool alone = transfer_alone(f, r), ring = file_takes_ring(f, r);
        if ((f->running && (alone || f->alone)) ||
            (ring && ring_full(&f->ring)))
            break;
        f->first = r->next;
        f->running++;
        f->alone = alone;
        r->next = NULL;
        if (ring) {
            ring_put(&f->ring, r, transfer_flags(f, r->op == BLK_WRITE));
            continue;
        }
        if (file_reads_now(f, r, &left))
            continue;
        *last = r;
        last = &r->next;
        n++;
    }
    if (!f->first)
        f->last = &f->first;
    pool_give(&f->pool, list, n);
    if (f->ring.queued)
        file_begin_ring(f);
}

/* What was cut short, or would have had to wait, is done by a thread. */
static void file_reap_ring(struct file *f)
{
    struct blk_req *r;
    int64_t got;
    while ((r = ring_take(&f->ring, &got))) {
        if (got == (int64_t)r->len)
            file_finish(f, r, 0);
        else if (got < 0 && got != -EAGAIN && got != -EINTR)
            file_finish(f, r, (int)got);
        else
            pool_give(&f->pool, r, 1);
    }
}

static void file_reap(struct file *f)
{
    struct blk_req *r = pool_done(&f->pool), *next;
    for (; r; r = next) {
        next = r->next;
        file_finish(f, r, r->err);
    }
    file_reap_ring(f);
    file_reap_now(f);
    file_feed(f);
}

static void file_ready(struct event *ev, uint32_t got)
{
    (void)got; /* told of once: nothing to read */
    file_reap(container_of(ev, struct file, ev));
}

static void file_submit(struct blockdev *b, struct blk_req *r)
{
    struct file *f = file_of(b);
    blockdev_begin(b);
    r->next = NULL;
    *f->last = r;
    f->last = &r->next;
}

static void file_kick(struct blockdev *b)
{
    file_feed(file_of(b));
}

static void file_cancel(struct file *f)
{
    struct blk_req *mine = f->first, *r = pool_cancel(&f->pool), *next;
    f->first = NULL;
    f->last = &f->first;
    for (; r; r = next) {
        next = r->next;
        file_finish(f, r, -ECANCELED);
    }
    for (r = mine; r; r = next) {
        next = r->next;
        blockdev_end(&f->b, r, -ECANCELED);
    }
}

/* syscalls loop if disk: poll, of a guest that is reset in mid-traffic */
static void file_drain(struct blockdev *b, bool cancel)
{
    struct file *f = file_of(b);
    if (cancel)
        file_cancel(f);
    file_feed(f);
    while (f->running) {
        struct pollfd p = {.fd = f->ev.fd, .events = POLLIN};
        if (!f->now && (f->ring.fd < 0 || !ring_has(&f->ring)))
            poll(&p, 1, -1);
        event_drain(f->ev.fd);
        file_reap(f);
    }
}

/* ----------------------------------------------------------- what is behind */

/* What the disk sees of it. */
static void file_show(struct file *f)
{
    struct blockdev *b = &f->b;
    const struct backing *at = &f->at;
    uint32_t unit = at->align < BLK_SECTOR ? BLK_SECTOR : at->align;
    b->size = at->size - at->size % unit;
    b->physical = at->physical;
    b->optimal = at->optimal;
    b->can_flush = b->cache != BLK_UNSAFE;
    b->can_discard = at->can_discard && b->discard && !b->readonly;
    b->can_zero = at->can_zero && !b->readonly;
    b->zero_may_unmap = b->can_discard;
    b->discard_align = at->physical;
    b->max_discard = FILE_HOLE_MAX;
    b->max_zero = at->device ? DEVICE_ZERO_MAX : FILE_HOLE_MAX;
    if (at->size % unit)
        log_line("warning: %s: its last %u bytes are no whole block: the guest "
                 "does not see them",
                 file_who(f), (unsigned)(at->size % unit));
}

/* Made of where it lies, so that it stays the same. */
static void file_serial(struct file *f)
{
    const struct backing *at = &f->at;
    if (!f->b.told_serial)
        snprintf(f->b.serial, sizeof(f->b.serial), "%x-%llx",
                 (unsigned)(at->dev >> 32 << 20 | (at->dev & 0xfffff)),
                 (unsigned long long)at->ino);
}

static int file_look(struct file *f, struct backing *at, const char *who,
                     bool wait)
{
    int err = backing_look(at, who, f->b.direct, !f->b.readonly);
    if (!err && f->locking != OFF)
        err = backing_lock(at, who, !f->b.readonly, f->locking == ON, wait);
    return err;
}

static int file_resize(struct blockdev *b, uint64_t size);

/* Nobody said that raw is meant: an image of another format, or what a guest
 * may have written, does not become one by a swap.
 *
 * syscalls loop if disk: pread64, of a file that is to take another's place */
static int file_check_format(const struct file *f, int fd, const char *who)
{
    const char *guessed = opts_str(&f->b.opts, BLOCKDEV_GUESSED, NULL);
    const char *format = guessed ? blockdev_looks_like(fd) : NULL;
    return format ? fail(-EINVAL,
                         "%s: begins like a %s image; a -drive with format=raw "
                         "takes it, and gives the guest these bytes",
                         who, format)
                  : 0;
}

/* Its own file is looked at again: its locks are another's to a second
 * descriptor.
 *
 * syscalls loop if disk: close, of a file that another takes the place of */
static int file_swap(struct blockdev *b, int fd, const char *path)
{
    struct file *f = file_of(b);
    struct backing at = {.fd = fd};
    if (backing_is(&f->at, fd)) {
        close(fd);
        return file_resize(b, 0);
    }
    char who[512], *own = strdup(path);
    uint64_t was = b->size;
    snprintf(who, sizeof(who), "disk %s: %s", b->id, path);
    int flags = fcntl(fd, F_GETFL),
        err = own ? 0 : fail(-ENOMEM, "%s: out of memory", who);
    if (!err && flags >= 0 && !b->readonly && (flags & O_ACCMODE) != O_RDWR)
        err = fail(-EACCES, "%s: opened for reading only", who);
    if (!err)
        err = file_check_format(f, fd, who);
    if (!err)
        err = file_look(f, &at, who, false);
    if (err) {
        close(fd);
        free(own);
        return err;
    }
    file_drain(b, false);
    if (f->ring.fd >= 0 && ring_file(&f->ring, fd))
        ring_end(&f->ring); /* the thread does it */
    close(f->at.fd);
    free(f->own_path);
    f->at = at;
    f->path = f->own_path = own;
    f->lost = f->resized = f->never_now = false;
    file_show(f);
    if (b->size != was && b->resized)
        b->resized(b->disk);
    return 0;
}

/* syscalls loop if disk: ftruncate, of a size that changes while it runs */
static int file_truncate(struct file *f, uint64_t size)
{
    if (f->at.device)
        return fail(-EINVAL, "%s: a block device has the size it has",
                    file_who(f));
    if (f->b.readonly)
        return fail(-EROFS, "%s: is read-only", file_who(f));
    file_drain(&f->b, false);
    if (ftruncate(f->at.fd, (off_t)size)) {
        int err = -errno;
        return fail(err, "%s: to %llu bytes: %s", file_who(f),
                    (unsigned long long)size, strerror(-err));
    }
    f->resized = true;
    return 0;
}

static int file_resize(struct blockdev *b, uint64_t size)
{
    struct file *f = file_of(b);
    uint64_t was = b->size;
    int err = size ? file_truncate(f, size) : 0;
    if (!err)
        err = backing_size(&f->at, file_who(f));
    if (err)
        return err;
    file_show(f);
    if (b->size != was && b->resized)
        b->resized(b->disk);
    return 0;
}

/* --------------------------------------------------------------- beginning */

static void file_close(struct blockdev *b)
{
    struct file *f = file_of(b);
    file_drain(b, true);
    pool_end(&f->pool, FILE_BOUNCE);
    ring_end(&f->ring);
    loop_del(&f->ev);
    if (f->ev.fd >= 0)
        close(f->ev.fd);
    if (f->at.fd >= 0)
        close(f->at.fd);
    free(f->own_path);
}

/* With its locks, which are the description's. */
static int file_handed(struct file *f)
{
    int flags = fcntl(f->at.fd, F_GETFL);
    bool reads = flags >= 0 && (flags & O_ACCMODE) == O_RDONLY;
    if (flags < 0 || (reads && !f->b.readonly && !f->auto_read_only))
        return fail(-EACCES, "%s: what is handed over cannot be written to",
                    file_who(f));
    f->b.readonly |= reads;
    return 0;
}

/* With auto-read-only it is opened as it can be. */
static int file_open_path(struct file *f)
{
    int flags = O_CLOEXEC | O_NOCTTY;
    f->at.fd = handed_take("disk:%s", f->b.id);
    if (f->at.fd >= 0)
        return file_handed(f);
    f->at.fd = fdset_open(f->path, flags | (f->b.readonly ? O_RDONLY : O_RDWR));
    if (f->at.fd < 0 && f->auto_read_only && !f->b.readonly &&
        (errno == EACCES || errno == EPERM || errno == EROFS)) {
        f->b.readonly = true;
        f->at.fd = fdset_open(f->path, flags | O_RDONLY);
    }
    if (f->at.fd >= 0)
        return 0;
    int err = -errno;
    return fail(err, "%s: %s", file_who(f), strerror(-err));
}

static void file_begin_uring(struct file *f)
{
    int err = ring_begin(&f->ring, f->at.fd, f->ev.fd);
    if (err)
        log_line("disk %s: no io_uring here (%s): threads do its transfers",
                 f->b.id, strerror(-err));
    else
        thread_uses(USE_DISK_RING);
}

static int file_begin(struct file *f, struct loop *l)
{
    f->ev.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (f->ev.fd < 0)
        return fail(-errno, "%s: eventfd: %s", file_who(f), strerror(errno));
    if (f->aio != AIO_THREADS)
        file_begin_uring(f);
    unsigned threads = f->threads                      ? f->threads
                       : f->b.direct && f->ring.fd < 0 ? DIRECT_THREADS
                                                       : 1;
    f->pool.work = transfer_do;
    f->pool.ctx = f;
    f->pool.fd = f->ev.fd;
    char name[sizeof(f->pool.thread->thread.name)];
    snprintf(name, sizeof(name), "disk %s", f->b.id);
    int err = pool_begin(&f->pool, threads, FILE_BOUNCE, name);
    return err ? err : loop_add(l, &f->ev);
}

static int file_open(struct blockdev *b, struct loop *l)
{
    struct file *f = file_of(b);
    f->at.fd = f->ring.fd = -1;
    f->ev = (struct event){
        .fd = -1, .want = EPOLLIN | EPOLLET, .ready = file_ready};
    f->last = &f->first;
    b->submit = file_submit;
    b->kick = file_kick;
    b->drain = file_drain;
    b->resize = file_resize;
    b->swap = file_swap;
    b->close = file_close;
    int err = file_open_path(f);
    if (!err)
        err = file_look(f, &f->at, file_who(f), true);
    if (err)
        return err;
    handed_keep(&f->at.fd, "disk:%s", b->id);
    b->handed = true;
    thread_uses(USE_DISK);
    if (f->at.device)
        thread_uses(USE_DISK_DEVICE);
    file_serial(f);
    file_show(f);
    return file_begin(f, l);
}

/* ---------------------------------------------------------------- checking */

/* Another disk's on the same file: of both, nobody else may write. */
static int file_check_others(struct file *f, const struct stat *st)
{
    struct stat other;
    for (struct blockdev *b = blockdevs; b; b = b->next) {
        const struct file *o = container_of(b, struct file, b);
        if (b->cls != &file_class || (f->b.readonly && b->readonly) ||
            f->locking == OFF || o->locking == OFF ||
            fdset_stat(o->path, &other))
            continue;
        bool same =
            S_ISBLK(st->st_mode)
                ? S_ISBLK(other.st_mode) && other.st_rdev == st->st_rdev
                : other.st_dev == st->st_dev && other.st_ino == st->st_ino;
        if (same)
            return fail(-EINVAL,
                        "%s: disk %s has this file already; locking=off opens "
                        "it all the same",
                        file_who(f), b->id);
    }
    return 0;
}

static int file_check(struct blockdev *b)
{
    struct file *f = file_of(b);
    struct stat st;
    if (!f->path || !*f->path)
        return fail(-EINVAL, "%s: filename= is missing", b->opts.what);
    if (handed_has("disk:%s", b->id)) /* that, whatever the name leads to now */
        return 0;
    if (fdset_stat(f->path, &st)) {
        int err = -errno;
        return fail(err, "%s: %s", file_who(f), strerror(-err));
    }
    if (S_ISDIR(st.st_mode))
        return fail(-EISDIR, "%s: is a directory", file_who(f));
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return fail(-EINVAL, "%s: neither a file nor a block device",
                    file_who(f));
    if (!fdset_names(f->path) &&
        access(f->path,
               b->readonly || f->auto_read_only ? R_OK : R_OK | W_OK)) {
        int err = -errno;
        return fail(err, "%s: %s%s", file_who(f), strerror(-err),
                    b->readonly ? "" : "; readonly=on only reads it");
    }
    return file_check_others(f, &st);
}

/* QEMU's native is the older way of the kernel's own; there is one. */
static const char *const aio_words[] = {"threads", "io_uring", "native", NULL};

static const struct opts_quiet file_quiet[] = {
    {"detect-zeroes", "off", "zeroes are written as they come"},
    {"force-share", "off", "locking=off"},
    {"drop-cache", NULL, NULL},
    {"check-cache-dropped", NULL, NULL},
    {BLOCKDEV_GUESSED, NULL, NULL},
    {0}};

static const struct field file_fields[] = {
    FIELDS_OF(blockdev_fields, "", struct file, b),
    FIELD(TEXT, "filename", struct file, path, .arg = "FILE",
          .help = "a file, or a block device"),
    FIELD(FLAG, "auto-read-only", struct file, auto_read_only,
          .help = "read-only, where it cannot be written to"),
    FIELD(WORD, "aio", struct file, aio, .words = aio_words,
          .help = "who does the transfers; native is io_uring"),
    FIELD(FLAG, "locking", struct file, locking, .def = AUTO, .max = AUTO,
          .help = "keep other processes from it"),
    FIELD(NUMBER, "threads", struct file, threads, .min = 1,
          .max = POOL_THREADS_MAX,
          .help = "at a time (1; past the page cache 16)"),
    FIELDS_QUIET(file_quiet),
    {.help = NULL},
};

const struct blockdev_class file_class = {
    .name = "file",
    .help = "a file, or a block device",
    .fields = file_fields,
    .size = sizeof(struct file),
    .check = file_check,
    .open = file_open,
};
