/* SPDX-License-Identifier: MIT */
/* Programs that this process runs. */
#include "host/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

char *child_find(const char *name)
{
    char path[PATH_MAX];
    const char *from = getenv("PATH");
    if (strchr(name, '/'))
        return realpath(name, NULL);
    for (; from && *from; from += *from == ':') {
        int n = (int)strcspn(from, ":");
        snprintf(path, sizeof(path), "%.*s/%s", n, from, name);
        if (n && access(path, X_OK) == 0)
            return realpath(path, NULL);
        from += n;
    }
    errno = ENOENT;
    return NULL;
}

/* With the terminal's Ctrl-C ours to handle, and signals as any program expects
 * them. The system call that failed is the parent's to hear of. */
static int child_prepare(int errfd, int keep, int death, pid_t parent)
{
    sigset_t none;
    if (death && prctl(PR_SET_PDEATHSIG, death, 0, 0, 0))
        return -errno;
    if (death && getppid() != parent) /* it has ended meanwhile */
        return -ESRCH;
    setsid();
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || (null != 0 && (dup2(null, 0) < 0 || close(null))) ||
        (errfd >= 0 && dup2(errfd, 2) < 0) ||
        (keep >= 0 && fcntl(keep, F_SETFD, 0)))
        return -errno;
    return 0;
}

/* All descriptors of this program are close-on-exec, the pipe's, too: it tells
 * an error, or that there is none. */
pid_t child_start(const char *path, const char *const argv[], int errfd,
                  int keep, int death)
{
    int p[2], err = 0;
    pid_t parent = getpid();
    if (pipe2(p, O_CLOEXEC))
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        err = child_prepare(errfd, keep, death, parent);
        if (!err) {
            (path ? execv : execvp)(path ? path : argv[0], (char **)argv);
            err = -errno;
        }
        _exit(write(p[1], &err, sizeof(err)) < 0);
    }
    if (pid < 0)
        err = -errno;
    close(p[1]);
    ssize_t n;
    do {
        n = pid > 0 ? read(p[0], &err, sizeof(err)) : 0;
    } while (n < 0 && errno == EINTR);
    if (n > 0)
        child_wait(pid);
    close(p[0]);
    return err ? err : pid;
}

int child_wait(pid_t pid)
{
    int st;
    while (waitpid(pid, &st, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

int child_script(const char *key, const char *script, const char *ifname)
{
    const char *const argv[] = {script, ifname, NULL};
    pid_t pid = child_start(NULL, argv, -1, -1, 0);
    if (pid < 0)
        return fail(pid, "%s %s: cannot run it: %s", key, script,
                    strerror(-pid));
    int st = child_wait(pid);
    if (st != 0)
        return fail(-EIO, "%s %s %s: failed with status %d", key, script,
                    ifname, st);
    return 0;
}

/* ------------------------------------------------------------------- trust */

/* As the user whose file system rights this thread has for the moment; access
 * lists count, too. An owner may always make it writable. */
static int child_writable(const char *path, uid_t uid, const struct stat *st)
{
    if (st->st_uid == uid)
        return -EPERM;
    if (!syscall(SYS_faccessat2, AT_FDCWD, path, W_OK, AT_EACCESS))
        return -EPERM;
    return errno == EACCES || errno == EROFS || errno == ETXTBSY ? 0 : -errno;
}

/* From the root down; `path` has no symbolic links, and is cut where it is
 * wrong. In a sticky directory only an entry's owner, or the directory's,
 * exchanges it. What the user cannot even reach is out of their hands. */
static int child_way_trusted(char *path, uid_t uid)
{
    for (char *p = path + 1;; p++) {
        struct stat st;
        char was = *p;
        if (was && was != '/')
            continue;
        *p = '\0';
        int err = stat(path, &st) ? -errno : child_writable(path, uid, &st);
        if (err == -EACCES)
            return 0;
        if (err == -EPERM && S_ISDIR(st.st_mode) && st.st_mode & S_ISVTX &&
            st.st_uid != uid)
            err = 0;
        if (err || !was)
            return err;
        *p = was;
    }
}

int child_trusted(const char *path, uid_t uid, gid_t gid, char *who,
                  size_t size)
{
    uid_t own = geteuid();
    gid_t own_group = getegid();
    snprintf(who, size, "%s", path);
    if (uid == own)
        return 0;
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    setfsgid(gid);
    setfsuid(uid);
    int err = (uid_t)setfsuid((uid_t)-1) == uid ? child_way_trusted(copy, uid)
                                                : -EINVAL;
    setfsuid(own);
    setfsgid(own_group);
    if (err)
        snprintf(who, size, "%s", copy);
    free(copy);
    return err;
}
