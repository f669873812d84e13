/* SPDX-License-Identifier: MIT */
/* Files and directories that go again when what they were made for fails.
 *
 * By directories that are open, so that they are found from another root, too.
 * What was there before is not among them. */
#include "host/made.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

static struct made {
    int at, flags;
    char name[NAME_MAX + 1];
} list[96];
static size_t count;

void made_note(int at, const char *name, int flags)
{
    if (count == ARRAY_LEN(list))
        return;
    struct made *m = &list[count++];
    m->at = at;
    m->flags = flags;
    snprintf(m->name, sizeof(m->name), "%s", name);
}

int made_dir(int at, const char *name, mode_t mode)
{
    if (count == ARRAY_LEN(list))
        return -E2BIG; /* nobody would remove it */
    if (!mkdirat(at, name, mode))
        made_note(at, name, AT_REMOVEDIR);
    else if (errno != EEXIST)
        return -errno;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int made_dirs(int at, const char *path, mode_t mode)
{
    char name[NAME_MAX + 1];
    while (at >= 0 && *path) {
        int n = (int)strcspn(path, "/");
        if (snprintf(name, sizeof(name), "%.*s", n, path) >= (int)sizeof(name))
            return -ENAMETOOLONG;
        if (n)
            at = made_dir(at, name, mode);
        path += n + (path[n] == '/');
    }
    return at;
}

void made_undo(void)
{
    while (count) {
        struct made *m = &list[--count];
        unlinkat(m->at, m->name, m->flags);
    }
}
