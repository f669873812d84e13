/* SPDX-License-Identifier: MIT */
/* The host's side of the vsock device: processes that connect to uds_path, and
 * the sockets that the guest is connected to.
 *
 * The convention is Firecracker's and Cloud Hypervisor's. A process connects to
 * uds_path and says "CONNECT port\n"; when the guest has taken it it hears "OK
 * port\n", and from then on the bytes are its own. A guest that connects to a
 * port of the host (CID 2) gets whoever listens at uds_path_PORT, if somebody
 * does: by the helper process, as nothing is in reach in the sandbox. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/handed.h"
#include "devices/virtio_vsock/state.h"
#include "host/endpoint.h"

#define ACCEPTS 16 /* in one go */
#define BACKLOG 128
#define LINE_MAX 32 /* of CONNECT */
#define DIALS 16    /* that the helper has at a time */
#define LATER_NS 20000000ull
#define PORT_BIT 0x40000000u /* of the ports of host processes */

/* -------------------------------------------------------- host to guest */

/* A port that no connection of this guest port has. */
static uint32_t host_new_port(struct vsock *s, uint32_t guest)
{
    uint32_t port;
    do
        port = PORT_BIT | (s->next_port++ & (PORT_BIT - 1));
    while (vsock_conn_find(s, guest, port));
    return port;
}

/* "connect 52": the port, or false. */
static bool host_read_line(const char *line, uint32_t *port)
{
    static const char blank[] = " \t\r";
    uint64_t n;
    line += strspn(line, blank);
    if (strncasecmp(line, "connect", 7) || !strchr(blank, line[7]))
        return false;
    line += 7;
    line += strspn(line, blank);
    if (!scan_number(&line, UINT32_MAX, &n))
        return false;
    *port = (uint32_t)n;
    return !line[strspn(line, blank)];
}

/* The line is looked at where it lies, until it is whole; what comes behind it
 * stays there for the guest.
 *
 * syscalls loop if vsock: recvfrom */
static void host_hello(struct vsock_conn *c)
{
    struct vsock *s = c->s;
    char line[LINE_MAX + 1];
    uint32_t port;
    ssize_t n =
        recv(c->ev.fd, line, LINE_MAX, MSG_DONTWAIT | MSG_PEEK | MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    char *end = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
    if (!end && n > 0 && n < LINE_MAX && !c->eof)
        return;
    if (end) {
        recv(c->ev.fd, line, (size_t)(end - line) + 1, MSG_DONTWAIT);
        *end = '\0';
    }
    if (!end || !host_read_line(line, &port) || !vsock_serves(s)) {
        vsock_count(s, refused, 1);
        vsock_conn_free(c);
        return;
    }
    vsock_conn_limit(c); /* before it is counted as another state's */
    c->state = VSOCK_ASKED;
    c->eof = false; /* as it reads on */
    c->guest = port;
    c->host = host_new_port(s, port);
    c->owed = 1 << VSOCK_OP_REQUEST;
    c->readable = true;
    vsock_conn_add(c);
    vsock_count(s, host_connects, 1);
    vsock_rx_want(c);
}

/* The socket is new: there is room. Not counted as the guest's bytes.
 *
 * syscalls loop if vsock: sendto, only Linux guests have a driver */
void vsock_host_accepted(struct vsock_conn *c)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "OK %u\n", c->host);
    vsock_conn_wait(c, NULL);
    c->state = VSOCK_OPEN;
    if (send(c->ev.fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
        c->deaf = true; /* gone; what it said is still given */
}

/* No descriptors, no memory: those who wait go on waiting. */
static void host_pause(struct vsock *s)
{
    loop_want(&s->listen, 0);
    timer_arm(&s->later, now_ns() + LATER_NS);
}

/* syscalls loop if vsock: accept4 close */
static void host_accept(struct event *ev, uint32_t got)
{
    struct vsock *s = container_of(ev, struct vsock, listen);
    (void)got;
    vsock_enter(s);
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(ev->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
                host_pause(s);
            break;
        }
        struct vsock_conn *c = vsock_conn_new(s, VSOCK_HELLO, fd);
        if (!c)
            continue;
        vsock_list_add(&s->hellos, &c->wait);
        s->nhello++;
        host_hello(c);
    }
    vsock_leave(s);
}

/* -------------------------------------------------------- guest to host */

/* Its answer. It says nothing of a driver that is gone meanwhile: that one's
 * are forgotten with it. */
static void host_dialled(struct helper_ask *a, int err, const int fd[2])
{
    struct vsock_conn *c = container_of(a, struct vsock_conn, ask);
    struct vsock *s = c->s;
    vsock_enter(s);
    s->dialling--;
    if (!err)
        err = vsock_conn_watch(c, fd[0]);
    if (err == -EAGAIN && now_ns() < c->deadline) {
        vsock_conn_wait(c, &s->dials); /* its backlog is full */
        host_pause(s);
    } else if (err) {
        vsock_conn_kill(c);
    } else {
        c->state = VSOCK_OPEN;
        c->owed |= 1 << VSOCK_OP_RESPONSE;
        vsock_count(s, guest_connects, 1);
        vsock_rx_want(c);
    }
    vsock_host_dial(s);
    vsock_leave(s);
}

void vsock_host_dial(struct vsock *s)
{
    struct vsock_conn *c;
    while (!s->later.due && s->dialling < DIALS &&
           (c = vsock_first(&s->dials, wait))) {
        c->ask.done = host_dialled;
        int err = helper_connect_port(&c->ask, s->way, c->host);
        if (err == -EAGAIN) {
            host_pause(s);
        } else if (err) {
            vsock_conn_kill(c);
        } else {
            vsock_conn_wait(c, NULL);
            s->dialling++;
        }
    }
}

void vsock_host_later(struct timer *t)
{
    struct vsock *s = container_of(t, struct vsock, later);
    vsock_enter(s);
    loop_want(&s->listen, EPOLLIN);
    vsock_host_dial(s);
    vsock_leave(s);
}

/* ------------------------------------------------------------------- both */

void vsock_host_ready(struct event *ev, uint32_t got)
{
    struct vsock_conn *c = container_of(ev, struct vsock_conn, ev);
    struct vsock *s = c->s;
    vsock_enter(s);
    c->readable = true;
    c->hup |= (got & (EPOLLHUP | EPOLLERR)) != 0;
    if (c->state == VSOCK_HELLO) {
        c->eof = got & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
        host_hello(c);
    } else if (c->state == VSOCK_DRAINING) {
        vsock_conn_flush(c);
    } else {
        if (c->fill)
            vsock_conn_flush(c);
        vsock_rx_want(c);
    }
    vsock_leave(s);
}

int vsock_host_open(struct vsock *s)
{
    const char *id = s->v.dev.id;
    int err = endpoint_listen(&s->addr, BACKLOG);
    if (err < 0)
        return fail(err, "%s: uds_path=%s: cannot listen: %s", id, s->uds_path,
                    addr_bind_why(&s->addr, err));
    s->listen =
        (struct event){.fd = err, .want = EPOLLIN, .ready = host_accept};
    handed_keep(&s->listen.fd, "listen:%s", s->addr.text);
    err = loop_add(s->v.dev.m->loop, &s->listen);
    return err ? fail(err, "%s: %s", id, strerror(-err)) : 0;
}

void vsock_host_close(struct vsock *s)
{
    while (vsock_first(&s->all, all))
        vsock_conn_free(vsock_first(&s->all, all));
    loop_del(&s->listen);
    if (s->listen.fd >= 0)
        close(s->listen.fd);
}
