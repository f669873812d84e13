/* SPDX-License-Identifier: MIT */
/* One connection that comes back.
 *
 * A peer is anybody: it may connect and go a thousand times a second, or say
 * nothing. So one that did not stay is followed by a pause, which doubles, and
 * what is said of it is said once until one stays; while it waits it is one
 * timer. The kernel keeps the next one waiting (listen's backlog). */
#include "host/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/use.h"

#define MS 1000000ull
#define STAYS_MS 5000      /* this long, and a connection counts as good */
#define GREET_MS 1000      /* from opened() to peer_up() */
#define CONNECT_MS 10000   /* a connection that the kernel still makes */
#define PAUSE_LEAST_MS 100 /* after one that did not stay */
#define PAUSE_MOST_MS 3200

static void peer_after(struct peer *p, unsigned ms)
{
    timer_arm(&p->timer, now_ns() + ms * MS);
}

/* Who is at the other end of a connection that was accepted.
 *
 * syscalls loop if peer: getpeername getsockopt */
static void peer_who(const struct peer *p, char *buf, size_t size)
{
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_storage any;
    } a = {.sa.sa_family = AF_UNSPEC};
    socklen_t len = sizeof(a);
    struct ucred cred;
    char ip[INET6_ADDRSTRLEN] = "";

    if (p->listen_fd < 0 || getpeername(p->conn.fd, &a.sa, &len) < 0)
        a.sa.sa_family = AF_UNSPEC;
    len = sizeof(cred);
    if (a.sa.sa_family == AF_INET)
        snprintf(buf, size, "%s:%d at %s",
                 inet_ntop(AF_INET, &a.in.sin_addr, ip, sizeof(ip)),
                 ntohs(a.in.sin_port), p->name);
    else if (a.sa.sa_family == AF_INET6)
        snprintf(buf, size, "[%s]:%d at %s",
                 inet_ntop(AF_INET6, &a.in6.sin6_addr, ip, sizeof(ip)),
                 ntohs(a.in6.sin6_port), p->name);
    else if (a.sa.sa_family == AF_UNIX &&
             getsockopt(p->conn.fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
        snprintf(buf, size, "process %d at %s", (int)cred.pid, p->name);
    else
        snprintf(buf, size, "%s", p->name);
}

void peer_up(struct peer *p)
{
    char text[256];
    peer_who(p, text, sizeof(text));
    p->up = true;
    p->since = now_ns();
    p->connects++;
    p->noted = false;
    peer_after(p, STAYS_MS);
    if (!p->quiet)
        log_line("%s: connected to %s", p->id, text);
    TRACE(NET, "%s up: %s", p->id, text);
}

static void peer_stays(struct peer *p)
{
    char text[256];
    peer_who(p, text, sizeof(text));
    if (p->quiet)
        log_line("%s: connected to %s, which stays; %u others did not", p->id,
                 text, p->brief);
    p->quiet = false;
    p->brief = p->pause_ms = 0;
}

/* The connection is gone: the next one, after a pause unless this one was
 * good. */
static void peer_next(struct peer *p, bool good)
{
    unsigned pause = p->pause_ms * 2;
    if (pause < PAUSE_LEAST_MS)
        pause = PAUSE_LEAST_MS;
    unsigned most = p->pause_most_ms ? p->pause_most_ms : PAUSE_MOST_MS;
    if (pause > most)
        pause = most;
    p->pause_ms = good ? 0 : pause;
    timer_cancel(&p->timer);
    if (p->listen_fd >= 0) {
        if (good)
            loop_want(&p->listen, EPOLLIN);
        else
            peer_after(p, pause);
    } else if (p->dial && p->redial_ms) {
        peer_after(p, p->redial_ms > p->pause_ms ? p->redial_ms : p->pause_ms);
    }
}

static const char *peer_outlook(const struct peer *p)
{
    if (p->listen_fd >= 0 || (p->dial && p->redial_ms))
        return "waiting for it to come back";
    return p->alone ? p->alone : "the cable stays out";
}

void peer_drop(struct peer *p, const char *why)
{
    bool up = p->up;
    bool good = up && now_ns() - p->since >= STAYS_MS * MS;
    const char *told = atomic_exchange(&p->why, NULL);
    if (p->conn.fd < 0)
        return;
    p->lost = why = told ? told : why;
    if (!p->connecting)
        p->closed(p);
    p->up = p->connecting = false;
    loop_del(&p->conn);
    close(p->conn.fd);
    p->conn.fd = -1;
    TRACE(NET, "%s down: %s", p->id, why);
    if (!p->quiet && !p->noted)
        log_line("%s: %s %s; %s", p->id, p->name, why, peer_outlook(p));
    p->drops++;
    p->noted |= !up;
    p->quiet |= up && !good;
    p->brief += !good;
    peer_next(p, good);
}

static void peer_dial_failed(struct peer *p, int err)
{
    if (err == -ECANCELED) {
        log_line("%s: %s does not stay; giving up", p->id, p->name);
        return;
    }
    if (err == -EPIPE) {
        log_line("%s: %s stays away, as the helper process has ended", p->id,
                 p->name);
        return;
    }
    if (!p->noted && !p->quiet)
        log_line("%s: cannot connect to %s: %s; trying again", p->id, p->name,
                 strerror(-err));
    p->noted = true;
    if (p->listen_fd >= 0)
        peer_next(p, false);
    else if (p->redial_ms)
        peer_after(p, p->redial_ms);
}

static void peer_open(struct peer *p)
{
    p->connecting = false;
    peer_want(p, 0);
    peer_after(p, p->greet_ms ? p->greet_ms : GREET_MS);
    p->opened(p);
}

static void peer_connected(struct peer *p)
{
    int err = 0;
    socklen_t len = sizeof(err);
    getsockopt(p->conn.fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if (!err) {
        peer_open(p);
        return;
    }
    loop_del(&p->conn);
    close(p->conn.fd);
    p->conn.fd = -1;
    peer_dial_failed(p, -err);
}

static void peer_ready(struct event *ev, uint32_t got)
{
    struct peer *p = container_of(ev, struct peer, conn);
    if (p->connecting)
        peer_connected(p);
    else if (got & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        peer_drop(p, "hung up");
    else if (p->ready)
        p->ready(p, got);
}

/* A descriptor to be the connection, at once or when it is writable.
 *
 * syscalls loop if peer: fcntl(F_GETFL|F_SETFL) poll close */
static int peer_adopt(struct peer *p, int fd)
{
    struct pollfd w = {.fd = fd, .events = POLLOUT};
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    p->conn.fd = fd;
    p->conn.want = EPOLLOUT | EPOLLRDHUP;
    int err = loop_add(p->loop, &p->conn);
    if (err) {
        close(fd);
        p->conn.fd = -1;
        return err;
    }
    p->connecting = poll(&w, 1, 0) == 0;
    if (p->connecting)
        peer_after(p, CONNECT_MS);
    else
        peer_connected(p);
    return 0;
}

void peer_dialled(struct peer *p, int fd)
{
    if (fd >= 0)
        fd = peer_adopt(p, fd);
    if (fd < 0)
        peer_dial_failed(p, fd);
}

static void peer_redial(struct peer *p)
{
    int fd = p->dial(p);
    if (fd != -EINPROGRESS)
        peer_dialled(p, fd);
}

static void peer_helped(struct helper_ask *a, int err, const int fd[2])
{
    peer_dialled(container_of(a, struct peer, ask), err ? err : fd[0]);
}

int peer_dial_helper(struct peer *p)
{
    p->ask.done = peer_helped;
    int err = helper_connect(&p->ask, p->way);
    return err ? err : -EINPROGRESS;
}

/* Errors (no descriptors are left) wait, too: the socket stays readable.
 *
 * syscalls loop if peer: accept4 */
static void peer_accept(struct event *ev, uint32_t got)
{
    struct peer *p = container_of(ev, struct peer, listen);
    (void)got;
    loop_want(ev, 0);
    int fd = accept4(ev->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 || peer_adopt(p, fd))
        peer_next(p, false);
}

static void peer_overdue(struct timer *t)
{
    struct peer *p = container_of(t, struct peer, timer);
    if (p->up)
        peer_stays(p);
    else if (p->conn.fd >= 0)
        peer_drop(p, "does not answer");
    else if (p->listen_fd >= 0)
        loop_want(&p->listen, EPOLLIN);
    else
        peer_redial(p);
}

int peer_begin(struct peer *p, struct loop *l, int fd)
{
    p->loop = l;
    thread_uses(USE_PEER);
    p->conn = (struct event){.fd = -1, .ready = peer_ready};
    p->listen = (struct event){
        .fd = p->listen_fd, .want = fd < 0 ? EPOLLIN : 0, .ready = peer_accept};
    timer_init(&p->timer, l, peer_overdue);
    int err = p->listen_fd >= 0 ? loop_add(l, &p->listen) : 0;
    if (!err && fd >= 0)
        err = peer_adopt(p, fd);
    else if (fd >= 0)
        close(fd);
    if (err)
        return fail(err, "%s: %s: cannot be waited for: %s", p->id, p->name,
                    strerror(-err));
    if (fd < 0 && p->dial)
        timer_arm(&p->timer, 1);
    return 0;
}

void peer_want(struct peer *p, uint32_t want)
{
    loop_want(&p->conn, (p->half ? 0 : EPOLLRDHUP) | want);
}

void peer_end(struct peer *p)
{
    timer_cancel(&p->timer);
    helper_forget(&p->ask);
    loop_del(&p->conn);
    loop_del(&p->listen);
    if (p->conn.fd >= 0)
        close(p->conn.fd);
    if (p->listen_fd >= 0)
        close(p->listen_fd);
    p->conn.fd = p->listen_fd = -1;
}
