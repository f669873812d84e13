/* SPDX-License-Identifier: MIT */
/* Descriptors that others gave us. */
#ifndef FD_H
#define FD_H

/* Opens once more what `fd` is (a terminal, a pipe), as `mode` says and
 * non-blocking: O_NONBLOCK belongs to the description, so setting it on `fd`
 * itself would change it for everybody who shares it. The new descriptor, or
 * -errno (sockets cannot be, nor where /proc is missing). */
int fd_reopen(int fd, int mode);

/* What the parent left open beside 0 to 2 is remembered, and goes to no child
 * of ours. First thing in main(). */
void fd_inherited(void);
/* The operator has named this one: it is used, and stays. */
void fd_take(int fd);
/* The others are closed: once everything that may name one is open. */
void fd_close_inherited(void);

#endif
