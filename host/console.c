/* SPDX-License-Identifier: MIT */
/* The host's side of a serial port.
 *
 * Theory of operation
 * -------------------
 * Output: the device puts bytes into a ring (any thread, a lock held for a few
 * instructions). The first one wakes the loop, which waits FLUSH_NS for more
 * and then writes everything with one system call; so a guest's line costs one
 * wake-up and one write, and a flood a thousand writes a second.
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
 * Input: read while the device has room, otherwise left in the host's kernel.
 */
#include "host/console.h"

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
#include "base/field.h"
#include "base/log.h"
#include "base/use.h"
#include "host/backlog.h"
#include "host/endpoint.h"
#include "host/peer.h"
#include "host/terminal.h"

#define CHUNK 4096
#define FLUSH_NS 500000
#define STALL_NS 1000000000ull
#define EXIT_NS 1000000000ull
#define RETRY_NS 1000000000ull /* of a file that takes nothing */
#define AGAIN_MS 200           /* between clients that come and go */
#define ESCAPE 0x01            /* Ctrl-A */

/* A host descriptor, and how it behaves. */
struct stream {
    struct event ev;
    bool socket;
    bool polled; /* epoll can wait for it; else it is always ready */
    bool added;
};

static const struct field count_fields[] = {
    COUNT("rx_bytes", struct counts, in, "bytes to the guest"),
    COUNT("tx_bytes", struct counts, out, "bytes of the guest's, written"),
    COUNT("tx_dropped", struct counts, dropped,
          "bytes of the guest's that nobody took in time"),
    {.name = ""},
};

static const struct field log_count_fields[] = {
    COUNT("log_bytes", struct counts, out, "bytes in logfile="),
    COUNT("log_dropped", struct counts, dropped,
          "bytes that are missing there"),
    {.name = ""},
};

struct console {
    struct loop *loop;
    struct chardev *dev; /* NULL: a logfile */
    char label[80];      /* "-serial file:log": opens each line */
    struct console_user user;
    struct stream in, out; /* fd -1: none */
    struct event wake;     /* bytes to write, or room for input */
    struct timer flush, stall;
    struct endpoint end;
    bool escaped;   /* Ctrl-A was seen */
    bool throttled; /* input waits for room (the backlog's lock) */
    bool waits;     /* for the first one to connect */
    struct peer peer;
    bool peered;        /* a socket: readers come and go */
    bool begun;         /* console_begin_all() has been */
    uint64_t lost_then; /* `dropped` when the file took nothing, + 1 */
    struct fault trouble;
    struct console *log; /* logfile= */

    struct backlog b;
    struct console *next;
};

static struct console *consoles;

/* --------------------------------------------------------------- streams */

static void console_stream_set(struct stream *s, int fd, bool socket,
                               void (*ready)(struct event *ev, uint32_t got))
{
    if (socket)
        thread_uses(USE_CONSOLE_SOCKET);
    *s = (struct stream){
        .ev = {.fd = fd, .ready = ready},
        .socket = socket,
        .polled = true,
    };
}

/* Waits for readiness. Where epoll cannot (files, /dev/null), it is ready. */
static void console_stream_wait(struct console *c, struct stream *s,
                                uint32_t want)
{
    if (s->ev.fd < 0 || s->added)
        return;
    s->ev.want = want;
    if (s->polled && loop_add(c->loop, &s->ev) < 0)
        s->polled = false;
    s->added = s->polled;
    if (!s->polled) {
        s->ev.loop = c->loop;
        loop_again(&s->ev);
    }
}

static void console_stream_pause(struct stream *s)
{
    loop_del(&s->ev);
    s->added = false;
}

static void console_stream_close(struct stream *s)
{
    console_stream_pause(s);
    if (s->ev.fd >= 0)
        close(s->ev.fd);
    s->ev.fd = -1;
}

static void console_signal_loop(struct console *c)
{
    event_signal(c->wake.fd);
}

/* ---------------------------------------------------------------- output */

/* One run of bytes, which nothing of another thread's comes between. */
static void console_put_run(struct console *c, const void *run, size_t n)
{
    if (backlog_put(&c->b, run, n))
        console_signal_loop(c);
}

void console_put(struct console *c, uint8_t byte)
{
    console_put_run(c, &byte, 1);
    if (c->log)
        console_put_run(c->log, &byte, 1);
}

bool console_full(struct console *c)
{
    return backlog_full(&c->b) || (c->log && console_full(c->log));
}

void console_count(struct console *c, const char *id, int fd)
{
    struct counts n = backlog_counts(&c->b);
    fields_count(count_fields, &n, id, fd);
    if (!c->log)
        return;
    n = backlog_counts(&c->log->b);
    fields_count(log_count_fields, &n, id, fd);
}

/* syscalls loop: write */
/* syscalls loop if console_socket: sendto recvfrom */
static ssize_t console_stream_write(struct stream *s, const void *p, size_t n)
{
    ssize_t got = s->socket ? send(s->ev.fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL)
                            : write(s->ev.fd, p, n);
    return got < 0 ? -errno : got;
}

/* The reader is no more: nobody is waited for, nothing is written. */
static void console_lose_reader(struct console *c)
{
    console_stream_close(&c->out);
    /* A socket's next reader wants the last 64 KiB. */
    bool was_held = backlog_left(&c->b, !c->peered);
    timer_cancel(&c->flush);
    timer_cancel(&c->stall);
    if (was_held)
        c->user.drained(c->user.owner);
}

static void console_lose_client(struct console *c)
{
    if (c->peered)
        peer_drop(&c->peer, "hung up");
    else
        console_lose_reader(c);
}

/* The guest does not wait for a disk. */
static void console_file_stuck(struct console *c, int err)
{
    uint64_t dropped = backlog_counts(&c->b).dropped;
    bool was_held = backlog_stall(&c->b);
    if (!c->lost_then) {
        c->lost_then = dropped + 1;
        fault_say(&c->trouble,
                  "%s: %s; the last 64 KiB of what the guest says are kept",
                  c->label, strerror(-err));
    }
    timer_arm(&c->flush, now_ns() + RETRY_NS);
    if (was_held)
        c->user.drained(c->user.owner);
}

static void console_file_flows(struct console *c)
{
    uint64_t lost = backlog_counts(&c->b).dropped - (c->lost_then - 1);
    c->lost_then = 0;
    TRACE(SERIAL, "%s: takes bytes again", c->label);
    if (lost)
        fault_say(&c->trouble, "%s: goes on; %llu bytes are missing there",
                  c->label, (unsigned long long)lost);
}

/* Writes out what waits, BACKLOG bytes a call at most. 0: empty; -EAGAIN;
 * another -errno: the reader is gone. */
static int console_drain(struct console *c)
{
    uint8_t buf[CHUNK];
    uint64_t at;
    for (int i = 0; i < BACKLOG / CHUNK; i++) {
        unsigned n = backlog_peek(&c->b, buf, sizeof(buf), &at);
        if (!n)
            return 0;
        ssize_t got = console_stream_write(&c->out, buf, n);
        if (got == -EINTR)
            continue;
        if (got < 0)
            return (int)got;
        if (backlog_taken(&c->b, at + (uint64_t)got, (uint64_t)got))
            c->user.drained(c->user.owner);
        if (got < (ssize_t)n)
            return -EAGAIN;
    }
    return -EINPROGRESS; /* more has come meanwhile */
}

static void console_flush(struct console *c)
{
    if (c->out.ev.fd < 0)
        return;
    int err = console_drain(c);
    if (err != -EAGAIN) {
        console_stream_pause(&c->out);
        timer_cancel(&c->stall);
    }
    if (err == -EAGAIN) {
        console_stream_wait(c, &c->out, EPOLLOUT);
        timer_arm(&c->stall, now_ns() + STALL_NS);
    } else if (err == -EINPROGRESS) {
        timer_arm(&c->flush, now_ns());
    } else if (err && c->end.regular) {
        console_file_stuck(c, err);
    } else if (err) {
        console_lose_client(c);
    } else if (c->lost_then) {
        console_file_flows(c);
    }
}

static void console_flush_due(struct timer *t)
{
    console_flush(container_of(t, struct console, flush));
}

static void console_out_ready(struct event *ev, uint32_t got)
{
    (void)got;
    console_flush(container_of(ev, struct console, out.ev));
}

/* Nothing was taken for STALL_NS: the guest shall not wait any more. */
static void console_stall_due(struct timer *t)
{
    struct console *c = container_of(t, struct console, stall);
    if (backlog_stall(&c->b))
        c->user.drained(c->user.owner);
}

/* ----------------------------------------------------------------- input */

/* Takes Ctrl-A and what follows it out of the keys. Returns how many are left
 * for the guest. */
static unsigned console_unescape(struct console *c, uint8_t *p, unsigned n)
{
    static const char help[] = "\r\nCtrl-A x       quit\r\n"
                               "Ctrl-A h       this help\r\n"
                               "Ctrl-A Ctrl-A  Ctrl-A for the guest\r\n";
    unsigned left = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!c->escaped) {
            c->escaped = p[i] == ESCAPE;
            if (!c->escaped)
                p[left++] = p[i];
            continue;
        }
        c->escaped = false;
        if (p[i] == ESCAPE)
            p[left++] = ESCAPE;
        else if (p[i] == 'x' || p[i] == 'X')
            c->user.quit(c->user.owner);
        else if (p[i] == 'h' || p[i] == 'H' || p[i] == '?')
            console_put_run(c, help, sizeof(help) - 1);
    }
    return left;
}

/* End of input, or a terminal that is not ours now (EIO). A client that only
 * ended its own side may still want to read: the peer says when it is gone. */
static void console_input_over(struct console *c)
{
    console_stream_pause(&c->in);
}

static void console_in_ready(struct event *ev, uint32_t got)
{
    struct console *c = container_of(ev, struct console, in.ev);
    uint8_t buf[256];
    unsigned room = c->user.room(c->user.owner);
    (void)got;
    if (room > sizeof(buf))
        room = sizeof(buf);
    if (!room) {
        console_stream_pause(&c->in);
        pthread_mutex_lock(&c->b.lock);
        c->throttled = true;
        pthread_mutex_unlock(&c->b.lock);
        /* It may have made room before it could see that we wait for it. */
        if (c->user.room(c->user.owner))
            console_unthrottle(c);
        return;
    }
    ssize_t n = c->in.socket ? recv(ev->fd, buf, room, MSG_DONTWAIT)
                             : read(ev->fd, buf, room);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        console_input_over(c);
        return;
    }
    unsigned left =
        c->end.keys ? console_unescape(c, buf, (unsigned)n) : (unsigned)n;
    backlog_came(&c->b, left);
    if (left)
        c->user.input(c->user.owner, buf, left);
    if (!c->in.polled)
        loop_again(ev);
}

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
    if (waiting)
        console_signal_loop(c);
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
    if (resume)
        console_stream_wait(c, &c->in, EPOLLIN);
    if (output && !c->flush.due && !c->out.added)
        timer_arm(&c->flush, now_ns() + FLUSH_NS);
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
        p->listen_fd = endpoint_listen(&dev->addr);
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
    if (!dev->server && !dev->reconnect_ms) {
        fd = addr_dial(&dev->addr);
        if (fd < 0)
            return fail(fd,
                        "%s: cannot connect: %s; server=on listens, "
                        "reconnect=1 tries again",
                        c->label, strerror(-fd));
    }
    c->peered = true;
    c->waits = dev->wait;
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
        err = endpoint_pty(&c->end, c->label);
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
    if (err)
        console_close(c);
    else
        *out = c;
    return err;
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
