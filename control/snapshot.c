/* SPDX-License-Identifier: MIT */
/* A running machine is saved into two files: its state, and its memory.
 *
 * Theory of operation. First the helper process makes both files, under names
 * of their own, so that what cannot be written is known while the guest runs.
 * Then the machine stands still: what it remembers is gathered at once, and the
 * worker writes the memory, and goes on when that is done. The files are
 * flushed to the disk, and last get their names, the memory's first: a state
 * file is there when the memory that belongs to it is. Whatever goes wrong, and
 * whoever is killed, leaves the files of before as they were, and no others.
 *
 * Each step ends on the loop: by the helper's answer, or by an event that the
 * worker raises. */
#include "control/snapshot.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/parts.h"
#include "block/block.h"
#include "host/helper.h"
#include "machine/pages.h"

enum { MEM, STATE_FILE, FILES };
enum { FULL, DIFF };

static struct snapshot {
    struct machine *m;
    struct pages pages;
    struct event stepped; /* by the worker */
    void (*next)(void);   /* then */
    struct snapshot_file {
        struct helper_ask ask;
        const char *key;
        char path[4096];
        int fd;
        struct event maker; /* who gives it its name */
    } file[FILES];
    unsigned waiting; /* answers that are to come */
    struct parts parts;
    void (*more)(struct parts *out);
    void (*then)(struct machine *m); /* snapshot_then */
    bool busy, works, writes, resumes, diff;
    int err;
    char why[512];
    void *who;
    void (*answer)(void *who, int err, const char *why);
} snap;

static const char *const types[] = {"full", "diff", NULL};
const struct field snapshot_fields[] = {
    FIELD(TEXT, "state", struct snapshot_told, state, .arg = "FILE",
          .help = "for all but its memory"),
    FIELD(TEXT, "mem", struct snapshot_told, mem, .arg = "FILE",
          .help = "for its memory"),
    FIELD(WORD, "type", struct snapshot_told, type, .words = types,
          .help = "all memory, or what is another since the last"),
    {.name = ""},
};

bool snapshot_writes(void)
{
    return snap.writes;
}

bool snapshot_then(void (*then)(struct machine *m))
{
    if (snap.resumes)
        snap.then = then;
    return snap.resumes;
}

void snapshot_stay(void)
{
    snap.resumes = false;
}

/* ----------------------------------------------------------------- the end */

static void snapshot_close_file(struct snapshot_file *f)
{
    if (f->ask.tag)
        helper_forget(&f->ask);
    loop_del(&f->maker);
    if (f->maker.fd >= 0)
        close(f->maker.fd);
    if (f->fd >= 0)
        close(f->fd);
    f->fd = f->maker.fd = -1;
}

/* syscalls loop if control: close */
static void snapshot_end(void)
{
    for (int i = 0; i < FILES; i++)
        snapshot_close_file(&snap.file[i]);
    parts_free(&snap.parts);
    if (snap.err)
        pages_forget(&snap.pages);
    else
        pages_keep(&snap.pages);
    snap.busy = false;
    if (snap.answer)
        snap.answer(snap.who, snap.err, snap.why);
}

/* The first of the errors, in words; what else is said is its. */
__attribute__((format(printf, 2, 3))) static void
snapshot_fail(int err, const char *fmt, ...)
{
    va_list ap;
    if (snap.err)
        return;
    snap.err = err;
    va_start(ap, fmt);
    vsnprintf(snap.why, sizeof(snap.why), fmt, ap);
    va_end(ap);
}

/* ------------------------------------------------------------------- names */

static void snapshot_name(struct snapshot_file *f)
{
    int err = loop_add(snap.m->loop, &f->maker);
    if (!err)
        err = helper_name(f->maker.fd);
    if (!err)
        return;
    snapshot_fail(err, "snapshot: %s: %s", f->path, strerror(-err));
    snapshot_end();
}

static void snapshot_named(struct event *ev, uint32_t got)
{
    struct snapshot_file *f = container_of(ev, struct snapshot_file, maker);
    (void)got;
    int err = helper_named(ev->fd);
    loop_del(ev);
    if (err)
        snapshot_fail(err, "snapshot: %s: %s", f->path, strerror(-err));
    if (err || f == &snap.file[STATE_FILE])
        snapshot_end();
    else
        snapshot_name(&snap.file[STATE_FILE]);
}

/* ------------------------------------------------------------------- bytes */

static void snapshot_work(void (*job)(void *arg), void (*next)(void))
{
    snap.next = next;
    snap.works = true;
    snap.m->ops->work(snap.m, job, NULL);
}

static void snapshot_on_step(struct event *ev, uint32_t got)
{
    eventfd_t n;
    (void)got;
    if (eventfd_read(ev->fd, &n))
        return;
    snap.works = false;
    snap.next();
}

static void snapshot_flushed(void)
{
    if (snap.err)
        snapshot_end();
    else
        snapshot_name(&snap.file[MEM]);
}

/* syscalls worker if control: fsync */
static void snapshot_flush(void *arg)
{
    (void)arg;
    for (int i = 0; i < FILES; i++)
        if (fsync(snap.file[i].fd))
            snapshot_fail(-errno, "snapshot: %s: %s", snap.file[i].path,
                          strerror(errno));
    event_signal(snap.stepped.fd);
}

static void snapshot_written(void)
{
    void (*then)(struct machine * m) = snap.then;
    snap.writes = false;
    if (snap.resumes)
        machine_resume(snap.m);
    snap.resumes = false;
    snap.then = NULL;
    if (then)
        then(snap.m);
    if (snap.err)
        snapshot_end();
    else
        snapshot_work(snapshot_flush, snapshot_flushed);
}

static int snapshot_write_state(void)
{
    const struct parts *s = &snap.parts;
    for (size_t at = 0; at < s->n;) {
        ssize_t n =
            pwrite(snap.file[STATE_FILE].fd, s->p + at, s->n - at, (off_t)at);
        if (n < 0 && errno != EINTR)
            return -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static void snapshot_write(void *arg)
{
    (void)arg;
    int err =
        pages_write(&snap.pages, &snap.m->ram, snap.file[MEM].fd, snap.diff);
    if (err)
        snapshot_fail(err, "snapshot: %s: %s", snap.file[MEM].path,
                      strerror(-err));
    err = err ? 0 : snapshot_write_state();
    if (err)
        snapshot_fail(err, "snapshot: %s: %s", snap.file[STATE_FILE].path,
                      strerror(-err));
    event_signal(snap.stepped.fd);
}

static void snapshot_take(void)
{
    char why[512] = "";
    snap.resumes = !snap.m->paused;
    log_catch(why, sizeof(why));
    int err = snap.m->ops->can_save(snap.m); /* it may have begun to restart */
    if (!err) {
        machine_pause(snap.m);
        err = snap.m->ops->save(snap.m, &snap.parts);
        snap.more(&snap.parts);
    }
    if (!err && parts_end(&snap.parts))
        err = fail(-ENOMEM, "snapshot: out of memory");
    log_catch(NULL, 0);
    if (err) {
        snapshot_fail(err, "%s", why);
        snapshot_written();
        return;
    }
    snap.writes = true;
    snapshot_work(snapshot_write, snapshot_written);
}

/* ------------------------------------------------------------------- files */

static void snapshot_have_file(struct helper_ask *a, int err, const int fd[2])
{
    struct snapshot_file *f = container_of(a, struct snapshot_file, ask);
    f->fd = fd[0];
    f->maker.fd = fd[1];
    if (err)
        snapshot_fail(err, "snapshot: %s=%s: %s", f->key, f->path,
                      strerror(-err));
    if (--snap.waiting)
        return;
    if (snap.err)
        snapshot_end();
    else
        snapshot_take();
}

static int snapshot_ask(struct snapshot_file *f, const char *key,
                        const char *path, const char *dir)
{
    bool whole = path && *path == '/';
    if (!path)
        return fail(-EINVAL, "snapshot: %s= is missing", key);
    if (!whole && !dir)
        return fail(-EINVAL, "snapshot: %s=: must be absolute: %.200s", key,
                    path);
    int n = snprintf(f->path, sizeof(f->path), "%s%s%s", whole ? "" : dir,
                     whole ? "" : "/", path);
    if (n >= (int)sizeof(f->path))
        return fail(-ENAMETOOLONG, "snapshot: %s=: too long: %.200s", key,
                    path);
    f->key = key;
    f->fd = f->maker.fd = -1;
    f->ask = (struct helper_ask){.done = snapshot_have_file};
    f->maker =
        (struct event){.fd = -1, .want = EPOLLIN, .ready = snapshot_named};
    int err = helper_create(&f->ask, f->path);
    if (err == -EACCES || err == -EPIPE)
        return fail(-EACCES, "snapshot: %s: lies below no -allow-path DIR",
                    path);
    return err ? fail(err, "snapshot: %s: %s", path, strerror(-err)) : 0;
}

static int snapshot_can(void)
{
    if (!snap.m || !snap.m->ops->save)
        return fail(-EOPNOTSUPP, "snapshot: this machine cannot be saved");
    if (snap.busy)
        return fail(-EBUSY, "snapshot: another one is being taken");
    if (snap.m->leaving)
        return fail(-EBUSY, "snapshot: it is being handed over");
    for (const struct blockdev *b = blockdevs; b; b = b->next)
        if (b->stays)
            return fail(-EOPNOTSUPP, "disk %s cannot be saved: %s", b->id,
                        b->stays);
    return snap.m->ops->can_save(snap.m);
}

int snapshot_begin(const struct snapshot_told *t, const char *dir, void *who,
                   void (*answer)(void *who, int err, const char *why))
{
    int err = snapshot_can();
    if (!err && t->state && t->mem && !strcmp(t->state, t->mem))
        err = fail(-EINVAL, "snapshot: state= and mem= are the same file");
    if (err)
        return err;
    snap.err = 0;
    snap.why[0] = '\0';
    err = snapshot_ask(&snap.file[MEM], "mem", t->mem, dir);
    if (!err)
        err = snapshot_ask(&snap.file[STATE_FILE], "state", t->state, dir);
    if (err) {
        snapshot_close_file(&snap.file[MEM]);
        return err;
    }
    snap.waiting = FILES;
    snap.busy = true;
    snap.diff = t->type == DIFF;
    snap.who = who;
    snap.answer = answer;
    return -EINPROGRESS;
}

int snapshot_open(struct machine *m, int base, void (*more)(struct parts *out))
{
    snap.m = m;
    snap.more = more;
    for (int i = 0; i < FILES; i++)
        snap.file[i].fd = snap.file[i].maker.fd = -1;
    pages_open(&snap.pages, base);
    snap.stepped = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                  .want = EPOLLIN,
                                  .ready = snapshot_on_step};
    int err = snap.stepped.fd < 0 ? -errno : loop_add(m->loop, &snap.stepped);
    return err ? fail(err, "eventfd: %s", strerror(-err)) : 0;
}

void snapshot_abandon(void)
{
    snap.answer = NULL;
}

static void snapshot_nothing(void *arg)
{
    (void)arg;
}

void snapshot_close(void)
{
    if (!snap.m)
        return;
    snapshot_abandon();
    if (snap.works) /* waits until it is done */
        snap.m->ops->work(snap.m, snapshot_nothing, NULL);
    for (int i = 0; i < FILES; i++)
        snapshot_close_file(&snap.file[i]);
    parts_free(&snap.parts);
    pages_close(&snap.pages);
    loop_del(&snap.stepped);
    close(snap.stepped.fd);
    snap.m = NULL;
}
