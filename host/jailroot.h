/* SPDX-License-Identifier: MIT */
/* A root directory that has devices and one user, and nothing else. */
#ifndef HOST_JAILROOT_H
#define HOST_JAILROOT_H

#include <sys/types.h>

/* Directory `at`, whose path is for messages, becomes the user's, with dev/kvm,
 * dev/net/tun, dev/urandom, dev/userfaultfd (if this host has it) and run/, all
 * for that user alone. What is made goes with made_undo(). 0 or -errno (said).
 */
int jailroot_make(const char *path, int at, uid_t uid, gid_t gid);
/* This process's root directory is `path`, a real one, in mounts of its own; if
 * that still is the directory `at`. 0 or -errno; then `path` is no mount. */
int jailroot_enter(const char *path, int at);

#endif
