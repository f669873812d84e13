/* SPDX-License-Identifier: MIT */
/* This process goes on with a guest that runs in another one. */
#ifndef TAKEOVER_H
#define TAKEOVER_H

#include "control/config.h"

/* First in main(): is it one that takes over (-upgrade)? Takes the word that
 * says so out of argv, and all that the other one has. 0 or -errno (said). */
int takeover_early(int *argc, char ***argv);
bool takeover_meant(void);
/* Once the command line is known, in place of restore_check(). 0 or -errno
 * (said). */
int takeover_check(struct config *c);
/* Everything is open: was all that came taken? 0 or -errno (said). */
int takeover_opened(void);
/* The process ends, with that exit code: who waits for it hears why. */
int takeover_end(int code);

#endif
