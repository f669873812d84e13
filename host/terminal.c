/* SPDX-License-Identifier: MIT */
/* The host's terminal: raw while the guest has it, given back in any case.
 *
 * No descriptor inherited from the parent is made non-blocking, since that
 * would change it for everybody who shares it: terminals and pipes are opened
 * once more through /proc/self/fd. Where that fails the flag is set, and taken
 * back by terminal_restore(). Regular files never block; sockets take
 * MSG_DONTWAIT. */
#include "host/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/thread.h"

static struct {
    volatile sig_atomic_t raw; /* `saved` is to be put back */
    int fd;
    struct termios saved, ours;
    /* descriptors made non-blocking where a second open was refused */
    int nonblock[2];
    volatile sig_atomic_t n;
} terminal = {.fd = -1};

/* syscalls loop if terminal: ioctl(TCSETS) fcntl(F_GETFL|F_SETFL) */
/* syscalls pair vcpu worker if terminal: ioctl(TCSETS) fcntl(F_GETFL|F_SETFL),
 * a fault of ours on such a thread */
void terminal_restore(void)
{
    int keep = errno;
    if (terminal.raw) {
        terminal.raw = 0;
        tcsetattr(terminal.fd, TCSANOW, &terminal.saved);
    }
    while (terminal.n > 0) {
        int fd = terminal.nonblock[--terminal.n];
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    }
    errno = keep;
}

/* syscalls loop if terminal: ioctl(TIOCGPGRP) */
/* syscalls loop if terminal: getpgid, where the terminal is the one that
 * controls us, as no test's does */
bool terminal_foreground(int fd)
{
    pid_t group = tcgetpgrp(fd); /* -1: not the terminal that controls us */
    return group < 0 || group == getpgrp();
}

void terminal_take(void)
{
    if (terminal.fd < 0 || !terminal_foreground(terminal.fd))
        return;
    if (!tcsetattr(terminal.fd, TCSANOW, &terminal.ours))
        terminal.raw = 1;
}

/* A fault of ours must not leave a dead terminal behind. */
static void terminal_on_crash(int sig)
{
    terminal_restore();
    thread_raise(sig); /* SA_RESETHAND: the default action now */
}

static void terminal_restore_on_crash(void)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE,
                                SIGABRT, SIGSYS, SIGTRAP};
    struct sigaction sa = {.sa_handler = terminal_on_crash,
                           .sa_flags = (int)SA_RESETHAND | SA_NODEFER};
    struct sigaction old;
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        if (!sigaction(fatal[i], NULL, &old) && old.sa_handler == SIG_DFL)
            sigaction(fatal[i], &sa, NULL);
}

/* Output processing stays on, so that our own messages need no carriage
 * return. */
void terminal_raw(int fd)
{
    static bool once;
    if (tcgetattr(fd, &terminal.saved))
        return;
    thread_uses(USE_TERMINAL);
    terminal.fd = fd;
    terminal.ours = terminal.saved;
    terminal.ours.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP |
                                         INLCR | IGNCR | ICRNL | IXON);
    terminal.ours.c_lflag &=
        ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    terminal.ours.c_cflag &= ~(tcflag_t)(CSIZE | PARENB);
    terminal.ours.c_cflag |= CS8;
    terminal.ours.c_cc[VMIN] = 1;
    terminal.ours.c_cc[VTIME] = 0;
    if (!once)
        atexit(terminal_restore);
    once = true;
    terminal_restore_on_crash();
    terminal_take();
}

int terminal_fd(int fd, int mode, bool *socket)
{
    struct stat st;
    if (fstat(fd, &st))
        return -1;
    *socket = S_ISSOCK(st.st_mode);
    if (*socket || S_ISREG(st.st_mode)) /* a reopened file starts at 0 */
        return fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int own = fd_reopen(fd, mode);
    if (own >= 0)
        return own;
    own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int flags = fcntl(fd, F_GETFL);
    if (own < 0 || flags < 0 || (flags & O_NONBLOCK) || terminal.n == 2)
        return own;
    thread_uses(USE_TERMINAL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    terminal.nonblock[terminal.n++] = fd;
    return own;
}
