/* SPDX-License-Identifier: MIT */
/* A kernel inside the process, as far as fuzz targets need one: eventfds,
 * epoll, sockets, and timers that never fire.
 *
 * Theory of operation. An input takes some tens of microseconds, a hundred
 * system calls took as long again, and what the real kernel keeps (a socket's
 * bytes, a backlog) made inputs depend on those before. So the linker leads the
 * calls of everything in the target to here (--wrap, tests/build.mk).
 * Descriptors from FIRST on are this kernel's; what is asked of another one is
 * asked of the real kernel. Nothing sleeps: who would gets nothing, after
 * kernel_idle() had its chance, and that much later by the clock. One thread.
 */
#include "tests/fuzz/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "host/helper.h"

#define FIRST 10000 /* above any real one, below what options may name */
#define FDS 256
#define POLLS 4
#define WATCHES 64
#define SOCKETS 64
#define BACKLOG 4
#define PASSED 32
#define RECORD sizeof(uint32_t) /* a datagram's length, before it */

enum kind { NOTHING, EVENT, TIMER, POLL, SOCKET };

struct watch {
    struct file *file;
    int fd;
    struct epoll_event ev;
    uint64_t seen; /* the file's `woken` when last told */
};

/* What waits at one end of a connection, or of a bound name. */
struct sock {
    bool used, listens, bound, end; /* end: nothing comes any more */
    bool mute;                      /* its own end is shut for writing */
    int type;
    struct file *peer;
    struct file *pending[BACKLOG];
    unsigned npending;
    struct {
        struct file *file; /* or, NULL, a real descriptor */
        int fd;
        uint64_t at; /* with this byte of all that ever came */
    } passed[PASSED];
    unsigned npassed;
    struct sockaddr_storage name;
    socklen_t namelen;
    uint64_t before; /* bytes that came before b[0] */
    uint32_t head, tail;
    uint8_t b[2 * KERNEL_ROOM];
};

struct set {
    struct watch watch[WATCHES];
    unsigned n;
};

struct file {
    enum kind kind;
    int refs;
    uint64_t woken, count; /* how often something happened; an eventfd's */
    struct sock *s;
    struct set *set;
};

static struct file files[FDS], *table[FDS];
static struct set sets[POLLS]; /* each epoll's; they are not made again */
static unsigned nsets;
static struct sock socks[SOCKETS];
static uint64_t skipped_ns;

void (*kernel_idle)(void);
unsigned kernel_full;
uint32_t kernel_room = KERNEL_ROOM;

static int no(int err)
{
    errno = err;
    return -1;
}

static struct file *get(int fd)
{
    return fd >= FIRST && fd < FIRST + FDS ? table[fd - FIRST] : NULL;
}

static void wake(struct file *f)
{
    f->woken++;
}

static int put(struct file *f)
{
    for (int i = 0; i < FDS; i++) {
        if (table[i])
            continue;
        table[i] = f;
        f->refs++;
        return FIRST + i;
    }
    return no(EMFILE);
}

static struct file *make(enum kind kind)
{
    if (kernel_full && !--kernel_full)
        return NULL;
    for (int i = 0; i < FDS; i++) {
        struct file *f = &files[i];
        if (f->kind != NOTHING)
            continue;
        f->kind = kind;
        f->refs = 0;
        f->count = 0;
        f->s = NULL;
        f->set = NULL;
        wake(f);
        return f;
    }
    abort();
}

static struct file *make_socket(int type)
{
    struct file *f = make(SOCKET);
    for (int i = 0; f && i < SOCKETS; i++) {
        struct sock *s = &socks[i];
        if (s->used)
            continue;
        memset(s, 0, offsetof(struct sock, b));
        s->used = true;
        s->type = type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
        f->s = s;
        return f;
    }
    if (f)
        abort();
    return NULL;
}

static int make_fd(enum kind kind, uint64_t count)
{
    struct file *f = make(kind);
    if (!f)
        return no(EMFILE);
    f->count = count;
    return put(f);
}

/* ------------------------------------------------------------ their ends */

int __real_close(int fd);

static void drop(struct file *f);

static void forget_watches(const struct file *f)
{
    for (unsigned i = 0; i < nsets; i++)
        for (unsigned k = 0; k < sets[i].n;)
            if (sets[i].watch[k].file == f)
                sets[i].watch[k] = sets[i].watch[--sets[i].n];
            else
                k++;
}

static void hang_up(struct file *peer)
{
    if (!peer)
        return;
    peer->s->peer = NULL;
    peer->s->end = true;
    wake(peer);
}

static void end_socket(struct sock *s)
{
    hang_up(s->peer);
    for (unsigned i = 0; i < s->npending; i++)
        drop(s->pending[i]);
    for (unsigned i = 0; i < s->npassed; i++)
        if (s->passed[i].file)
            drop(s->passed[i].file);
        else
            __real_close(s->passed[i].fd);
    s->used = false;
}

static void drop(struct file *f)
{
    if (--f->refs > 0)
        return;
    forget_watches(f);
    if (f->s)
        end_socket(f->s);
    f->s = NULL;
    f->kind = NOTHING;
}

/* ------------------------------------------------------------- readiness */

static uint32_t room(const struct sock *s)
{
    uint32_t used = s->tail - s->head;
    return used < kernel_room ? kernel_room - used : 0;
}

static uint32_t socket_ready(const struct sock *s)
{
    uint32_t got = 0;
    if (s->listens)
        return s->npending ? EPOLLIN : 0;
    if (s->head != s->tail || s->end)
        got |= EPOLLIN;
    if (s->end)
        got |= EPOLLRDHUP;
    if (s->type == SOCK_STREAM && !s->peer)
        got |= EPOLLHUP | EPOLLOUT;
    else if (!s->peer || room(s->peer->s) > kernel_room / 4)
        got |= EPOLLOUT;
    return got;
}

static uint32_t ready(const struct file *f)
{
    if (f->kind == EVENT)
        return EPOLLOUT | (f->count ? EPOLLIN : 0);
    return f->kind == SOCKET ? socket_ready(f->s) : 0;
}

static void idle(int64_t ms)
{
    if (kernel_idle)
        kernel_idle();
    skipped_ns += (uint64_t)ms * 1000000;
}

/* ----------------------------------------------------- bytes of a socket */

/* Makes room for `len` more behind the last one. */
static void compact(struct sock *s, size_t len)
{
    if (s->head == s->tail) {
        s->before += s->head;
        s->head = s->tail = 0;
    }
    if (sizeof(s->b) - s->tail >= len)
        return;
    memmove(s->b, s->b + s->head, s->tail - s->head);
    s->before += s->head;
    s->tail -= s->head;
    s->head = 0;
}

static int pass(struct sock *to, const struct msghdr *m)
{
    struct cmsghdr *c = m && m->msg_controllen ? CMSG_FIRSTHDR(m) : NULL;
    unsigned n = c ? (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
    if (n > PASSED - to->npassed)
        return no(ETOOMANYREFS);
    for (unsigned i = 0; i < n; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
        struct file *f = get(fd);
        if (f)
            f->refs++;
        else if ((fd = dup(fd)) < 0)
            return -1;
        to->passed[to->npassed].file = f;
        to->passed[to->npassed].fd = fd;
        to->passed[to->npassed++].at = to->before + to->tail;
    }
    return 0;
}

/* The descriptors that came with the first bytes, to whoever asks for them. */
static void take_passed(struct sock *s, struct msghdr *m)
{
    struct cmsghdr *c = m && m->msg_controllen ? CMSG_FIRSTHDR(m) : NULL;
    size_t space = c ? m->msg_controllen - CMSG_LEN(0) : 0;
    unsigned n = 0, took = 0;
    for (; n < s->npassed && s->passed[n].at <= s->before + s->head; n++) {
        int fd = s->passed[n].fd;
        if (s->passed[n].file) {
            fd = space >= (took + 1) * sizeof(fd) ? put(s->passed[n].file) : -1;
            drop(s->passed[n].file);
        }
        if (fd >= 0 && space >= (took + 1) * sizeof(fd))
            memcpy(CMSG_DATA(c) + took++ * sizeof(fd), &fd, sizeof(fd));
        else if (fd >= 0)
            __real_close(fd);
    }
    s->npassed -= n;
    memmove(s->passed, s->passed + n, s->npassed * sizeof(s->passed[0]));
    if (!m)
        return;
    m->msg_controllen = took ? CMSG_SPACE(took * sizeof(int)) : 0;
    if (took) {
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(took * sizeof(int));
    }
}

static size_t total(const struct iovec *iov, size_t n)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        len += iov[i].iov_len;
    return len;
}

static void append(struct sock *to, const struct iovec *iov, size_t n,
                   size_t len)
{
    for (size_t i = 0; i < n && len; i++) {
        size_t part = iov[i].iov_len < len ? iov[i].iov_len : len;
        memcpy(to->b + to->tail, iov[i].iov_base, part);
        to->tail += (uint32_t)part;
        len -= part;
    }
}

static struct file *named(const struct sockaddr *sa, socklen_t len)
{
    for (int i = 0; i < FDS; i++) {
        struct file *f = &files[i];
        if (f->kind == SOCKET && f->s->bound && f->s->namelen == len &&
            !memcmp(&f->s->name, sa, len))
            return f;
    }
    return NULL;
}

static ssize_t give(struct file *f, const struct iovec *iov, size_t n,
                    const struct msghdr *m)
{
    struct file *peer = f->s->peer;
    bool stream = f->s->type == SOCK_STREAM;
    size_t len = total(iov, n);
    if (m && m->msg_namelen)
        peer = named(m->msg_name, m->msg_namelen);
    if (!peer || f->s->mute)
        return no(stream ? EPIPE : ECONNREFUSED);
    struct sock *to = peer->s;
    if (!stream && len + RECORD > KERNEL_ROOM)
        return no(EMSGSIZE);
    if (stream ? !room(to) : room(to) < len + RECORD)
        return no(EAGAIN);
    if (stream && len > room(to))
        len = room(to);
    compact(to, len + RECORD);
    if (pass(to, m) < 0)
        return -1;
    if (!stream) {
        uint32_t record = (uint32_t)len;
        memcpy(to->b + to->tail, &record, RECORD);
        to->tail += RECORD;
    }
    append(to, iov, n, len);
    wake(peer);
    return (ssize_t)len;
}

static ssize_t take(struct file *f, const struct iovec *iov, size_t n,
                    struct msghdr *m)
{
    struct sock *s = f->s;
    uint32_t len = s->tail - s->head, all, got = 0;
    if (!len)
        return s->end ? 0 : no(EAGAIN);
    if (s->type != SOCK_STREAM) {
        memcpy(&len, s->b + s->head, RECORD);
        s->head += RECORD;
    }
    all = len;
    take_passed(s, m);
    for (size_t i = 0; i < n && len; i++) {
        uint32_t part = iov[i].iov_len < len ? (uint32_t)iov[i].iov_len : len;
        memcpy(iov[i].iov_base, s->b + s->head + got, part);
        got += part;
        len -= part;
    }
    s->head += s->type == SOCK_STREAM ? got : all;
    if (s->peer)
        wake(s->peer);
    return (ssize_t)got;
}

/* ------------------------------------------------------- the calls: files */

#define CALL(type, name, ...)                                                  \
    type __real_##name(__VA_ARGS__);                                           \
    type __wrap_##name(__VA_ARGS__);                                           \
    type __wrap_##name(__VA_ARGS__)

CALL(int, eventfd, unsigned count, int flags)
{
    (void)flags;
    return make_fd(EVENT, count);
}

CALL(int, timerfd_create, int clock, int flags)
{
    (void)clock, (void)flags;
    return make_fd(TIMER, 0);
}

CALL(int, close, int fd)
{
    struct file *f = get(fd);
    if (!f)
        return __real_close(fd);
    table[fd - FIRST] = NULL;
    drop(f);
    return 0;
}

CALL(int, dup3, int from, int to, int flags)
{
    struct file *f = get(from), *old = get(to);
    if (!f && !old)
        return __real_dup3(from, to, flags);
    if (!f || !old)
        return no(EBADF); /* never from one kernel's to the other's */
    table[to - FIRST] = f;
    f->refs++;
    drop(old);
    return to;
}

CALL(int, fcntl, int fd, int cmd, ...)
{
    va_list ap;
    struct file *f = get(fd);
    va_start(ap, cmd);
    long arg = va_arg(ap, long);
    va_end(ap);
    if (!f)
        return __real_fcntl(fd, cmd, arg);
    return cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC ? put(f) : 0;
}

CALL(ssize_t, read, int fd, void *to, size_t len)
{
    struct file *f = get(fd);
    struct iovec iov = {to, len};
    if (!f)
        return __real_read(fd, to, len);
    if (f->kind == SOCKET)
        return take(f, &iov, 1, NULL);
    if (f->kind != EVENT || len < sizeof(f->count))
        return no(f->kind == TIMER ? EAGAIN : EINVAL);
    if (!f->count)
        return no(EAGAIN);
    memcpy(to, &f->count, sizeof(f->count));
    f->count = 0;
    return sizeof(f->count);
}

CALL(ssize_t, write, int fd, const void *from, size_t len)
{
    struct file *f = get(fd);
    struct iovec iov = {(void *)(uintptr_t)from, len};
    uint64_t count;
    if (!f)
        return __real_write(fd, from, len);
    if (f->kind == SOCKET)
        return give(f, &iov, 1, NULL);
    if (f->kind != EVENT || len < sizeof(count))
        return no(EINVAL);
    memcpy(&count, from, sizeof(count));
    if (count >= UINT64_MAX - f->count)
        return no(EAGAIN);
    f->count += count;
    wake(f);
    return sizeof(count);
}

CALL(int, clock_gettime, clockid_t id, struct timespec *ts)
{
    int err = __real_clock_gettime(id, ts);
    uint64_t ns = (uint64_t)ts->tv_nsec + skipped_ns;
    ts->tv_sec += (time_t)(ns / 1000000000);
    ts->tv_nsec = (long)(ns % 1000000000);
    return err;
}

/* ------------------------------------------------------ the calls: waiting */

CALL(int, epoll_create1, int flags)
{
    (void)flags;
    struct file *f = make(POLL);
    if (f && nsets == POLLS)
        abort();
    if (f)
        f->set = &sets[nsets++];
    return f ? put(f) : no(EMFILE);
}

static struct watch *watch_of(struct set *s, const struct file *f, int fd)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->watch[i].file == f && s->watch[i].fd == fd)
            return &s->watch[i];
    return NULL;
}

CALL(int, epoll_ctl, int epfd, int op, int fd, struct epoll_event *ev)
{
    struct file *p = get(epfd), *f = get(fd);
    if (!p)
        return __real_epoll_ctl(epfd, op, fd, ev);
    if (!f)
        return no(EBADF);
    struct set *s = p->set;
    struct watch *w = watch_of(s, f, fd);
    if (op == EPOLL_CTL_ADD ? w != NULL : !w)
        return no(w ? EEXIST : ENOENT);
    if (op == EPOLL_CTL_DEL) {
        *w = s->watch[--s->n];
        return 0;
    }
    if (!w && s->n == WATCHES)
        abort();
    if (!w)
        w = &s->watch[s->n++];
    *w = (struct watch){f, fd, *ev, f->woken - 1};
    return 0;
}

CALL(int, epoll_wait, int epfd, struct epoll_event *out, int max, int ms)
{
    struct file *p = get(epfd);
    int n = 0;
    (void)ms; /* nobody's loop sleeps in here */
    if (!p)
        return __real_epoll_wait(epfd, out, max, ms);
    for (unsigned i = 0; i < p->set->n && n < max; i++) {
        struct watch *w = &p->set->watch[i];
        uint32_t want = w->ev.events, got = ready(w->file);
        got &= want | EPOLLERR | EPOLLHUP;
        if (!got || (want & EPOLLET && w->seen == w->file->woken))
            continue;
        w->seen = w->file->woken;
        out[n] = w->ev;
        out[n++].events = got;
    }
    return n;
}

/* Only a loop's, for a time in nanoseconds. */
CALL(long, syscall, long nr, ...)
{
    va_list ap;
    long a[6];
    va_start(ap, nr);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (nr != SYS_epoll_pwait2 || !get((int)a[0]))
        return __real_syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    return __wrap_epoll_wait((int)a[0], (void *)(uintptr_t)a[1], (int)a[2], 0);
}

/* 1 for each of ours that is ready; *others: some are the real kernel's. */
static int poll_ours(struct pollfd *p, nfds_t n, bool *others)
{
    int count = 0;
    *others = false;
    for (nfds_t i = 0; i < n; i++) {
        struct file *f = get(p[i].fd);
        p[i].revents = 0;
        if (f) /* POLLx and EPOLLx have the same values */
            p[i].revents = (short)(ready(f) & ((uint32_t)p[i].events |
                                               EPOLLERR | EPOLLHUP));
        else if (p[i].fd >= 0)
            *others = true;
        count += p[i].revents != 0;
    }
    return count;
}

CALL(int, poll, struct pollfd *p, nfds_t n, int ms)
{
    bool others;
    int count = poll_ours(p, n, &others);
    if (count || !ms)
        return count ? count : others ? __real_poll(p, n, 0) : 0;
    if (others)
        return __real_poll(p, n, ms);
    idle(ms);
    return poll_ours(p, n, &others);
}

/* ------------------------------------------------ the helper process's part */

static struct addr ways[4]; /* the latest */
static unsigned nways;

CALL(int, helper_address, const char *who, const struct addr *a)
{
    (void)who;
    ways[nways % ARRAY_LEN(ways)] = *a;
    return (int)++nways;
}

/* Answered at once, on the loop's thread as it should be. */
CALL(int, helper_connect, struct helper_ask *a, int way)
{
    if (way < 1)
        abort();
    int fd = addr_dial(&ways[((unsigned)way - 1) % ARRAY_LEN(ways)]);
    const int fds[2] = {fd, -1};
    a->done(a, fd < 0 ? fd : 0, fds);
    return 0;
}

/* The sockets beside a path are ways, too; nothing is removed at the end. */
static struct {
    struct helper_ask *a;
    struct addr to;
} asked[64];
static unsigned nasked;

CALL(int, helper_begin, uid_t uid, gid_t gid)
{
    (void)uid, (void)gid;
    return 0;
}

CALL(int, helper_unlink, const struct addr *a)
{
    (void)a;
    return 0;
}

CALL(int, helper_ports, const char *who, const struct addr *a)
{
    return __wrap_helper_address(who, a);
}

CALL(int, helper_connect_port, struct helper_ask *a, int way, uint32_t port)
{
    if (nasked == ARRAY_LEN(asked))
        return -EAGAIN;
    if (way < 1 || addr_beside(&ways[((unsigned)way - 1) % ARRAY_LEN(ways)],
                               port, &asked[nasked].to))
        abort();
    a->tag = 1;
    asked[nasked++].a = a;
    return 0;
}

CALL(void, helper_forget, struct helper_ask *a)
{
    unsigned i = 0;
    while (i < nasked && asked[i].a != a)
        i++;
    if (i < nasked)
        memmove(&asked[i], &asked[i + 1], (--nasked - i) * sizeof(asked[0]));
    a->tag = 0;
}

bool kernel_helped(void)
{
    if (!nasked)
        return false;
    struct helper_ask *a = asked[0].a;
    int fd = addr_dial(&asked[0].to);
    const int fds[2] = {fd, -1};
    __wrap_helper_forget(a);
    a->done(a, fd < 0 ? fd : 0, fds);
    return true;
}

/* ------------------------------------------------------ the calls: sockets */

CALL(int, socket, int domain, int type, int protocol)
{
    (void)domain, (void)protocol;
    struct file *f = make_socket(type);
    return f ? put(f) : no(EMFILE);
}

static void join(struct file *a, struct file *b)
{
    a->s->peer = b;
    b->s->peer = a;
}

CALL(int, socketpair, int domain, int type, int protocol, int sv[2])
{
    (void)domain, (void)protocol;
    struct file *a = make_socket(type);
    struct file *b = a ? make_socket(type) : NULL;
    if (a)
        sv[0] = put(a);
    if (b)
        sv[1] = put(b);
    if (a && !b)
        __wrap_close(sv[0]);
    if (!b)
        return no(EMFILE);
    join(a, b);
    return 0;
}

CALL(int, bind, int fd, const struct sockaddr *sa, socklen_t len)
{
    struct file *f = get(fd);
    if (!f)
        return __real_bind(fd, sa, len);
    if (named(sa, len))
        return no(EADDRINUSE);
    memcpy(&f->s->name, sa, len);
    f->s->namelen = len;
    f->s->bound = true;
    return 0;
}

CALL(int, listen, int fd, int backlog)
{
    struct file *f = get(fd);
    if (!f)
        return __real_listen(fd, backlog);
    f->s->listens = true;
    return 0;
}

/* An end for whoever accepts, at once. */
CALL(int, connect, int fd, const struct sockaddr *sa, socklen_t len)
{
    struct file *f = get(fd), *to = named(sa, len);
    if (!f)
        return __real_connect(fd, sa, len);
    if (f->s->peer || f->s->end)
        return no(EISCONN);
    if (!to || !to->s->listens)
        return no(ECONNREFUSED);
    if (to->s->npending == BACKLOG)
        return no(EAGAIN);
    struct file *end = make_socket(SOCK_STREAM);
    if (!end)
        return no(ECONNREFUSED);
    end->refs = 1;
    join(f, end);
    wake(f);
    wake(to);
    to->s->pending[to->s->npending++] = end;
    return 0;
}

CALL(int, accept4, int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
    struct file *f = get(fd);
    if (!f)
        return __real_accept4(fd, sa, len, flags);
    if (!f->s->npending)
        return no(EAGAIN);
    if (kernel_full && !--kernel_full)
        return no(EMFILE);
    struct file *end = f->s->pending[0];
    f->s->npending--;
    memmove(f->s->pending, f->s->pending + 1,
            f->s->npending * sizeof(f->s->pending[0]));
    int out = put(end);
    drop(end); /* the backlog's */
    return out;
}

CALL(int, shutdown, int fd, int how)
{
    struct file *f = get(fd);
    if (!f)
        return __real_shutdown(fd, how);
    if (!f->s->peer)
        return no(ENOTCONN);
    if (how != SHUT_RD) {
        f->s->mute = true;
        f->s->peer->s->end = true;
        wake(f->s->peer);
    }
    if (how != SHUT_WR) {
        f->s->end = f->s->peer->s->mute = true;
        wake(f);
    }
    return 0;
}

CALL(int, getsockopt, int fd, int level, int name, void *val, socklen_t *len)
{
    struct file *f = get(fd);
    if (!f)
        return __real_getsockopt(fd, level, name, val, len);
    if (f->kind != SOCKET)
        return no(ENOTSOCK);
    memset(val, 0, *len);
    if (level == SOL_SOCKET && name == SO_TYPE)
        memcpy(val, &f->s->type, sizeof(int));
    return 0;
}

CALL(int, setsockopt, int fd, int level, int name, const void *val,
     socklen_t len)
{
    return get(fd) ? 0 : __real_setsockopt(fd, level, name, val, len);
}

CALL(int, getpeername, int fd, struct sockaddr *sa, socklen_t *len)
{
    struct file *f = get(fd);
    if (!f)
        return __real_getpeername(fd, sa, len);
    if (!f->s->peer)
        return no(ENOTCONN);
    sa->sa_family = AF_UNIX;
    *len = sizeof(sa->sa_family);
    return 0;
}

CALL(ssize_t, readv, int fd, const struct iovec *iov, int n)
{
    struct file *f = get(fd);
    return f ? take(f, iov, (size_t)n, NULL) : __real_readv(fd, iov, n);
}

static ssize_t peek(const struct sock *s, void *to, size_t len)
{
    if (s->head == s->tail)
        return s->end ? 0 : no(EAGAIN);
    if (len > s->tail - s->head)
        len = s->tail - s->head;
    memcpy(to, s->b + s->head, len);
    return (ssize_t)len;
}

CALL(ssize_t, recv, int fd, void *to, size_t len, int flags)
{
    struct file *f = get(fd);
    struct iovec iov = {to, len};
    if (f && flags & MSG_PEEK)
        return peek(f->s, to, len);
    return f ? take(f, &iov, 1, NULL) : __real_recv(fd, to, len, flags);
}

CALL(ssize_t, recvmsg, int fd, struct msghdr *m, int flags)
{
    struct file *f = get(fd);
    return f ? take(f, m->msg_iov, m->msg_iovlen, m)
             : __real_recvmsg(fd, m, flags);
}

CALL(ssize_t, send, int fd, const void *from, size_t len, int flags)
{
    struct file *f = get(fd);
    struct iovec iov = {(void *)(uintptr_t)from, len};
    return f ? give(f, &iov, 1, NULL) : __real_send(fd, from, len, flags);
}

CALL(ssize_t, sendmsg, int fd, const struct msghdr *m, int flags)
{
    struct file *f = get(fd);
    return f ? give(f, m->msg_iov, m->msg_iovlen, m)
             : __real_sendmsg(fd, m, flags);
}
