/* SPDX-License-Identifier: MIT */
/* The host's side of a serial port.
 *
 * Theory of operation
 * -------------------
 * Output: the device puts bytes into a ring (any thread, a lock held for a few
 * instructions). The first one wakes the loop, which waits FLUSH_NS for more
 * and then writes everything with one system call; so a guest's line costs one
 * wake-up and one write, and a flood a thousand writes a second. Only the very
 * first ones do not wait: they tell that there is a guest.
 *
 * A reader who is slow fills the ring. Then console_full() says so, the UART
 * reports "transmitter busy" and the guest waits. A reader who has taken
 * nothing for STALL_NS is given up on: the guest runs on and the oldest bytes
 * are overwritten (and counted) until the reader comes back. With a socket that
 * nobody is connected to that is so from the beginning, so whoever connects
 * sees the last 64 KiB. A file that takes nothing (a full disk, a limit) is
 * such a reader, too: it is tried again each second.
 *
 * A logfile is a console of its own, which is given the same bytes.
 *
 * Input: console_in.c. */
#include "host/console.h"
#include "host/console_state.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/handed.h"
#include "base/use.h"
#include "host/terminal.h"

#define FLUSH_NS 500000
#define EXIT_NS 1000000000ull
#define AGAIN_MS 200 /* between clients that come and go */

static struct console *consoles;

void console_continue(void)
{
    terminal_take();
    for (struct console *c = consoles; c; c = c->next)
        if (c->end.keys && terminal_foreground(c->in.ev.fd))
            console_stream_wait(c, &c->in, EPOLLIN);
}

void console_unthrottle(struct console *c)
{
    pthread_mutex_lock(&c->b.lock);
    bool waiting = c->throttled;
    pthread_mutex_unlock(&c->b.lock);
    if (waiting || atomic_load(&c->typed))
        event_signal(c->wake.fd);
}

size_t console_type(struct watcher *w, const void *p, size_t n)
{
    struct console *c = w->console;
    const struct console_user *u = console_device(c);
    size_t done = 0;
    while (done < n) {
        size_t room = u->room(u->owner);
        if (!room) {
            atomic_store(&c->typed, true);
            /* It may have made room before it could see that we wait. */
            if (!u->room(u->owner))
                break;
            continue;
        }
        if (room > n - done)
            room = n - done;
        backlog_came(&c->b, (unsigned)room);
        u->input(u->owner, (const uint8_t *)p + done, (unsigned)room);
        done += room;
    }
    return done;
}

void console_watch(struct console *c, struct watcher *w)
{
    w->console = c;
    w->next = c->watchers;
    c->watchers = w;
    backlog_read(&c->copies);
    atomic_store(&c->watched, true);
}

void console_unwatch(struct watcher *w)
{
    struct watcher **p = &w->console->watchers;
    while (*p != w)
        p = &(*p)->next;
    *p = w->next;
    atomic_store(&w->console->watched, w->console->watchers != NULL);
}

static void console_wake_watchers(struct console *c)
{
    if (atomic_exchange(&c->typed, false))
        for (struct watcher *w = c->watchers; w; w = w->next)
            w->room(w);
    if (atomic_load(&c->watched) && !c->show.due)
        timer_arm(&c->show, now_ns() + FLUSH_NS);
}

static void console_wake_ready(struct event *ev, uint32_t got)
{
    struct console *c = container_of(ev, struct console, wake);
    uint64_t n;
    (void)got;
    if (read(ev->fd, &n, sizeof(n)) < 0)
        return;
    pthread_mutex_lock(&c->b.lock);
    bool resume = c->throttled;
    bool output = c->b.head != c->b.tail;
    c->throttled = false;
    pthread_mutex_unlock(&c->b.lock);
    console_feed(c);
    if (resume)
        console_stream_wait(c, &c->in, EPOLLIN);
    if (output && !c->flush.due && !c->out.added) {
        timer_arm(&c->flush, now_ns() + (c->spoke ? FLUSH_NS : 0));
        c->spoke = true;
    }
    console_wake_watchers(c);
}

/* --------------------------------------------------------------- sockets */

/* syscalls loop if console_socket: fcntl(F_DUPFD_CLOEXEC|F_SETFD) close */
static void console_client_came(struct peer *p)
{
    struct console *c = container_of(p, struct console, peer);
    int in = fcntl(p->conn.fd, F_DUPFD_CLOEXEC, 3);
    int out = in < 0 ? -1 : fcntl(p->conn.fd, F_DUPFD_CLOEXEC, 3);
    if (out < 0) {
        if (in >= 0)
            close(in);
        peer_drop(p, "cannot be served: no descriptors");
        return;
    }
    console_stream_set(&c->in, in, true, console_in_ready);
    console_stream_set(&c->out, out, true, console_out_ready);
    backlog_read(&c->b);
    peer_up(p);
    console_stream_wait(c, &c->in, EPOLLIN);
    bool first = c->waits;
    c->waits = false;
    if (first && c->user.came)
        c->user.came(c->user.owner);
    console_flush(c);
}

static void console_client_went(struct peer *p)
{
    struct console *c = container_of(p, struct console, peer);
    console_stream_close(&c->in);
    console_lose_reader(c);
}

static int console_open_socket(struct console *c, struct chardev *dev)
{
    struct peer *p = &c->peer;
    int fd = -1;
    thread_uses(USE_CONSOLE_SOCKET);
    p->opened = console_client_came;
    p->closed = console_client_went;
    p->half = true;
    p->pause_most_ms = AGAIN_MS;
    p->alone = "nobody reads it any more";
    snprintf(p->id, sizeof(p->id), "%s", dev->id ? dev->id : "-serial");
    snprintf(p->name, sizeof(p->name), "%s", dev->addr.text);
    if (dev->server) {
        p->listen_fd = endpoint_serve(dev, 1);
        if (p->listen_fd == -EADDRINUSE)
            return fail(-EADDRINUSE,
                        "%s: another process listens there, or it is a file "
                        "that is no socket; choose another",
                        c->label);
        if (p->listen_fd < 0)
            return fail(p->listen_fd, "%s: %s", c->label,
                        strerror(-p->listen_fd));
    } else {
        p->dial = dev->way ? peer_dial_helper : NULL;
        p->way = dev->way;
        p->redial_ms = dev->reconnect_ms;
    }
    fd = handed_take("client:%s", dev->label);
    if (fd < 0 && !dev->server && !dev->reconnect_ms) {
        fd = addr_dial(&dev->addr);
        if (fd < 0)
            return fail(fd,
                        "%s: cannot connect: %s; server=on listens, "
                        "reconnect=1 tries again",
                        c->label, strerror(-fd));
    }
    c->peered = true;
    c->waits = dev->wait && !handed_waits();
    if (dev->server)
        endpoint_keep(dev, &p->listen_fd);
    handed_keep(&p->conn.fd, "client:%s", dev->label);
    return peer_begin(p, c->loop, fd);
}

/* --------------------------------------------------------------- opening */

/* Takes over what was opened. */
static void console_use(struct console *c)
{
    const struct endpoint *e = &c->end;
    console_stream_set(&c->in, e->in, e->in_socket, console_in_ready);
    console_stream_set(&c->out, e->out, e->out_socket, console_out_ready);
    if (e->out >= 0)
        backlog_read(&c->b);
    else
        backlog_left(&c->b, true);
    /* Reading a terminal that is another's would stop us with SIGTTIN. */
    if (!e->keys || terminal_foreground(STDIN_FILENO))
        console_stream_wait(c, &c->in, EPOLLIN);
}

static struct console *console_new(struct loop *l, const char *label,
                                   const struct console_user *user)
{
    struct console *c = calloc(1, sizeof(*c));
    if (!c) {
        fail(-ENOMEM, "%s: out of memory", label);
        return NULL;
    }
    c->loop = l;
    c->user = *user;
    snprintf(c->label, sizeof(c->label), "%s", label);
    c->in.ev.fd = c->out.ev.fd = -1;
    endpoint_init(&c->end);
    c->peer.listen_fd = c->peer.conn.fd = -1;
    backlog_init(&c->b);
    timer_init(&c->flush, l, console_flush_due);
    timer_init(&c->stall, l, console_stall_due);
    timer_init(&c->show, l, console_show_due);
    backlog_init(&c->copies);
    c->next = consoles;
    consoles = c;
    c->wake = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                             .want = EPOLLIN,
                             .ready = console_wake_ready};
    int err = c->wake.fd < 0 ? -errno : loop_add(l, &c->wake);
    if (!err)
        return c;
    fail(err, "%s: %s", label, strerror(-err));
    console_close(c);
    return NULL;
}

static int console_open_dev(struct console *c, struct chardev *dev)
{
    int err = 0;
    if (dev->type == CHARDEV_SOCKET)
        return console_open_socket(c, dev);
    if (dev->type == CHARDEV_STDIO)
        err = endpoint_stdio(&c->end);
    else if (dev->type == CHARDEV_FILE)
        err = endpoint_file(&c->end, c->label, dev->path, dev->append);
    else if (dev->type == CHARDEV_PTY)
        err = endpoint_pty(&c->end, c->label, dev->pty, sizeof(dev->pty));
    if (!err)
        console_use(c);
    return err;
}

static int console_open_log(struct console *c, const struct chardev *dev)
{
    if (!dev->logfile)
        return 0;
    c->log = console_new(c->loop, c->label, &c->user);
    if (!c->log)
        return -ENOMEM;
    int err =
        endpoint_file(&c->log->end, c->label, dev->logfile, dev->logappend);
    if (!err)
        console_use(c->log);
    return err;
}

int console_open(struct loop *l, struct chardev *dev,
                 const struct console_user *user, struct console **out)
{
    struct console *c = console_new(l, dev->label, user);
    if (!c) {
        chardev_release(dev);
        return -ENOMEM;
    }
    signal(SIGPIPE, SIG_IGN); /* a reader may go away; write() says so */
    c->dev = dev;
    int err = console_open_dev(c, dev);
    if (!err)
        err = console_open_log(c, dev);
    if (err) {
        console_close(c);
        return err;
    }
    *out = c;
    if (dev->type == CHARDEV_PTY)
        handed_keep(&c->in.ev.fd, "pty:%s", dev->label);
    dev->handed = dev->type != CHARDEV_STDIO || !c->end.keys;
    return 0;
}

struct console *console_of(const struct chardev *dev)
{
    struct console *c = consoles;
    while (c && c->dev != dev)
        c = c->next;
    return c;
}

void console_share(struct console *c, const struct console_user *user)
{
    if (user) {
        c->other = *user;
        return;
    }
    if (c->user.entered) /* has the keys now: only a second user has that */
        c->user = c->other;
    c->other = (struct console_user){0};
}

bool console_waits(const struct console *c)
{
    return c->waits;
}

void console_begin_all(void)
{
    for (struct console *c = consoles; c; c = c->next) {
        c->begun = true;
        int err = endpoint_begin(&c->end, c->out.ev.fd);
        if (err)
            log_line("%s: %s", c->label, strerror(-err));
        if (c->end.keys && isatty(STDERR_FILENO))
            log_line("Ctrl-A x quits, Ctrl-A h helps");
    }
}

/* ------------------------------------------------------------------- end */

/* Loop over or not begun: waits for the reader here. */
static void console_flush_at_exit(struct console *c)
{
    uint64_t end = now_ns() + EXIT_NS;
    while (c->out.ev.fd >= 0) {
        int err = console_drain(c);
        if (err != -EAGAIN && err != -EINPROGRESS)
            return;
        uint64_t now = now_ns();
        struct pollfd p = {.fd = c->out.ev.fd, .events = POLLOUT};
        if (now >= end || poll(&p, 1, (int)((end - now) / 1000000)) <= 0)
            return;
    }
}

void console_hand_over(void)
{
    for (struct console *c = consoles; c; c = c->next) {
        console_stream_pause(&c->in);
        if (c->out.ev.fd >= 0)
            console_drain(c);
    }
}

void console_take_back(void)
{
    for (struct console *c = consoles; c; c = c->next)
        if (c->in.ev.fd >= 0)
            console_stream_wait(c, &c->in, EPOLLIN);
}

void console_flush_all(void)
{
    for (struct console *c = consoles; c; c = c->next) {
        console_flush_at_exit(c);
        backlog_end(&c->b);
        endpoint_drain(&c->end);
    }
}

void console_close(struct console *c)
{
    struct console **p = &consoles;
    if (c->log)
        console_close(c->log);
    console_flush_at_exit(c);
    while (*p && *p != c)
        p = &(*p)->next;
    if (*p)
        *p = c->next;
    timer_cancel(&c->flush);
    timer_cancel(&c->stall);
    timer_cancel(&c->show);
    if (c->peered)
        peer_end(&c->peer);
    else if (c->peer.listen_fd >= 0)
        close(c->peer.listen_fd);
    console_stream_close(&c->in);
    console_stream_close(&c->out);
    loop_del(&c->wake);
    if (c->wake.fd >= 0)
        close(c->wake.fd);
    endpoint_end(&c->end, c->begun);
    if (c->dev)
        chardev_release(c->dev);
    free(c);
}
