/* SPDX-License-Identifier: MIT */
/* Clients of a listening socket, on the main loop.
 *
 * Theory of operation. The loop also moves the guest's packets, so a client may
 * cost it little whatever it does. A turn of one reads once, does one request,
 * writes once; more waits for the next turn. While an answer is not taken the
 * client is not read from. There are ten at most: when another comes, the one
 * that has been silent longest makes room, but only after a second, else the
 * new one is told to come back; and after each that is turned away nobody is
 * accepted for ten milliseconds, so that who connects in a loop costs a hundred
 * accepts a second. Nothing has a time-out: who is silent waits on a descriptor
 * and some memory until others want it. */
#include "control/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/handed.h"
#include "base/log.h"
#include "base/parts.h"
#include "base/use.h"

#define SILENT_NS 1000000000ull
#define PAUSE_NS 10000000ull
#define SERVER_PASSED 4 /* descriptors with one message */

static struct server *servers;

/* syscalls loop if control: close */
static void server_hang_up(struct client *c)
{
    loop_del(&c->ev);
    close(c->ev.fd);
    c->ev.fd = -1;
    c->talk->end(c);
    if (c->talk != c->server->talk)
        c->server->talk->end(c);
    text_free(&c->out);
}

/* Who is being answered keeps its place until it is: see server_answer. */
static void server_lose(struct client *c)
{
    if (c->asked)
        loop_del(&c->ev);
    else
        server_hang_up(c);
}

/* ----------------------------------------------------------------- answers */

/* As much as it takes. False: it is gone.
 *
 * syscalls loop if control: sendto */
static bool server_flush(struct client *c)
{
    if (c->out.cut) /* it does not take what it has asked for */
        return false;
    while (c->sent < c->out.n) {
        ssize_t got = send(c->ev.fd, c->out.p + c->sent, c->out.n - c->sent,
                           MSG_DONTWAIT | MSG_NOSIGNAL);
        if (got < 0 && errno == EAGAIN)
            return true;
        if (got < 0)
            return false;
        c->sent += (size_t)got;
        c->when = now_ns();
    }
    text_free(&c->out);
    c->sent = 0;
    return !c->last;
}

bool server_done(struct client *c)
{
    c->asked = false;
    if (!c->ev.loop) { /* it is lost */
        server_hang_up(c);
        return false;
    }
    loop_again(&c->ev);
    return true;
}

void server_become(struct client *c, const struct talk *talk, void *owner)
{
    http_done(&c->in);
    c->talk = talk;
    c->owner = owner;
    server_done(c);
}

void server_say(struct client *c)
{
    if (c->ev.loop && !c->asked)
        loop_again(&c->ev);
}

/* ---------------------------------------------------------------- requests */

/* With the descriptors that come along.
 *
 * syscalls loop if control: recvmsg */
static ssize_t server_recv(struct client *c, char *to, size_t room)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int) * SERVER_PASSED)];
    } ctl;
    struct iovec iov = {to, room};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &ctl,
                       .msg_controllen = sizeof(ctl)};
    ssize_t got = recvmsg(c->ev.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *h = got < 0 ? NULL : CMSG_FIRSTHDR(&m);
    for (; h; h = CMSG_NXTHDR(&m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
            c->talk->passed(c, fd);
        }
    }
    return got;
}

/* False: nothing more will come of it.
 *
 * syscalls loop if control: recvfrom */
static bool server_read(struct client *c)
{
    size_t room;
    char *to = c->talk->room(c, &room);
    if (c->ended || !room)
        return true;
    ssize_t got = c->talk->passed ? server_recv(c, to, room)
                                  : recv(c->ev.fd, to, room, MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN;
    c->ended = !got;
    c->talk->came(c, (size_t)got);
    if (got)
        c->when = now_ns();
    return true;
}

/* What there is to wait for, until the next turn. */
static uint32_t server_wants(const struct client *c)
{
    if (c->asked)
        return 0;
    return c->out.n ? EPOLLOUT : c->ended || c->full ? 0 : EPOLLIN;
}

static void server_turn(struct event *ev, uint32_t got)
{
    struct client *c = container_of(ev, struct client, ev);
    bool there = true, read = !c->out.n;
    if ((c->asked || c->full) && got & (EPOLLERR | EPOLLHUP)) {
        server_lose(c);
        return;
    }
    if (c->asked)
        return;
    if (read) {
        there = server_read(c);
        if (there)
            c->talk->next(c);
    }
    if (!there || (!c->asked && !server_flush(c))) {
        server_lose(c);
        return;
    }
    if (!read && !c->out.n) /* what it had sent before, it may send no more */
        loop_again(ev);
    loop_want(ev, server_wants(c));
}

/* ----------------------------------------------------------------- clients */

static void server_adopt(struct server *s, struct client *c, int fd)
{
    *c = (struct client){
        .server = s,
        .talk = s->talk,
        .ev = {.fd = fd, .want = EPOLLIN, .ready = server_turn},
        .when = now_ns(),
    };
    if (!s->talk->begin(c) || loop_add(s->loop, &c->ev))
        server_hang_up(c);
    else if (c->out.n)
        loop_again(&c->ev); /* it is greeted */
}

/* A place, perhaps of one who does not use it; NULL: there is none. */
static struct client *server_place(struct server *s)
{
    struct client *best = NULL;
    for (struct client *c = s->client; c < s->client + SERVER_CLIENTS; c++) {
        if (c->ev.fd < 0)
            return c;
        if (!c->asked && (!best || c->when < best->when))
            best = c;
    }
    if (!best || now_ns() - best->when < SILENT_NS)
        return NULL;
    server_hang_up(best);
    return best;
}

/* What it sent, if anything, is left unread, so it may not see this; but then
 * it sees that the connection is gone. */
static void server_turn_away(struct server *s, int fd)
{
    struct text out = {0};
    s->talk->refuse(s, &out);
    if (!out.cut && out.n)
        send(fd, out.p, out.n, MSG_DONTWAIT | MSG_NOSIGNAL);
    text_free(&out);
    close(fd);
    s->turned_away++;
}

static void server_pause(struct server *s)
{
    loop_want(&s->listen, 0);
    timer_arm(&s->pause, now_ns() + PAUSE_NS);
}

static void server_go_on(struct timer *t)
{
    loop_want(&container_of(t, struct server, pause)->listen, EPOLLIN);
}

/* Errors (no descriptors are left) wait, too: the socket stays readable.
 *
 * syscalls loop if control: accept4 */
static void server_accept(struct event *ev, uint32_t got)
{
    struct server *s = container_of(ev, struct server, listen);
    (void)got;
    int fd = accept4(ev->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        server_pause(s);
        return;
    }
    if (s->admit && !s->admit(s, fd)) {
        close(fd);
        server_pause(s);
        return;
    }
    struct client *c = server_place(s);
    if (c) {
        server_adopt(s, c, fd);
    } else {
        server_turn_away(s, fd);
        server_pause(s);
    }
}

/* -------------------------------------------------------------------- HTTP */

static bool server_http_begin(struct client *c)
{
    const struct server *s = c->server;
    size_t most = s->body_max ? s->body_max : HTTP_BODY_MAX;
    char *buf = malloc(HTTP_ROOM(most));
    http_init(&c->in, buf, most);
    return buf != NULL;
}

static void server_http_end(struct client *c)
{
    free(c->in.buf);
    c->in.buf = NULL;
}

static char *server_http_room(struct client *c, size_t *room)
{
    return http_room(&c->in, room);
}

static void server_http_came(struct client *c, size_t n)
{
    c->in.n += n;
}

void server_answer(struct client *c, int code, const char *type,
                   struct text *body)
{
    if (!server_done(c)) {
        text_free(body);
        return;
    }
    if (body->cut) {
        text_free(body);
        text_put(body, "{\"fault_message\":\"The answer is too long.\"}");
        code = 400;
        type = "application/json";
    }
    c->last |= c->in.last || c->in.bad;
    http_answer(&c->out, &c->in, c->server->name, code, type, body, c->last);
    text_free(body);
    if (!c->in.bad)
        http_done(&c->in);
}

static void server_http_is_bad(struct client *c)
{
    struct text body = {0};
    text_put(&body, "{\"fault_message\":");
    text_quote(&body, c->in.bad);
    text_add(&body, "}", 1);
    server_answer(c, 400, "application/json", &body);
}

static void server_http_next(struct client *c)
{
    switch (http_next(&c->in)) {
    case HTTP_MORE:
        c->last |= c->ended;
        return;
    case HTTP_CONTINUE:
        text_add(&c->out, http_continue, strlen(http_continue));
        return;
    case HTTP_REQUEST:
        c->asked = true;
        c->server->request(c);
        return;
    case HTTP_BAD:
        if (!c->last)
            server_http_is_bad(c);
        return;
    }
}

static void server_http_refuse(const struct server *s, struct text *out)
{
    const struct http nothing = {0};
    struct text body = {0};
    text_put(&body, "{\"fault_message\":\"Too many open connections.\"}");
    http_answer(out, &nothing, s->name, 503, "application/json", &body, true);
    text_free(&body);
}

/* A request stays where it is until it is answered. */
static uint8_t server_http_rests(const struct client *c, const void *who,
                                 struct text *left)
{
    http_again(&c->in, c->asked, left);
    return !c->asked || (who == c && !c->in.last);
}

static const struct talk server_http = {
    .begin = server_http_begin,
    .room = server_http_room,
    .came = server_http_came,
    .next = server_http_next,
    .end = server_http_end,
    .refuse = server_http_refuse,
    .rests = server_http_rests,
};

/* ----------------------------------------------------------- begin and end */

int server_begin(struct server *s, struct loop *l, int fd)
{
    thread_uses(USE_CONTROL);
    s->loop = l;
    if (!s->talk)
        s->talk = &server_http;
    s->listen =
        (struct event){.fd = fd, .want = EPOLLIN, .ready = server_accept};
    timer_init(&s->pause, l, server_go_on);
    for (int i = 0; i < SERVER_CLIENTS; i++)
        s->client[i].ev.fd = -1;
    s->number = servers ? servers->number + 1 : 0;
    s->next = servers;
    servers = s;
    int err = loop_add(l, &s->listen);
    if (err) {
        close(fd);
        s->listen.fd = -1;
    }
    return err;
}

void server_end(struct server *s)
{
    if (!s->loop)
        return;
    timer_cancel(&s->pause);
    for (struct client *c = s->client; c < s->client + SERVER_CLIENTS; c++) {
        if (c->ev.fd < 0)
            continue;
        server_flush(c);
        server_hang_up(c);
    }
    loop_del(&s->listen);
    if (s->listen.fd >= 0)
        close(s->listen.fd);
    s->loop = NULL;
    struct server **p = &servers;
    while (*p != s)
        p = &(*p)->next;
    *p = s->next;
}

/* --------------------------------------------------------- another process */

/* Servers are the same, in the same order, where the options are. */
static void server_part(const struct server *s, char name[PART_NAME_MAX + 1])
{
    snprintf(name, PART_NAME_MAX + 1, "client.%u.%s", s->number, s->name);
}

#define KNOWN_LEN 4 /* what rests() gave, then the rest of what it has sent */

static void server_leave(struct client *c, const void *who, struct parts *out)
{
    char name[PART_NAME_MAX + 1];
    struct text text = {0};
    if (c->ev.fd < 0 || !c->ev.loop)
        return;
    bool there = server_flush(c) && !c->out.n && !c->ended;
    if (!c->asked)
        loop_del(&c->ev);
    text_add(&text, (char[KNOWN_LEN]){0}, KNOWN_LEN);
    uint8_t known = there && c->talk->rests ? c->talk->rests(c, who, &text) : 0;
    if (known && !text.cut) {
        text.p[0] = (char)known;
        server_part(c->server, name);
        handed_part(out, name, c->ev.fd, text.p, text.n);
    }
    text_free(&text);
}

void servers_leave(const void *who, struct parts *out)
{
    for (struct server *s = servers; s; s = s->next) {
        timer_cancel(&s->pause);
        loop_want(&s->listen, 0);
        for (int i = 0; i < SERVER_CLIENTS; i++)
            server_leave(&s->client[i], who, out);
    }
}

void servers_stay(void)
{
    for (struct server *s = servers; s; s = s->next) {
        loop_want(&s->listen, EPOLLIN);
        for (struct client *c = s->client; c < s->client + SERVER_CLIENTS;
             c++) {
            if (c->ev.fd < 0 || c->ev.loop || c->asked)
                continue;
            if (loop_add(s->loop, &c->ev))
                server_hang_up(c);
            else
                loop_again(&c->ev); /* what was said meanwhile */
        }
    }
}

/* As if it had just been sent. */
static void server_again(struct client *c, const uint8_t *p, size_t n)
{
    size_t room;
    char *to = n ? c->talk->room(c, &room) : NULL;
    if (n && n > room) {
        server_hang_up(c);
    } else if (n) {
        memcpy(to, p, n);
        c->talk->came(c, n);
        loop_again(&c->ev);
    }
}

void servers_arrive(const struct part *part)
{
    char name[PART_NAME_MAX + 1];
    struct server *s = servers;
    const uint8_t *p;
    size_t n;
    for (; s; s = s->next) {
        server_part(s, name);
        if (!strcmp(name, part->name))
            break;
    }
    struct client *c = s ? server_place(s) : NULL;
    int fd = c ? handed_part_take(part, KNOWN_LEN, &p, &n) : -1;
    if (fd < 0)
        return;
    server_adopt(s, c, fd);
    if (c->ev.fd >= 0 && s->goes_on)
        s->goes_on(c, p[0]);
    text_free(&c->out); /* it has been greeted */
    if (c->ev.fd >= 0)
        server_again(c, p + KNOWN_LEN, n - KNOWN_LEN);
}
