/* SPDX-License-Identifier: MIT */
/* The host's side of a serial port: terminal, file or socket, with a bounded
 * buffer that never makes a vCPU or the loop wait. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include "machine/machine.h"

#define CONSOLE_TO "stdio|file:PATH|unix:PATH|none"

struct console;

/* The device. Called on the loop's thread, with no lock held. */
struct console_user {
    void *owner;
    unsigned (*room)(void *owner); /* bytes it can take now */
    void (*input)(void *owner, const uint8_t *p, unsigned n); /* n <= room */
    void (*drained)(void *owner); /* console_full() is false again */
};

/* Opens what -serial names: CONSOLE_TO. 0 or -errno, said. `user` is copied. */
int console_open(struct machine *m, const char *to,
                 const struct console_user *user, struct console **out);
void console_close(struct console *c); /* flushes first */

/* One byte for the host. Any thread. Never waits: when the buffer is full the
 * byte is lost and counted (see console_full). */
void console_put(struct console *c, uint8_t byte);
/* Should the device hold its guest back? True while the buffer is full and the
 * reader may still come back for it (one second). Any thread. */
bool console_full(struct console *c);
/* The device has room again. Any thread. */
void console_unthrottle(struct console *c);
uint64_t console_dropped(struct console *c);

/* For vmm.c. Makes sure that descriptors 0 to 2 are open, so that no other file
 * takes their place: before anything is opened. */
void console_early(void);
/* Writes out what the guest said, waiting at most a second for a slow reader:
 * after the loop ended. */
void console_flush_all(void);
/* Gives the terminal back. Any time, any thread, signal handlers too. */
void console_restore(void);
/* Takes it again: after SIGCONT, on the loop's thread. */
void console_continue(void);

#endif
