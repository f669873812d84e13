/* SPDX-License-Identifier: MIT */
/* The host's terminal: raw while the guest has it, given back in any case. */
#ifndef HOST_TERMINAL_H
#define HOST_TERMINAL_H

#include <stdbool.h>

/* From now on keys go to the guest one by one, Ctrl-C and Ctrl-Z too. */
void terminal_raw(int fd);
/* Is it ours? Else reading it would stop us (SIGTTIN), and so would setting it
 * (SIGTTOU). */
bool terminal_foreground(int fd);
/* Takes it again: after SIGCONT. */
void terminal_take(void);
/* Gives it back, and takes back what terminal_fd did to the parent's
 * descriptors. Any time, any thread, signal handlers too. */
void terminal_restore(void);
/* Our own, non-blocking description of what `fd` is, opened as `mode` says; a
 * socket's, which takes MSG_DONTWAIT, is shared. -1: fd is closed. */
int terminal_fd(int fd, int mode, bool *socket);

#endif
