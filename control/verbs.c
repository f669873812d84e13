/* SPDX-License-Identifier: MIT */
/* What can be asked of a machine while it runs.
 *
 * Theory of operation. A row is a verb, with what it is told as a table of
 * fields, so a client's words are looked at as options are: an unknown key is
 * named, a value out of its bounds refused, and nothing is done then. What only
 * a device knows how to do (press a button, say) is a row of its class and is
 * found by its name, so a new device brings its verbs along. The dialects
 * (api.c) and the command (ctl.c) only say which verb is meant. */
#include "control/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/block.h"
#include "control/metrics.h"
#include "control/snapshot.h"
#include "control/upgrade.h"
#include "host/fdset.h"
#include "host/helper.h"
#include "net/net.h"

const char *verbs_state(const struct machine *m)
{
    return m->paused ? "Paused" : m->started ? "Running" : "Not started";
}

static int verbs_status(void *thing, const void *told, struct text *out)
{
    const struct control *c = thing;
    (void)told;
    text_put(out, "{\"id\":");
    text_quote(out, c->m->name ? c->m->name : "anonymous-instance");
    text_put(out,
             ",\"state\":\"%s\",\"vmm_version\":\"" VERSION
             "\",\"app_name\":\"vmm\"}",
             verbs_state(c->m));
    return 0;
}

/* What is done to it now would be lost on the way. */
static int verbs_stays(const struct machine *m, const char *what)
{
    return m->leaving ? fail(-EBUSY, "%s: it is being handed over", what) : 0;
}

static int verbs_pause(void *thing, const void *told, struct text *out)
{
    struct machine *m = ((struct control *)thing)->m;
    (void)told, (void)out;
    int err = verbs_stays(m, "pause");
    if (err)
        return err;
    snapshot_stay();
    machine_pause(m);
    return 0;
}

static int verbs_resume(void *thing, const void *told, struct text *out)
{
    struct machine *m = ((struct control *)thing)->m;
    (void)told, (void)out;
    if (snapshot_writes())
        return fail(-EBUSY, "resume: its memory is being written");
    int err = verbs_stays(m, "resume");
    if (err)
        return err;
    if (m->over)
        return fail(-EBUSY, "the guest has ended (-no-shutdown); reset starts "
                            "it again");
    machine_resume(m);
    return 0;
}

static int verbs_reset(void *thing, const void *told, struct text *out)
{
    struct machine *m = ((struct control *)thing)->m;
    (void)told, (void)out;
    int err = verbs_stays(m, "reset");
    if (!err)
        machine_ask(m, STOP_RESET);
    return err;
}

static int verbs_quit(void *thing, const void *told, struct text *out)
{
    struct machine *m = ((struct control *)thing)->m;
    (void)told, (void)out;
    machine_ask(m, STOP_POWEROFF);
    return 0;
}

/* ------------------------------------------------------- what takes its time
 */

#define LATER_NS 8000000000ull /* for the helper to open something */

/* The one thing that is being opened: the sandbox can open none, so the helper
 * process does it, which may take its time. */
static struct later {
    struct helper_ask ask;
    struct timer deadline;
    struct blockdev *b; /* whose file it is, */
    struct netdev *nd;  /* or interface */
    char name[4096];
    int fd[NET_QUEUES_MAX];
    unsigned nfd;
    void *who;
    void (*answer)(void *who, int err, const char *why); /* NULL: none is */
} later;

static int verbs_busy(const char *verb)
{
    return fail(-EBUSY, "%s: something else is being opened; ask again", verb);
}

static void verbs_answer(int err, const char *why)
{
    void (*answer)(void *who, int err, const char *why) = later.answer;
    timer_cancel(&later.deadline);
    helper_forget(&later.ask); /* closes what comes late */
    later.answer = NULL;
    answer(later.who, err, why);
}

static void verbs_close_queues(void)
{
    while (later.nfd)
        close(later.fd[--later.nfd]);
}

static void verbs_too_late(struct timer *t)
{
    char why[512];
    (void)t;
    verbs_close_queues();
    snprintf(why, sizeof(why), "%.400s: it could not be opened in %d s",
             later.name, (int)(LATER_NS / 1000000000));
    verbs_answer(-ETIMEDOUT, why);
}

/* The helper is asked: the answer comes later, or not at all. */
static int verbs_wait(struct control *c)
{
    later.who = c->who;
    later.answer = c->answer;
    timer_init(&later.deadline, c->m->loop, verbs_too_late);
    timer_arm(&later.deadline, now_ns() + LATER_NS);
    return -EINPROGRESS;
}

void verbs_end(void)
{
    snapshot_abandon();
    upgrade_abandon();
    if (!later.answer)
        return;
    timer_cancel(&later.deadline);
    helper_forget(&later.ask);
    verbs_close_queues();
    later.answer = NULL;
}

/* ------------------------------------------------------------------ cables */

struct link_told {
    const char *id;
    uint8_t state;
};
static const char *const link_words[] = {"down", "up", NULL};
static const struct field link_fields[] = {
    FIELD(TEXT, "id", struct link_told, id, .arg = "ID",
          .help = "a netdev, or a NIC"),
    FIELD(WORD, "state", struct link_told, state, .words = link_words,
          .def = 2),
    {.name = ""},
};

/* Of a netdev's id, or a NIC's. */
static struct netdev *verbs_netdev(struct machine *m, const char *id)
{
    struct netdev *nd = netdev_find(id);
    for (const struct device *d = m->devices; d && !nd; d = d->next)
        if (!strcmp(d->id, id))
            nd = netdev_find(opts_str(&d->opts, "netdev", ""));
    return nd;
}

static int verbs_link(void *thing, const void *told, struct text *out)
{
    const struct link_told *t = told;
    (void)out;
    if (!t->id || t->state == 2)
        return fail(-EINVAL, "link: id= and state= are needed: ID up|down");
    struct netdev *nd = verbs_netdev(((struct control *)thing)->m, t->id);
    if (!nd)
        return fail(-ENOENT, "link: there is no netdev or NIC %s", t->id);
    netdev_plug(nd, t->state);
    return 0;
}

struct netdev_told {
    const char *id, *ifname;
};
static const struct field netdev_verb_fields[] = {
    FIELD(TEXT, "id", struct netdev_told, id, .arg = "ID",
          .help = "a netdev, or a NIC"),
    FIELD(TEXT, "ifname", struct netdev_told, ifname, .arg = "[TAP]",
          .help = "takes its place; an -allow-tap; empty: none does"),
    {.name = ""},
};

static const char *verbs_why_no_tap(int err)
{
    switch (err) {
    case -ENODEV:
        return "there is no such interface";
    case -EBUSY:
        return "another process uses it";
    case -EINVAL:
        return "is no TAP, or was made with other flags (vnet_hdr, "
               "multi_queue)";
    default:
        return strerror(-err);
    }
}

/* One queue after the other. */
static int verbs_ask_tap(void)
{
    return helper_tap(&later.ask, later.name, later.nd->vnet_hdr,
                      later.nd->nq > 1);
}

static void verbs_tap_open(struct helper_ask *a, int err, const int fd[2])
{
    char why[512] = "";
    (void)a;
    if (!err)
        later.fd[later.nfd++] = fd[0];
    if (!err && later.nfd < later.nd->nq) {
        err = verbs_ask_tap();
        if (!err)
            return;
    }
    log_catch(why, sizeof(why));
    if (err) {
        fail(err, "netdev: %s: %s", later.name, verbs_why_no_tap(err));
        verbs_close_queues();
    } else {
        later.nfd = 0;
        err = later.nd->swap(later.nd, later.fd, later.name);
    }
    log_catch(NULL, 0);
    verbs_answer(err, why);
}

/* Nothing is behind it until another takes the place. */
static int verbs_drop(struct netdev *nd)
{
    if (later.answer && later.nd == nd)
        return verbs_busy("netdev");
    nd->drop(nd);
    return 0;
}

static int verbs_move(void *thing, const void *told, struct text *out)
{
    struct control *c = thing;
    const struct netdev_told *t = told;
    (void)out;
    if (!t->id || !t->ifname)
        return fail(-EINVAL, "netdev: id= and ifname= are needed: ID TAP");
    struct netdev *nd = verbs_netdev(c->m, t->id);
    if (!nd)
        return fail(-ENOENT, "netdev: there is no netdev or NIC %s", t->id);
    if (!nd->swap)
        return fail(-EOPNOTSUPP,
                    "netdev: no interface can take the place of "
                    "%s",
                    nd->id);
    if (!*t->ifname)
        return verbs_drop(nd);
    if (later.answer)
        return verbs_busy("netdev");
    snprintf(later.name, sizeof(later.name), "%s", t->ifname);
    later.nd = nd;
    later.ask.done = verbs_tap_open;
    int err = verbs_ask_tap();
    if (err == -EACCES || err == -EPIPE)
        return fail(-EACCES, "netdev: %.40s: is no -allow-tap NAME", t->ifname);
    return err ? fail(err, "netdev: %.40s: %s", t->ifname, strerror(-err))
               : verbs_wait(c);
}

static const char *const capture_words[] = {"off", "on", NULL};
static const struct field capture_fields[] = {
    FIELD(TEXT, "id", struct link_told, id, .arg = "ID",
          .help = "a filter-dump, or its netdev"),
    FIELD(WORD, "state", struct link_told, state, .words = capture_words,
          .def = 2),
    {.name = ""},
};

static int verbs_capture(void *thing, const void *told, struct text *out)
{
    const struct link_told *t = told;
    (void)thing, (void)out;
    if (!t->id || t->state == 2)
        return fail(-EINVAL, "capture: id= and state= are needed: ID on|off");
    int err = dump_switch(t->id, t->state);
    return err ? fail(err,
                      "capture: there is none of that id, nor of a netdev's; "
                      "-object filter-dump,netdev=%s,file=FILE,status=off "
                      "makes one that waits",
                      t->id)
               : 0;
}

/* ------------------------------------------------------------------- disks */

struct disk_told {
    const char *id, *path;
    uint64_t size;
};
static const struct field disk_fields[] = {
    FIELD(TEXT, "id", struct disk_told, id, .arg = "ID",
          .help = "a drive, or a disk of it"),
    FIELD(TEXT, "path", struct disk_told, path, .arg = "[FILE]",
          .help = "takes its place; below an -allow-path"),
    FIELD(SIZE, "size", struct disk_told, size, .help = "to have from now on"),
    {.name = ""},
};

/* The helper's errors, which are the kernel's. */
static const char *verbs_why(int err)
{
    switch (err) {
    case -EXDEV:
        return "leads out of its -allow-path DIR, by .. or a link";
    case -EACCES:
        return "is no file or block device that the VMM's user may open "
               "(-runas)";
    default:
        return strerror(-err);
    }
}

static void verbs_file_open(struct helper_ask *a, int err, const int fd[2])
{
    char why[512] = "";
    (void)a;
    log_catch(why, sizeof(why));
    if (err)
        fail(err, "disk: %s: %s", later.name, verbs_why(err));
    else
        err = later.b->swap(later.b, fd[0], later.name);
    log_catch(NULL, 0);
    verbs_answer(err, why);
}

/* By a descriptor that is here already. */
static int verbs_swap_given(struct blockdev *b, const char *path)
{
    int fd = fdset_open(path, b->readonly ? O_RDONLY : O_RDWR);
    return fd < 0 ? fail(-errno, "disk: %s: %s", path, strerror(errno))
                  : b->swap(b, fd, path);
}

static int verbs_swap(struct control *c, struct blockdev *b, const char *path)
{
    if (!b->swap)
        return fail(-EOPNOTSUPP, "disk: no file can take the place of %s",
                    b->id);
    if (later.answer)
        return verbs_busy("disk");
    if (fdset_names(path))
        return verbs_swap_given(b, path);
    if (*path != '/' && !c->dir)
        return fail(-EINVAL, "disk: path=: must be absolute: %.200s", path);
    int n = snprintf(later.name, sizeof(later.name), "%s%s%s",
                     *path == '/' ? "" : c->dir, *path == '/' ? "" : "/", path);
    if (n >= (int)sizeof(later.name))
        return fail(-ENAMETOOLONG, "disk: path=: too long: %.200s", path);
    later.b = b;
    later.nd = NULL;
    later.ask.done = verbs_file_open;
    int err = helper_open(&later.ask, later.name, !b->readonly);
    if (err == -EACCES || err == -EPIPE)
        return fail(-EACCES, "disk: %s: lies below no -allow-path DIR", path);
    return err ? fail(err, "disk: %s: %s", path, strerror(-err))
               : verbs_wait(c);
}

static int verbs_disk(void *thing, const void *told, struct text *out)
{
    struct control *c = thing;
    const struct disk_told *t = told;
    (void)out;
    if (!t->id)
        return fail(-EINVAL, "disk: id= is needed");
    struct blockdev *b = blockdev_find(t->id);
    for (const struct device *d = c->m->devices; d && !b; d = d->next)
        if (!strcmp(d->id, t->id))
            b = blockdev_find(opts_str(&d->opts, "drive", ""));
    if (!b)
        return fail(-ENOENT, "disk: there is no drive or disk %s", t->id);
    if (t->path && t->size)
        return fail(-EINVAL, "disk: path= and size=: one of them");
    if (t->path)
        return verbs_swap(c, b, t->path);
    return b->resize ? b->resize(b, t->size)
                     : fail(-EOPNOTSUPP, "disk: %s has one size", b->id);
}

/* ---------------------------------------------------------------- counters */

struct stats_told {
    uint8_t text;
};
static const char *const stats_words[] = {"json", "text", NULL};
static const struct field stats_fields[] = {
    FIELD(WORD, "format", struct stats_told, text, .words = stats_words),
    {.name = ""},
};

static int verbs_stats(void *thing, const void *told, struct text *out)
{
    struct machine *m = ((struct control *)thing)->m;
    struct tally_lines lines;
    if (((const struct stats_told *)told)->text)
        metrics_count(m, tally_lines(&lines, out));
    else
        metrics_json(m, out);
    return 0;
}

static int verbs_metrics(void *thing, const void *told, struct text *out)
{
    (void)told;
    metrics_prometheus(((struct control *)thing)->m, out, 0);
    return 0;
}

static int verbs_snapshot(void *thing, const void *told, struct text *out)
{
    struct control *c = thing;
    (void)out;
    return snapshot_begin(told, c->dir, c->who, c->answer);
}

static int verbs_upgrade(void *thing, const void *told, struct text *out)
{
    struct control *c = thing;
    (void)out;
    return upgrade_begin(told, c->who, c->answer);
}

const struct verb verbs[] = {
    {"status", "what it is, and whether it runs", NULL, 0, verbs_status},
    {"pause", "the guest stands still, and its clocks", NULL, 0, verbs_pause},
    {"resume", "it goes on", NULL, 0, verbs_resume},
    {"reset", "it is started again", NULL, 0, verbs_reset},
    {"quit", "the run ends, as by a power-off, at once", NULL, 0, verbs_quit},
    {"link", "a cable is pulled or put back", link_fields,
     sizeof(struct link_told), verbs_link},
    {"netdev", "another TAP takes the place of a netdev's", netdev_verb_fields,
     sizeof(struct netdev_told), verbs_move},
    {"capture", "a capture leaves frames out or goes on", capture_fields,
     sizeof(struct link_told), verbs_capture},
    {"disk", "it has grown, or another file takes its place", disk_fields,
     sizeof(struct disk_told), verbs_disk},
    {"snapshot", "it is saved into two files, below an -allow-path",
     snapshot_fields, sizeof(struct snapshot_told), verbs_snapshot},
    {"upgrade", "another version goes on with the guest", upgrade_fields,
     sizeof(struct upgrade_told), verbs_upgrade},
    {"stats", "all counters", stats_fields, sizeof(struct stats_told),
     verbs_stats},
    {"metrics", "all counters, for Prometheus", NULL, 0, verbs_metrics},
    {NULL, NULL, NULL, 0, NULL},
};

/* A device's id: also by that of the drive or netdev that it uses. */
static const char *verbs_device(const struct machine *m, const char *id)
{
    const char *of = id;
    for (const struct device *d = m->devices; d; d = d->next) {
        if (!strcmp(d->id, id))
            return id;
        if (!strcmp(opts_str(&d->opts, "drive", ""), id) ||
            !strcmp(opts_str(&d->opts, "netdev", ""), id))
            of = d->id;
    }
    return of;
}

int verbs_do(struct control *c, const char *name, struct opts *o,
             struct text *out)
{
    char id[128];
    const struct verb *v = verb_find(verbs, name);
    if (v)
        return verb_do(v, c, o, out);
    const char *said = opts_str(o, "id", NULL);
    if (said && strlen(said) >= sizeof(id))
        return fail(-EINVAL, "%s: id=: too long", name);
    strcpy(id, said ? said : "");
    opts_move(NULL, o, "id", NULL);
    return machine_do(c->m, said ? verbs_device(c->m, id) : NULL, name, o, out);
}
