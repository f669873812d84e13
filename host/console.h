/* SPDX-License-Identifier: MIT */
/* The host's side of a serial port: terminal, file or socket, with a bounded
 * buffer that never makes a vCPU or the loop wait. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdint.h>

#include "base/loop.h"
#include "host/chardev.h"

struct console;

/* Opens what `dev` says and takes it over, on failure too. No file is emptied
 * before console_begin_all(). 0 or -errno, said. `user` is copied. */
int console_open(struct loop *l, struct chardev *dev,
                 const struct console_user *user, struct console **out);
void console_close(struct console *c); /* flushes first */
/* The one that has opened `dev`; NULL: none has. */
struct console *console_of(const struct chardev *dev);
/* Ctrl-A c gives the keys to this user, and back to the first; NULL: no longer.
 * Loop's thread, or before it runs. */
void console_share(struct console *c, const struct console_user *user);
/* Who reads along and types beside the one it was opened for. Embedded in its
 * owner; the loop's thread. */
struct watcher {
    /* What the guest says; gives how much of it could not be taken. */
    size_t (*shows)(struct watcher *w, const uint8_t *p, size_t n);
    void (*room)(struct watcher *w); /* console_type() takes more again */
    struct console *console;
    struct watcher *next;
};
void console_watch(struct console *c, struct watcher *w);
void console_unwatch(struct watcher *w);
/* Keys for the guest: how many of them it takes. If not all, room() follows. */
size_t console_type(struct watcher *w, const void *p, size_t n);

/* server=on,wait=on, and nobody has connected yet. */
bool console_waits(const struct console *c);

/* One byte for the host. Any thread. Never waits: when the buffer is full the
 * byte is lost and counted (see console_full). */
void console_put(struct console *c, uint8_t byte);
/* So many at once, which nothing comes between. */
void console_say(struct console *c, const void *p, size_t n);
/* Would much more be lost? Then the user is told by drained(), too. */
bool console_busy(struct console *c);
/* Should the device hold its guest back? True while the buffer is full and the
 * reader may still come back for it (one second). Any thread. */
bool console_full(struct console *c);
/* The device has room again. Any thread. */
void console_unthrottle(struct console *c);
/* Its counters, as those of `id`. Any thread. */
void console_count(struct console *c, const char *id, struct tally *t);

/* For vmm.c. Nothing can fail any more: files are emptied, a terminal is told
 * its keys. */
void console_begin_all(void);
/* Writes out what the guest said, waiting at most a second for a slow reader:
 * after the loop ended. */
void console_flush_all(void);
/* Another process may go on with all of them: what can be written at once is,
 * and nothing is read; and: it does not. */
void console_hand_over(void);
void console_take_back(void);
/* The terminal is ours again (SIGCONT): on the loop's thread. */
void console_continue(void);

#endif
