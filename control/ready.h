/* SPDX-License-Identifier: MIT */
/* When it is ready, and who is told: a service manager, the parent of
 * -daemonize. */
#ifndef READY_H
#define READY_H

#include "control/config.h"

/* -ready run|guest. 0, or -EINVAL (said). */
int ready_option(const char *arg);
/* What is planned has what that waits for? 0, or -EINVAL (said). */
int ready_check(const struct needs *needs);
/* The vCPUs run: it is, or will be with the guest's first frame. On the main
 * loop's thread; `done(m)` is called there once, when it is. */
void ready_runs(struct machine *m, void (*done)(struct machine *m));
/* Before the loop is freed. */
void ready_end(void);

#endif
