/* SPDX-License-Identifier: MIT */
/* -metrics: counters in a file, for who reads files. */
#ifndef TEXTFILE_H
#define TEXTFILE_H

#include "machine/machine.h"

/* "FILE[,interval=SECONDS]". 0; 1: help is out; -EINVAL (said). */
int textfile_option(const char *arg);
/* Opens it; nothing without -metrics. Before the sandbox. 0 or -errno (said).
 * Main thread, as the others. */
int textfile_open(struct machine *m);
/* The guest runs: what was in the file goes, and it is written from now on.
 * Nothing the second time. */
void textfile_begin(void);
/* Once more, and closes it. */
void textfile_end(void);

#endif
