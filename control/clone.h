/* SPDX-License-Identifier: MIT */
/* vmm ctl clone: several machines that go on from one snapshot. */
#ifndef CLONE_H
#define CLONE_H

/* "N|FIRST-LAST STATE MEM [KEY=VALUE]... [OPTION]...": all of it is looked at,
 * nothing is made. 0 or -EINVAL (said). */
int clone_read(char **args);
/* Starts them, and prints a line for each; where one does not start, none is
 * left. 0 or -errno (said). */
int clone_start(void);

#endif
