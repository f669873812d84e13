/* SPDX-License-Identifier: MIT */
/* Descriptors that others gave us. */
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define INHERITED_MAX 4096

static int inherited[INHERITED_MAX]; /* -1: taken */
static int ninherited;

int fd_reopen(int fd, int mode)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return own < 0 ? -errno : own;
}

static void fd_inherit(int fd)
{
    if (fd <= STDERR_FILENO || ninherited == INHERITED_MAX ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return;
    inherited[ninherited++] = fd;
}

void fd_inherited(void)
{
    DIR *dir = opendir("/proc/self/fd");
    ninherited = 0;
    if (!dir) { /* no /proc: those that a shell would give */
        for (int fd = 3; fd < 256; fd++)
            fd_inherit(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(dir));)
        if (atoi(e->d_name) != dirfd(dir))
            fd_inherit(atoi(e->d_name));
    closedir(dir);
}

void fd_take(int fd)
{
    for (int i = 0; i < ninherited; i++)
        if (inherited[i] == fd)
            inherited[i] = -1;
}

void fd_close_inherited(void)
{
    for (int i = 0; i < ninherited; i++)
        if (inherited[i] >= 0)
            close(inherited[i]);
    ninherited = 0;
}
