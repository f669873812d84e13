/* SPDX-License-Identifier: MIT */
/* Counters as Firecracker's JSON lines, for clients that read those. */
#ifndef FCMETRICS_H
#define FCMETRICS_H

#include "machine/machine.h"

/* Opens a file (made where there is none) or FIFO, which may be without a
 * reader; once. Before the sandbox. 0 or -errno (said). Main thread, as the
 * others. */
int fcmetrics_open(const char *path);
/* The guest runs: a line now, and one each minute. Nothing where none is open,
 * or the second time. */
void fcmetrics_begin(struct machine *m);
/* A line now; nothing where none is open, or the guest has not run. 0, or
 * -errno (said) where it is lost: what it had counted is in the next one. */
int fcmetrics_flush(void);
/* The last line, and closes it. */
void fcmetrics_end(void);

#endif
