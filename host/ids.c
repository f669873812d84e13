/* SPDX-License-Identifier: MIT */
/* Users and groups by their names: lines of /etc/passwd and /etc/group. */
#include "host/ids.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/opts.h"

/* "UID:GID" and what comes behind it; NULL: it is not that. */
static const char *ids_pair(const char *p, uid_t *uid, gid_t *gid)
{
    uint64_t u, g;
    if (!scan_number(&p, (uid_t)-1 - 1, &u) || *p++ != ':' ||
        !scan_number(&p, (gid_t)-1 - 1, &g))
        return NULL;
    *uid = (uid_t)u;
    *gid = (gid_t)g;
    return p;
}

static const char *ids_one(const char *p, gid_t *gid)
{
    uint64_t g;
    if (!scan_number(&p, (gid_t)-1 - 1, &g))
        return NULL;
    *gid = (gid_t)g;
    return p;
}

/* The numbers of a name's line, which come behind its password. */
static bool ids_find(const char *file, const char *name, uid_t *uid, gid_t *gid)
{
    char line[512];
    size_t n = strlen(name);
    bool found = false;
    FILE *f = fopen(file, "re");
    while (f && !found && fgets(line, sizeof(line), f)) {
        const char *p = NULL;
        if (!strncmp(line, name, n) && line[n] == ':')
            p = strchr(line + n + 1, ':');
        found = p && (uid ? ids_pair(p + 1, uid, gid) : ids_one(p + 1, gid));
    }
    if (f)
        fclose(f);
    return found;
}

bool ids_user(const char *text, uid_t *uid, gid_t *gid)
{
    const char *end = ids_pair(text, uid, gid);
    return (end && !*end) || ids_find("/etc/passwd", text, uid, gid);
}

bool ids_group(const char *text, gid_t *gid)
{
    const char *end = ids_one(text, gid);
    return (end && !*end) || ids_find("/etc/group", text, NULL, gid);
}
