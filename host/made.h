/* SPDX-License-Identifier: MIT */
/* Files and directories that go again when what they were made for fails. */
#ifndef HOST_MADE_H
#define HOST_MADE_H

#include <sys/types.h>

/* Opens directory `name` in `at`, and makes it where it is not there; no
 * symbolic link is followed. Its descriptor, or -errno. */
int made_dir(int at, const char *name, mode_t mode);
/* Directories below each other, a/b/c, in the same way. */
int made_dirs(int at, const char *path, mode_t mode);
/* The caller has made `name` in `at`, which stays open; AT_REMOVEDIR or 0. */
void made_note(int at, const char *name, int flags);
/* Removes all that was made, the last first. */
void made_undo(void);

#endif
