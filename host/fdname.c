/* SPDX-License-Identifier: MIT */
/* Descriptors under names. */
#include "host/fdname.h"

#include <string.h>
#include <unistd.h>

#include "base/handed.h"

static struct fdname fds[FDNAME_FDS];

struct fdname *fdname_find(const char *name)
{
    struct fdname *f = fds;
    while (f < fds + FDNAME_FDS && strcmp(f->name, name) != 0)
        f++;
    return f < fds + FDNAME_FDS ? f : NULL;
}

void fdname_free(void)
{
    for (struct fdname *f = fds; f < fds + FDNAME_FDS; f++) {
        if (f->name[0])
            close(f->fd);
        f->name[0] = '\0';
    }
}

void fdname_leave(struct parts *out)
{
    for (const struct fdname *f = fds; f < fds + FDNAME_FDS; f++)
        if (f->name[0])
            handed_part(out, FDNAME_PART, f->fd, f->name, FDNAME_SIZE);
}

void fdname_arrive(const struct part *part)
{
    const uint8_t *p;
    size_t n;
    struct fdname *f = fdname_find("");
    if (!f)
        return;
    int fd = handed_part_take(part, FDNAME_SIZE, &p, &n);
    if (fd < 0)
        return;
    f->fd = fd;
    memcpy(f->name, p, FDNAME_SIZE - 1);
    if (!f->name[0])
        close(fd);
}
