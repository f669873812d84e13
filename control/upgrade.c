/* SPDX-License-Identifier: MIT */
/* A running machine is handed to another program: -upgrade.
 *
 * Theory of operation. There are two processes, and the guest lives in exactly
 * one of them, whatever happens to the other:
 *
 *     this one                             the new one (takeover.c)
 *     has the helper start it
 *     "hello", all descriptors     -->     opens everything else, makes a VM
 *                                  <--     "ready"
 *     stands still; "state"        -->     loads it, looks at it
 *                                  <--     "took": from here on it is its
 *     ends                                 goes on
 *
 * Memory is a memfd that both map; the state is a snapshot's, in a memfd of its
 * own. Words go over a SOCK_SEQPACKET pair of which this process shuts down its
 * half before it goes on by itself: "took" is either in its queue by then, or
 * cannot be sent any more (the kernel's unix_state_lock is about both). So
 * one that is late, dies or says no leaves the guest here, as it was, after a
 * pause of TOOK_NS at most; and the helper ends it.
 *
 * If this process dies while the guest stands still, the other one has all of
 * it and may go on: it sees that this one is dead, by a pidfd, and that the
 * state is still there, which is cut off before the guest goes on here. */
#include "control/upgrade.h"

#include <errno.h>
#include <linux/memfd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/handed.h"
#include "base/parts.h"
#include "base/use.h"
#include "block/block.h"
#include "control/server.h"
#include "host/chardev.h"
#include "host/console.h"
#include "host/fdname.h"
#include "host/fdset.h"
#include "host/helper.h"
#include "host/notify.h"
#include "net/net.h"

#define START_NS 10000000000ull /* for the helper to start it */
#define READY_NS 20000000000ull /* for it to open what it needs */
#define TOOK_NS 3000000000ull   /* while the guest stands still */

static struct {
    bool asked;
    struct machine *m;
    void (*over)(struct machine *m);
    int state;     /* a memfd */
    unsigned self; /* this process */
    struct helper_ask ask;
    struct event sock; /* fd -1: there is no new one */
    struct timer late;
    const char *step; /* what it is late with */
    bool busy, resumes, ends;
    bool raves; /* nothing that it says counts any more */
    void *who;
    void (*answer)(void *who, int err, const char *why);
} up = {.state = -1, .sock.fd = -1};

const struct field upgrade_fields[] = {
    FIELD(TEXT, "path", struct upgrade_told, path, .arg = "PROGRAM",
          .help = "takes over; below the -upgrade directory"),
    {.name = ""},
};

/* ------------------------------------------------------------------ the end */

static void upgrade_hang_up(void)
{
    timer_cancel(&up.late);
    if (up.ask.tag)
        helper_forget(&up.ask);
    loop_del(&up.sock);
    if (up.sock.fd >= 0)
        close(up.sock.fd);
    up.sock.fd = -1;
    if (up.busy)
        up.m->busy = NULL;
    up.busy = false;
    handed_late_begin();
}

static void upgrade_tell(int err, const char *why)
{
    void (*answer)(void *who, int err, const char *why) = up.answer;
    up.answer = NULL;
    if (answer)
        answer(up.who, err, why);
}

/* It is the other one's. What it is not told of any more ends with us. */
static void upgrade_done(void)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    bool known = !getsockopt(up.sock.fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
    upgrade_hang_up();
    if (known) {
        log_line("process %d has taken over", (int)who.pid);
        notify_main(who.pid);
    }
    upgrade_tell(0, "");
    up.over(up.m);
}

/* One word, if there is one; 0: it is gone; -EAGAIN: none yet. That it went
 * with something unread is told first, then what it had to say.
 *
 * syscalls loop if control: recvfrom */
static ssize_t upgrade_hear(char *word, size_t size)
{
    ssize_t n;
    do
        n = recv(up.sock.fd, word, size - 1, MSG_DONTWAIT);
    while (n < 0 && errno == ECONNRESET);
    word[n > 0 ? n : 0] = '\0';
    return n < 0 ? -errno : n;
}

/* The new one can take the guest no more. True: it just has.
 *
 * syscalls loop if control: shutdown close getsockopt ftruncate */
static bool upgrade_cut(void)
{
    char word[512];
    if (up.sock.fd < 0)
        return false;
    shutdown(up.sock.fd, SHUT_RDWR);
    if (up.m->leaving && !up.raves && upgrade_hear(word, sizeof(word)) > 0 &&
        !strcmp(word, "took"))
        return true;
    if (ftruncate(up.state, 0))
        log_line("upgrade: %s", strerror(errno));
    return false;
}

/* The guest goes on here, unless it has been taken at the last moment. */
__attribute__((format(printf, 2, 3))) static void
upgrade_fail(int err, const char *fmt, ...)
{
    char why[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    if (upgrade_cut()) {
        upgrade_done();
        return;
    }
    upgrade_hang_up();
    helper_give_up();
    bool resumes = up.resumes, stood = up.m->leaving;
    up.m->leaving = up.resumes = false;
    if (stood) {
        console_take_back();
        servers_stay();
    }
    if (resumes)
        machine_resume(up.m);
    log_line("%s; the guest goes on here", why);
    upgrade_tell(err, why);
}

static void upgrade_late(struct timer *t)
{
    (void)t;
    upgrade_fail(-ETIMEDOUT, "upgrade: the new process did not %s in time",
                 up.step);
}

static void upgrade_step(const char *step, uint64_t ns)
{
    up.step = step;
    timer_arm(&up.late, now_ns() + ns);
}

/* ------------------------------------------------------------------ messages
 */

/* syscalls loop if control: pwrite64 ftruncate */
static int upgrade_write(struct parts *s)
{
    int err = parts_end(s);
    if (!err && ftruncate(up.state, 0))
        err = -errno;
    for (size_t at = 0; !err && at < s->n;) {
        ssize_t n = pwrite(up.state, s->p + at, s->n - at, (off_t)at);
        if (n < 0 && errno != EINTR)
            err = -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return err;
}

/* That it is gone, and why, is what is heard next.
 *
 * syscalls loop if control: sendmsg */
static int upgrade_say(const char *text, const int *fd, int nfd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int) * HANDED_MAX)];
    } ctl = {.room = {0}};
    struct iovec iov = {(char *)(uintptr_t)text, strlen(text)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (nfd) {
        size_t len = sizeof(int) * (size_t)nfd;
        ctl.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(len),
                                    .cmsg_level = SOL_SOCKET,
                                    .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&ctl.head), fd, len);
        m.msg_control = &ctl;
        m.msg_controllen = CMSG_SPACE(len);
    }
    bool sent = sendmsg(up.sock.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    return sent || errno == EPIPE ? 0 : -errno;
}

/* What does not change, and all that is open. */
static void upgrade_hello(void)
{
    static char text[sizeof(UPGRADE_HELLO) + HANDED_TEXT];
    struct parts s = {0};
    int fd[HANDED_MAX];
    strcpy(text, UPGRADE_HELLO);
    up.m->ops->outline(up.m, &s);
    int err = upgrade_write(&s);
    parts_free(&s);
    int n = err ? err : handed_list(text + strlen(UPGRADE_HELLO), fd);
    if (n >= 0)
        n = upgrade_say(text, fd, n);
    if (n < 0)
        upgrade_fail(n, "upgrade: handing over: %s", strerror(-n));
    else
        upgrade_step("get ready", READY_NS);
}

/* The descriptors that the state speaks of come before it. */
static int upgrade_say_late(void)
{
    const int *fd;
    int n, err = 0;
    for (unsigned at = 0; !err && (n = handed_late_list(at, &fd)); at += n)
        err = n < 0 ? n : upgrade_say("more", fd, n);
    return err;
}

static void upgrade_state(void)
{
    struct parts s = {0};
    char why[512] = "";
    log_catch(why, sizeof(why));
    int err = up.m->ops->can_save(up.m); /* it may have begun to restart */
    if (!err) {
        up.resumes = !up.m->paused;
        up.m->leaving = true;
        machine_pause(up.m);
        console_hand_over();
        err = up.m->ops->save(up.m, &s);
        servers_leave(up.who, &s);
        fdname_leave(&s);
        fdset_leave(&s);
    }
    log_catch(NULL, 0);
    if (!err)
        err = upgrade_write(&s);
    parts_free(&s);
    if (!err)
        err = upgrade_say_late();
    if (!err)
        err = upgrade_say(up.resumes ? "state" : "state paused", NULL, 0);
    if (err)
        upgrade_fail(err, "upgrade: %s", *why ? why : strerror(-err));
    else
        upgrade_step("take over", TOOK_NS);
}

static void upgrade_heard_other(const char *word, ssize_t n)
{
    up.raves = n >= 0;
    if (!strncmp(word, "no ", 3))
        upgrade_fail(-ECANCELED, "upgrade: the new process: %.400s", word + 3);
    else
        upgrade_fail(-ECANCELED,
                     "upgrade: the new process %s when it had to %s",
                     n > 0 ? "says something else" : "has ended", up.step);
}

/* Words of a program that the operator chose, but of any version. */
static void upgrade_heard(struct event *ev, uint32_t got)
{
    char word[512];
    (void)ev, (void)got;
    ssize_t n = upgrade_hear(word, sizeof(word));
    bool ready = n > 0 && !strcmp(word, "ready") && !up.m->leaving;
    if (ready) /* and waits, or the guest need not stand still for it */
        n = upgrade_hear(word, sizeof(word));
    if (n == -EAGAIN || n == -EINTR) {
        if (ready)
            upgrade_state();
        return;
    }
    if (n > 0 && !strcmp(word, "took") && up.m->leaving)
        upgrade_done();
    else
        upgrade_heard_other(word, n);
}

static void upgrade_started(struct helper_ask *a, int err, const int fd[2])
{
    (void)a;
    up.sock.fd = fd[0];
    if (!err)
        err = loop_add(up.m->loop, &up.sock);
    if (err == -ENOEXEC)
        upgrade_fail(err, "upgrade: it is no program for this processor");
    else if (err == -EPERM)
        upgrade_fail(err, "upgrade: others than its owner, or the user in the "
                          "sandbox, could have written it");
    else if (err == -EACCES)
        upgrade_fail(err, "upgrade: it is no file that can be executed");
    else if (err == -EXDEV)
        upgrade_fail(err, "upgrade: the path leads out of the -upgrade "
                          "directory, by .. or a link");
    else if (err)
        upgrade_fail(err, "upgrade: the program: %s", strerror(-err));
    else
        upgrade_hello();
}

/* ----------------------------------------------------------------- beginning
 */

static int upgrade_can_chardevs(void)
{
    for (const struct chardev *c = NULL; (c = chardev_next(c));)
        if (c->taken && !c->handed && c->type != CHARDEV_NULL)
            return fail(-EOPNOTSUPP, "upgrade: %s cannot be handed over",
                        c->label);
    return 0;
}

/* syscalls loop if control: getpid */
static int upgrade_can(void)
{
    if (!up.asked)
        return fail(-EOPNOTSUPP, "upgrade: the VMM was started without "
                                 "-upgrade DIR");
    if (up.m->busy)
        return fail(-EBUSY, "upgrade: %s", up.m->busy);
    if (up.ends)
        return fail(-EBUSY, "upgrade: the guest has been told to shut down");
    if (getpid() == 1)
        return fail(-EOPNOTSUPP, "upgrade: with this process all others of its "
                                 "PID namespace end (--new-pid-ns)");
    if (up.m->ram.fd < 0)
        return fail(-EOPNOTSUPP,
                    "upgrade: guest memory is this process's alone (-restore, "
                    "or share=off)");
    for (const struct netdev *nd = netdevs; nd; nd = nd->next)
        if (!nd->handed || nd->away || nd->pcap || nd->vhostfd[0] >= 0)
            return fail(-EOPNOTSUPP,
                        "upgrade: netdev %s cannot be handed over%s", nd->id,
                        nd->pcap     ? ": its frames are captured"
                        : nd->handed ? ": vhostfd="
                                     : "");
    for (const struct blockdev *b = blockdevs; b; b = b->next)
        if (!b->handed)
            return fail(-EOPNOTSUPP, "upgrade: disk %s cannot be handed over",
                        b->id);
    int err = upgrade_can_chardevs();
    return err ? err : up.m->ops->can_save(up.m);
}

int upgrade_begin(const struct upgrade_told *t, void *who,
                  void (*answer)(void *who, int err, const char *why))
{
    if (!t->path)
        return fail(-EINVAL, "upgrade: path= is missing");
    int err = upgrade_can();
    if (err)
        return err;
    up.sock = (struct event){.fd = -1, .want = EPOLLIN, .ready = upgrade_heard};
    up.ask = (struct helper_ask){.done = upgrade_started};
    err = helper_upgrade(&up.ask, t->path);
    if (err == -EACCES)
        return fail(err, "upgrade: %s: lies not below the -upgrade directory",
                    t->path);
    if (err == -EPIPE)
        return fail(err, "upgrade: the helper process, which would start it, "
                         "has ended");
    if (err)
        return fail(err, "upgrade: %s: %s", t->path, strerror(-err));
    up.busy = true;
    up.m->busy = "it is being handed over";
    up.raves = false;
    up.who = who;
    up.answer = answer;
    upgrade_step("start", START_NS);
    return -EINPROGRESS;
}

void upgrade_cancel(const char *why)
{
    up.ends = true;
    if (up.busy)
        upgrade_fail(-ECANCELED, "upgrade: %s", why);
}

void upgrade_abandon(void)
{
    up.answer = NULL;
}

int upgrade_option(const char *dir)
{
    int err = helper_upgrades(dir);
    up.asked = !err;
    if (!err)
        handed_want();
    return err;
}

bool upgrade_asked(void)
{
    return up.asked;
}

int upgrade_open(struct machine *m, void (*over)(struct machine *m))
{
    up.m = m;
    up.over = over;
    if (!up.asked)
        return 0;
    thread_uses(USE_CONTROL);
    timer_init(&up.late, m->loop, upgrade_late);
    up.state = memfd_create("state", MFD_CLOEXEC);
    if (up.state < 0)
        return fail(-errno, "-upgrade: memfd: %s", strerror(errno));
    static const int std[] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
    handed_keep(&std[0], "stdin");
    handed_keep(&std[1], "stdout");
    handed_keep(&std[2], "stderr");
    handed_keep(&up.state, "state");
    handed_keep(&m->ram.fd, "ram");
    fdset_keep();
    up.self = (unsigned)getpid();
    handed_keep_number(&up.self, "process");
    return 0;
}

void upgrade_close(void)
{
    if (upgrade_cut())
        upgrade_done();
    upgrade_tell(-ECANCELED, "upgrade: the machine has ended");
    if (!up.asked)
        return;
    upgrade_hang_up();
    if (up.state >= 0)
        close(up.state);
    up.state = -1;
    handed_end();
}
