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
#include <signal.h>
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
    char *dir; /* without symbolic links; NULL: nobody may take over */
    int cwd;   /* O_PATH */
} next = {.cwd = -1};

void successor_argv(char **argv)
{
    next.argv = argv;
}

int successor_allow(const char *dir)
{
    struct statvfs fs;
    struct stat st;
    if (next.dir)
        return fail(-EINVAL, "-upgrade %s: there is one directory", dir);
    next.dir = realpath(dir, NULL);
    if (!next.dir || stat(next.dir, &st) || statvfs(next.dir, &fs))
        return fail(-EINVAL, "-upgrade %s: %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return fail(-EINVAL, "-upgrade %s: is no directory", dir);
    if (fs.f_flag & ST_NOEXEC)
        return fail(-EINVAL,
                    "-upgrade %s: nothing there can be executed: it is mounted "
                    "noexec, as all of a jail is",
                    dir);
    next.cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return 0;
}

int successor_fd(void)
{
    return next.cwd;
}

void successor_end(void)
{
    if (next.cwd >= 0)
        close(next.cwd);
    next.cwd = -1;
    free(next.dir);
    next.dir = NULL;
}

/* ------------------------------------------------------------------ program */

/* Where `path` below DIR really is, below it as well: malloc'ed, and nothing on
 * the way to it is that user's to exchange from here on. NULL with errno. */
static char *successor_find(const char *path, uid_t uid, gid_t gid)
{
    char full[2 * PATH_MAX], who[256];
    snprintf(full, sizeof(full), "%s/%s", next.dir, path);
    char *real = realpath(full, NULL);
    if (!real)
        return NULL;
    size_t n = strlen(next.dir);
    bool below = !strncmp(real, next.dir, n) && (n == 1 || real[n] == '/');
    int err = below ? child_trusted(real, uid, gid, who, sizeof(who)) : -EXDEV;
    if (!err)
        return real;
    free(real);
    errno = -err;
    return NULL;
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
    struct stat st = {0};
    char *real = successor_find(path, uid, gid);
    int err = real && !stat(real, &st) ? 0 : -errno;
    if (!err && !S_ISREG(st.st_mode))
        err = -EACCES;
    int fd =
        err ? err : open(real, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    free(real);
    if (fd < 0)
        return err ? err : -errno;
    err = successor_check(fd, uid);
    if (!err)
        return fd;
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
