/* SPDX-License-Identifier: MIT */
/* Control groups that this process joins, of either version. */
#ifndef HOST_CGROUP_H
#define HOST_CGROUP_H

/* One "FILE=VALUE", such as memory.max=512M. 0, or -EINVAL (said). */
int cgroup_setting(const char *text);
/* Whether groups PARENT/ID (no parent: NAME/ID) with these settings can be had:
 * where they are mounted, and whether they have the controllers. Nothing is
 * made. A parent of version 2 without settings is joined itself. 0 or -errno
 * (said). */
int cgroup_check(unsigned version, const char *parent, const char *name,
                 const char *id);
/* Makes them, as host/made.h has it, and writes the settings. 0 or -errno
 * (said). */
int cgroup_make(void);
/* This process into them; and out of them to the topmost, where others wait
 * that they can be removed. */
int cgroup_join(void);
void cgroup_leave(void);

#endif
