/* SPDX-License-Identifier: MIT */
/* This process: what it protects itself from, and what it may use. */
#ifndef HOST_PROCESS_H
#define HOST_PROCESS_H

#include <stdbool.h>

/* Before anything else in main(): 0 to 2 are open, so that no other file takes
 * their place; what the parent left open beside them is known; tables are
 * read-only; as many descriptors as the hard limit allows. */
void process_early(void);
/* Did the parent have this signal ignored (nohup, a shell's background job)? */
bool process_ignores(int sig);

#endif
