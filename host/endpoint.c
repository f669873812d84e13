/* SPDX-License-Identifier: MIT */
/* What a serial port's bytes go to and come from: stdio, a file, a
 * pseudo-terminal, a socket. */
#include "host/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/handed.h"
#include "base/log.h"
#include "base/use.h"
#include "host/chardev.h"
#include "host/fdset.h"
#include "host/helper.h"
#include "host/terminal.h"

#define PTY_MS 50 /* for a reader to take something */

void endpoint_init(struct endpoint *e)
{
    *e = (struct endpoint){.in = -1, .out = -1, .pty = -1};
}

int endpoint_stdio(struct endpoint *e)
{
    e->out = terminal_fd(STDOUT_FILENO, O_WRONLY, &e->out_socket);
    e->in = terminal_fd(STDIN_FILENO, O_RDONLY, &e->in_socket);
    if (e->in >= 0 && isatty(STDIN_FILENO)) {
        e->keys = true;
        terminal_raw(STDIN_FILENO);
    }
    return 0;
}

/* At the end of it, always: who cuts it short meanwhile (logrotate's
 * copytruncate) leaves no hole. */
int endpoint_file(struct endpoint *e, const char *label, const char *path,
                  bool append)
{
    int flags = O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    struct stat st;
    int fd = fdset_open(path, flags | O_WRONLY);
    if (fd < 0 && errno == ENOENT && !fdset_names(path)) {
        fd = open(path, flags | O_WRONLY | O_CREAT, 0666);
        e->made = fd >= 0;
    }
    if (fd < 0 && errno == ENXIO) /* a FIFO nobody reads yet */
        fd = open(path, flags | O_RDWR);
    if (fd < 0)
        return fail(-errno, "%s: %s: %s", label, path, strerror(errno));
    if (fdset_names(path)) /* opened with what its opener had in mind */
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_APPEND | O_NONBLOCK);
    e->regular = !fstat(fd, &st) && S_ISREG(st.st_mode);
    e->path = path;
    e->append = append;
    e->out = fd;
    return 0;
}

/* The other side stays open here, so that its users come and go; raw, so that
 * nothing said to it comes back. */
int endpoint_pty(struct endpoint *e, const char *label, char *pts, size_t size)
{
    struct termios t;
    int fd = handed_take("pty:%s", label);
    bool moved = fd >= 0;
    const char *name = NULL;
    thread_uses(USE_PTY);
    if (!moved)
        fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (moved || (fd >= 0 && !grantpt(fd) && !unlockpt(fd)))
        name = ptsname(fd);
    if (name)
        e->pty = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (e->pty < 0 || tcgetattr(e->pty, &t)) {
        int err = fail(-errno, "%s: %s", label, strerror(errno));
        if (fd >= 0)
            close(fd);
        return err;
    }
    snprintf(pts, size, "%s", name);
    if (!moved) {
        cfmakeraw(&t);
        tcsetattr(e->pty, TCSANOW, &t);
        log_line("%s: char device redirected to %s", label, name);
    }
    e->in = fd;
    e->out = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return 0;
}

int endpoint_listen(const struct addr *a, int backlog)
{
    int fd = handed_take("listen:%s", a->text);
    if (fd >= 0)
        return helper_unlink(a) ? -EIO : fd;
    fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int err = addr_bind(fd, a);
    if (!err && listen(fd, backlog))
        err = -errno;
    if (!err)
        err = helper_unlink(a);
    if (!err)
        return fd;
    close(fd);
    return err;
}

int endpoint_serve(struct chardev *c, int backlog)
{
    int fd = handed_take("given:%s", c->label);
    if (fd >= 0)
        c->listens = fd;
    return c->listens ? c->listens : endpoint_listen(&c->addr, backlog);
}

void endpoint_keep(struct chardev *c, const int *fd)
{
    if (c->listens)
        handed_keep(fd, "given:%s", c->label);
    else
        handed_keep(fd, "listen:%s", c->addr.text);
    c->handed = true;
}

int endpoint_begin(const struct endpoint *e, int out)
{
    bool empties = e->regular && !e->append && !handed_waits();
    return empties && ftruncate(out, 0) ? -errno : 0;
}

/* syscalls loop if pty: poll ioctl(FIONREAD) */
void endpoint_drain(const struct endpoint *e)
{
    int left = 0, before = 0;
    if (e->pty < 0)
        return;
    do {
        before = left;
        poll(NULL, 0, PTY_MS);
    } while (!ioctl(e->pty, FIONREAD, &left) && left && left != before);
}

void endpoint_end(struct endpoint *e, bool begun)
{
    if (e->pty >= 0)
        close(e->pty);
    if (e->made && !begun)
        unlink(e->path);
    endpoint_init(e);
}
