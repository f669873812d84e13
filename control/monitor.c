/* SPDX-License-Identifier: MIT */
/* -qmp, -monitor, -mon: where QEMU's engines and users talk with a machine.
 *
 * Theory of operation. A place is what an option names. At a socket that is
 * listened at, clients come and go as at -control's (server.c), several at
 * once; anything else, stdio and a pseudo-terminal, is a console (host), which
 * may also be a serial port's, that Ctrl-A c switches. Either way a
 * conversation is a struct monitor: bytes that have come, one command done a
 * turn, and a text that goes back. Commands become verbs (verbs.c); what the
 * machine tells of (machine_tell, machine_note) goes to each that has said it
 * wants to hear. All on the main loop's thread. */
#include "control/monitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/handed.h"
#include "base/use.h"
#include "control/server.h"
#include "host/console.h"
#include "host/endpoint.h"

#define PLACES_MAX 8
#define NOTES_NS 100000000ull /* between two looks at what devices note */

static struct place {
    struct opts o; /* -mon's */
    const char *opt, *to;
    bool qmp;
    struct chardev *dev;
    struct server server;
    bool serves;
    bool holds; /* server=on,wait=on, and nobody has come */
    struct console *console;
    bool shares;         /* a serial port's */
    struct monitor *own; /* the console's */
    struct text out;
} place[PLACES_MAX];
static unsigned nplaces;

struct monitor_world monitors;
static struct monitor *all;
static struct event notes;
static struct timer notes_pause;

/* ------------------------------------------------------------------ options */

static int monitor_add(const char *opt, const char *to, bool qmp)
{
    if (!strcmp(to, "none") || !strcmp(to, "null"))
        return 0;
    if (nplaces == PLACES_MAX)
        return fail(-EINVAL, "%s: at most %d monitors", opt, PLACES_MAX);
    place[nplaces++] = (struct place){.opt = opt, .to = to, .qmp = qmp};
    return 0;
}

int monitor_qmp(const char *arg)
{
    return monitor_add("-qmp", arg, true);
}

int monitor_qmp_pretty(const char *arg)
{
    return monitor_add("-qmp-pretty", arg, true);
}

int monitor_hmp(const char *arg)
{
    return monitor_add("-monitor", arg, false);
}

struct mon_told {
    const char *chardev, *id;
    uint8_t mode, pretty;
};
static const char *const mon_modes[] = {"readline", "control", NULL};
static const struct field mon_fields[] = {
    FIELD(TEXT, "chardev", struct mon_told, chardev, .arg = "ID",
          .help = "where it is"),
    FIELD(TEXT, "id", struct mon_told, id, .arg = "ID"),
    FIELD(WORD, "mode", struct mon_told, mode, .words = mon_modes,
          .help = "control is QMP"),
    FIELD(FLAG, "pretty", struct mon_told, pretty), /* it is JSON either way */
    {.name = ""},
};

int monitor_mon(const char *arg)
{
    struct mon_told told = {0};
    if (word_among(arg, "help ?")) {
        fields_help(mon_fields);
        return 1;
    }
    struct opts o;
    int err = opts_parse(&o, "-mon", arg, "chardev");
    if (!err)
        err = fields_read(mon_fields, &told, &o);
    if (!err && !told.chardev)
        err = fail(-EINVAL, "-mon: chardev= is missing");
    unsigned n = nplaces;
    if (!err)
        err = monitor_add("-mon", told.chardev, told.mode);
    if (!err && nplaces > n)
        place[n].o = o;
    else
        opts_free(&o);
    return err;
}

/* A serial port with a monitor behind it: -serial mon:… */
static int monitor_add_shared(void)
{
    int err = 0;
    for (struct chardev *c = NULL; !err && (c = chardev_next(c));) {
        if (!c->monitor)
            continue;
        err = monitor_add("-serial", "mon:", false);
        if (!err)
            place[nplaces - 1].dev = c;
    }
    return err;
}

int monitor_check(void)
{
    int err = monitor_add_shared();
    for (struct place *p = place; !err && p < place + nplaces; p++)
        if (!p->dev)
            err = chardev_monitor(p->opt, p->to, &p->dev);
    return err;
}

/* ------------------------------------------------------------ conversations */

char *monitor_room(struct monitor *mo, size_t *room)
{
    bool idle = mo->from == mo->n, full = mo->n == sizeof(mo->in);
    if (mo->from && (idle || mo->from >= sizeof(mo->in) / 2 ||
                     (full && mo->scan.at + mo->from == mo->n))) {
        memmove(mo->in, mo->in + mo->from, mo->n - mo->from);
        mo->n -= mo->from;
        mo->from = 0;
    }
    *room = sizeof(mo->in) - mo->n;
    return mo->in + mo->n;
}

static bool monitor_next(struct monitor *mo)
{
    if (mo->asked || mo->last)
        return false;
    monitors.ctl.who = mo;
    return mo->qmp ? qmp_next(mo) : hmp_next(mo);
}

static void monitor_later(void *who, int err, const char *why)
{
    struct monitor *mo = who;
    mo->asked = false;
    if (mo->qmp)
        qmp_done(mo, err, why);
    else
        hmp_done(mo, err, why);
    mo->said(mo); /* who is gone is forgotten by that */
}

static struct monitor *monitor_new(const struct place *p, void *way)
{
    struct monitor *mo = calloc(1, sizeof(*mo));
    if (!mo)
        return NULL;
    mo->qmp = p->qmp;
    mo->way = way;
    mo->next = all;
    all = mo;
    return mo;
}

static void monitor_greet(struct monitor *mo)
{
    if (mo->qmp)
        qmp_greet(mo);
    else
        hmp_greet(mo);
}

static void monitor_free(struct monitor *mo)
{
    struct monitor **p = &all;
    while (*p != mo)
        p = &(*p)->next;
    *p = mo->next;
    while (mo->nfd)
        close(mo->fd[--mo->nfd]);
    text_free(&mo->id);
    free(mo);
}

/* ------------------------------------------------------------------ clients */

static void monitor_client_said(struct monitor *mo)
{
    struct client *c = mo->way;
    c->last |= mo->last;
    if (c->asked && !mo->asked)
        server_done(c);
    else
        server_say(c);
}

static bool monitor_client_begin(struct client *c)
{
    struct place *p = container_of(c->server, struct place, server);
    struct monitor *mo = monitor_new(p, c);
    if (!mo)
        return false;
    c->owner = mo;
    mo->out = &c->out;
    mo->said = monitor_client_said;
    monitor_greet(mo);
    if (p->holds)
        machine_release(monitors.ctl.m);
    p->holds = false;
    return true;
}

static char *monitor_client_room(struct client *c, size_t *room)
{
    return monitor_room(c->owner, room);
}

static void monitor_client_came(struct client *c, size_t n)
{
    ((struct monitor *)c->owner)->n += n;
}

static void monitor_client_next(struct client *c)
{
    struct monitor *mo = c->owner;
    bool more = monitor_next(mo);
    c->asked = mo->asked;
    c->last |= mo->last || (c->ended && !more && !mo->asked);
    if (more)
        server_say(c);
}

static void monitor_client_end(struct client *c)
{
    if (c->owner)
        monitor_free(c->owner);
    c->owner = NULL;
}

static void monitor_client_refuse(const struct server *s, struct text *out)
{
    (void)s, (void)out; /* nothing that either dialect has a word for */
}

static void monitor_client_passed(struct client *c, int fd)
{
    struct monitor *mo = c->owner;
    if (mo->nfd == MONITOR_FDS)
        close(fd);
    else
        mo->fd[mo->nfd++] = fd;
}

/* How far a client of QMP has come, and 1. */
static uint8_t monitor_client_rests(const struct client *c, const void *who,
                                    struct text *left)
{
    const struct monitor *mo = c->owner;
    bool rests = !mo->nfd && !mo->last && (!mo->asked || who == mo);
    text_add(left, mo->in + mo->from, mo->n - mo->from);
    return rests ? 1 + mo->ready : 0;
}

static void monitor_client_goes_on(struct client *c, uint8_t known)
{
    ((struct monitor *)c->owner)->ready = known > 1;
}

static const struct talk monitor_talk = {
    .begin = monitor_client_begin,
    .room = monitor_client_room,
    .came = monitor_client_came,
    .next = monitor_client_next,
    .end = monitor_client_end,
    .refuse = monitor_client_refuse,
    .passed = monitor_client_passed,
    .rests = monitor_client_rests,
};

/* Who connects can end the machine: a socket's file is its maker's alone. */
static int monitor_serve(struct place *p)
{
    struct chardev *c = p->dev;
    mode_t before = umask(0177);
    int fd = endpoint_serve(c, SERVER_CLIENTS);
    umask(before);
    if (fd < 0)
        return fail(fd, "%s: %s", c->label, strerror(-fd));
    p->server = (struct server){.talk = &monitor_talk,
                                .goes_on = monitor_client_goes_on,
                                .name = p->opt};
    int err = server_begin(&p->server, monitors.ctl.m->loop, fd);
    if (err)
        return fail(err, "%s: %s", c->label, strerror(-err));
    p->serves = true;
    endpoint_keep(c, &p->server.listen.fd);
    p->holds = c->wait && !handed_waits();
    if (p->holds)
        machine_hold(monitors.ctl.m);
    return 0;
}

/* ----------------------------------------------------------------- consoles */

static void monitor_console_said(struct monitor *mo)
{
    struct place *p = mo->way;
    if (p->out.n)
        console_say(p->console, p->out.p, p->out.n);
    text_free(&p->out);
}

/* A console's room is bounded, and what does not fit is lost: an answer waits
 * until the others before it are on their way. */
static void monitor_console_run(struct place *p)
{
    bool more = true;
    while (more && !console_busy(p->console)) {
        more = monitor_next(p->own);
        p->own->said(p->own);
    }
}

static unsigned monitor_console_room(void *owner)
{
    const struct place *p = owner;
    size_t room;
    if (p->own->asked || console_busy(p->console))
        return 0;
    monitor_room(p->own, &room);
    return (unsigned)room;
}

static void monitor_console_input(void *owner, const uint8_t *bytes, unsigned n)
{
    struct place *p = owner;
    size_t room;
    memcpy(monitor_room(p->own, &room), bytes, n);
    p->own->n += n;
    monitor_console_run(p);
}

static void monitor_console_drained(void *owner)
{
    monitor_console_run(owner);
    console_unthrottle(((struct place *)owner)->console);
}

static void monitor_console_quit(void *owner)
{
    (void)owner;
    machine_ask(monitors.ctl.m, STOP_POWEROFF);
}

/* The keys are the monitor's: at the start, or by Ctrl-A c. */
static void monitor_console_entered(void *owner)
{
    struct monitor *mo = ((struct place *)owner)->own;
    monitor_greet(mo);
    mo->said(mo);
}

static int monitor_open_console(struct place *p)
{
    const struct console_user user = {.owner = p,
                                      .room = monitor_console_room,
                                      .input = monitor_console_input,
                                      .drained = monitor_console_drained,
                                      .quit = monitor_console_quit,
                                      .entered = monitor_console_entered};
    struct monitor *mo = p->own = monitor_new(p, p);
    int err = 0;
    if (!mo)
        return fail(-ENOMEM, "%s: out of memory", p->opt);
    mo->out = &p->out;
    mo->said = monitor_console_said;
    mo->echo = true;
    p->console = console_of(p->dev);
    p->shares = p->console != NULL;
    if (p->shares) {
        console_share(p->console, &user);
        return 0;
    }
    err = console_open(monitors.ctl.m->loop, p->dev, &user, &p->console);
    if (!err)
        monitor_console_entered(p);
    return err;
}

/* --------------------------------------------------------------------- news */

static void monitor_tell(struct machine *m, const struct news *n)
{
    (void)m;
    for (struct monitor *mo = all, *next; mo; mo = next) {
        next = mo->next;
        if (!mo->qmp || !mo->ready)
            continue;
        qmp_news(mo, n);
        mo->said(mo);
    }
}

/* What a guest does as often as it likes is told of ten times a second. */
static void monitor_notes(struct event *ev, uint32_t got)
{
    struct machine *m = monitors.ctl.m;
    (void)got;
    event_drain(ev->fd);
    loop_want(ev, 0);
    timer_arm(&notes_pause, now_ns() + NOTES_NS);
    for (struct device *d = m->devices; d; d = d->next) {
        unsigned bits = atomic_exchange(&d->news, 0);
        for (unsigned i = 0; bits >> i; i++)
            if (bits >> i & 1)
                monitor_tell(m, &(struct news){.what = i, .dev = d});
    }
}

static void monitor_notes_again(struct timer *t)
{
    (void)t;
    loop_want(&notes, EPOLLIN);
}

static int monitor_listen(struct machine *m)
{
    m->tell = monitor_tell;
    thread_uses(USE_CONTROL); /* what verbs do, at a terminal, too */
    timer_init(&notes_pause, m->loop, monitor_notes_again);
    notes = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                           .want = EPOLLIN,
                           .ready = monitor_notes};
    if (notes.fd < 0)
        return fail(-errno, "eventfd: %s", strerror(errno));
    m->news_fd = notes.fd;
    return loop_add(m->loop, &notes);
}

/* ------------------------------------------------------------ begin and end */

int monitor_begin(struct machine *m, const struct config *config,
                  const struct plan_classes *known)
{
    if (!nplaces)
        return 0;
    monitors.ctl =
        (struct control){.m = m, .config = config, .answer = monitor_later};
    monitors.known = known;
    int err = monitor_listen(m);
    for (struct place *p = place; !err && p < place + nplaces; p++)
        err = p->dev->type == CHARDEV_SOCKET && p->dev->server && !p->dev->mux
                  ? monitor_serve(p)
                  : monitor_open_console(p);
    return err;
}

void monitor_end(void)
{
    if (monitors.ctl.m) {
        monitors.ctl.m->tell = NULL;
        monitors.ctl.m->news_fd = 0;
        timer_cancel(&notes_pause);
        loop_del(&notes);
        close(notes.fd);
    }
    for (; nplaces; nplaces--) {
        struct place *p = &place[nplaces - 1];
        if (p->serves)
            server_end(&p->server);
        if (p->console && p->shares)
            console_share(p->console, NULL);
        else if (p->console)
            console_close(p->console);
        if (p->own)
            monitor_free(p->own);
        text_free(&p->out);
        opts_free(&p->o);
    }
    qmp_drop_fds();
    monitors.ctl.m = NULL;
}
