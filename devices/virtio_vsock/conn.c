/* SPDX-License-Identifier: MIT */
/* The vsock device's connections: from the first word to the last, with the
 * guest's bytes on their way to the host's process.
 *
 * Theory of operation. A connection is one small block of memory; bytes go from
 * the guest's buffers into the process's socket, and what does not fit there
 * waits in a buffer of 64 KiB, which exists only as long as something is in it
 * and is all that the guest is allowed to send ahead (virtio 1.2 §5.10.6.3).
 *
 * A process's socket is watched for edges: what was told and not used (no
 * buffer of the guest's, no credit) is remembered here (`readable`, `hup`) and
 * is not told again, so that nobody turns in circles. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/iov.h"
#include "devices/virtio_vsock/state.h"

#define WATCHED (EPOLLIN | EPOLLRDHUP | EPOLLET)

/* ------------------------------------------------------------------- lists */

void vsock_list_init(struct vsock_link *list)
{
    list->prev = list->next = list;
}

void vsock_list_add(struct vsock_link *list, struct vsock_link *l)
{
    l->next = list;
    l->prev = list->prev;
    l->prev->next = list->prev = l;
}

void vsock_list_del(struct vsock_link *l)
{
    if (!l->next)
        return;
    l->prev->next = l->next;
    l->next->prev = l->prev;
    l->prev = l->next = NULL;
}

static struct vsock_conn **conn_bucket(struct vsock *s, uint32_t guest,
                                       uint32_t host)
{
    return &s->bucket[((guest * 0x9e3779b1u) ^ (host * 0x85ebca6bu)) >> 24];
}
_Static_assert(VSOCK_BUCKETS == 256, "the eight bits on top");

struct vsock_conn *vsock_conn_find(struct vsock *s, uint32_t guest,
                                   uint32_t host)
{
    struct vsock_conn *c = *conn_bucket(s, guest, host);
    while (c && (c->guest != guest || c->host != host))
        c = c->hash_next;
    return c;
}

void vsock_conn_add(struct vsock_conn *c)
{
    struct vsock_conn **b = conn_bucket(c->s, c->guest, c->host);
    c->hash_next = *b;
    *b = c;
}

static void conn_unhash(struct vsock_conn *c)
{
    struct vsock_conn **p = conn_bucket(c->s, c->guest, c->host);
    while (*p && *p != c)
        p = &(*p)->hash_next;
    if (*p)
        *p = c->hash_next;
}

void vsock_conn_wait(struct vsock_conn *c, struct vsock_link *list)
{
    if (c->state == VSOCK_HELLO && c->wait.next)
        c->s->nhello--;
    vsock_list_del(&c->wait);
    if (list)
        vsock_list_add(list, &c->wait);
}

/* ------------------------------------------------------------- begin, end */

/* Room for another one, if it may be made: who says nothing, or reads nothing
 * of a guest that is done, comes last. */
static bool conn_make_room(struct vsock *s, enum vsock_state state)
{
    struct vsock_conn *c = vsock_first(&s->hellos, wait);
    bool silent = state == VSOCK_HELLO && s->nhello >= VSOCK_HELLOS;
    if (!silent && s->nconn < s->most)
        return true;
    if (!c)
        c = vsock_first(&s->drains, wait);
    if (!c)
        return false;
    vsock_count(s, refused, 1);
    vsock_conn_free(c);
    return true;
}

struct vsock_conn *vsock_conn_new(struct vsock *s, enum vsock_state state,
                                  int fd)
{
    struct vsock_conn *c = NULL;
    if (conn_make_room(s, state))
        c = calloc(1, sizeof(*c));
    if (!c) {
        vsock_count(s, refused, 1);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    c->s = s;
    c->state = (uint8_t)state;
    c->ev = (struct event){.fd = -1, .ready = vsock_host_ready};
    vsock_list_add(&s->all, &c->all);
    s->nconn++;
    if (fd >= 0 && vsock_conn_watch(c, fd)) {
        vsock_count(s, refused, 1);
        vsock_conn_free(c);
        return NULL;
    }
    return c;
}

int vsock_conn_watch(struct vsock_conn *c, int fd)
{
    c->ev.fd = fd;
    c->ev.want = WATCHED | (c->fill ? EPOLLOUT : 0);
    return c->s->v.dev.held ? 0 : loop_add(c->s->v.dev.m->loop, &c->ev);
}

static void conn_drop_buffer(struct vsock_conn *c)
{
    free(c->buf);
    c->buf = NULL;
    c->fill = 0;
}

/* The process's end of it.
 *
 * syscalls loop if vsock: close */
static void conn_hang_up(struct vsock_conn *c)
{
    vsock_conn_wait(c, NULL);
    if (c->ask.tag) {
        helper_forget(&c->ask);
        c->s->dialling--;
    }
    loop_del(&c->ev);
    if (c->ev.fd >= 0)
        close(c->ev.fd);
    c->ev.fd = -1;
    conn_drop_buffer(c);
}

void vsock_conn_free(struct vsock_conn *c)
{
    conn_hang_up(c);
    conn_unhash(c);
    vsock_list_del(&c->rx);
    vsock_list_del(&c->all);
    c->s->nconn--;
    free(c);
}

void vsock_conn_kill(struct vsock_conn *c)
{
    if (c->state == VSOCK_ASKED || c->state == VSOCK_DIALLING)
        vsock_count(c->s, refused, 1);
    conn_hang_up(c);
    c->state = VSOCK_DEAD;
    vsock_rx_want(c);
}

/* syscalls loop if vsock: shutdown, only Linux guests have a driver */
void vsock_conn_part(struct vsock_conn *c)
{
    if (!c->fill) {
        vsock_conn_free(c);
        return;
    }
    conn_unhash(c);
    vsock_list_del(&c->rx);
    shutdown(c->ev.fd, SHUT_RD);
    c->state = VSOCK_DRAINING;
    vsock_conn_wait(c, &c->s->drains);
}

void vsock_conn_part_all(struct vsock *s)
{
    struct vsock_link *l = s->all.next, *next;
    for (; l != &s->all; l = next) {
        struct vsock_conn *c = container_of(l, struct vsock_conn, all);
        next = l->next;
        if (c->state != VSOCK_HELLO && c->state != VSOCK_DRAINING)
            vsock_conn_part(c);
    }
    s->nrst = 0;
}

void vsock_conn_watch_all(struct vsock *s, bool on)
{
    struct vsock_link *l = s->all.next, *next;
    for (; l != &s->all; l = next) {
        struct vsock_conn *c = container_of(l, struct vsock_conn, all);
        next = l->next;
        if (!on)
            loop_del(&c->ev);
        else if (c->ev.fd >= 0 && vsock_conn_watch(c, c->ev.fd))
            vsock_conn_kill(c);
    }
}

/* ------------------------------------------------------------------- time */

static void conn_arm(struct vsock *s)
{
    struct vsock_conn *c = vsock_first(&s->dues, wait);
    if (c && !s->due.due && !s->v.dev.held)
        timer_arm(&s->due, c->deadline);
}

void vsock_conn_limit(struct vsock_conn *c)
{
    c->deadline = now_ns() + VSOCK_LIMIT_NS;
    vsock_conn_wait(c, &c->s->dues);
    conn_arm(c->s);
}

void vsock_conn_due(struct timer *t)
{
    struct vsock *s = container_of(t, struct vsock, due);
    struct vsock_conn *c;
    vsock_enter(s);
    while ((c = vsock_first(&s->dues, wait)) && c->deadline <= now_ns())
        vsock_conn_kill(c);
    conn_arm(s);
    vsock_leave(s);
}

void vsock_conn_rest(struct vsock *s)
{
    timer_cancel(&s->due);
    timer_cancel(&s->later);
    s->held_at = now_ns();
}

void vsock_conn_go_on(struct vsock *s)
{
    uint64_t rested = now_ns() - s->held_at;
    for (struct vsock_link *l = s->all.next; l != &s->all; l = l->next)
        container_of(l, struct vsock_conn, all)->deadline += rested;
    conn_arm(s);
}

/* ------------------------------------------------- the guest's bytes, onward
 */

/* It reads no more: what it would have got is taken for read. */
static void conn_deafen(struct vsock_conn *c)
{
    c->deaf = true;
    c->taken += c->fill;
    conn_drop_buffer(c);
}

/* How many bytes went.
 *
 * syscalls loop if vsock: sendmsg, only Linux guests have a driver */
static uint32_t conn_send(struct vsock_conn *c, struct iovec *iov, int n)
{
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
    ssize_t sent = sendmsg(c->ev.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        conn_deafen(c);
    if (sent <= 0)
        return 0;
    c->taken += (uint32_t)sent;
    return (uint32_t)sent;
}

/* §5.10.6.3: long before the guest has to stop. */
static void conn_credit(struct vsock_conn *c)
{
    if (c->taken - c->told >= VSOCK_BUFFER / 2 &&
        !(c->guest_shut & VSOCK_SHUT_SEND))
        c->owed |= 1 << VSOCK_OP_CREDIT_UPDATE;
}

/* Nothing waits for the process. */
static void conn_flushed(struct vsock_conn *c)
{
    conn_drop_buffer(c);
    loop_want(&c->ev, WATCHED);
    if (c->state == VSOCK_DRAINING) {
        vsock_conn_free(c);
        return;
    }
    if (c->guest_shut & VSOCK_SHUT_SEND && !c->shut_wr) {
        shutdown(c->ev.fd, SHUT_WR);
        c->shut_wr = true;
    }
    if (c->guest_shut == VSOCK_SHUT_BOTH)
        vsock_conn_kill(c); /* which is how a guest's close is answered */
}

void vsock_conn_flush(struct vsock_conn *c)
{
    while (c->fill) {
        uint32_t n = VSOCK_BUFFER - c->at;
        struct iovec iov = {c->buf + c->at, n < c->fill ? n : c->fill};
        n = conn_send(c, &iov, 1);
        if (!n && !c->deaf) {
            loop_want(&c->ev, WATCHED | EPOLLOUT);
            break;
        }
        if (c->deaf)
            break;
        c->at = (c->at + n) % VSOCK_BUFFER;
        c->fill -= n;
    }
    conn_credit(c);
    if (!c->fill)
        conn_flushed(c);
}

/* Behind what waits already. */
static bool conn_keep(struct vsock_conn *c, const struct iovec *iov, unsigned n,
                      size_t skip, uint32_t len)
{
    if (!c->buf) {
        c->buf = malloc(VSOCK_BUFFER);
        c->at = 0;
    }
    if (!c->buf)
        return false;
    uint32_t end = (c->at + c->fill) % VSOCK_BUFFER;
    uint32_t first = VSOCK_BUFFER - end < len ? VSOCK_BUFFER - end : len;
    iov_read(iov, n, skip, c->buf + end, first);
    iov_read(iov, n, skip + first, c->buf, len - first);
    c->fill += len;
    loop_want(&c->ev, WATCHED | EPOLLOUT);
    return true;
}

bool vsock_conn_take(struct vsock_conn *c, const struct iovec *iov, unsigned n,
                     uint32_t len)
{
    uint32_t done = 0;
    if (len > VSOCK_BUFFER - c->fill)
        return false;
    while (!c->fill && !c->deaf && done < len) {
        struct iovec part[VSOCK_PIECES];
        size_t want = len - done;
        int k = vsock_iov_cut(iov, n, VSOCK_HDR_LEN + done, &want, part);
        uint32_t sent = conn_send(c, part, k);
        done += sent;
        if (sent < want)
            break;
    }
    if (c->deaf)
        c->taken += len - done;
    else if (done < len &&
             !conn_keep(c, iov, n, VSOCK_HDR_LEN + done, len - done))
        return false;
    conn_credit(c);
    return true;
}

void vsock_conn_shut(struct vsock_conn *c, uint32_t flags)
{
    uint32_t more = flags & VSOCK_SHUT_BOTH & ~(uint32_t)c->guest_shut;
    c->guest_shut |= (uint8_t)more;
    if (more & VSOCK_SHUT_RCV)
        shutdown(c->ev.fd, SHUT_RD);
    if (!c->fill)
        conn_flushed(c);
}
