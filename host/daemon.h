/* SPDX-License-Identifier: MIT */
/* -daemonize: a process that goes on by itself, whose start is waited for. */
#ifndef DAEMON_H
#define DAEMON_H

#include <stdbool.h>

/* All of it on the main thread, in this order.
 *
 * Goes on in a process of its own, without a terminal; the one that was started
 * waits there until it is ready, and gives 0 then, else what this one ends
 * with. 0, or -errno (said). */
int daemon_fork(void);
/* What this process executes from now on are such ones already, if -daemonize
 * is among their options: a pipe as standard input takes a byte when one is
 * ready. */
void daemon_expect(void);
/* This process is such a one, of another program that it takes over from. */
int daemon_adopted(void);
bool daemon_forked(void); /* this is it */
/* Everything that has a path is open. */
void daemon_leave_directory(void);
/* Where messages go when there is no other place for them: nowhere. */
int daemon_nowhere(void);
/* It is ready. The standard descriptors are the caller's no more. -EPIPE: who
 * waited is gone, so the start was called off. */
int daemon_ready(void);
/* The same for a process beside it, which nobody waits for. */
void daemon_detach(void);

#endif
