/* SPDX-License-Identifier: MIT */
/* Programs that this process runs. */
#include "host/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
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

/* All descriptors of this program are close-on-exec. The child has a session
 * of its own, so that Ctrl-C at the terminal is ours to handle, and default
 * signals. */
pid_t child_start(const char *path, const char *const argv[], int errfd,
                  int keep)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    sigset_t none, all;
    pid_t pid;

    sigemptyset(&none);
    sigfillset(&all);
    sigdelset(&all, SIGKILL);
    sigdelset(&all, SIGSTOP);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&at);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                      POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawnattr_setsigdefault(&at, &all);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    if (errfd >= 0)
        posix_spawn_file_actions_adddup2(&fa, errfd, 2);
    if (keep >= 0) /* onto itself: clears close-on-exec (POSIX.1-2024) */
        posix_spawn_file_actions_adddup2(&fa, keep, keep);
    int err =
        path ? posix_spawn(&pid, path, &fa, &at, (char **)argv, environ)
             : posix_spawnp(&pid, argv[0], &fa, &at, (char **)argv, environ);
    posix_spawnattr_destroy(&at);
    posix_spawn_file_actions_destroy(&fa);
    return err ? -err : pid;
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
    pid_t pid = child_start(NULL, argv, -1, -1);
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
