/* SPDX-License-Identifier: MIT */
/* What this process gives up once everything it will need is open. */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stdbool.h>
#include <sys/types.h>

/* -sandbox and -runas: 0; 1: help is out; -EINVAL (said). */
int sandbox_option(const char *arg);
int sandbox_runas(const char *arg);
/* All but the lists of system calls. */
void sandbox_without_filter(void);

/* Whom sandbox_enter() will make of this process, if it can. */
void sandbox_user(uid_t *uid, gid_t *gid);

/* Gives up files, users, capabilities: an empty root directory, -runas or a
 * user namespace, Landlock without a right. Each thing that this host does not
 * let it do is one line, and the rest is done. By main(), once all is open and
 * while it has one thread. 0, or -errno (said) where it may not go on: a -runas
 * that was asked for and cannot be had. */
int sandbox_enter(void);
/* Was it? */
bool sandbox_inside(void);

#endif
