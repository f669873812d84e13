/* SPDX-License-Identifier: MIT */
/* GET /serial: a client of the API becomes one of the guest's serial port.
 *
 * After 101 (RFC 9110 §7.8) the connection carries bytes both ways. What a
 * client does not take in time is dropped and counted; what the guest does not
 * take waits in the room of the client's requests, then in its socket. */
#include "control/serial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "host/console.h"

#define UNTAKEN 65536 /* bytes for one client that is slow */

struct attached {
    struct watcher w;
    struct client *c;
};

static size_t serial_shows(struct watcher *w, const uint8_t *p, size_t n)
{
    struct client *c = container_of(w, struct attached, w)->c;
    if (c->out.n + n > UNTAKEN)
        return n;
    text_add(&c->out, p, n);
    server_say(c);
    return 0;
}

static void serial_room_again(struct watcher *w)
{
    struct client *c = container_of(w, struct attached, w)->c;
    c->full = false;
    server_say(c);
}

static char *serial_room(struct client *c, size_t *room)
{
    *room = c->full ? 0 : HTTP_ROOM(c->in.most) - c->in.n;
    return c->in.buf + c->in.n;
}

static void serial_came(struct client *c, size_t n)
{
    c->in.n += n;
}

static void serial_next(struct client *c)
{
    struct attached *a = c->owner;
    size_t n = console_type(&a->w, c->in.buf, c->in.n);
    c->in.n -= n;
    memmove(c->in.buf, c->in.buf + n, c->in.n);
    c->full = c->in.n > 0;
    c->last |= c->ended && !c->full;
}

static void serial_end(struct client *c)
{
    struct attached *a = c->owner;
    console_unwatch(&a->w);
    free(a);
}

static uint8_t serial_rests(const struct client *c, const void *who,
                            struct text *left)
{
    (void)who;
    text_add(left, c->in.buf, c->in.n);
    return SERIAL_RESTS;
}

static const struct talk serial_talk = {
    .room = serial_room,
    .came = serial_came,
    .next = serial_next,
    .end = serial_end,
    .rests = serial_rests,
};

int serial_attach(struct machine *m, struct client *c)
{
    struct attached *a;
    if (!m->serial)
        return fail(-ENOENT, "serial: this machine has no serial port");
    a = calloc(1, sizeof(*a));
    if (!a)
        return fail(-ENOMEM, "serial: out of memory");
    *a = (struct attached){
        .w = {.shows = serial_shows, .room = serial_room_again}, .c = c};
    text_put(&c->out, "HTTP/1.1 101 Switching Protocols\r\n"
                      "Connection: Upgrade\r\nUpgrade: serial\r\n\r\n");
    console_watch(m->serial, &a->w);
    server_become(c, &serial_talk, a);
    return -EINPROGRESS;
}
