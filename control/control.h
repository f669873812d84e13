/* SPDX-License-Identifier: MIT */
/* -control: a socket at which a running machine can be asked things. */
#ifndef CONTROL_H
#define CONTROL_H

#include "control/config.h"

/* "PATH[,owner=USER][,group=GROUP][,mode=OCTAL]". 0; 1: help is out; -EINVAL
 * (said). */
int control_option(const char *arg);
/* While things are checked: is there a socket of that name (api) that a service
 * manager listens at for us? Then it is that one, with -control and without.
 * 0 or -EINVAL (said). */
int control_check(void);
/* Makes the socket and serves it from the loop's first turn on. While things
 * are opened; nothing where there is none. 0 or -errno (said). Main thread, as
 * the other. */
int control_begin(struct machine *m, const struct config *config);
void control_end(void);

#endif
