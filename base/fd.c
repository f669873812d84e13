/* SPDX-License-Identifier: MIT */
/* Descriptors that others gave us. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

int fd_reopen(int fd, int mode)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return own < 0 ? -errno : own;
}
