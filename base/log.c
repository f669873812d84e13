/* SPDX-License-Identifier: MIT */
/* Messages to the operator, whom nobody waits for.
 *
 * Theory of operation. A line is one write(2), so lines of several threads
 * never mix. The descriptor is a description of our own and non-blocking (a
 * socket takes MSG_DONTWAIT); where /proc does not give us one, poll(2) is
 * asked before each write. So a pipe that nobody reads, or a terminal that is
 * stopped, holds up neither a vCPU nor the loop: the kernel's buffer behind it,
 * and one line here, is all that waits. Further lines are counted, and the
 * count is put where they are missing, as soon as the reader comes back (the
 * loop looks for that) or with the next line. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/use.h"

unsigned trace_mask;

#define LINE_MAX_BYTES 1024
#define SECOND_NS 1000000000ull

static char prefix[80] = "vmm: "; /* or "vmm NAME: " */
static bool named, stamped, silent;

static struct {
    pthread_mutex_t lock;
    struct target {
        int fd;
        bool own;    /* fd is ours to close */
        bool socket; /* MSG_DONTWAIT */
        bool ask;    /* shared and blocking: poll first */
    } to, next;
    size_t at, n;
    char line[LINE_MAX_BYTES]; /* bytes at..n wait */
    uint64_t lost;             /* lines, since that was last said */
    uint64_t until;            /* wait for a reader until then; 0: never */
    struct loop *loop;
    struct event room;
} out = {.lock = PTHREAD_MUTEX_INITIALIZER, .to.fd = STDERR_FILENO};

/* --------------------------------------------------------- writing, waiting */

/* syscalls all: write */
/* syscalls loop worker: poll */
/* syscalls pair vcpu: poll, these rarely say anything, let alone into a pipe
 * that is full */
/* syscalls loop if log_socket: sendto */
/* syscalls pair vcpu worker if log_socket: sendto, these rarely say anything,
 * let alone to a socket */
static ssize_t log_write_some(const char *p, size_t n)
{
    struct pollfd pfd = {.fd = out.to.fd, .events = POLLOUT};
    ssize_t got;
    if (out.to.ask && poll(&pfd, 1, 0) == 0)
        return -EAGAIN;
    do
        got = out.to.socket ? send(out.to.fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL)
                            : write(out.to.fd, p, n);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

/* False: patience is at its end. */
static bool log_wait_for_reader(void)
{
    uint64_t now = out.until ? now_ns() : 0;
    struct pollfd pfd = {.fd = out.to.fd, .events = POLLOUT};
    return now < out.until &&
           poll(&pfd, 1, (int)((out.until - now) / 1000000) + 1) == 1;
}

/* Writes what waits. 0: all of it; -EAGAIN: the reader is slow; another -errno:
 * it cannot be written and is gone. Under the lock. */
static int log_drain(void)
{
    while (out.at < out.n) {
        ssize_t got = log_write_some(out.line + out.at, out.n - out.at);
        if (got == -EAGAIN && log_wait_for_reader())
            continue;
        if (got < 0 && got != -EAGAIN)
            out.at = out.n = 0;
        if (got < 0)
            return (int)got;
        out.at += (size_t)got;
    }
    return 0;
}

/* Nothing else waits. -EAGAIN: it waits now. */
static int log_put(const char *line, size_t n)
{
    memcpy(out.line, line, n);
    out.at = 0;
    out.n = n;
    return log_drain();
}

/* What waits, then how much is missing. Under the lock. */
static int log_catch_up(void)
{
    char note[sizeof(prefix) + 80];
    int err = log_drain();
    if (err || !out.lost)
        return err;
    int n = snprintf(note, sizeof(note),
                     "%s%llu lines are missing here: nobody read them\n",
                     prefix, (unsigned long long)out.lost);
    err = log_put(note, (size_t)n);
    if (!err || err == -EAGAIN)
        out.lost = 0;
    return err;
}

/* Has the loop say when there is room. */
static void log_want_room(void)
{
    if (!out.loop || out.room.loop || (out.at == out.n && !out.lost))
        return;
    out.room.fd = out.to.fd;
    loop_add(out.loop, &out.room); /* EPERM: a file, never full for long */
}

static void log_on_room(struct event *ev, uint32_t got)
{
    (void)got;
    pthread_mutex_lock(&out.lock);
    loop_del(ev);
    int err = log_catch_up();
    if (err == -EAGAIN)
        log_want_room();
    pthread_mutex_unlock(&out.lock);
}

/* One line, whoever's words are in it, and nothing that moves a cursor. */
static void log_make_plain(char *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((uint8_t)line[i] < ' ' && line[i] != '\t') || line[i] == 127)
            line[i] = '?';
}

static void log_put_line(char *line, size_t n)
{
    if (silent)
        return;
    log_make_plain(line, n - 1);
    pthread_mutex_lock(&out.lock);
    int err = log_catch_up();
    bool first = !err;
    if (first)
        err = log_put(line, n);
    if (!first || (err && err != -EAGAIN))
        out.lost++;
    if (err == -EAGAIN)
        log_want_room();
    pthread_mutex_unlock(&out.lock);
}

static void log_put_text(const char *before, const char *fmt, va_list ap)
{
    char line[LINE_MAX_BYTES];
    int n = snprintf(line, sizeof(line), "%s", before);
    int more = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
    if (more > 0)
        n += more;
    if (n > (int)sizeof(line) - 2)
        n = (int)sizeof(line) - 2;
    line[n++] = '\n';
    log_put_line(line, (size_t)n);
}

/* ------------------------------------------------------------- open, close */

/* Where lines go from now on, or by log_move(). */
static struct target log_target_of(int fd)
{
    struct target t = {.fd = fd};
    struct stat st;
    bool known = !fstat(fd, &st);
    t.socket = known && S_ISSOCK(st.st_mode);
    if (t.socket)
        thread_uses(USE_LOG_SOCKET);
    if (t.socket || !known || S_ISREG(st.st_mode)) /* a file never blocks */
        return t;
    int own = fd_reopen(fd, O_WRONLY);
    t.own = own >= 0;
    t.ask = own < 0;
    if (t.own)
        t.fd = own;
    return t;
}

void log_open(int fd)
{
    out.to = log_target_of(fd);
}

void log_next(int fd)
{
    out.next = log_target_of(fd);
    if (out.next.own)
        close(fd);
    out.next.own = true;
}

static void log_go_to(struct target to)
{
    pthread_mutex_lock(&out.lock);
    loop_del(&out.room);
    if (out.to.own)
        close(out.to.fd);
    out.to = to;
    pthread_mutex_unlock(&out.lock);
}

/* syscalls loop: close */
void log_move(void)
{
    if (out.next.fd)
        log_go_to(out.next);
    out.next.fd = 0;
}

void log_take(int fd)
{
    log_go_to((struct target){.fd = fd, .own = true});
}

void log_name(const char *name)
{
    named = name != NULL;
    snprintf(prefix, sizeof(prefix) - 2, "vmm%s%s", name ? " " : "",
             name ? name : "");
    strcat(prefix, ": ");
}

void log_form(const char *before, bool off)
{
    snprintf(prefix, sizeof(prefix), "%s", before);
    named = true;
    stamped = *before;
    silent = off;
}

void log_watch(struct loop *l)
{
    pthread_mutex_lock(&out.lock);
    if (!l)
        loop_del(&out.room);
    out.loop = l;
    out.room = (struct event){.fd = -1, .want = EPOLLOUT, .ready = log_on_room};
    pthread_mutex_unlock(&out.lock);
}

void log_text(const char *text, size_t left)
{
    char line[LINE_MAX_BYTES];
    size_t head = named ? strlen(prefix) : 0;
    memcpy(line, prefix, head);
    while (left) {
        const char *end = memchr(text, '\n', left);
        size_t n = end ? (size_t)(end - text) : left;
        size_t some = n < sizeof(line) - head - 1 ? n : sizeof(line) - head - 1;
        memcpy(line + head, text, some);
        line[head + some] = '\n';
        log_put_line(line, head + some + 1);
        n += end != NULL;
        text += n;
        left -= n;
    }
}

void log_patience(uint64_t ns)
{
    pthread_mutex_lock(&out.lock);
    out.until = now_ns() + ns;
    log_catch_up();
    pthread_mutex_unlock(&out.lock);
}

void log_dying(const char *line, size_t n)
{
    char whole[LINE_MAX_BYTES];
    size_t head = strlen(prefix);
    if (n > sizeof(whole) - head)
        n = sizeof(whole) - head;
    memcpy(whole, prefix, head);
    memcpy(whole + head, line, n);
    log_write_some(whole, head + n);
}

void log_fds(int fd[2])
{
    fd[0] = out.to.fd;
    fd[1] = out.next.fd;
}

void log_close(void)
{
    if (out.to.own)
        close(out.to.fd);
    out.to = (struct target){.fd = STDERR_FILENO};
    out.at = out.n = 0;
    out.lost = out.until = 0;
}

/* ---------------------------------------------------------------- messages */

/* With the time of day before it, as -msg timestamp=on wants it. */
static void log_say(const char *fmt, va_list ap)
{
    char before[sizeof(prefix) + 80];
    struct timespec ts;
    struct tm tm;
    if (!stamped) {
        log_put_text(prefix, fmt, ap);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    snprintf(before, sizeof(before), "%d-%02d-%02dT%02d:%02d:%02d.%06dZ %s",
             tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
             tm.tm_min, tm.tm_sec, (int)(ts.tv_nsec / 1000), prefix);
    log_put_text(before, fmt, ap);
}

void log_timestamps(bool on)
{
    stamped = on;
}

void log_line(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_say(fmt, ap);
    va_end(ap);
}

static _Thread_local struct {
    char *to;
    size_t size;
} caught;

void log_catch(char *to, size_t size)
{
    caught.to = to;
    caught.size = size;
    if (to)
        *to = '\0';
}

int(fail)(int err, const char *fmt, ...)
{
    char text[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (caught.to) {
        if (!*caught.to)
            snprintf(caught.to, caught.size, "%s", text);
        return err;
    }
    /* Anything may meet it, so the advice is here. */
    log_line(err == -EMFILE ? "%s; raise the limit (ulimit -n, a unit's "
                              "LimitNOFILE=)"
                            : "%s",
             text);
    return err;
}

void fault_note(struct fault *f, const char *fmt, ...)
{
    if (__atomic_fetch_add(&f->count, 1, __ATOMIC_RELAXED))
        return;
    va_list ap;
    va_start(ap, fmt);
    log_say(fmt, ap);
    va_end(ap);
}

bool fault_due(struct fault *f, uint64_t *unsaid)
{
    uint64_t n = __atomic_add_fetch(&f->count, 1, __ATOMIC_RELAXED);
    uint64_t when = __atomic_load_n(&f->when, __ATOMIC_RELAXED);
    uint64_t now = now_ns() | 1;
    if (when && now - when < SECOND_NS)
        return false;
    if (!__atomic_compare_exchange_n(&f->when, &when, now, false,
                                     __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return false; /* another thread's line */
    uint64_t said = __atomic_exchange_n(&f->said, n, __ATOMIC_RELAXED);
    *unsaid = said < n ? n - 1 - said : 0;
    return true;
}

void fault_say(struct fault *f, const char *fmt, ...)
{
    char text[LINE_MAX_BYTES];
    uint64_t unsaid;
    va_list ap;
    if (!fault_due(f, &unsaid))
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (unsaid)
        log_line("%s (and %llu like it before)", text,
                 (unsigned long long)unsaid);
    else
        log_line("%s", text);
}

/* ------------------------------------------------------------------- traces */

static const struct {
    const char *name;
    unsigned bit;
} cats[] = {
    {"pci", TRACE_PCI},     {"virtio", TRACE_VIRTIO},
    {"queue", TRACE_QUEUE}, {"e1000", TRACE_E1000},
    {"irq", TRACE_IRQ},     {"net", TRACE_NET},
    {"bus", TRACE_BUS},     {"serial", TRACE_SERIAL},
    {"boot", TRACE_BOOT},   {"vm", TRACE_VM},
    {"all", ~0u},
};

static unsigned log_cat_bit(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(cats) / sizeof(cats[0]); i++)
        if (strlen(cats[i].name) == len && !memcmp(cats[i].name, name, len))
            return cats[i].bit;
    return 0;
}

int trace_set(const char *list)
{
    for (const char *p = list;; p++) {
        size_t len = strcspn(p, ",");
        unsigned bit = log_cat_bit(p, len);
        if (!bit)
            return fail(
                -EINVAL,
                "-trace %.*s: no such category; there are " TRACE_CATEGORIES,
                (int)len, p);
        trace_mask |= bit;
        p += len;
        if (!*p)
            return 0;
    }
}

void trace_print(const char *fmt, ...)
{
    static _Atomic uint64_t start;
    char before[sizeof(prefix) + 40];
    uint64_t now = now_ns() / 1000, zero = 0;
    atomic_compare_exchange_strong(&start, &zero, now);
    now -= atomic_load(&start);
    snprintf(before, sizeof(before), "%3llu.%06u %s",
             (unsigned long long)(now / 1000000), (unsigned)(now % 1000000),
             named ? prefix + 4 : "");
    va_list ap;
    va_start(ap, fmt);
    log_put_text(before, fmt, ap);
    va_end(ap);
}
