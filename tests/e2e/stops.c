/* SPDX-License-Identifier: MIT */
/* The program "new" in this one's directory, which is to take over from a VMM,
 * stopped at a step of that. This file's name says before which: hello, when it
 * would receive that; ready, when it would say so; state; took; told, when it
 * would tell the helper; end, when it has.
 *
 * Another process, which is nobody's child there, traces it: it makes a file
 * "stands" with its number in the VMM's directory, and lets it go when there is
 * a "go". */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCK 3
#define TOOK 4

static const struct step {
    const char *name;
    long nr;
    unsigned fd, nth; /* the call of this descriptor */
} steps[] = {
    {"hello", SYS_recvmsg, SOCK, 1}, {"ready", SYS_sendto, SOCK, 1},
    {"state", SYS_recvmsg, SOCK, 2}, {"took", SYS_sendto, SOCK, 2},
    {"told", SYS_write, TOOK, 1},    {"end", SYS_close, TOOK, 1},
};

static void wait_there(pid_t pid)
{
    char text[16];
    int fd = open("stands.new", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int n = snprintf(text, sizeof(text), "%d", (int)pid);
    if (write(fd, text, (size_t)n) != n || rename("stands.new", "stands"))
        abort();
    while (access("go", F_OK) && !waitpid(pid, NULL, WNOHANG))
        usleep(5000);
}

/* All of its calls begin and end here until it is there. */
static void trace(const struct step *s, pid_t pid)
{
    struct user_regs_struct r;
    unsigned n = 0;
    int st, into = 0;
    while (waitpid(pid, &st, 0) == pid && WIFSTOPPED(st)) {
        long sig =
            WSTOPSIG(st) == (SIGTRAP | 0x80) || st >> 16 ? 0 : WSTOPSIG(st);
        if (WSTOPSIG(st) == (SIGTRAP | 0x80) && (into = !into) &&
            !ptrace(PTRACE_GETREGS, pid, 0, &r) && (long)r.orig_rax == s->nr &&
            r.rdi == s->fd && ++n == s->nth) {
            wait_there(pid);
            break;
        }
        if (ptrace(PTRACE_SYSCALL, pid, 0, sig))
            return;
    }
    ptrace(PTRACE_DETACH, pid, 0, 0);
}

/* By a child of a child, which is the first process's then. */
static void follow(const struct step *s)
{
    pid_t pid = getpid();
    int p[2];
    char c;
    if (pipe2(p, O_CLOEXEC))
        abort();
    pid_t child = fork();
    if (!child) {
        if (fork())
            _exit(0);
        close(SOCK);
        close(TOOK);
        if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD) ||
            ptrace(PTRACE_INTERRUPT, pid, 0, 0) || write(p[1], "", 1) != 1)
            _exit(1);
        trace(s, pid);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    close(p[1]);
    if (read(p[0], &c, 1) != 1)
        abort();
}

int main(int argc, char **argv)
{
    char path[4096];
    (void)argc;
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 5);
    path[n > 0 ? n : 0] = '\0';
    char *name = strrchr(path, '/') + 1;
    const struct step *s = steps;
    while (s < steps + sizeof(steps) / sizeof(*steps) && strcmp(s->name, name))
        s++;
    if (s == steps + sizeof(steps) / sizeof(*steps))
        return 2;
    follow(s);
    strcpy(name, "new");
    execv(path, argv);
    return 3;
}
