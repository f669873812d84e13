/* SPDX-License-Identifier: MIT */
/* This process goes on with a guest that runs in another one (upgrade.c has the
 * order of things).
 *
 * It starts as any other, with the other one's options: what can be opened
 * twice it opens, what cannot it takes by name out of what was handed to it
 * (base/handed.h), and changes nothing of until the guest is its own. Whatever
 * keeps it from that is an end of this process, as at any start; the other one
 * is told the first line of it, or, where that has died, the log. */
#include "control/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/handed.h"
#include "control/restore.h"
#include "control/server.h"
#include "control/upgrade.h"
#include "host/daemon.h"
#include "host/fdname.h"
#include "host/fdset.h"
#include "host/helper.h"
#include "host/successor.h"

#define PATIENCE_MS 30000
#define DEAD_MS 1000 /* from the end of its socket to that of a process */

static struct {
    bool meant, mine;
    int state;
    int other; /* a pidfd; -ESRCH: it has died; or it is not known */
    struct saved saved;
    char why[400];
} taken = {.state = -1, .other = -1};

bool takeover_meant(void)
{
    return taken.meant;
}

/* ------------------------------------------------------------------ messages
 */

/* syscalls loop if restored: sendto */
static bool takeover_say(const char *text)
{
    return send(SUCCESSOR_SOCK, text, strlen(text), MSG_NOSIGNAL) > 0;
}

/* One message into `text`, with descriptors; how many, or -errno. */
static int takeover_hear(char *text, size_t size, int fd[HANDED_MAX])
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int) * HANDED_MAX)];
    } ctl;
    struct iovec iov = {text, size - 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &ctl,
                       .msg_controllen = sizeof(ctl)};
    struct pollfd p = {.fd = SUCCESSOR_SOCK, .events = POLLIN};
    int ready = poll(&p, 1, PATIENCE_MS), nfd = 0;
    ssize_t n = ready <= 0 ? -1 : recvmsg(p.fd, &m, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return ready == 0 ? -ETIMEDOUT : n ? -errno : -EPIPE;
    text[n] = '\0';
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_type == SCM_RIGHTS) {
        nfd = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fd, CMSG_DATA(c), sizeof(int) * (size_t)nfd);
    }
    return m.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : nfd;
}

/* Has the other process died? It has no vCPU then, and no descriptor.
 *
 * syscalls loop if restored: poll */
static bool takeover_orphaned(void)
{
    struct pollfd p = {.fd = taken.other, .events = POLLIN};
    return taken.other == -ESRCH ||
           (taken.other >= 0 && poll(&p, 1, DEAD_MS) > 0);
}

/* ----------------------------------------------------------------- beginning
 */

static int takeover_stdio(void)
{
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    for (int i = 0; i <= STDERR_FILENO; i++) {
        int fd = handed_take("%s", names[i]);
        if (fd >= 0 && dup2(fd, i) < 0)
            return fail(-errno, "%s: %s", names[i], strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    return 0;
}

static int takeover_hello(void)
{
    static char text[HANDED_TEXT + 16];
    size_t len = strlen(UPGRADE_HELLO);
    int fd[HANDED_MAX];
    int n = takeover_hear(text, sizeof(text), fd);
    if (n < 0)
        return fail(n, "what is handed over: %s", strerror(-n));
    if (strncmp(text, UPGRADE_HELLO, len) != 0 ||
        !handed_come(text + len, fd, n))
        return fail(-EPROTO, "what is handed over is of another version");
    taken.state = handed_take("state");
    if (taken.state < 0)
        return fail(-EPROTO, "no state is handed over");
    /* That "ready" can be said later shows that it was this process. */
    taken.other = (int)syscall(SYS_pidfd_open, handed_number(0, "process"), 0);
    if (taken.other < 0)
        taken.other = -errno;
    return takeover_stdio();
}

int takeover_early(int *argc, char ***argv)
{
    struct stat st;
    if (*argc < 2 || strcmp((*argv)[1], SUCCESSOR_WORD) != 0)
        return 0;
    if (fstat(SUCCESSOR_SOCK, &st) || !S_ISSOCK(st.st_mode) ||
        fstat(SUCCESSOR_TOOK, &st) || !S_ISFIFO(st.st_mode))
        return fail(-EINVAL, SUCCESSOR_WORD ": is for vmm ctl upgrade");
    taken.meant = true;
    (*argv)[1] = (*argv)[0];
    (*argv)++;
    (*argc)--;
    fd_take(SUCCESSOR_SOCK);
    fd_take(SUCCESSOR_TOOK);
    log_catch(taken.why, sizeof(taken.why));
    return takeover_hello();
}

/* The other one may be an attacker's by now: as a snapshot's file. */
static int takeover_read(struct saved *s)
{
    return restore_read(taken.state, "the state that is handed over", s);
}

static int takeover_come(struct saved *s)
{
    char text[64];
    int fd[HANDED_MAX] = {0};
    uint64_t ram = s->ram;
    uint32_t cpus = s->cpus;
    if (!takeover_say("ready"))
        return fail(-EPIPE, "the other process has gone");
    int n;
    do {
        n = takeover_hear(text, sizeof(text), fd);
        for (int i = 0; i < n; i++)
            handed_late(fd[i]);
    } while (n >= 0 && !strcmp(text, "more"));
    if (n < 0 || strncmp(text, "state", 5) != 0)
        return fail(n < 0 ? n : -EPROTO, "no state came: %s",
                    n < 0 ? strerror(-n) : text);
    s->paused = !strcmp(text, "state paused");
    int err = takeover_read(s);
    if (!err && (s->ram != ram || s->cpus != cpus))
        err = fail(-EINVAL, "the state is another machine's");
    return err;
}

/* The other one died, and while the guest stood still for what has come here:
 * it would have emptied that before (upgrade_cut).
 *
 * syscalls loop if restored: pread64 */
static bool takeover_inherits(void)
{
    char c;
    if (!takeover_orphaned() || pread(taken.state, &c, 1, 0) != 1)
        return false;
    log_line("the process before has died; the guest goes on here");
    return true;
}

/* From here on it runs here, and only here: or not at all.
 *
 * syscalls loop if restored: write close */
static int takeover_take(struct machine *m)
{
    for (struct device *d = m->devices; d; d = d->next)
        d->fresh = false;
    if (!takeover_say("took") && !takeover_inherits())
        return fail(-EPIPE, "the other process has gone");
    helper_mine(); /* before the other's does no more: never neither */
    if (write(SUCCESSOR_TOOK, "", 1) != 1)
        log_line("the helper process of before is gone");
    const struct saved *s = &taken.saved;
    struct part part;
    size_t at = 0;
    while (parts_next(s->p, s->len, &at, &part))
        if (!strncmp(part.name, "client.", 7))
            servers_arrive(&part);
        else if (!strcmp(part.name, FDSET_PART))
            fdset_arrive(&part);
        else if (!strcmp(part.name, FDNAME_PART))
            fdname_arrive(&part);
    handed_mine();
    taken.mine = true;
    machine_tell(m, NEWS_TAKEN, true, 0);
    log_catch(NULL, 0);
    close(SUCCESSOR_SOCK);
    close(SUCCESSOR_TOOK);
    close(taken.state);
    if (taken.other >= 0)
        close(taken.other);
    return 0;
}

int takeover_check(struct config *c)
{
    struct saved *s = &taken.saved;
    int err = takeover_read(s);
    if (err)
        return err;
    s->come = takeover_come;
    s->take = takeover_take;
    restore_into(c, s);
    c->vm.memory.handed = handed_take("ram");
    if (c->vm.memory.handed < 0)
        return fail(-EPROTO, "no memory is handed over");
    return c->daemonize ? daemon_adopted() : 0;
}

int takeover_opened(void)
{
    const char *left = handed_left();
    return left ? fail(-EPROTO,
                       "%s: is handed over, and this program has no use for it",
                       left)
                : 0;
}

int takeover_end(int code)
{
    char text[sizeof(taken.why) + 3];
    if (!taken.meant || taken.mine)
        return code;
    log_catch(NULL, 0);
    snprintf(text, sizeof(text), "no %s",
             *taken.why ? taken.why : "it has ended");
    if (!takeover_say(text)) {
        log_move();
        log_line("the process that had the guest %s, and this one has not "
                 "taken it: %s",
                 takeover_orphaned() ? "has died" : "has hung up", text + 3);
    }
    return code ? code : EXIT_FAILURE;
}
