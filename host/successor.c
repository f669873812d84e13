/* SPDX-License-Identifier: MIT */
/* The program that goes on with this one's guest.
 *
 * It is started as this one was: the same arguments, directory, environment and
 * user, outside of the sandbox, into which it goes by itself. So what it is
 * must be nothing that who is inside could have written. */
#include "host/successor.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "host/child.h"
#include "host/notify.h"

static struct {
    char **argv;
    char *path;   /* of dir, without symbolic links */
    int dir, cwd; /* O_PATH; -1: nobody may take over */
} next = {.dir = -1, .cwd = -1};

void successor_argv(char **argv)
{
    next.argv = argv;
}

int successor_allow(const char *dir)
{
    if (next.dir >= 0)
        return fail(-EINVAL, "-upgrade %s: there is one directory", dir);
    next.dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (next.dir < 0)
        return fail(-EINVAL, "-upgrade %s: %s", dir, strerror(errno));
    struct statvfs fs;
    if (!fstatvfs(next.dir, &fs) && fs.f_flag & ST_NOEXEC)
        return fail(-EINVAL,
                    "-upgrade %s: nothing there can be executed: it is mounted "
                    "noexec, as all of a jail is",
                    dir);
    next.path = realpath(dir, NULL);
    if (!next.path)
        return fail(-EINVAL, "-upgrade %s: %s", dir, strerror(errno));
    next.cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return 0;
}

bool successor_allowed(void)
{
    return next.dir >= 0;
}

unsigned successor_fds(int fd[2])
{
    fd[0] = next.dir;
    fd[1] = next.cwd;
    return next.dir < 0 ? 0 : next.cwd < 0 ? 1 : 2;
}

void successor_end(void)
{
    int fd[2];
    for (unsigned n = successor_fds(fd); n;)
        close(fd[--n]);
    next.dir = next.cwd = -1;
    free(next.path);
    next.path = NULL;
}

/* ------------------------------------------------------------------ program */

/* Without openat2(), which a unit with RestrictSUIDSGID= forbids: step by step,
 * and through no link at all. */
static int successor_walk(const char *path, int flags)
{
    char copy[PATH_MAX], *rest = NULL;
    int at = next.dir, fd = -ENOENT;
    snprintf(copy, sizeof(copy), "%s", path);
    char *name = *path == '/' ? NULL : strtok_r(copy, "/", &rest);
    for (; name; at = fd) {
        bool up = !strcmp(name, "..");
        char *then = strtok_r(NULL, "/", &rest);
        int how = then ? O_PATH | O_DIRECTORY : flags;
        fd = up ? -1 : openat(at, name, how | O_NOFOLLOW | O_CLOEXEC);
        int err = up ? -EXDEV : -errno;
        if (at != next.dir)
            close(at);
        if (fd < 0)
            return err;
        name = then;
    }
    return fd;
}

static int successor_open_as(const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, next.dir, path, &how, sizeof(how));
    if (fd < 0 && errno == ENOSYS)
        return successor_walk(path, flags);
    return fd < 0 ? -errno : (int)fd;
}

/* Neither it nor a directory on the way is another's to write. */
static int successor_trusted(const char *path, uid_t uid, gid_t gid)
{
    char full[2 * PATH_MAX], who[256];
    snprintf(full, sizeof(full), "%s/%s", next.path, path);
    char *real = realpath(full, NULL);
    int err = real ? child_trusted(real, uid, gid, who, sizeof(who)) : -errno;
    free(real);
    return err;
}

/* A file that may be executed, for this processor. */
static int successor_check(int fd, uid_t uid)
{
    Elf64_Ehdr e;
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !(st.st_mode & 0111))
        return -EACCES;
    if ((st.st_uid == uid && uid != geteuid()) || st.st_mode & 022)
        return -EPERM;
    if (pread(fd, &e, sizeof(e), 0) != sizeof(e) ||
        memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 ||
        e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_machine != EM_X86_64 ||
        (e.e_type != ET_EXEC && e.e_type != ET_DYN))
        return -ENOEXEC;
    return 0;
}

/* Looked at before it is opened: a FIFO or a device is not. */
int successor_open(const char *path, uid_t uid, gid_t gid)
{
    struct stat st;
    int fd = successor_open_as(path, O_PATH);
    if (fd < 0)
        return fd;
    bool file = !fstat(fd, &st) && S_ISREG(st.st_mode);
    close(fd);
    if (!file)
        return -EACCES;
    fd = successor_open_as(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    int err = fd < 0 ? fd : successor_check(fd, uid);
    if (!err)
        err = successor_trusted(path, uid, gid);
    if (!err)
        return fd;
    if (fd >= 0)
        close(fd);
    return err;
}

/* ------------------------------------------------------------------ process */

static char **successor_args(void)
{
    size_t n = 0;
    while (next.argv[n])
        n++;
    char **args = calloc(n + 2, sizeof(*args));
    if (!args)
        return NULL;
    args[0] = next.argv[0];
    static char word[] = SUCCESSOR_WORD;
    args[1] = word;
    memcpy(&args[2], &next.argv[1], n * sizeof(*args));
    return args;
}

/* Both where it looks for them, whatever number they have. */
static int successor_place(int sock, int took)
{
    int s = fcntl(sock, F_DUPFD_CLOEXEC, SUCCESSOR_FDS);
    int t = fcntl(took, F_DUPFD_CLOEXEC, SUCCESSOR_FDS);
    return s < 0 || t < 0 || dup2(s, SUCCESSOR_SOCK) < 0 ||
                   dup2(t, SUCCESSOR_TOOK) < 0
               ? -errno
               : 0;
}

int successor_exec(int program, int sock, int took)
{
    sigset_t none;
    int fd = fcntl(program, F_DUPFD_CLOEXEC, SUCCESSOR_FDS);
    if (fd < 0)
        return -errno;
    if (next.cwd >= 0 && fchdir(next.cwd))
        return -errno;
    int err = successor_place(sock, took);
    if (err)
        return err;
    setsid();
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    notify_environment();
    char **args = successor_args();
    if (!args)
        return -ENOMEM;
    syscall(SYS_execveat, fd, "", args, environ, 0x1000 /* AT_EMPTY_PATH */);
    err = -errno;
    free(args);
    return err;
}
