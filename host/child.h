/* SPDX-License-Identifier: MIT */
/* Programs that this process runs. */
#ifndef HOST_CHILD_H
#define HOST_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A program's file by the name it is told by: `name` itself where it has a
 * slash, else out of $PATH. malloc'ed, without symbolic links; NULL with
 * errno. */
char *child_find(const char *name);

/* Starts the program at `path` (NULL: argv[0], out of $PATH) with stdin on
 * /dev/null and stderr on `errfd` (-1: ours); other descriptors are closed on
 * exec except `keep` (-1: none). When the thread that called ends, it gets the
 * signal `death` (0: none), unless it becomes another user. Gives the pid, or
 * -errno. */
pid_t child_start(const char *path, const char *const argv[], int errfd,
                  int keep, int death);
/* Waits; exit status, 128 + signal, or -errno. */
int child_wait(pid_t pid);

/* Runs `script ifname` to its end, as `key` (script, downscript) is told. 0, or
 * -errno (said) when it cannot or fails. */
int child_script(const char *key, const char *script, const char *ifname);

/* Whether a user could make another program of this path: the file, and each
 * directory on the way (but for a sticky one with an entry of another's). Asks
 * as that user, so only who may become one can. 0: no; -errno, with the culprit
 * in `who[0..size)`: -EPERM it could, others: it cannot be told. */
int child_trusted(const char *path, uid_t uid, gid_t gid, char *who,
                  size_t size);

#endif
