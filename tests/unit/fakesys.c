/* SPDX-License-Identifier: MIT */
/* The fake kernel: see fakesys.h. The linker leads the calls of the VMM and of
 * the tests here (--wrap, tests/build.mk). */
#include "tests/unit/fakesys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int __real_open(const char *path, int flags, ...);
int __real_access(const char *path, int mode);
int __real_execvp(const char *file, char *const argv[]);
int __real_ioctl(int fd, unsigned long req, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_access(const char *path, int mode);
int __wrap_execvp(const char *file, char *const argv[]);
int __wrap_ioctl(int fd, unsigned long req, ...);

static struct {
    const char *from, *to;
} paths[4];
static struct answer {
    unsigned long req;
    unsigned skip;
    int err;
} answers[8];
static unsigned npaths, nanswers;
static void (*ioctl_told)(int fd, unsigned long req, const void *arg);
static struct rlimit fds_before;
static bool fds_few, not_admin;

void fake_fds(int n)
{
    struct rlimit few;
    if (!fds_few)
        getrlimit(RLIMIT_NOFILE, &fds_before);
    fds_few = n >= 0;
    few = fds_before;
    /* The limit is on numbers: count up to the n-th that is free. */
    for (int fd = 0; n >= 0; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && n-- == 0)
            few.rlim_cur = (rlim_t)fd;
    }
    if (setrlimit(RLIMIT_NOFILE, &few) < 0)
        abort();
}

void fake_net_admin(bool on)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    if (syscall(SYS_capget, &h, d) < 0)
        abort();
    d[0].effective &= ~(1u << CAP_NET_ADMIN);
    if (on)
        d[0].effective |= d[0].permitted & 1u << CAP_NET_ADMIN;
    not_admin = !on;
    if (syscall(SYS_capset, &h, d) < 0)
        abort();
}

void fake_path(const char *from, const char *to)
{
    if (npaths == sizeof(paths) / sizeof(paths[0]))
        abort();
    paths[npaths].from = from;
    paths[npaths++].to = to;
}

void fake_ioctl(unsigned long req, unsigned skip, int err)
{
    if (nanswers == sizeof(answers) / sizeof(answers[0]))
        abort();
    answers[nanswers++] = (struct answer){req, skip, err};
}

void fake_ioctl_told(void (*told)(int fd, unsigned long req, const void *arg))
{
    ioctl_told = told;
}

void fake_host_real(void)
{
    npaths = nanswers = 0;
    ioctl_told = NULL;
    if (fds_few)
        fake_fds(-1);
    if (not_admin)
        fake_net_admin(true);
}

static const char *path_of(const char *path, char *buf, size_t size)
{
    for (unsigned i = 0; i < npaths; i++) {
        size_t n = strlen(paths[i].from);
        if (strncmp(path, paths[i].from, n) != 0)
            continue;
        snprintf(buf, size, "%s%s", paths[i].to, path + n);
        return buf;
    }
    return path;
}

int __wrap_open(const char *path, int flags, ...)
{
    char buf[512];
    mode_t mode = 0;
    va_list ap;
    va_start(ap, flags);
    if (flags & O_CREAT)
        mode = va_arg(ap, mode_t);
    va_end(ap);
    return __real_open(path_of(path, buf, sizeof(buf)), flags, mode);
}

int __wrap_access(const char *path, int mode)
{
    char buf[512];
    return __real_access(path_of(path, buf, sizeof(buf)), mode);
}

int __wrap_execvp(const char *file, char *const argv[])
{
    char buf[512];
    return __real_execvp(path_of(file, buf, sizeof(buf)), argv);
}

int __wrap_ioctl(int fd, unsigned long req, ...)
{
    va_list ap;
    va_start(ap, req);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    if (ioctl_told)
        ioctl_told(fd, req, arg);
    for (unsigned i = 0; i < nanswers; i++) {
        if (answers[i].req != req)
            continue;
        if (answers[i].skip) {
            answers[i].skip--;
            break;
        }
        int err = answers[i].err;
        memmove(&answers[i], &answers[i + 1],
                (--nanswers - i) * sizeof(answers[0]));
        errno = err;
        return err ? -1 : 0;
    }
    return __real_ioctl(fd, req, arg);
}
