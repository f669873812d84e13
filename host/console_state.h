/* SPDX-License-Identifier: MIT */
/* A console inside: what console.c (making it, input, who comes and goes) and
 * console_out.c (output) share. All on the loop's thread but where it says
 * otherwise. */
#ifndef CONSOLE_STATE_H
#define CONSOLE_STATE_H

#include <stdatomic.h>
#include <sys/types.h>

#include "base/log.h"
#include "host/backlog.h"
#include "host/chardev.h"
#include "host/endpoint.h"
#include "host/peer.h"

#define AHEAD 1024

/* A host descriptor, and how it behaves. */
struct stream {
    struct event ev;
    bool socket;
    bool polled; /* epoll can wait for it; else it is always ready */
    bool added;
};

struct console {
    struct loop *loop;
    struct chardev *dev;       /* NULL: a logfile */
    char label[80];            /* "-serial file:log": opens each line */
    struct console_user user;  /* who has the keys */
    struct console_user other; /* after Ctrl-A c; owner NULL: nobody */
    struct stream in, out;     /* fd -1: none */
    struct event wake;         /* bytes to write, or room for input */
    struct timer flush, stall;
    struct endpoint end;
    bool escaped;         /* Ctrl-A was seen */
    bool throttled;       /* input waits for room (the backlog's lock) */
    uint8_t ahead[AHEAD]; /* keys that the device has no room for */
    unsigned nahead;
    bool spoke; /* the guest has put something out */
    bool waits; /* for the first one to connect */
    struct peer peer;
    bool peered;        /* a socket: readers come and go */
    bool begun;         /* console_begin_all() has been */
    uint64_t lost_then; /* `dropped` when the file took nothing, + 1 */
    struct fault trouble;
    struct console *log; /* logfile= */

    struct watcher *watchers;
    atomic_bool watched;   /* by any: any thread */
    atomic_bool typed;     /* one waits for room: any thread */
    struct backlog copies; /* for them, while there are any */
    struct timer show;

    struct backlog b;
    struct console *next;
};

/* console_in.c. Something came in; what waits goes to the device, which may
 * have room; whose port it is: the other user of two is a monitor. */
void console_in_ready(struct event *ev, uint32_t got);
void console_feed(struct console *c);
const struct console_user *console_device(const struct console *c);

/* console_out.c. A descriptor (-1: none) to be watched; its readiness is waited
 * for, or not; its end. Where epoll cannot wait (files, /dev/null), it is ready
 * at once. */
void console_stream_set(struct stream *s, int fd, bool socket,
                        void (*ready)(struct event *ev, uint32_t got));
void console_stream_wait(struct console *c, struct stream *s, uint32_t want);
void console_stream_pause(struct stream *s);
void console_stream_close(struct stream *s);
/* Writes out what waits, BACKLOG bytes at most. 0: empty; -EAGAIN;
 * -EINPROGRESS: more has come meanwhile; another -errno: the reader is gone. */
int console_drain(struct console *c);
/* The same, and what follows from it. */
void console_flush(struct console *c);
/* There is room again. */
void console_tell_drained(struct console *c);
/* The reader is no more: nobody is waited for, nothing is written. */
void console_lose_reader(struct console *c);
/* Handlers: something has come for an empty backlog a while ago; out is ready;
 * nothing was taken for long. */
void console_flush_due(struct timer *t);
void console_out_ready(struct event *ev, uint32_t got);
void console_stall_due(struct timer *t);
/* Something has come for those who watch. */
void console_show_due(struct timer *t);

#endif
