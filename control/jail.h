/* SPDX-License-Identifier: MIT */
/* vmm jail: a VMM in a root directory, and with a user, of its own. */
#ifndef JAIL_H
#define JAIL_H

#include <stdbool.h>

/* Is this program called jailer, or its first argument jail? */
bool jail_meant(int argc, char **argv);
/* Becomes the VMM; else the process's exit status: 0 help, or the VMM runs in
 * another process; 1 it does not (said); 2 wrong use (said). */
int jail_main(int argc, char **argv);

#endif
