/* SPDX-License-Identifier: MIT */
/* -control: a socket at which a running machine can be asked things. */
#ifndef CONTROL_H
#define CONTROL_H

#include "control/config.h"

/* "PATH[,owner=USER][,group=GROUP][,mode=OCTAL]". 0; 1: help is out; -EINVAL
 * (said). */
int control_option(const char *arg);
/* Makes the socket and serves it from the loop's first turn on. While things
 * are opened; nothing without -control. 0 or -errno (said). Main thread, as the
 * other. */
int control_begin(struct machine *m, const struct config *config);
void control_end(void);

#endif
