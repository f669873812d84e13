/* SPDX-License-Identifier: MIT */
/* The vsock device's connections go on in another process, which gets their
 * sockets: each is a part of the state, and what waits for its reader another
 * one behind it. Both processes have the sockets open for a while; this one, if
 * it goes on after all, as well as that one finds there what it left. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/handed.h"
#include "base/parts.h"
#include "devices/virtio_vsock/state.h"

#define KEPT_LEN                                                               \
    (sizeof(struct vsock_conn) - offsetof(struct vsock_conn, guest))
_Static_assert(KEPT_LEN == 40, "the part's format");
#define WAITS_MAX (32u << 20) /* a state's bytes are bounded */

int vsock_streams_leave(struct device *dev, struct parts *out)
{
    struct vsock *s = container_of(dev, struct vsock, v.dev);
    size_t waits = 0;
    parts_put(out, "of.streams", "", 0);
    for (unsigned i = 0; i < s->nrst; i++)
        parts_put(out, "of.rst", &s->rst[(s->rst_at + i) % VSOCK_RSTS],
                  sizeof(s->rst[0]));
    for (struct vsock_link *l = s->all.next; l != &s->all; l = l->next) {
        struct vsock_conn *c = container_of(l, struct vsock_conn, all);
        uint32_t n =
            VSOCK_BUFFER - c->at < c->fill ? VSOCK_BUFFER - c->at : c->fill;
        waits += c->fill;
        if (waits > WAITS_MAX)
            return fail(-EFBIG,
                        "%s: too many bytes wait for processes that do "
                        "not read them",
                        dev->id);
        c->late = c->ev.fd < 0 ? 0 : handed_late(c->ev.fd);
        parts_put(out, "of.stream", &c->guest, KEPT_LEN);
        if (c->fill)
            parts_put(out, "of.bytes", c->buf + c->at, n);
        if (n < c->fill)
            parts_put(out, "of.bytes", c->buf, c->fill - n);
    }
    return 0;
}

/* The list that it waits in. One that has two seconds for something has them
 * again. */
static void streams_wait(struct vsock_conn *c)
{
    struct vsock *s = c->s;
    switch (c->state) {
    case VSOCK_HELLO:
        vsock_list_add(&s->hellos, &c->wait);
        s->nhello++;
        break;
    case VSOCK_DIALLING:
        c->deadline = now_ns() + VSOCK_LIMIT_NS;
        vsock_conn_wait(c, &s->dials);
        break;
    case VSOCK_DRAINING:
        vsock_conn_wait(c, &s->drains);
        break;
    default:
        if (c->state == VSOCK_ASKED || c->shut_told == VSOCK_SHUT_BOTH)
            vsock_conn_limit(c);
    }
}

static const char *streams_stream(struct vsock *s, const struct part *part)
{
    struct vsock_conn came = {.state = VSOCK_DEAD};
    if (part->len != KEPT_LEN)
        return "of another length";
    memcpy(&came.guest, part->p, KEPT_LEN);
    bool known = came.state != VSOCK_HELLO && came.state != VSOCK_DRAINING;
    bool open = came.state != VSOCK_DIALLING && came.state != VSOCK_DEAD;
    if (came.state > VSOCK_DEAD ||
        (known && vsock_conn_find(s, came.guest, came.host)))
        return "in a state that cannot be";
    int fd = open ? handed_late_take(came.late) : -1;
    if (open && fd < 0)
        return "without a socket";
    struct vsock_conn *c = vsock_conn_new(s, came.state, fd);
    if (!c)
        return "one too many";
    memcpy(&c->guest, &came.guest, KEPT_LEN);
    streams_wait(c);
    if (known) {
        vsock_conn_add(c);
        vsock_rx_want(c);
    }
    return NULL;
}

/* Of the one that came last. */
static const char *streams_bytes(struct vsock *s, const struct part *part)
{
    struct vsock_conn *c = container_of(s->all.prev, struct vsock_conn, all);
    if (s->all.prev == &s->all || c->ev.fd < 0 ||
        part->len > VSOCK_BUFFER - c->fill)
        return "with too many bytes";
    c->buf = c->buf ? c->buf : malloc(VSOCK_BUFFER);
    if (!c->buf)
        return "and no memory for it";
    memcpy(c->buf + c->fill, part->p, part->len);
    c->fill += part->len;
    return NULL;
}

static const char *streams_rst(struct vsock *s, const struct part *part)
{
    if (part->len != sizeof(s->rst[0]) || s->nrst == VSOCK_RSTS)
        return "to be refused that cannot be";
    memcpy(&s->rst[s->nrst++], part->p, part->len);
    return NULL;
}

int vsock_streams_arrive(struct device *dev, const struct part *part)
{
    struct vsock *s = container_of(dev, struct vsock, v.dev);
    const char *fault = "of an unknown kind";
    if (!strcmp(part->name, "of.streams"))
        fault = s->loaded ? NULL : "after others";
    else if (!strcmp(part->name, "of.stream"))
        fault = streams_stream(s, part);
    else if (!strcmp(part->name, "of.bytes"))
        fault = streams_bytes(s, part);
    else if (!strcmp(part->name, "of.rst"))
        fault = streams_rst(s, part);
    s->loaded = false;
    return fault ? fail(-EINVAL, "%s: a connection %s", dev->id, fault) : 0;
}
