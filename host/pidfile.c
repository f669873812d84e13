/* SPDX-License-Identifier: MIT */
/* A file that holds this process's number while it runs.
 *
 * The lock says whether the one who wrote it still lives; it goes with the
 * process, however that ends, so an old file is no obstacle. */
#include "host/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/handed.h"
#include "base/log.h"
#include "base/use.h"
#include "host/helper.h"

static struct {
    const char *path; /* NULL: none */
    int fd;
    bool made; /* by us: goes with a start that fails */
    bool kept; /* goes at the end, by the helper */
} file;

/* Is what it holds a number, or nothing? */
static bool pidfile_is_pidfile(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    if (n < 0)
        return false;
    text[n] = '\0';
    return strspn(text, "0123456789\n ") == (size_t)n;
}

/* Is the file that was locked the one that has the name? Whoever had it before
 * may have removed it meanwhile. */
static bool pidfile_still_there(int fd, const char *path)
{
    struct stat a, b;
    return !fstat(fd, &a) && !stat(path, &b) && a.st_ino == b.st_ino &&
           a.st_dev == b.st_dev;
}

static int pidfile_lock(int fd, const char *path)
{
    struct flock lk = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return fail(-EINVAL, "-pidfile %s: is no regular file", path);
    if (handed_waits() || fcntl(fd, F_SETLK, &lk) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return fail(-errno, "-pidfile %s: cannot lock it: %s", path,
                    strerror(errno));
    lk.l_pid = 0;
    fcntl(fd, F_GETLK, &lk);
    return fail(-EBUSY,
                "-pidfile %s: process %d holds it; stop that, or name another "
                "file",
                path, (int)lk.l_pid);
}

/* New, or the one that is there. -ENOENT: it went in between. */
static int pidfile_open_file(const char *path, bool *made)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    *made = fd >= 0;
    if (!*made && errno == EEXIST)
        fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 ? fd : -errno;
}

int pidfile_open(const char *path)
{
    int fd = -ENOENT, err = 0;
    bool made = false, good = false;
    for (int tries = 0; !good && tries < 10; tries++) {
        fd = pidfile_open_file(path, &made);
        if (fd == -ENOENT)
            continue;
        if (fd < 0)
            break;
        err = pidfile_lock(fd, path);
        good = err || pidfile_still_there(fd, path);
        if (!good)
            close(fd);
    }
    if (!good)
        return fail(fd < 0 ? fd : -EAGAIN, "-pidfile %s: %s", path,
                    strerror(fd < 0 ? -fd : EAGAIN));
    if (!err && !pidfile_is_pidfile(fd))
        err = fail(-EEXIST,
                   "-pidfile %s: holds something else than a process's "
                   "number; remove it, or name another file",
                   path);
    if (err) {
        close(fd);
        return err;
    }
    file.path = path;
    file.fd = fd;
    thread_uses(USE_PIDFILE);
    file.made = made;
    helper_need();
    return 0;
}

/* Whom this takes over from lets go of it in a moment.
 *
 * syscalls loop if pidfile: ftruncate getpid writev fcntl(F_SETLK) */
int pidfile_write(void)
{
    struct flock lk = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (!file.path)
        return 0;
    if (fcntl(file.fd, F_SETLK, &lk))
        return -EAGAIN;
    if (ftruncate(file.fd, 0) == 0 && dprintf(file.fd, "%d\n", getpid()) > 0)
        return 0;
    return fail(-errno, "-pidfile %s: %s", file.path, strerror(errno));
}

int pidfile_keep(void)
{
    file.kept = file.path != NULL;
    return file.kept ? helper_pidfile(file.path) : 0;
}

void pidfile_close(void)
{
    if (!file.path)
        return;
    if (file.made && !file.kept)
        unlink(file.path);
    close(file.fd);
    memset(&file, 0, sizeof(file));
}
