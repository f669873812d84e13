/* SPDX-License-Identifier: MIT */
/* What a service manager is told of this process (sd_notify(3)). */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

/* All of it on the main thread; nothing where nobody asked ($NOTIFY_SOCKET).
 *
 * First thing in main(): takes the variables that ask for it out of the
 * environment, which children inherit. */
void notify_early(void);
/* Puts them back, in a process that becomes another VMM of the same service. */
void notify_environment(void);
/* Connects, before the sandbox. Who cannot be reached is told nothing: that is
 * a line, and no error. */
void notify_open(void);
/* From now on: what could not be sent is tried again, and, where the manager
 * has a watchdog, it hears of us twice in its time, as long as `alive(arg)` is
 * true. It is asked again and again while it is not. */
void notify_watch(struct loop *l, bool (*alive)(void *arg), void *arg);
/* READY=1; `forked`: this process is not the one that was started. */
void notify_ready(bool forked);
/* MAINPID=: another process is the service's. */
void notify_main(int pid);
/* STATUS=, one line. */
void notify_status(const char *text);
/* STOPPING=1. */
void notify_stopping(void);
void notify_close(void);

#endif
