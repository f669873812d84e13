/* SPDX-License-Identifier: MIT */
/* vmm ctl: the command that asks a running machine. */
#ifndef CTL_H
#define CTL_H

/* "ctl [-json] SOCKET VERB [ARG]..."; the process's exit status: 0 done, 1
 * refused (said), 2 wrong use, 3 nobody answers. */
int ctl_main(int argc, char **argv);

#endif
