/* SPDX-License-Identifier: MIT */
/* The connection of a socket chardev, for a device that cannot be made before
 * its peer has said what it can do: met before the machine runs, and from then
 * on a peer that comes back. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "host/chardev.h"
#include "host/endpoint.h"
#include "host/peer.h"
#include "host/program.h"

#define GREET_MS 1000
#define PROGRAM_GREET_MS 10000 /* it starts first, of a host that is busy */

/* Up to MS milliseconds for FD (-1: none) to be readable. 0, or -EINTR once
 * somebody wants the VMM to end: before its loop runs, the signals are blocked
 * and nobody else looks. */
static int meet_wait(int fd, unsigned ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t end = real_ms() + ms;
    sigset_t told;
    do {
        sigpending(&told);
        if (sigismember(&told, SIGINT) || sigismember(&told, SIGTERM) ||
            sigismember(&told, SIGHUP))
            return -EINTR;
        if (poll(&p, 1, ms < 100 ? (int)ms : 100) > 0)
            break;
    } while (real_ms() < end);
    return 0;
}

static int meet_ended(const struct chardev *c)
{
    return fail(-EINTR, "%s: ended while waiting for a back-end at %s",
                c->peer->id, c->addr.text);
}

static int meet_server(struct chardev *c, const char *whom)
{
    struct peer *p = c->peer;
    p->listen_fd = endpoint_listen(&c->addr, 1);
    if (p->listen_fd < 0)
        return fail(p->listen_fd, "%s: %s: cannot listen: %s", p->id,
                    c->addr.text, strerror(-p->listen_fd));
    log_line("%s: waiting for a %s at %s", p->id, whom, c->addr.text);
    for (;;) {
        if (meet_wait(p->listen_fd, UINT32_MAX))
            return meet_ended(c);
        int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            return fd;
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            return fail(-errno, "%s: %s: accept: %s", p->id, c->addr.text,
                        strerror(errno));
    }
}

static int meet_client(struct chardev *c, const char *whom)
{
    struct peer *p = c->peer;
    for (;;) {
        int fd = addr_dial(&c->addr);
        if (fd >= 0)
            return fd;
        if (!p->redial_ms)
            return fail(fd,
                        "%s: no %s at %s: %s; start it first, or say "
                        "reconnect-ms=1000",
                        p->id, whom, c->addr.text, strerror(-fd));
        if (meet_wait(-1, p->redial_ms))
            return meet_ended(c);
    }
}

static int meet_refused(const struct chardev *c, const char *whom)
{
    const struct peer *p = c->peer;
    /* Perhaps before it was even greeted. */
    if (c->program && p->conn.fd < 0 &&
        (!p->lost || !strcmp(p->lost, "hung up")))
        return program_failed(c->program, p->id);
    return fail(-EPROTO, "%s: %s is no %s for this: it %s", p->id, c->addr.text,
                whom, p->lost ? p->lost : "does not answer");
}

int chardev_meet(struct chardev *c, struct loop *l, const char *whom)
{
    struct peer *p = c->peer;
    p->dial = c->program ? peer_dial_program : c->way ? peer_dial_helper : NULL;
    p->way = c->way;
    p->redial_ms = c->reconnect_ms;
    p->greet_ms = c->program ? PROGRAM_GREET_MS : GREET_MS;
    snprintf(p->name, sizeof(p->name), "%s", c->addr.text);
    int fd = c->program  ? program_open(c->program, p->id, l)
             : c->server ? meet_server(c, whom)
                         : meet_client(c, whom);
    if (fd < 0)
        return fd;
    int64_t end = real_ms() + p->greet_ms, left;
    p->noted = true; /* one line is enough, and it is below */
    int err = peer_begin(p, l, fd);
    while (!err && p->conn.fd >= 0 && !p->up && (left = end - real_ms()) > 0) {
        err = meet_wait(p->conn.fd, (unsigned)left);
        p->ready(p, 0);
    }
    if (!err && !p->up)
        err = meet_refused(c, whom);
    if (!err && c->program)
        program_runs(c->program);
    return err;
}

void chardev_part(struct chardev *c)
{
    peer_end(c->peer);
}
