/* SPDX-License-Identifier: MIT */
/* Guest memory whose pages another process serves. */
#ifndef KVM_UFFD_H
#define KVM_UFFD_H

#include "machine/machine.h"

/* Pages of `ram`, private and never touched, are from now on what the process
 * at the other end of the stream socket `peer` makes them, each when it is
 * first touched. A userfaultfd, to be kept as long as the memory is, or -errno
 * (said, naming `who`). */
int uffd_hand_over(struct ram *ram, int peer, const char *who);

#endif
