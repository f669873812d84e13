/* SPDX-License-Identifier: MIT */
/* -daemonize: a process that goes on by itself, whose start is waited for.
 *
 * It is a child, made before anything of the machine is. The parent waits at a
 * pipe: a byte says that it is ready, an end without one that it has ended,
 * which is then the parent's end, too. Until then both have the terminal, so
 * what prevents the start is read there; what ends the parent (Ctrl-C) is
 * handed on. Who starts several of them waits for each himself: the pipe is its
 * standard input then, and a word in the environment says so. */
#include "host/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/use.h"
#include "host/child.h"
#include "host/process.h"

#define BEGUN "VMM_DAEMON"

static int pipe_fd = -1; /* -1: not asked for, or no more waited for */
static int null_fd = -1;
static pid_t child;

/* ------------------------------------------------------------------- parent */

static void daemon_hand_on(int sig)
{
    kill(child, sig == SIGHUP ? SIGINT : sig);
}

static _Noreturn void daemon_wait(int fd)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    const struct sigaction sa = {.sa_handler = daemon_hand_on};
    char ready;
    ssize_t n;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (!process_ignores(ends[i]))
            sigaction(ends[i], &sa, NULL);
    while ((n = read(fd, &ready, 1)) < 0 && errno == EINTR)
        ;
    int status = n == 1 ? 0 : child_wait(child);
    _exit(status < 0 ? EXIT_FAILURE : status);
}

void daemon_expect(void)
{
    setenv(BEGUN, "1", 1);
    unsetenv("NOTIFY_SOCKET"); /* of who waits, if anybody's */
}

/* -------------------------------------------------------------------- child */

static int daemon_begun(void)
{
    unsetenv(BEGUN);
    pipe_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    if (pipe_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0)
        return fail(-errno, "-daemonize: %s", strerror(errno));
    setsid();
    thread_uses(USE_DAEMON);
    return 0;
}

int daemon_fork(void)
{
    int p[2];
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0)
        return fail(-errno, "-daemonize: /dev/null: %s", strerror(errno));
    if (getenv(BEGUN))
        return daemon_begun();
    if (pipe2(p, O_CLOEXEC))
        return fail(-errno, "-daemonize: %s", strerror(errno));
    child = fork();
    if (child < 0)
        return fail(-errno, "-daemonize: %s", strerror(errno));
    if (child) {
        close(p[1]);
        daemon_wait(p[0]);
    }
    close(p[0]);
    pipe_fd = p[1];
    setsid();
    thread_uses(USE_DAEMON);
    return 0;
}

int daemon_adopted(void)
{
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0)
        return fail(-errno, "-daemonize: /dev/null: %s", strerror(errno));
    thread_uses(USE_DAEMON);
    return 0;
}

bool daemon_forked(void)
{
    return null_fd >= 0;
}

void daemon_leave_directory(void)
{
    if (daemon_forked() && chdir("/"))
        log_line("-daemonize: /: %s", strerror(errno));
}

int daemon_nowhere(void)
{
    return fcntl(null_fd, F_DUPFD_CLOEXEC, 3);
}

/* syscalls loop if daemon: dup2 close */
static void daemon_let_go(int fd)
{
    for (int i = 0; i <= STDERR_FILENO; i++)
        dup2(fd, i);
    close(fd);
}

/* syscalls loop if daemon: write */
int daemon_ready(void)
{
    if (pipe_fd < 0)
        return 0;
    int err = write(pipe_fd, "", 1) == 1 ? 0 : -errno;
    daemon_let_go(null_fd);
    close(pipe_fd);
    pipe_fd = -1;
    return err;
}

void daemon_detach(void)
{
    if (!daemon_forked())
        return;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        daemon_let_go(fd);
    daemon_leave_directory();
}
