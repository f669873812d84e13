/* SPDX-License-Identifier: MIT */
/* What comes in for a serial port, and the keys that are ours: Ctrl-A.
 *
 * Theory of operation. Bytes are read while the device has room, otherwise left
 * in the host's kernel. Where Ctrl-A means something, at a terminal or with a
 * monitor behind the port, that would make it mean nothing as soon as the guest
 * takes no more, when it stands still or hangs and is to be ended: there bytes
 * are read ahead, Ctrl-A is taken out of them, and the others wait here, until
 * there are AHEAD of them. The device's bytes wait so, and not a monitor's. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "host/console.h"
#include "host/console_state.h"

#define ESCAPE 0x01 /* Ctrl-A */

const struct console_user *console_device(const struct console *c)
{
    return c->user.entered ? &c->other : &c->user;
}

static bool console_has_keys(const struct console *c)
{
    return c->end.keys || c->other.owner;
}

/* Input waits for room, of which console_unthrottle tells. */
static void console_throttle(struct console *c)
{
    pthread_mutex_lock(&c->b.lock);
    c->throttled = true;
    pthread_mutex_unlock(&c->b.lock);
}

void console_feed(struct console *c)
{
    const struct console_user *u = console_device(c);
    unsigned room;
    while (c->nahead && (room = u->room(u->owner))) {
        unsigned n = room < c->nahead ? room : c->nahead;
        c->nahead -= n;
        u->input(u->owner, c->ahead, n);
        memmove(c->ahead, c->ahead + n, c->nahead);
    }
    if (!c->nahead)
        return;
    console_throttle(c);
    /* It may have made room before it could see that we wait for it. */
    if (u->room(u->owner))
        console_unthrottle(c);
}

/* To who has the keys; the device's fit, see console_room. */
static void console_hand(struct console *c, const uint8_t *p, unsigned n)
{
    if (!console_has_keys(c) || c->user.entered) {
        c->user.input(c->user.owner, p, n);
        return;
    }
    memcpy(c->ahead + c->nahead, p, n);
    c->nahead += n;
    console_feed(c);
}

/* The keys are the other user's; the n before were for this one. Gives how many
 * of them are still to be handed on. */
static unsigned console_switch(struct console *c, const uint8_t *p, unsigned n)
{
    struct console_user other = c->other;
    if (!other.owner)
        return n;
    if (n)
        console_hand(c, p, n);
    c->other = c->user;
    c->user = other;
    if (other.entered)
        other.entered(other.owner);
    return 0;
}

/* How much may be read. Behind a Ctrl-A c it is the other's, so both must have
 * room for it; but a byte alone is no Ctrl-A c with something behind it. */
static unsigned console_room(const struct console *c)
{
    unsigned ahead = AHEAD - c->nahead;
    if (!console_has_keys(c))
        return c->user.room(c->user.owner);
    if (!c->other.owner)
        return ahead;
    const struct console_user *monitor = c->user.entered ? &c->user : &c->other;
    unsigned room = monitor->room(monitor->owner);
    if (c->user.entered)
        return room && !ahead ? 1 : room < ahead ? room : ahead;
    return ahead && !room ? 1 : room < ahead ? room : ahead;
}

/* Takes Ctrl-A and what follows it out of the keys. Returns how many are left
 * for the guest. */
static unsigned console_unescape(struct console *c, uint8_t *p, unsigned n)
{
    static const char help[] = "\r\nCtrl-A x       quit\r\n"
                               "Ctrl-A c       monitor, and back\r\n"
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
        else if (p[i] == 'c' || p[i] == 'C')
            left = console_switch(c, p, left);
        else if (p[i] == 'h' || p[i] == 'H' || p[i] == '?')
            console_say(c, help, sizeof(help) - 1);
    }
    return left;
}

/* End of input, or a terminal that is not ours now (EIO). A client that only
 * ended its own side may still want to read: the peer says when it is gone. */
static void console_input_over(struct console *c)
{
    console_stream_pause(&c->in);
}

void console_in_ready(struct event *ev, uint32_t got)
{
    struct console *c = container_of(ev, struct console, in.ev);
    uint8_t buf[256];
    unsigned room = console_room(c);
    (void)got;
    if (room > sizeof(buf))
        room = sizeof(buf);
    if (!room) {
        console_stream_pause(&c->in);
        console_throttle(c);
        if (console_room(c))
            console_unthrottle(c);
        return;
    }
    ssize_t n = c->in.socket ? recv(ev->fd, buf, room, MSG_DONTWAIT)
                             : read(ev->fd, buf, room);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        console_input_over(c);
        return;
    }
    unsigned left = console_has_keys(c) ? console_unescape(c, buf, (unsigned)n)
                                        : (unsigned)n;
    backlog_came(&c->b, left);
    if (left)
        console_hand(c, buf, left);
    if (!c->in.polled)
        loop_again(ev);
}
