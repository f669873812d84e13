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
 * sees the last 64 KiB.
 *
 * Input: read while the device has room, otherwise left in the host's kernel.
 *
 * No descriptor inherited from the parent is made non-blocking, since that
 * would change it for everybody who shares it: terminals and pipes are opened
 * once more through /proc/self/fd. Where that fails the flag is set, and taken
 * back by console_restore(). Regular files never block; sockets take
 * MSG_DONTWAIT. */
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
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#define RING 65536 /* power of two */
#define CHUNK 4096
#define FLUSH_NS 500000
#define STALL_NS 1000000000ull
#define EXIT_NS 1000000000ull
#define ESCAPE 0x01 /* Ctrl-A */

/* A host descriptor, and how it behaves. */
struct stream {
    struct event ev;
    bool socket;
    bool polled; /* epoll can wait for it; else it is always ready */
    bool added;
};

struct console {
    struct machine *m;
    struct console_user user;
    struct stream in, out; /* fd -1: none */
    struct event listen;   /* unix: */
    struct event wake;     /* bytes to write, or room for input */
    struct timer flush, stall;
    bool escapes;   /* the input is a terminal: Ctrl-A is ours */
    bool escaped;   /* and was seen */
    bool throttled; /* input waits for room (lock) */
    char *path;     /* unix: the socket, to be removed */

    pthread_mutex_t lock; /* what follows */
    bool sink;            /* nobody will ever read: drop at once */
    bool woken;           /* the loop knows that there is something */
    bool held;            /* console_full() said yes */
    bool stalled;         /* the reader was given up on */
    uint64_t head, tail;  /* bytes put, bytes taken */
    uint64_t dropped;
    uint8_t ring[RING];
    struct console *next;
};

static struct console *consoles;

/* ---------------------------------------------------------- the terminal */

static struct {
    volatile sig_atomic_t raw; /* `saved` is to be put back */
    int fd;
    struct termios saved, ours;
    /* descriptors made non-blocking where a second open was refused */
    int nonblock[2];
    volatile sig_atomic_t n;
} terminal = {.fd = -1};

void console_restore(void)
{
    int keep = errno;
    if (terminal.raw) {
        terminal.raw = 0;
        tcsetattr(terminal.fd, TCSANOW, &terminal.saved);
    }
    while (terminal.n > 0) {
        int fd = terminal.nonblock[--terminal.n];
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    }
    errno = keep;
}

/* Only the terminal's foreground process may change it without being stopped
 * by SIGTTOU, or read it without SIGTTIN. */
static bool foreground(int fd)
{
    pid_t group = tcgetpgrp(fd); /* -1: not the terminal that controls us */
    return group < 0 || group == getpgrp();
}

static void take_terminal(void)
{
    if (terminal.fd < 0 || !foreground(terminal.fd))
        return;
    if (!tcsetattr(terminal.fd, TCSANOW, &terminal.ours))
        terminal.raw = 1;
}

/* A fault of ours must not leave a dead terminal behind. */
static void on_crash(int sig)
{
    console_restore();
    raise(sig); /* SA_RESETHAND: the default action now */
}

static void restore_on_crash(void)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE,
                                SIGABRT, SIGSYS, SIGTRAP};
    struct sigaction sa = {.sa_handler = on_crash,
                           .sa_flags = (int)SA_RESETHAND | SA_NODEFER};
    struct sigaction old;
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        if (!sigaction(fatal[i], NULL, &old) && old.sa_handler == SIG_DFL)
            sigaction(fatal[i], &sa, NULL);
}

/* Keys go to the guest one by one, Ctrl-C and Ctrl-Z too. Output processing
 * stays on, so that our own messages need no carriage return. */
static void make_raw(int fd)
{
    static bool once;
    if (tcgetattr(fd, &terminal.saved))
        return;
    terminal.fd = fd;
    terminal.ours = terminal.saved;
    terminal.ours.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP |
                                         INLCR | IGNCR | ICRNL | IXON);
    terminal.ours.c_lflag &=
        ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    terminal.ours.c_cflag &= ~(tcflag_t)(CSIZE | PARENB);
    terminal.ours.c_cflag |= CS8;
    terminal.ours.c_cc[VMIN] = 1;
    terminal.ours.c_cc[VTIME] = 0;
    if (!once)
        atexit(console_restore);
    once = true;
    restore_on_crash();
    take_terminal();
}

void console_early(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            _exit(1);
}

/* --------------------------------------------------------------- streams */

/* Our own, non-blocking description of what `fd` is. -1: fd is closed. */
static int private_fd(int fd, int mode, bool *socket)
{
    struct stat st;
    char path[32];
    if (fstat(fd, &st))
        return -1;
    *socket = S_ISSOCK(st.st_mode);
    if (*socket || S_ISREG(st.st_mode)) /* a reopened file starts at 0 */
        return fcntl(fd, F_DUPFD_CLOEXEC, 3);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own >= 0)
        return own;
    own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int flags = fcntl(fd, F_GETFL);
    if (own < 0 || flags < 0 || (flags & O_NONBLOCK) || terminal.n == 2)
        return own;
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    terminal.nonblock[terminal.n++] = fd;
    return own;
}

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
    if (s->polled && loop_add(c->m->loop, &s->ev) < 0)
        s->polled = false;
    s->added = s->polled;
    if (!s->polled) {
        s->ev.loop = c->m->loop;
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
            c->dropped++;
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
}

bool console_full(struct console *c)
{
    pthread_mutex_lock(&c->lock);
    bool full = !c->sink && !gone(c) && c->head - c->tail == RING;
    c->held |= full;
    pthread_mutex_unlock(&c->lock);
    return full;
}

uint64_t console_dropped(struct console *c)
{
    pthread_mutex_lock(&c->lock);
    uint64_t n = c->dropped;
    pthread_mutex_unlock(&c->lock);
    return n;
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
static bool taken(struct console *c, uint64_t upto)
{
    pthread_mutex_lock(&c->lock);
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
    if (!c->path) /* a socket's next reader wants the last 64 KiB */
        c->sink = true;
    pthread_mutex_unlock(&c->lock);
    timer_cancel(&c->flush);
    timer_cancel(&c->stall);
    if (was_held)
        c->user.drained(c->user.owner);
}

static void lose_client(struct console *c)
{
    if (c->path)
        stream_close(&c->in);
    lose_reader(c);
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
        if (taken(c, at + (uint64_t)got))
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
    } else if (err) {
        lose_client(c);
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
            c->m->ops->request(c->m, STOP_POWEROFF);
        else if (p[i] == 'h' || p[i] == 'H' || p[i] == '?')
            put(c, help, sizeof(help) - 1);
    }
    return left;
}

/* End of input, or a terminal that is not ours now (EIO). A client that only
 * ended its own side may still want to read. */
static void input_over(struct console *c)
{
    struct pollfd p = {.fd = c->in.ev.fd};
    stream_pause(&c->in);
    if (!c->path)
        return;
    if (poll(&p, 1, 0) == 1)
        lose_client(c);
    else
        stream_wait(c, &c->in, 0); /* the hang-up */
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
    if (left)
        c->user.input(c->user.owner, buf, left);
    if (!c->in.polled)
        loop_again(ev);
}

void console_continue(void)
{
    take_terminal();
    for (struct console *c = consoles; c; c = c->next)
        if (c->escapes && foreground(c->in.ev.fd))
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

/* ----------------------------------------------------------- unix socket */

static void accept_ready(struct event *ev, uint32_t got)
{
    struct console *c = container_of(ev, struct console, listen);
    int fd = accept4(ev->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int fd2;
    (void)got;
    if (fd < 0)
        return;
    if (c->in.ev.fd >= 0) { /* one at a time */
        close(fd);
        return;
    }
    fd2 = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (fd2 < 0) {
        close(fd);
        return;
    }
    stream_set(&c->in, fd, true, in_ready, "serial input");
    pthread_mutex_lock(&c->lock);
    stream_set(&c->out, fd2, true, out_ready, "serial output");
    c->stalled = false;
    pthread_mutex_unlock(&c->lock);
    stream_wait(c, &c->in, EPOLLIN);
    flush(c);
}

/* A socket nobody listens on is a leftover of a run that was killed. */
static bool stale_socket(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool stale = fd >= 0 &&
                 connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 &&
                 errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return stale;
}

static int open_unix(struct console *c, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(a.sun_path))
        return fail(-EINVAL, "-serial unix:%s: path longer than %zu bytes",
                    path, sizeof(a.sun_path) - 1);
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail(-errno, "-serial unix:%s: %s", path, strerror(errno));
    if (stale_socket(&a))
        unlink(path);
    int err = 0;
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 1))
        err = -errno;
    c->listen = (struct event){.fd = fd,
                               .want = EPOLLIN,
                               .ready = accept_ready,
                               .name = "serial socket"};
    if (!err)
        c->path = strdup(path);
    if (!err && !c->path)
        err = -ENOMEM;
    if (!err)
        err = loop_add(c->m->loop, &c->listen);
    return err ? fail(err, "-serial unix:%s: %s", path, strerror(-err)) : 0;
}

/* --------------------------------------------------------------- opening */

static int open_stdio(struct console *c)
{
    bool socket = false;
    int fd = private_fd(STDOUT_FILENO, O_WRONLY, &socket);
    stream_set(&c->out, fd, socket, out_ready, "serial output");
    c->sink = fd < 0;
    fd = private_fd(STDIN_FILENO, O_RDONLY, &socket);
    stream_set(&c->in, fd, socket, in_ready, "serial input");
    if (fd >= 0 && isatty(STDIN_FILENO)) {
        c->escapes = true;
        make_raw(STDIN_FILENO);
        if (!foreground(STDIN_FILENO))
            return 0; /* reading would stop us with SIGTTIN */
    }
    stream_wait(c, &c->in, EPOLLIN);
    return 0;
}

static int open_file(struct console *c, const char *path)
{
    int flags = O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int fd = open(path, flags | O_WRONLY, 0666);
    if (fd < 0 && errno == ENXIO) /* a FIFO nobody reads yet */
        fd = open(path, flags | O_RDWR, 0666);
    if (fd < 0)
        return fail(-errno, "-serial file:%s: %s", path, strerror(errno));
    stream_set(&c->out, fd, false, out_ready, "serial output");
    return 0;
}

static int open_to(struct console *c, const char *to)
{
    if (strcmp(to, "stdio") == 0)
        return open_stdio(c);
    if (strncmp(to, "file:", 5) == 0 && to[5])
        return open_file(c, to + 5);
    if (strncmp(to, "unix:", 5) == 0 && to[5])
        return open_unix(c, to + 5);
    c->sink = true;
    if (strcmp(to, "none") == 0)
        return 0;
    return fail(-EINVAL, "-serial %s: not one of " CONSOLE_TO, to);
}

int console_open(struct machine *m, const char *to,
                 const struct console_user *user, struct console **out)
{
    struct console *c = calloc(1, sizeof(*c));
    if (!c)
        return fail(-ENOMEM, "-serial: out of memory");
    c->m = m;
    c->user = *user;
    c->in.ev.fd = c->out.ev.fd = c->listen.fd = -1;
    pthread_mutex_init(&c->lock, NULL);
    timer_init(&c->flush, m->loop, flush_due, "serial flush");
    timer_init(&c->stall, m->loop, stall_due, "serial stall");
    c->wake = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                             .want = EPOLLIN,
                             .ready = wake_ready,
                             .name = "serial wake"};
    signal(SIGPIPE, SIG_IGN); /* a reader may go away; write() says so */
    int err = c->wake.fd < 0 ? -errno : loop_add(m->loop, &c->wake);
    if (err)
        fail(err, "-serial: %s", strerror(-err));
    else
        err = open_to(c, to);
    c->next = consoles;
    consoles = c;
    if (err)
        console_close(c);
    else
        *out = c;
    return err;
}

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

void console_flush_all(void)
{
    for (struct console *c = consoles; c; c = c->next)
        flush_at_exit(c);
}

void console_close(struct console *c)
{
    struct console **p = &consoles;
    flush_at_exit(c);
    while (*p && *p != c)
        p = &(*p)->next;
    if (*p)
        *p = c->next;
    timer_cancel(&c->flush);
    timer_cancel(&c->stall);
    stream_close(&c->in);
    stream_close(&c->out);
    loop_del(&c->listen);
    if (c->listen.fd >= 0)
        close(c->listen.fd);
    loop_del(&c->wake);
    if (c->wake.fd >= 0)
        close(c->wake.fd);
    if (c->path)
        unlink(c->path);
    free(c->path);
    free(c);
}
