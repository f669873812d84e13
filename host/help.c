/* SPDX-License-Identifier: MIT */
/* The helper process: what must reach outside of the sandbox later.
 *
 * Theory of operation. It is forked before anything of the machine exists, and
 * only where something will need it. The asker then says what is to be done at
 * the end, as it does what is to be undone, and seals that list; no guest has
 * run until then. From there on the asker counts as an attacker: a message is
 * taken whole, looked at as a whole, and names a program, an address or a
 * directory by its number only. The first one that is not of this form ends all
 * service, with one line; what is to be done at the end is done all the same.
 * No descriptor is taken from it any more (there is no room for one: the kernel
 * drops it), none of its answers is waited for, and what takes its time (a file
 * system that hangs) is a process of its own, of which there are few.
 *
 * A path is opened as the user the asker is (unless the operator has it
 * otherwise: helper_as_operator), by a child that has become that
 * user: below its directory, through no magic link, and only what is a file or
 * a block device, which is looked at before it is opened, as opening a device
 * can be an act. New files are made by twos, under other names, and have their
 * own when the asker says that they are whole; the child waits for that, and
 * removes them where it never comes.
 *
 * It ends when the asker's end of the socket is closed, and that is so however
 * the asker ends. */
#include "host/help.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "host/child.h"
#include "host/daemon.h"
#include "host/iface.h"
#include "host/successor.h"

#define OPENS_MAX 4   /* at a time */
#define START_MS 20   /* from one start of a program to the next */
#define END_MS 1000   /* for a program to end by itself */
#define DISK_MS 10000 /* one that has something to write */
#define LOCK_MS 100   /* for the dead to let go of a lock */
#define TOOK_MS 5000  /* for who takes over to say so */
#define PATIENCE_NS 1000000000ull

/* What is to be done at the end. */
struct task {
    enum help_op op;
    char ifname[IFNAMSIZ];
    char *text;    /* UNLINK and PIDFILE: the name in dir */
    int dir, file; /* held, so that no other file gets its inode's number */
    struct task *next;
};

static struct help *help;
static int sock;
static struct task *tasks, **tasks_end = &tasks;
static bool sealed, refused;
static struct {
    pid_t pid;  /* 0: nobody */
    bool makes; /* a new file, and removes it if it is not to be */
} opens[OPENS_MAX];
static struct {
    pid_t pid; /* who is to take over: nobody's child here */
    int took;  /* it has: readable; it has ended: its end is closed; -1: none */
} next = {.took = -1};

/* Not now_ns(): tests hold that clock. */
static int64_t help_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* With up to HELP_FDS descriptors, which are closed. Nobody waits: an asker who
 * does not read loses the answer. */
static void help_answer_of(const struct help_answer *what, int *fd,
                           unsigned nfd)
{
    struct help_answer a = *what;
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int) * HELP_FDS)];
    } ctl = {.room = {0}};
    struct iovec iov = {&a, sizeof(a)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (nfd) {
        ctl.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int) * nfd),
                                    .cmsg_level = SOL_SOCKET,
                                    .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&ctl.head), fd, sizeof(int) * nfd);
        m.msg_control = &ctl;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * nfd);
    }
    sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    for (unsigned i = 0; i < nfd; i++)
        close(fd[i]);
}

static void help_answer(uint32_t tag, int err, int *fd, unsigned nfd)
{
    help_answer_of(&(struct help_answer){.tag = tag, .err = err}, fd, nfd);
}

/* ---------------------------------------------------------------- programs */

static void help_end_program(struct help_way *w, int patience_ms)
{
    if (w->pid <= 0)
        return;
    kill(w->pid, patience_ms ? SIGTERM : SIGKILL);
    for (int64_t end = help_now_ms() + patience_ms; help_now_ms() < end;
         poll(NULL, 0, 5))
        if (waitpid(w->pid, NULL, WNOHANG) != 0) {
            w->pid = 0;
            return;
        }
    kill(w->pid, SIGKILL);
    child_wait(w->pid);
    w->pid = 0;
}

/* Both ends of a connection: ours, and the program's or, where it is to accept
 * that, the socket that it comes from. Nobody else ever can: its name is in a
 * directory of our own, and gone before the program runs. */
static int help_meet(bool listens, int fd[2])
{
    char dir[] = "/tmp/vmm-XXXXXX";
    struct addr a = {.un.sun_family = AF_UNIX, .len = sizeof(a.un)};
    if (!listens)
        return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) ? -errno
                                                                      : 0;
    if (!mkdtemp(dir))
        return -errno;
    snprintf(a.un.sun_path, sizeof(a.un.sun_path), "%s/s", dir);
    fd[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fd[1] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int err = bind(fd[1], &a.sa, a.len) || listen(fd[1], 1) ||
                      connect(fd[0], &a.sa, a.len)
                  ? -errno
                  : 0;
    unlink(a.un.sun_path);
    rmdir(dir);
    if (!err)
        return 0;
    close(fd[0]);
    close(fd[1]);
    return err;
}

/* Gives its pid, or -errno. */
static int help_run(struct help_way *w, int sock_fd, int stderr_fd)
{
    int n = 0, err = -ENOMEM;
    char *last = NULL;
    while (w->argv[n])
        n++;
    const char **argv = calloc((size_t)n + 1, sizeof(*argv));
    if (argv && asprintf(&last, "%s%d", w->argv[n - 1], sock_fd) >= 0) {
        memcpy(argv, w->argv, (size_t)n * sizeof(*argv));
        argv[n - 1] = last;
        /* However this process ends, the program does not stay: a disk's would
         * keep its image locked. */
        err = child_start(w->path, argv, stderr_fd, sock_fd, SIGTERM);
    }
    free(argv);
    free(last);
    return err;
}

/* fd[0] is its socket's other end, fd[1] what it says. */
static int help_spawn(struct help_way *w, int fd[2])
{
    int sv[2], p[2] = {-1, -1};
    int err = help_meet(w->listens, sv);
    if (err)
        return err;
    err = pipe2(p, O_CLOEXEC) ? -errno : help_run(w, sv[1], p[1]);
    close(sv[1]);
    if (p[1] >= 0)
        close(p[1]);
    fd[0] = sv[0];
    fd[1] = p[0];
    if (err > 0) {
        w->pid = err;
        fcntl(p[0], F_SETFL, O_NONBLOCK);
        return 0;
    }
    close(sv[0]);
    if (p[0] >= 0)
        close(p[0]);
    return err;
}

static int help_connect_program(struct help_way *w, int fd[2])
{
    char who[256];
    if (!w->path)
        return -ENOENT;
    if (w->since && help_now_ms() - w->since < START_MS)
        return -EAGAIN;
    w->since = help_now_ms();
    int err = child_trusted(w->path, help->uid, help->gid, who, sizeof(who));
    if (err)
        return fail(-EPERM,
                    "%s is not started: %s has come to be writable by "
                    "user %u",
                    w->path, who, help->uid);
    help_end_program(w, w->listens ? DISK_MS : 0);
    return help_spawn(w, fd);
}

static int help_dial_port(const struct help_way *w, uint32_t port)
{
    struct addr a;
    int err = addr_beside(&w->addr, port, &a);
    return err ? err : addr_dial(&a);
}

static void help_on_connect(const struct help_ask *a)
{
    int fd[2] = {-1, -1}, err;
    struct help_way *w = &help->way[a->what - 1];
    unsigned nfd = w->argv ? 2 : w->lent ? 0 : 1;
    if (w->argv) {
        err = help_connect_program(w, fd);
    } else if (w->lent) { /* for datagrams: never waits */
        err = connect(w->lent, &w->addr.sa, w->addr.len) ? -errno : 0;
    } else {
        fd[0] = w->ports ? help_dial_port(w, a->port) : addr_dial(&w->addr);
        err = fd[0] < 0 ? fd[0] : 0;
    }
    help_answer(a->tag, err, fd, err ? 0 : nfd);
}

/* ------------------------------------------------------------------- files */

static long help_open_below(int dir, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));
    return fd < 0 ? -errno : fd;
}

static bool help_may_be_opened(int fd)
{
    struct stat st;
    return !fstat(fd, &st) && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
}

static int help_open_path(const struct help_ask *a)
{
    uint64_t flags = O_NONBLOCK | O_NOCTTY;
    long fd = help_open_below(help->dir[a->what], a->text, O_PATH);
    if (fd < 0)
        return (int)fd;
    bool may = help_may_be_opened((int)fd);
    close((int)fd);
    if (!may)
        return -EACCES;
    fd = help_open_below(help->dir[a->what], a->text,
                         flags | (a->write ? O_RDWR : O_RDONLY));
    if (fd < 0 ||
        help_may_be_opened((int)fd)) /* still: names may be exchanged */
        return (int)fd;
    close((int)fd);
    return -EACCES;
}

/* Everything of this user's, and nothing else. */
static int help_become(uid_t uid, gid_t gid)
{
    if (uid == geteuid())
        return 0;
    return setgroups(0, NULL) || setresgid(gid, gid, gid) ||
                   setresuid(uid, uid, uid)
               ? -errno
               : 0;
}

/* The directory that `path` is in, below an allowed one, and the name in it. */
static int help_open_parent(unsigned dir, char *path, const char **name)
{
    char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (!**name || !strcmp(*name, ".") || !strcmp(*name, ".."))
        return -EINVAL;
    if (!slash)
        return fcntl(help->dir[dir], F_DUPFD_CLOEXEC, 3);
    *slash = '\0';
    return (int)help_open_below(help->dir[dir], path, O_PATH | O_DIRECTORY);
}

/* A file that is not whole yet, and has a name of its own till then. */
struct half {
    int dir, fd;
    char name[NAME_MAX + 1], now[NAME_MAX + 1];
    bool named, swapped; /* what had the name has the other one now */
};

/* Only a file is replaced. */
static bool help_may_be_replaced(const struct half *h)
{
    struct stat st;
    return fstatat(h->dir, h->name, &st, AT_SYMLINK_NOFOLLOW) ||
           S_ISREG(st.st_mode);
}

static int help_begin_half(struct half *h, unsigned dir, char *path, int i)
{
    const char *name;
    h->dir = help_open_parent(dir, path, &name);
    if (h->dir < 0)
        return h->dir;
    if (strlen(name) > NAME_MAX)
        return -ENAMETOOLONG;
    strcpy(h->name, name);
    if (!help_may_be_replaced(h))
        return -EEXIST;
    snprintf(h->now, sizeof(h->now), ".%.200s.%d.%d", name, (int)getpid(), i);
    h->fd = openat(h->dir, h->now, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return h->fd < 0 ? -errno : 0;
}

static bool help_are_same(const struct half *a, const struct half *b)
{
    struct stat at, bt;
    return !strcmp(a->name, b->name) && !fstat(a->dir, &at) &&
           !fstat(b->dir, &bt) && at.st_ino == bt.st_ino &&
           at.st_dev == bt.st_dev;
}

/* Where the file system can, what was there is still there, under the other
 * name. On the disk, too. */
static int help_name_half(struct half *h)
{
    if (!help_may_be_replaced(h))
        return -EEXIST;
    h->swapped = !syscall(SYS_renameat2, h->dir, h->now, h->dir, h->name,
                          RENAME_EXCHANGE);
    if (!h->swapped && renameat(h->dir, h->now, h->dir, h->name))
        return -errno;
    h->named = true;
    int fd = openat(h->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = fd >= 0 && fsync(fd) ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return err;
}

static void help_unname_half(const struct half *h)
{
    if (h->swapped)
        syscall(SYS_renameat2, h->dir, h->now, h->dir, h->name,
                RENAME_EXCHANGE);
    else if (h->named)
        unlinkat(h->dir, h->name, 0);
}

static void help_name_both(struct half h[2], int sock_fd)
{
    struct help_named done = {0};
    done.err = help_name_half(&h[0]);
    if (!done.err) {
        done.which = 1;
        done.err = help_name_half(&h[1]);
    }
    for (int i = 0; i < 2 && done.err; i++)
        help_unname_half(&h[i]);
    send(sock_fd, &done, sizeof(done), MSG_NOSIGNAL);
}

/* Two files that belong together: both get their names, or none does, whoever
 * is killed meanwhile. Stays until the asker has said whether they are to be.
 */
static void help_create(const struct help_ask *a)
{
    static char path[2][PATH_MAX];
    struct half h[2] = {{.dir = -1, .fd = -1}, {.dir = -1, .fd = -1}};
    struct help_answer got = {.tag = a->tag};
    int sv[2] = {-1, -1};
    char word;
    memcpy(path[0], a->text, a->first);
    strcpy(path[1], a->text + a->first);
    got.err = help_begin_half(&h[0], a->what, path[0], 0);
    if (!got.err) {
        got.which = 1;
        got.err = help_begin_half(&h[1], a->other, path[1], 1);
    }
    if (!got.err && help_are_same(&h[0], &h[1]))
        got.err = -ENOTUNIQ;
    if (!got.err && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
        got.err = -errno;
    int fd[HELP_FDS] = {h[0].fd, h[1].fd, sv[0]};
    help_answer_of(&got, fd, got.err ? 0 : 3);
    close(sock);
    if (!got.err && read(sv[1], &word, 1) == 1)
        help_name_both(h, sv[1]);
    for (int i = 0; i < 2; i++)
        if (*h[i].now)
            unlinkat(h[i].dir, h[i].now, 0);
}

static void help_open(const struct help_ask *a)
{
    int fd = help_open_path(a);
    help_answer(a->tag, fd < 0 ? fd : 0, &fd, fd >= 0);
}

static void help_on_open(const struct help_ask *a)
{
    unsigned i = 0;
    while (i < OPENS_MAX && opens[i].pid)
        i++;
    pid_t pid = i < OPENS_MAX ? fork() : -1;
    if (pid < 0) {
        help_answer(a->tag, i < OPENS_MAX ? -errno : -EBUSY, NULL, 0);
        return;
    }
    if (pid > 0) {
        opens[i].pid = pid;
        opens[i].makes = a->op == HELP_CREATE;
        return;
    }
    int err = help->own ? 0 : help_become(help->uid, help->gid);
    if (err)
        help_answer(a->tag, err, NULL, 0);
    else
        (a->op == HELP_CREATE ? help_create : help_open)(a);
    _exit(0);
}

/* As the operator, whose it is; whoever has put a link in its place is not
 * followed. By this process, which goes on there, too. */
static int help_open_log(void)
{
    struct stat st;
    int fd = openat(help->log_dir, help->log_name,
                    O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK |
                        O_NOCTTY | O_CLOEXEC,
                    0644);
    if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode))
        return fd;
    int err = fd < 0 ? -errno : -EINVAL;
    if (fd >= 0)
        close(fd);
    return err;
}

static void help_on_log(const struct help_ask *a)
{
    int fd = help_open_log(), own = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own >= 0)
        log_take(own);
    help_answer(a->tag, fd < 0 ? fd : 0, &fd, fd >= 0);
}

bool help_allows_tap(const struct help *h, const char *ifname)
{
    for (unsigned i = 0; i < h->ntap; i++) {
        size_t n = strlen(h->tap[i]) - 1;
        if (!strcmp(ifname, h->tap[i]) ||
            (h->tap[i][n] == '*' && !strncmp(ifname, h->tap[i], n)))
            return true;
    }
    return false;
}

/* As the operator. A queue alone may be one of an interface that has several.
 */
static void help_on_tap(const struct help_ask *a)
{
    unsigned flags = IFF_TAP | IFF_NO_PI | (a->write ? IFF_VNET_HDR : 0);
    int fd = if_open_tap(a->ifname, flags | (a->what ? IFF_MULTI_QUEUE : 0));
    if (fd == -EINVAL && !a->what)
        fd = if_open_tap(a->ifname, flags | IFF_MULTI_QUEUE);
    help_answer(a->tag, fd < 0 ? fd : 0, &fd, fd >= 0);
}

/* ------------------------------------------------------------ who takes over
 */

/* In the child, which becomes it. An error after the answer is told as it would
 * be by the program itself. */
static void help_succeed(const struct help_ask *a, int took)
{
    int sv[2] = {-1, -1};
    int fd = successor_open(a->text, help->uid, help->gid);
    int err = fd < 0 ? fd : 0;
    if (!err && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
        err = -errno;
    help_answer(a->tag, err, &sv[0], err ? 0 : 1);
    if (err)
        return;
    char why[128];
    snprintf(why, sizeof(why), "no it cannot be executed: %s",
             strerror(-successor_exec(fd, sv[1], took)));
    send(sv[1], why, strlen(why), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Has it taken over? Its end of the pipe says so, or closes. */
static bool help_taken(int ms)
{
    struct pollfd p = {.fd = next.took, .events = POLLIN};
    return next.took >= 0 && poll(&p, 1, ms) > 0 && p.revents & POLLIN;
}

/* Who was to is no more; true: it did not end by itself. */
static bool help_give_up(void)
{
    struct pollfd p = {.fd = next.took};
    if (next.took < 0 || help_taken(0))
        return false;
    bool killed = !poll(&p, 1, 0) && !kill(next.pid, SIGKILL);
    if (killed)
        poll(&p, 1, END_MS);
    close(next.took);
    next.took = -1;
    return killed;
}

/* A service manager takes a process for the service's only if it is its own
 * child (systemd's service_set_main_pid), which one is whose parent has ended.
 * `took` first has its number. */
static void help_orphan(const struct help_ask *a, int took)
{
    pid_t pid = fork();
    if (pid == 0)
        help_succeed(a, took);
    else if (pid < 0)
        help_answer(a->tag, -errno, NULL, 0);
    else
        _exit(write(took, &pid, sizeof(pid)) != sizeof(pid));
    _exit(1);
}

static void help_on_upgrade(const struct help_ask *a)
{
    int p[2] = {-1, -1};
    int err = help_taken(0) ? -EALREADY : 0;
    help_give_up();
    if (!err)
        err = pipe2(p, O_CLOEXEC) ? -errno : 0;
    pid_t pid = err ? 0 : fork();
    if (!err && pid == 0)
        help_orphan(a, p[1]);
    if (pid < 0)
        err = -errno;
    if (err)
        help_answer(a->tag, err, NULL, 0);
    else
        child_wait(pid);
    if (p[1] >= 0)
        close(p[1]);
    if (!err && read(p[0], &next.pid, sizeof(pid)) == sizeof(pid))
        next.took = p[0];
    else if (p[0] >= 0)
        close(p[0]);
}

/* ----------------------------------------------------------------- the end */

/* Where the name is, and which file has it. */
static void help_find_file(struct task *t)
{
    char *slash = strrchr(t->text, '/');
    if (slash)
        *slash = '\0';
    t->dir = open(!slash     ? "."
                  : *t->text ? t->text
                             : "/",
                  O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (slash)
        memmove(t->text, slash + 1, strlen(slash + 1) + 1);
    t->file = openat(t->dir, t->text, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

static void help_add_task(const struct help_ask *a)
{
    struct task *t = calloc(1, sizeof(*t));
    if (!t || !(t->text = strdup(a->text))) {
        free(t);
        log_line("helper: out of memory");
        return;
    }
    t->op = (enum help_op)a->op;
    memcpy(t->ifname, a->ifname, sizeof(t->ifname));
    if (t->op == HELP_UNLINK || t->op == HELP_PIDFILE)
        help_find_file(t);
    *tasks_end = t;
    tasks_end = &t->next;
}

/* Or has somebody put another one in its place? */
static bool help_still_ours(const struct task *t)
{
    struct stat was, is;
    return !fstat(t->file, &was) &&
           !fstatat(t->dir, t->text, &is, AT_SYMLINK_NOFOLLOW) &&
           was.st_ino == is.st_ino && was.st_dev == is.st_dev;
}

/* One who has come after us has locked it, and goes on with it. The lock of one
 * who was killed is let go a moment before or after the socket. */
static void help_remove_pidfile(const struct task *t)
{
    struct flock lk = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd =
        openat(t->dir, t->text, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    int64_t end = help_now_ms() + LOCK_MS;
    while (fd >= 0 && fcntl(fd, F_SETLK, &lk) && help_now_ms() < end)
        poll(NULL, 0, 2);
    if (fd >= 0 && !fcntl(fd, F_SETLK, &lk) && help_still_ours(t))
        unlinkat(t->dir, t->text, 0);
}

static void help_run_script(const struct task *t)
{
    char who[256];
    if (child_trusted(t->text, help->uid, help->gid, who, sizeof(who)))
        log_line("downscript %s is not run: %s has come to be writable by user "
                 "%u",
                 t->text, who, help->uid);
    else
        child_script("downscript", t->text, t->ifname);
}

static void help_do_task(const struct task *t)
{
    switch (t->op) {
    case HELP_SCRIPT:
        help_run_script(t);
        break;
    case HELP_LEAVE:
        if_set_bridge(t->text, t->ifname, false);
        break;
    case HELP_LOWER:
        if_set_up(t->ifname, false);
        break;
    case HELP_UNLINK:
        if (help_still_ours(t))
            unlinkat(t->dir, t->text, 0);
        break;
    default:
        help_remove_pidfile(t);
    }
}

static void help_reap(void)
{
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        for (unsigned i = 0; i < help->nway; i++)
            if (help->way[i].pid == pid)
                help->way[i].pid = 0;
        for (int i = 0; i < OPENS_MAX; i++)
            if (opens[i].pid == pid)
                opens[i].pid = 0;
    }
}

static bool help_makes(void)
{
    bool any = false;
    for (int i = 0; i < OPENS_MAX; i++)
        any |= opens[i].pid && opens[i].makes;
    return any;
}

/* Who makes a file hears that the asker is no more, and is given the time to
 * remove it. */
static void help_end_opens(void)
{
    for (int i = 0; i < OPENS_MAX; i++)
        if (opens[i].pid && !opens[i].makes)
            kill(opens[i].pid, SIGKILL);
    for (int64_t end = help_now_ms() + END_MS; help_now_ms() < end;
         poll(NULL, 0, 2)) {
        help_reap();
        if (!help_makes())
            return;
    }
}

/* Scripts first: they find the interfaces as they were while it ran. Of a
 * machine that is handed over, the helper does this of who has it. */
static _Noreturn void help_end(void)
{
    log_patience(PATIENCE_NS);
    bool elsewhere = help->waits || help_taken(TOOK_MS);
    if (!elsewhere && help_give_up())
        log_line("the VMM has ended, and the process that was to take over has "
                 "not done so in time: it has been killed");
    help_end_opens();
    for (int op = HELP_SCRIPT; op < HELP_SEAL && !elsewhere; op++)
        for (struct task *t = tasks; t; t = t->next)
            if (t->op == (enum help_op)op)
                help_do_task(t);
    for (unsigned i = 0; i < help->nway; i++)
        help_end_program(&help->way[i],
                         help->way[i].listens ? DISK_MS : END_MS);
    help_answer(0, 0, NULL, 0);
    _exit(0);
}

/* ------------------------------------------------------------------ service */

/* Is it what it may ask for now, and whole? `n` bytes came, of which the last
 * one is made the text's end. */
static bool help_well_formed(struct help_ask *a, size_t n, bool cut, int lent)
{
    if (cut || n < HELP_ASK_MIN || n >= sizeof(*a) ||
        (lent >= 0) != (a->op == HELP_LEND))
        return false;
    size_t len = n - HELP_ASK_MIN;
    a->text[len] = '\0';
    if (strlen(a->text) != len || a->write > 1 ||
        (a->op != HELP_CREATE && (a->other || a->first)) ||
        strnlen(a->ifname, IFNAMSIZ) == IFNAMSIZ)
        return false;
    switch (a->op) {
    case HELP_CONNECT:
        return a->what >= 1 && a->what <= help->nway && !len &&
               (!a->port || help->way[a->what - 1].ports);
    case HELP_OPEN:
        return a->what < help->ndir && len;
    case HELP_CREATE:
        return a->what < help->ndir && a->other < help->ndir && a->first &&
               a->first < len;
    case HELP_UPGRADE:
        return help->succeeded && sealed && len;
    case HELP_GIVE_UP:
        return help->succeeded && !len;
    case HELP_MINE:
        return help->waits && !len;
    case HELP_LOG:
        return help->log_name && !len;
    case HELP_TAP:
        return a->what <= 1 && !len && help_allows_tap(help, a->ifname);
    case HELP_LEND:
        return !sealed && a->what >= 1 && a->what <= help->nway && !len;
    default:
        return !sealed && a->op >= HELP_SCRIPT && a->op < HELP_OPS;
    }
}

#define BIT(cap) (1ull << (cap))

/* What the list may need, of root's. A program needs what the operator has. */
static uint64_t help_capabilities(void)
{
    uint64_t need = help->ndir ? BIT(CAP_SETUID) | BIT(CAP_SETGID) : 0;
    need |= help->succeeded ? ~0ull : 0;
    need |= help->log_name ? BIT(CAP_DAC_OVERRIDE) : 0;
    need |= help->ntap ? BIT(CAP_NET_ADMIN) | BIT(CAP_DAC_OVERRIDE) : 0;
    for (unsigned i = 0; i < help->nway; i++)
        need |= help->way[i].argv ? ~0ull : BIT(CAP_DAC_OVERRIDE);
    for (const struct task *t = tasks; t; t = t->next)
        need |= t->op == HELP_SCRIPT  ? ~0ull
                : t->op < HELP_UNLINK ? BIT(CAP_NET_ADMIN)
                                      : BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER);
    return need;
}

static void help_confine(void)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    uint64_t need = help_capabilities();
    if (need == ~0ull)
        return;
    for (int cap = 0; cap < 64; cap++)
        if (!(need & BIT(cap)))
            prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (!syscall(SYS_capget, &h, d)) {
        for (int i = 0; i < 2; i++) {
            d[i].permitted &= (uint32_t)(need >> 32 * i);
            d[i].effective &= d[i].permitted;
            d[i].inheritable = 0;
        }
        syscall(SYS_capset, &h, d);
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static void help_seal(void)
{
    sealed = true;
    log_move();
    daemon_detach();
    help_confine();
}

/* The descriptor that came along, or -1. */
static int help_lent(struct msghdr *m)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    int fd = -1;
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

/* One message; false: the other end is closed. */
static bool help_serve(void)
{
    static struct help_ask a;
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } ctl;
    struct iovec iov = {&a, sizeof(a)};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &ctl,
                       .msg_controllen = CMSG_LEN(sizeof(int))};
    if (sealed || refused)
        m.msg_controllen = 0;
    ssize_t n = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        return false;
    if (n < 0 || refused)
        return true;
    int lent = help_lent(&m);
    if (!help_well_formed(&a, (size_t)n, m.msg_flags & (MSG_TRUNC | MSG_CTRUNC),
                          lent)) {
        refused = true;
        if (lent >= 0)
            close(lent);
        log_line("helper: asked for what is on no list (%u of %u); it answers "
                 "no more",
                 n >= 4 ? a.op : 0, n >= 4 ? a.what : 0);
    } else if (a.op == HELP_CONNECT) {
        help_on_connect(&a);
    } else if (a.op == HELP_OPEN || a.op == HELP_CREATE) {
        help_on_open(&a);
    } else if (a.op == HELP_LOG) {
        help_on_log(&a);
    } else if (a.op == HELP_TAP) {
        help_on_tap(&a);
    } else if (a.op == HELP_UPGRADE) {
        help_on_upgrade(&a);
    } else if (a.op == HELP_GIVE_UP) {
        help_give_up();
    } else if (a.op == HELP_MINE) {
        help->waits = false;
    } else if (a.op == HELP_LEND) {
        help->way[a.what - 1].lent = lent;
    } else if (a.op == HELP_SEAL) {
        help_seal();
    } else {
        help_add_task(&a);
    }
    return true;
}

static void help_close_range_of(unsigned from, unsigned to)
{
    if (syscall(SYS_close_range, from, to, 0))
        for (; from <= to && from < 4096; from++) /* Linux before 5.9 */
            close((int)from);
}

static int help_by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* All but the standard ones and what is needed: the asker's are open here, too,
 * until then. */
static void help_close_others(void)
{
    int keep[HELP_DIRS_MAX + 6], n = 2, from = STDERR_FILENO + 1;
    log_fds(keep);
    keep[n++] = successor_fd();
    keep[n++] = sock;
    if (help->log_name)
        keep[n++] = help->log_dir;
    for (unsigned i = 0; i < help->ndir; i++)
        keep[n++] = help->dir[i];
    qsort(keep, (size_t)n, sizeof(keep[0]), help_by_number);
    for (int i = 0; i < n; i++) {
        if (keep[i] < from)
            continue;
        if (keep[i] > from)
            help_close_range_of((unsigned)from, (unsigned)keep[i] - 1);
        from = keep[i] + 1;
    }
    help_close_range_of((unsigned)from, ~0u);
}

static void help_on_child(int sig)
{
    (void)sig; /* ends ppoll */
}

_Noreturn void help_main(struct help *h, int s)
{
    const struct sigaction sa = {.sa_handler = help_on_child};
    sigset_t all, waiting;
    help = h;
    sock = s;
    /* A service manager's SIGTERM to all, the terminal's SIGINT: it ends when
     * the asker has. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    waiting = all;
    sigdelset(&waiting, SIGCHLD);
    sigaction(SIGCHLD, &sa, NULL);
    setsid();
    prctl(PR_SET_NAME, "vmm-helper");
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    help_close_others();
    for (bool open = true; open;) {
        struct pollfd p = {.fd = sock, .events = POLLIN};
        int n = ppoll(&p, 1, NULL, &waiting);
        help_reap();
        open = n <= 0 || help_serve();
    }
    help_end();
}
