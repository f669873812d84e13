/* SPDX-License-Identifier: MIT */
/* A running machine is saved into two files: its state, and its memory.
 *
 * Theory of operation. First the helper process makes both files, under names
 * of their own, so that what cannot be written is known while the guest runs.
 * Then the machine stands still: what it remembers is gathered at once, and the
 * worker writes the memory, and goes on when that is done. The files are
 * flushed to the disk, and last get their names, the memory's first: a state
 * file is there when the memory that belongs to it is. One process names both,
 * and takes the first one's back if it cannot name the second. Whatever goes
 * wrong, and whoever is killed, leaves the files of before as they were, and no
 * others.
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
    struct event stepped;  /* by the worker */
    void (*next)(void);    /* then */
    struct helper_ask ask; /* for both */
    struct event maker;    /* who gives them their names */
    struct parts parts;
    void (*more)(struct parts *out);
    void (*then)(struct machine *m); /* snapshot_then */
    bool works, writes, resumes, diff;
    int err;
    char why[512];
    void *who;
    void (*answer)(void *who, int err, const char *why);
    struct snapshot_file {
        int fd;
        char path[4096]; /* behind what is used at the start, as all of this
                            is: a page that is not touched is none */
    } file[FILES];
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

static void snapshot_close_files(void)
{
    if (snap.ask.tag)
        helper_forget(&snap.ask);
    loop_del(&snap.maker);
    if (snap.maker.fd >= 0)
        close(snap.maker.fd);
    snap.maker.fd = -1;
    for (int i = 0; i < FILES; i++) {
        if (snap.file[i].fd >= 0)
            close(snap.file[i].fd);
        snap.file[i].fd = -1;
    }
}

/* syscalls loop if control: close */
static void snapshot_end(void)
{
    snapshot_close_files();
    parts_free(&snap.parts);
    if (snap.err)
        pages_forget(&snap.pages);
    else
        pages_keep(&snap.pages);
    snap.m->busy = NULL;
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

static const char *snapshot_words(int err)
{
    return err == -EEXIST     ? "is there, and is no file"
           : err == -ENOTUNIQ ? "state= and mem= are the same file"
                              : strerror(-err);
}

/* What the helper says of one of them. */
static void snapshot_fail_file(int err, unsigned which)
{
    const struct snapshot_file *f = &snap.file[which == STATE_FILE];
    snapshot_fail(err, "snapshot: %s: %s", f->path, snapshot_words(err));
}

static void snapshot_name(void)
{
    int err = loop_add(snap.m->loop, &snap.maker);
    if (!err)
        err = helper_name(snap.maker.fd);
    if (!err)
        return;
    snapshot_fail_file(err, MEM);
    snapshot_end();
}

static void snapshot_named(struct event *ev, uint32_t got)
{
    unsigned which;
    (void)got;
    int err = helper_named(ev->fd, &which);
    if (err)
        snapshot_fail_file(err, which);
    snapshot_end();
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
        snapshot_name();
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

static void snapshot_have_files(struct helper_ask *a, int err, const int fd[3])
{
    snap.file[MEM].fd = fd[0];
    snap.file[STATE_FILE].fd = fd[1];
    snap.maker.fd = fd[2];
    if (err)
        snapshot_fail_file(err, a->which);
    if (snap.err)
        snapshot_end();
    else
        snapshot_take();
}

static int snapshot_set_path(struct snapshot_file *f, const char *key,
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
    return 0;
}

static int snapshot_ask(void)
{
    const char *const path[FILES] = {snap.file[MEM].path,
                                     snap.file[STATE_FILE].path};
    snap.ask = (struct helper_ask){.done = snapshot_have_files};
    snap.maker =
        (struct event){.fd = -1, .want = EPOLLIN, .ready = snapshot_named};
    int err = helper_create(&snap.ask, path);
    if (err == -EACCES || err == -EPIPE)
        return fail(-EACCES, "snapshot: %s: lies below no -allow-path DIR",
                    path[snap.ask.which]);
    return err ? fail(err, "snapshot: %s: %s", path[snap.ask.which],
                      strerror(-err))
               : 0;
}

static int snapshot_can(void)
{
    if (!snap.m || !snap.m->ops->save)
        return fail(-EOPNOTSUPP, "snapshot: this machine cannot be saved");
    if (snap.m->busy)
        return fail(-EBUSY, "snapshot: %s", snap.m->busy);
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
    if (!err)
        err = snapshot_set_path(&snap.file[MEM], "mem", t->mem, dir);
    if (!err)
        err = snapshot_set_path(&snap.file[STATE_FILE], "state", t->state, dir);
    if (!err)
        err = snapshot_ask();
    if (err)
        return err;
    snap.err = 0;
    snap.why[0] = '\0';
    snap.m->busy = "a snapshot is being taken";
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
        snap.file[i].fd = -1;
    snap.maker.fd = -1;
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
    snapshot_close_files();
    parts_free(&snap.parts);
    pages_close(&snap.pages);
    loop_del(&snap.stepped);
    close(snap.stepped.fd);
    snap.m = NULL;
}
