/* SPDX-License-Identifier: MIT */
/* A machine goes on from where it was saved. */
#ifndef RESTORE_H
#define RESTORE_H

#include "base/parts.h"
#include "control/config.h"

/* -restore STATE,mem=FILE|uffd=SOCKET[,…], -describe-snapshot FILE. 0; 1:
 * help, or the description, is out; -EINVAL (said). */
int restore_option(const char *arg);
int restore_describe(const char *arg);
/* Is this file a state that could be loaded? 0 or -errno (said). */
int restore_look(const char *path);
/* The state in the file `fd`, called `name`: read, checked, and opened for `s`,
 * whose p is to be freed, or the next one's. 0 or -errno (said). */
int restore_read(int fd, const char *name, struct saved *s);
/* `c` is the machine that was saved, from here on. */
void restore_into(struct config *c, struct saved *s);
/* The same as -restore of who asks otherwise, with one of `mem` and `uffd`;
 * paths live as long as the machine. Reads the state file. 0 or -errno (said).
 */
int restore_from(const char *state, const char *mem, const char *uffd,
                 bool paused, bool realtime);
/* A part of it; false: it has none such. */
bool restore_part(const char *name, struct part *part);
/* Once the command line is known: opens and checks both files; what the saved
 * machine was goes into `c`. 0 or -errno (said). */
int restore_check(struct config *c);
/* Once `c` is whole: can its memory be served? 0 or -EINVAL (said). */
int restore_check_memory(const struct config *c);
/* In the process that is to run: calls whoever serves memory. 0 or -errno
 * (said). */
int restore_dial(struct config *c);
/* The file of the memory, or -1: none is restored. */
int restore_memory(void);
void restore_end(void);

#endif
