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
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/field.h"
#include "base/log.h"
#include "host/peer.h"
#include "host/terminal.h"

#define RING 65536 /* power of two */
#define CHUNK 4096
#define FLUSH_NS 500000
#define STALL_NS 1000000000ull
#define EXIT_NS 1000000000ull
#define RETRY_NS 1000000000ull /* of a file that takes nothing */
#define PTY_MS 50              /* for a reader to take something */
#define AGAIN_MS 200           /* between clients that come and go */
#define ESCAPE 0x01            /* Ctrl-A */

/* A host descriptor, and how it behaves. */
struct stream {
    struct event ev;
    bool socket;
    bool polled; /* epoll can wait for it; else it is always ready */
    bool added;
};

struct counts {
    uint64_t in, out; /* bytes */
    uint64_t dropped; /* for want of a reader */
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
    bool escapes;   /* the input is a terminal: Ctrl-A is ours */
    bool escaped;   /* and was seen */
    bool throttled; /* input waits for room (lock) */
    bool waits;     /* for the first one to connect */
    struct peer peer;
    bool peered;        /* a socket: readers come and go */
    int pty;            /* our own end of its other side, or -1 */
    const char *path;   /* of a file */
    bool regular;       /* it is one */
    bool append, made;  /* not to be emptied; was not there before */
    bool begun;         /* console_begin_all() has been */
    uint64_t lost_then; /* `dropped` when the file took nothing, + 1 */
    struct fault trouble;
    struct console *log; /* logfile= */

    pthread_mutex_t lock; /* what follows */
    bool sink;            /* nobody will ever read: drop at once */
    bool woken;           /* the loop knows that there is something */
    bool held;            /* console_full() said yes */
    bool stalled;         /* the reader was given up on */
    uint64_t head, tail;  /* bytes put, bytes taken */
    struct counts n;
    uint8_t ring[RING];
    struct console *next;
};

static struct console *consoles;

/* --------------------------------------------------------------- streams */

static void stream_set(struct stream *s, int fd, bool socket,
                       void (*ready)(struct event *ev, uint32_t got),
                       const char *name)
{
    *s = (struct stream){
        .ev = {.fd = fd, .ready = ready, .name = name},
        .socket = socket,
        .polled = true,
    };
}

/* Waits for readiness. Where epoll cannot (files, /dev/null), it is ready. */
static void stream_wait(struct console *c, struct stream *s, uint32_t want)
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

static void stream_pause(struct stream *s)
{
    loop_del(&s->ev);
    s->added = false;
}

static void stream_close(struct stream *s)
{
    stream_pause(s);
    if (s->ev.fd >= 0)
        close(s->ev.fd);
    s->ev.fd = -1;
}

static void signal_loop(struct console *c)
{
    event_signal(c->wake.fd);
}

/* ---------------------------------------------------------------- output */

/* Is there no point in waiting for the reader? Under the lock. */
static bool gone(const struct console *c)
{
    return c->stalled || c->out.ev.fd < 0;
}

/* One run of bytes, which nothing of another thread's comes between. */
static void put(struct console *c, const void *run, size_t n)
{
    const uint8_t *p = run;
    pthread_mutex_lock(&c->lock);
    uint64_t before = c->head;
    for (size_t i = 0; i < n && !c->sink; i++) {
        if (c->head - c->tail == RING) {
            c->n.dropped++;
            if (!gone(c))
                continue; /* the guest did not wait: its loss */
            c->tail++;
        }
        c->ring[c->head++ & (RING - 1)] = p[i];
    }
    bool wake = c->head != before && !c->woken && !gone(c);
    c->woken |= wake;
    pthread_mutex_unlock(&c->lock);
    if (wake)
        signal_loop(c);
}

void console_put(struct console *c, uint8_t byte)
{
    put(c, &byte, 1);
    if (c->log)
        put(c->log, &byte, 1);
}

bool console_full(struct console *c)
{
    pthread_mutex_lock(&c->lock);
    bool full = !c->sink && !gone(c) && c->head - c->tail == RING;
    c->held |= full;
    pthread_mutex_unlock(&c->lock);
    return full || (c->log && console_full(c->log));
}

static struct counts counts(struct console *c)
{
    pthread_mutex_lock(&c->lock);
    struct counts n = c->n;
    pthread_mutex_unlock(&c->lock);
    return n;
}

void console_count(struct console *c, const char *id, int fd)
{
    struct counts n = counts(c);
    fields_count(count_fields, &n, id, fd);
    if (!c->log)
        return;
    n = counts(c->log);
    fields_count(log_count_fields, &n, id, fd);
}

/* Copies out what waits, without taking it. */
static unsigned peek(struct console *c, uint8_t *buf, uint64_t *at)
{
    pthread_mutex_lock(&c->lock);
    unsigned n = 0;
    *at = c->tail;
    while (n < CHUNK && *at + n != c->head) {
        buf[n] = c->ring[(*at + n) & (RING - 1)];
        n++;
    }
    if (!n)
        c->woken = false; /* the next byte wakes the loop again */
    pthread_mutex_unlock(&c->lock);
    return n;
}

/* The reader took everything up to `upto`. True: the guest was held back. */
static bool taken(struct console *c, uint64_t upto, uint64_t got)
{
    pthread_mutex_lock(&c->lock);
    c->n.out += got;
    if (c->tail < upto) /* put() may have overwritten some meanwhile */
        c->tail = upto;
    bool was_held = c->held;
    c->held = c->stalled = false;
    pthread_mutex_unlock(&c->lock);
    return was_held;
}

static ssize_t stream_write(struct stream *s, const void *p, size_t n)
{
    ssize_t got = s->socket ? send(s->ev.fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL)
                            : write(s->ev.fd, p, n);
    return got < 0 ? -errno : got;
}

/* The reader is no more: nobody is waited for, nothing is written. */
static void lose_reader(struct console *c)
{
    stream_pause(&c->out);
    pthread_mutex_lock(&c->lock);
    if (c->out.ev.fd >= 0)
        close(c->out.ev.fd);
    c->out.ev.fd = -1;
    c->woken = false;
    bool was_held = c->held;
    c->held = false;
    if (!c->peered) /* a socket's next reader wants the last 64 KiB */
        c->sink = true;
    pthread_mutex_unlock(&c->lock);
    timer_cancel(&c->flush);
    timer_cancel(&c->stall);
    if (was_held)
        c->user.drained(c->user.owner);
}

static void lose_client(struct console *c)
{
    if (c->peered)
        peer_drop(&c->peer, "hung up");
    else
        lose_reader(c);
}

/* The guest does not wait for a disk. */
static void file_stuck(struct console *c, int err)
{
    pthread_mutex_lock(&c->lock);
    c->stalled = true;
    bool was_held = c->held;
    c->held = false;
    uint64_t dropped = c->n.dropped;
    pthread_mutex_unlock(&c->lock);
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

static void file_flows(struct console *c)
{
    uint64_t lost = counts(c).dropped - (c->lost_then - 1);
    c->lost_then = 0;
    TRACE(SERIAL, "%s: takes bytes again", c->label);
    if (lost)
        fault_say(&c->trouble, "%s: goes on; %llu bytes are missing there",
                  c->label, (unsigned long long)lost);
}

/* Writes out the ring, at most RING bytes a call. 0: empty; -EAGAIN; another
 * -errno: the reader is gone. */
static int drain(struct console *c)
{
    uint8_t buf[CHUNK];
    uint64_t at;
    for (int i = 0; i < RING / CHUNK; i++) {
        unsigned n = peek(c, buf, &at);
        if (!n)
            return 0;
        ssize_t got = stream_write(&c->out, buf, n);
        if (got == -EINTR)
            continue;
        if (got < 0)
            return (int)got;
        if (taken(c, at + (uint64_t)got, (uint64_t)got))
            c->user.drained(c->user.owner);
        if (got < (ssize_t)n)
            return -EAGAIN;
    }
    return -EINPROGRESS; /* more has come meanwhile */
}

static void flush(struct console *c)
{
    if (c->out.ev.fd < 0)
        return;
    int err = drain(c);
    if (err != -EAGAIN) {
        stream_pause(&c->out);
        timer_cancel(&c->stall);
    }
    if (err == -EAGAIN) {
        stream_wait(c, &c->out, EPOLLOUT);
        timer_arm(&c->stall, now_ns() + STALL_NS);
    } else if (err == -EINPROGRESS) {
        timer_arm(&c->flush, now_ns());
    } else if (err && c->regular) {
        file_stuck(c, err);
    } else if (err) {
        lose_client(c);
    } else if (c->lost_then) {
        file_flows(c);
    }
}

static void flush_due(struct timer *t)
{
    flush(container_of(t, struct console, flush));
}

static void out_ready(struct event *ev, uint32_t got)
{
    (void)got;
    flush(container_of(ev, struct console, out.ev));
}

/* Nothing was taken for STALL_NS: the guest shall not wait any more. */
static void stall_due(struct timer *t)
{
    struct console *c = container_of(t, struct console, stall);
    pthread_mutex_lock(&c->lock);
    c->stalled = true;
    bool was_held = c->held;
    c->held = false;
    pthread_mutex_unlock(&c->lock);
    if (was_held)
        c->user.drained(c->user.owner);
}

/* ----------------------------------------------------------------- input */

/* Takes Ctrl-A and what follows it out of the keys. Returns how many are left
 * for the guest. */
static unsigned unescape(struct console *c, uint8_t *p, unsigned n)
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
            put(c, help, sizeof(help) - 1);
    }
    return left;
}

/* End of input, or a terminal that is not ours now (EIO). A client that only
 * ended its own side may still want to read: the peer says when it is gone. */
static void input_over(struct console *c)
{
    stream_pause(&c->in);
}

static void in_ready(struct event *ev, uint32_t got)
{
    struct console *c = container_of(ev, struct console, in.ev);
    uint8_t buf[256];
    unsigned room = c->user.room(c->user.owner);
    (void)got;
    if (room > sizeof(buf))
        room = sizeof(buf);
    if (!room) {
        stream_pause(&c->in);
        pthread_mutex_lock(&c->lock);
        c->throttled = true;
        pthread_mutex_unlock(&c->lock);
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
        input_over(c);
        return;
    }
    unsigned left = c->escapes ? unescape(c, buf, (unsigned)n) : (unsigned)n;
    pthread_mutex_lock(&c->lock);
    c->n.in += left;
    pthread_mutex_unlock(&c->lock);
    if (left)
        c->user.input(c->user.owner, buf, left);
    if (!c->in.polled)
        loop_again(ev);
}

void console_continue(void)
{
    terminal_take();
    for (struct console *c = consoles; c; c = c->next)
        if (c->escapes && terminal_foreground(c->in.ev.fd))
            stream_wait(c, &c->in, EPOLLIN);
}

void console_unthrottle(struct console *c)
{
    pthread_mutex_lock(&c->lock);
    bool waiting = c->throttled;
    pthread_mutex_unlock(&c->lock);
    if (waiting)
        signal_loop(c);
}

static void wake_ready(struct event *ev, uint32_t got)
{
    struct console *c = container_of(ev, struct console, wake);
    uint64_t n;
    (void)got;
    if (read(ev->fd, &n, sizeof(n)) < 0)
        return;
    pthread_mutex_lock(&c->lock);
    bool resume = c->throttled;
    bool output = c->head != c->tail;
    c->throttled = false;
    pthread_mutex_unlock(&c->lock);
    if (resume)
        stream_wait(c, &c->in, EPOLLIN);
    if (output && !c->flush.due && !c->out.added)
        timer_arm(&c->flush, now_ns() + FLUSH_NS);
}

/* --------------------------------------------------------------- sockets */

static void client_came(struct peer *p)
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
    stream_set(&c->in, in, true, in_ready, "serial input");
    pthread_mutex_lock(&c->lock);
    stream_set(&c->out, out, true, out_ready, "serial output");
    c->stalled = false;
    pthread_mutex_unlock(&c->lock);
    peer_up(p);
    stream_wait(c, &c->in, EPOLLIN);
    bool first = c->waits;
    c->waits = false;
    if (first && c->user.came)
        c->user.came(c->user.owner);
    flush(c);
}

static void client_went(struct peer *p)
{
    struct console *c = container_of(p, struct console, peer);
    stream_close(&c->in);
    lose_reader(c);
}

static int dial(struct peer *p)
{
    struct console *c = container_of(p, struct console, peer);
    const struct addr *a = &c->dev->addr;
    int fd =
        socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (!connect(fd, &a->sa, a->len) || errno == EINPROGRESS)
        return fd;
    int err = -errno;
    close(fd);
    return err;
}

static int listen_at(const struct addr *a)
{
    int fd =
        socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int err = addr_bind(fd, a);
    if (!err && listen(fd, 1))
        err = -errno;
    if (!err)
        return fd;
    close(fd);
    return err;
}

static int open_socket(struct console *c, struct chardev *dev)
{
    struct peer *p = &c->peer;
    int fd = -1;
    p->opened = client_came;
    p->closed = client_went;
    p->half = true;
    p->pause_most_ms = AGAIN_MS;
    p->alone = "nobody reads it any more";
    snprintf(p->id, sizeof(p->id), "%s", dev->id ? dev->id : "-serial");
    snprintf(p->name, sizeof(p->name), "%s", dev->addr.text);
    if (dev->server) {
        p->listen_fd = listen_at(&dev->addr);
        if (p->listen_fd == -EADDRINUSE)
            return fail(-EADDRINUSE,
                        "%s: another process listens there, or it is a file "
                        "that is no socket; choose another",
                        c->label);
        if (p->listen_fd < 0)
            return fail(p->listen_fd, "%s: %s", c->label,
                        strerror(-p->listen_fd));
    } else {
        p->dial = dial;
        p->redial_ms = dev->reconnect_ms;
    }
    if (!dev->server && !dev->reconnect_ms) {
        fd = dial(p);
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

static int open_stdio(struct console *c)
{
    bool socket = false;
    int fd = terminal_fd(STDOUT_FILENO, O_WRONLY, &socket);
    stream_set(&c->out, fd, socket, out_ready, "serial output");
    c->sink = fd < 0;
    fd = terminal_fd(STDIN_FILENO, O_RDONLY, &socket);
    stream_set(&c->in, fd, socket, in_ready, "serial input");
    if (fd >= 0 && isatty(STDIN_FILENO)) {
        c->escapes = true;
        terminal_raw(STDIN_FILENO);
        if (!terminal_foreground(STDIN_FILENO))
            return 0; /* reading would stop us with SIGTTIN */
    }
    stream_wait(c, &c->in, EPOLLIN);
    return 0;
}

/* At the end of it, always: who cuts it short meanwhile (logrotate's
 * copytruncate) leaves no hole. */
static int open_file(struct console *c, const char *path, bool append)
{
    int flags = O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    struct stat st;
    int fd = open(path, flags | O_WRONLY);
    if (fd < 0 && errno == ENOENT) {
        fd = open(path, flags | O_WRONLY | O_CREAT, 0666);
        c->made = fd >= 0;
    }
    if (fd < 0 && errno == ENXIO) /* a FIFO nobody reads yet */
        fd = open(path, flags | O_RDWR);
    if (fd < 0)
        return fail(-errno, "%s: %s: %s", c->label, path, strerror(errno));
    c->regular = !fstat(fd, &st) && S_ISREG(st.st_mode);
    c->path = path;
    c->append = append;
    stream_set(&c->out, fd, false, out_ready, "serial output");
    return 0;
}

/* The other side stays open here, so that its users come and go; raw, so that
 * nothing said to it comes back. */
static int open_pty(struct console *c)
{
    struct termios t;
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    const char *name = NULL;
    if (fd >= 0 && !grantpt(fd) && !unlockpt(fd))
        name = ptsname(fd);
    if (name)
        c->pty = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (c->pty < 0 || tcgetattr(c->pty, &t)) {
        int err = fail(-errno, "%s: %s", c->label, strerror(errno));
        if (fd >= 0)
            close(fd);
        return err;
    }
    cfmakeraw(&t);
    tcsetattr(c->pty, TCSANOW, &t);
    log_line("%s: char device redirected to %s", c->label, name);
    stream_set(&c->in, fd, false, in_ready, "serial input");
    stream_set(&c->out, fcntl(fd, F_DUPFD_CLOEXEC, 3), false, out_ready,
               "serial output");
    stream_wait(c, &c->in, EPOLLIN);
    return 0;
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
    c->in.ev.fd = c->out.ev.fd = c->pty = -1;
    c->peer.listen_fd = c->peer.conn.fd = -1;
    pthread_mutex_init(&c->lock, NULL);
    timer_init(&c->flush, l, flush_due, "serial flush");
    timer_init(&c->stall, l, stall_due, "serial stall");
    c->next = consoles;
    consoles = c;
    c->wake = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                             .want = EPOLLIN,
                             .ready = wake_ready,
                             .name = "serial wake"};
    int err = c->wake.fd < 0 ? -errno : loop_add(l, &c->wake);
    if (!err)
        return c;
    fail(err, "%s: %s", label, strerror(-err));
    console_close(c);
    return NULL;
}

static int open_dev(struct console *c, struct chardev *dev)
{
    switch (dev->type) {
    case CHARDEV_STDIO:
        return open_stdio(c);
    case CHARDEV_FILE:
        return open_file(c, dev->path, dev->append);
    case CHARDEV_PTY:
        return open_pty(c);
    case CHARDEV_SOCKET:
        return open_socket(c, dev);
    default:
        c->sink = true;
        return 0;
    }
}

static int open_log(struct console *c, const struct chardev *dev)
{
    if (!dev->logfile)
        return 0;
    c->log = console_new(c->loop, c->label, &c->user);
    return c->log ? open_file(c->log, dev->logfile, dev->logappend) : -ENOMEM;
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
    int err = open_dev(c, dev);
    if (!err)
        err = open_log(c, dev);
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
        if (c->regular && !c->append && ftruncate(c->out.ev.fd, 0))
            log_line("%s: %s", c->label, strerror(errno));
        if (c->escapes && isatty(STDERR_FILENO))
            log_line("Ctrl-A x quits, Ctrl-A h helps");
    }
}

/* ------------------------------------------------------------------- end */

/* Loop over or not begun: waits for the reader here. */
static void flush_at_exit(struct console *c)
{
    uint64_t end = now_ns() + EXIT_NS;
    while (c->out.ev.fd >= 0) {
        int err = drain(c);
        if (err != -EAGAIN && err != -EINPROGRESS)
            return;
        uint64_t now = now_ns();
        struct pollfd p = {.fd = c->out.ev.fd, .events = POLLOUT};
        if (now >= end || poll(&p, 1, (int)((end - now) / 1000000)) <= 0)
            return;
    }
}

/* What is in a pseudo-terminal goes with our end of it: whoever is reading gets
 * the time to take it. */
static void empty_pty(struct console *c)
{
    int left = 0, before = 0;
    do {
        before = left;
        poll(NULL, 0, PTY_MS);
    } while (!ioctl(c->pty, FIONREAD, &left) && left && left != before);
}

static void count_rest(struct console *c)
{
    pthread_mutex_lock(&c->lock);
    if (!c->sink)
        c->n.dropped += c->head - c->tail;
    c->tail = c->head;
    pthread_mutex_unlock(&c->lock);
}

void console_flush_all(void)
{
    for (struct console *c = consoles; c; c = c->next) {
        flush_at_exit(c);
        count_rest(c);
        if (c->pty >= 0)
            empty_pty(c);
    }
}

void console_close(struct console *c)
{
    struct console **p = &consoles;
    if (c->log)
        console_close(c->log);
    flush_at_exit(c);
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
    stream_close(&c->in);
    stream_close(&c->out);
    loop_del(&c->wake);
    if (c->wake.fd >= 0)
        close(c->wake.fd);
    if (c->pty >= 0)
        close(c->pty);
    if (c->dev && c->peered && c->dev->server)
        addr_unlink(&c->dev->addr);
    if (c->made && !c->begun) /* nothing has come of it */
        unlink(c->path);
    if (c->dev)
        chardev_release(c->dev);
    free(c);
}
