/* SPDX-License-Identifier: MIT */
/* Descriptors that others gave us. */
#ifndef FD_H
#define FD_H

/* Opens once more what `fd` is (a terminal, a pipe), as `mode` says and
 * non-blocking: O_NONBLOCK belongs to the description, so setting it on `fd`
 * itself would change it for everybody who shares it. The new descriptor, or
 * -errno (sockets cannot be, nor where /proc is missing). */
int fd_reopen(int fd, int mode);

#endif
