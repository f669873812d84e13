/* SPDX-License-Identifier: MIT */
/* What a service manager is told of this process.
 *
 * One datagram says all that is owed (sd_notify(3)). A manager who does not
 * take it now is told later; nobody waits for him. His watchdog is for a VMM
 * that hangs, so a loop that goes round is not enough: he hears of us only when
 * each vCPU has come out of its guest since. One that did so by itself is left
 * alone, so a busy guest costs nothing and an idle one a signal a vCPU each
 * time. */
#include "host/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/opts.h"
#include "base/use.h"
#include "host/addr.h"

#define AGAIN_NS 100000000ull /* until a manager is tried again */
#define ASK_MOST_NS 10000000u /* until who does not answer is asked again */
#define ASK_LEAST_NS 1000000u

enum { READY = 1, STOPPING = 2, STATUS = 4, WATCHDOG = 8, MAINPID = 16 };

static struct {
    const char *socket; /* NULL: nobody asked */
    int fd;             /* -1: not connected */
    pid_t pid;
    unsigned owed;
    char status[128];
    struct timer again;
    uint64_t half;  /* ns between two signs of life; 0: none are wanted */
    uint64_t asked; /* when somebody did not answer at first; 0: none */
    struct timer ping;
    bool (*alive)(void *arg);
    void *arg;
    bool deaf, dead; /* said */
} notify = {.fd = -1};

/* -------------------------------------------------------------- what is asked
 */

/* A number in the environment; 0 where it is none. */
static uint64_t notify_number(const char *name)
{
    const char *text = getenv(name);
    uint64_t n;
    return text && scan_number(&text, UINT64_MAX, &n) && !*text ? n : 0;
}

void notify_early(void)
{
    uint64_t usec = notify_number("WATCHDOG_USEC");
    uint64_t pid = notify_number("WATCHDOG_PID");
    notify.socket = getenv("NOTIFY_SOCKET");
    if (notify.socket && !*notify.socket)
        notify.socket = NULL;
    bool ours = usec < UINT64_MAX / 1000 && (!pid || pid == (uint64_t)getpid());
    notify.half = ours ? usec * 1000 / 2 : 0;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_environment(void)
{
    char usec[24];
    snprintf(usec, sizeof(usec), "%llu", (unsigned long long)notify.half / 500);
    if (notify.socket)
        setenv("NOTIFY_SOCKET", notify.socket, 1);
    if (notify.half)
        setenv("WATCHDOG_USEC", usec, 1);
}

/* ------------------------------------------------------------------- sending
 */

static void notify_add(char *text, size_t size, unsigned what, const char *line)
{
    size_t n = strlen(text);
    if (notify.owed & what)
        snprintf(text + n, size - n, "%s\n", line);
}

static void notify_compose(char *text, size_t size)
{
    char line[sizeof(notify.status) + 8];
    *text = '\0';
    snprintf(line, sizeof(line), "MAINPID=%d", (int)notify.pid);
    notify_add(text, size, MAINPID, line);
    notify_add(text, size, READY, "READY=1");
    notify_add(text, size, STOPPING, "STOPPING=1");
    snprintf(line, sizeof(line), "STATUS=%s", notify.status);
    notify_add(text, size, STATUS, line);
    notify_add(text, size, WATCHDOG, "WATCHDOG=1");
}

/* syscalls loop if notify: sendto */
static void notify_send(unsigned what)
{
    char text[256];
    if (notify.fd < 0)
        return;
    notify.owed |= what;
    notify_compose(text, sizeof(text));
    ssize_t n =
        send(notify.fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)) {
        if (notify.again.loop)
            timer_arm(&notify.again, now_ns() + AGAIN_NS);
        return;
    }
    notify.owed = 0;
    if (n < 0 && !notify.deaf)
        log_line("NOTIFY_SOCKET=%s: %s; nobody is told there", notify.socket,
                 strerror(errno));
    notify.deaf = n < 0;
}

static void notify_again(struct timer *t)
{
    (void)t;
    notify_send(0);
}

void notify_main(int pid)
{
    notify.pid = (pid_t)pid;
    notify_send(MAINPID);
}

void notify_ready(bool forked)
{
    notify_send(READY | (forked ? MAINPID : 0));
}

void notify_status(const char *text)
{
    snprintf(notify.status, sizeof(notify.status), "%s", text);
    notify_send(STATUS);
}

void notify_stopping(void)
{
    notify_send(STOPPING);
}

/* ------------------------------------------------------------- signs of life
 */

static void notify_ping(struct timer *t)
{
    uint64_t now = now_ns(), ask = notify.half / 16;
    if (notify.alive(notify.arg)) {
        notify.asked = 0;
        notify.dead = false;
        notify_send(WATCHDOG);
        timer_arm(t, now + notify.half);
        return;
    }
    if (!notify.asked)
        notify.asked = now;
    if (now - notify.asked >= notify.half / 2 && !notify.dead) {
        log_line("a vCPU does not answer: the watchdog is not told that all is "
                 "well");
        notify.dead = true;
    }
    ask = ask > ASK_MOST_NS    ? ASK_MOST_NS
          : ask < ASK_LEAST_NS ? ASK_LEAST_NS
                               : ask;
    timer_arm(t, now + ask);
}

void notify_watch(struct loop *l, bool (*alive)(void *arg), void *arg)
{
    if (notify.fd < 0)
        return;
    notify.alive = alive;
    notify.arg = arg;
    timer_init(&notify.again, l, notify_again);
    timer_init(&notify.ping, l, notify_ping);
    if (notify.half)
        timer_arm(&notify.ping, now_ns());
}

/* --------------------------------------------------------------- open, close
 */

/* "@name": an abstract one. */
static int notify_connect(void)
{
    struct addr a;
    const char *path = notify.socket;
    bool abstract = *path == '@';
    if (!abstract && *path != '/')
        return fail(-EINVAL, "NOTIFY_SOCKET=%s: no path, nor @NAME", path);
    int err = addr_unix("NOTIFY_SOCKET", path + abstract, abstract, &a);
    if (err)
        return err;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && !connect(fd, &a.sa, a.len))
        return fd;
    err = fail(-errno, "NOTIFY_SOCKET=%s: %s; nobody is told that it runs",
               path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return err;
}

void notify_open(void)
{
    if (!notify.socket)
        return;
    notify.fd = notify_connect();
    notify.pid = getpid();
    if (notify.fd >= 0)
        thread_uses(USE_NOTIFY);
}

void notify_close(void)
{
    timer_cancel(&notify.again);
    timer_cancel(&notify.ping);
    if (notify.fd >= 0)
        close(notify.fd);
    notify.fd = -1;
}
