/* SPDX-License-Identifier: MIT */
/* Users and groups by their names, without the name service's machinery, which
 * a static program could not load. */
#ifndef HOST_IDS_H
#define HOST_IDS_H

#include <stdbool.h>
#include <sys/types.h>

/* A name of /etc/passwd, or UID:GID in numbers; false: neither. */
bool ids_user(const char *text, uid_t *uid, gid_t *gid);
/* A name of /etc/group, or a number. */
bool ids_group(const char *text, gid_t *gid);

#endif
