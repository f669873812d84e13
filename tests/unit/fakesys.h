/* SPDX-License-Identifier: MIT */
/* The host's kernel as a test wants it: without descriptors, privileges or
 * files, or with other answers. What is told here holds until fake_host_real()
 * or the end of the test. */
#ifndef FAKESYS_H
#define FAKESYS_H

#include <stdbool.h>

/* So many descriptors can still be opened; -1: as many as before. */
void fake_fds(int n);
/* CAP_NET_ADMIN, where the test has it at all, is effective or not. */
void fake_net_admin(bool on);
/* open(2), access(2) and execvp(3) find `to` where a path begins with
 * `from`; both must live on. At most four. */
void fake_path(const char *from, const char *to);
/* Of the ioctl(2)s of this kind the first `skip` to come are the kernel's own,
 * the next one does nothing and fails with `err`; 0: it has worked. Several of
 * one kind are used up in turn. */
void fake_ioctl(unsigned long req, unsigned skip, int err);
/* Each ioctl(2) is told here before it is made or answered. */
void fake_ioctl_told(void (*told)(int fd, unsigned long req, const void *arg));

void fake_host_real(void);

#endif
