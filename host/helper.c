/* SPDX-License-Identifier: MIT */
/* The asker's side of the helper process (host/help.c has its own). */
#include "host/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/handed.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/use.h"
#include "host/child.h"
#include "host/help.h"
#include "host/successor.h"

#define WAIT_MS 10000 /* for an answer, at the start; a program is started */

static struct help list;
static bool needed;
static char *scripts[HELP_WAYS_MAX]; /* without symbolic links */
static unsigned nscripts;
static const char *dirs[HELP_DIRS_MAX]; /* as they were told */
static const char *upgrades_from;       /* -upgrade DIR */
static char purposes[512];              /* for the line when it is gone */

static struct event sock = {.fd = -1};
static struct helper_ask *asks;
static uint32_t last_tag;

/* --------------------------------------------------------------- the list */

__attribute__((format(printf, 1, 2))) static void
helper_purpose(const char *fmt, ...)
{
    size_t n = strlen(purposes);
    va_list ap;
    if (n)
        n += (size_t)snprintf(purposes + n, sizeof(purposes) - n, ", ");
    if (n >= sizeof(purposes))
        return;
    va_start(ap, fmt);
    vsnprintf(purposes + n, sizeof(purposes) - n, fmt, ap);
    va_end(ap);
}

static struct help_way *helper_new_way(const char *who)
{
    if (list.nway == HELP_WAYS_MAX) {
        fail(-EINVAL, "%s: more than %d connections that come again", who,
             HELP_WAYS_MAX);
        return NULL;
    }
    needed = true;
    helper_purpose("%s", who);
    return &list.way[list.nway++];
}

int helper_program(const char *who, const char *const argv[], bool listens)
{
    struct help_way *w = helper_new_way(who);
    if (!w)
        return -EINVAL;
    *w = (struct help_way){
        .argv = argv, .path = child_find(argv[0]), .listens = listens};
    return (int)list.nway;
}

int helper_address(const char *who, const struct addr *a)
{
    struct help_way *w = helper_new_way(who);
    if (!w)
        return -EINVAL;
    *w = (struct help_way){.addr = *a};
    return (int)list.nway;
}

int helper_ports(const char *who, const struct addr *a)
{
    struct addr longest;
    if (addr_beside(a, UINT32_MAX, &longest))
        return fail(-EINVAL,
                    "%s: a path with _4294967295 behind it has at "
                    "most %zu characters",
                    who, sizeof(a->un.sun_path) - 1);
    int way = helper_address(who, a);
    if (way > 0)
        list.way[way - 1].ports = true;
    return way;
}

void helper_need(void)
{
    needed = true;
}

int helper_need_script(const char *script)
{
    if (nscripts == HELP_WAYS_MAX)
        return fail(-EINVAL, "%s: more than %d scripts", script, HELP_WAYS_MAX);
    scripts[nscripts] = child_find(script);
    if (!scripts[nscripts])
        return fail(-errno, "downscript %s: %s", script, strerror(errno));
    needed = true;
    nscripts++;
    return 0;
}

void helper_need_unlink(const struct addr *a)
{
    needed |= addr_is_file(a);
}

int helper_allow(const char *dir)
{
    for (unsigned i = 0; i < list.ndir; i++)
        if (!strcmp(dirs[i], dir))
            return 0;
    if (list.ndir == HELP_DIRS_MAX)
        return fail(-EINVAL, "-allow-path %s: at most %d", dir, HELP_DIRS_MAX);
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(-EINVAL, "-allow-path %s: %s", dir, strerror(errno));
    needed = true;
    helper_purpose("files below %s", dir);
    dirs[list.ndir] = dir;
    list.dir[list.ndir++] = fd;
    return 0;
}

int helper_allow_tap(const char *name)
{
    const char *end = name + strcspn(name, "/: \t\n*");
    if (!*name || strlen(name) >= IFNAMSIZ || (*end && strcmp(end, "*") != 0))
        return fail(-EINVAL,
                    "-allow-tap %s: must be an interface's name, or PREFIX*",
                    name);
    if (list.ntap == HELP_TAPS_MAX)
        return fail(-EINVAL, "-allow-tap %s: at most %d", name, HELP_TAPS_MAX);
    needed = true;
    helper_purpose("TAP %s", name);
    list.tap[list.ntap++] = name;
    return 0;
}

/* Does `path` lie in `dir`, where both really are? */
static bool helper_lies(const char *path, const char *dir)
{
    char *real = realpath(path, NULL), *in = realpath(dir, NULL);
    size_t n = in ? strlen(in) : 0;
    bool lies = real && n && !strncmp(real, in, n) &&
                (n == 1 || !real[n] || real[n] == '/');
    free(real);
    free(in);
    return lies;
}

bool helper_allows(const char *path)
{
    bool below = false;
    for (unsigned i = 0; !below && i < list.ndir; i++)
        below = helper_lies(path, dirs[i]);
    return below;
}

bool helper_allows_tap(const char *ifname)
{
    return help_allows_tap(&list, ifname);
}

void helper_as_operator(void)
{
    list.own = true;
}

int helper_upgrades(const char *dir)
{
    int err = successor_allow(dir);
    if (err)
        return err;
    needed = list.succeeded = true;
    upgrades_from = dir;
    helper_purpose("upgrades");
    return 0;
}

int helper_log(const char *path)
{
    struct stat st;
    bool link = !lstat(path, &st) && S_ISLNK(st.st_mode);
    /* The way to here from the root may be closed to us. */
    char *real = link ? realpath(path, NULL) : strdup(path);
    if (!real)
        return fail(-errno, "-D %s: %s", path, strerror(errno));
    char *slash = strrchr(real, '/');
    list.log_name = strdup(slash ? slash + 1 : real);
    if (slash)
        slash[slash == real] = '\0';
    list.log_dir = open(slash ? real : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    free(real);
    if (!list.log_name || list.log_dir < 0)
        return fail(-errno, "-D %s: %s", path, strerror(errno));
    needed = true;
    helper_purpose("%s anew", path);
    return 0;
}

/* ---------------------------------------------------------------- the fork */

/* Nothing that it runs may be in the hands of who it does not trust. */
static int helper_check_program(const char *path)
{
    char who[256];
    int err = child_trusted(path, list.uid, list.gid, who, sizeof(who));
    if (!err)
        return 0;
    return fail(err,
                err == -EPERM
                    ? "%s: it runs outside the sandbox, and user %u, who is "
                      "in it, could write %s; chown root, chmod go-w, or "
                      "another -runas"
                    : "%s: whether user %u can write %s cannot be told; say "
                      "another -runas",
                path, list.uid, who);
}

/* What is executed from there is in nobody's hands who is in the sandbox. */
static int helper_check_upgrades(void)
{
    char *dir = upgrades_from ? realpath(upgrades_from, NULL) : NULL;
    int err = dir ? helper_check_program(dir) : 0;
    free(dir);
    if (err)
        return err;
    for (unsigned i = 0; upgrades_from && i < list.ndir; i++)
        if (helper_lies(upgrades_from, dirs[i]) ||
            helper_lies(dirs[i], upgrades_from))
            return fail(-EINVAL,
                        "-upgrade %s: programs there run outside the sandbox, "
                        "and -allow-path %s lets it write there",
                        upgrades_from, dirs[i]);
    return 0;
}

static int helper_check_programs(void)
{
    int err = helper_check_upgrades();
    for (unsigned i = 0; i < list.nway && !err; i++)
        if (list.way[i].argv && list.way[i].path)
            err = helper_check_program(list.way[i].path);
    for (unsigned i = 0; i < nscripts && !err; i++)
        err = helper_check_program(scripts[i]);
    return err;
}

int helper_begin(uid_t uid, gid_t gid)
{
    int sv[2];
    list.uid = uid;
    list.gid = gid;
    list.waits = handed_waits();
    if (!needed || sock.fd >= 0)
        return 0;
    int err = helper_check_programs();
    if (err)
        return err;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
        return fail(-errno, "helper process: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        help_main(&list, sv[1]);
    close(sv[1]);
    if (pid < 0) {
        close(sv[0]);
        return fail(-errno, "helper process: %s", strerror(errno));
    }
    for (unsigned i = 0; i < list.ndir; i++)
        close(list.dir[i]);
    if (list.log_name)
        close(list.log_dir);
    successor_end();
    sock.fd = sv[0];
    thread_uses(USE_HELPER);
    return 0;
}

/* ----------------------------------------------------------------- messages */

/* syscalls loop if helper: sendto */
static int helper_tell(const struct help_ask *a)
{
    size_t n = HELP_ASK_MIN + strlen(a->text);
    if (sock.fd < 0)
        return -EPIPE;
    return send(sock.fd, a, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* At the start, when it only has to be quick enough: it is waited for. */
static int helper_tell_task(enum help_op op, const char *ifname,
                            const char *text)
{
    struct help_ask a = {.op = (uint16_t)op};
    int err;
    if (strlen(text) >= sizeof(a.text))
        return fail(-ENAMETOOLONG, "%s: longer than %zu bytes", text,
                    sizeof(a.text) - 1);
    strcpy(a.text, text);
    snprintf(a.ifname, sizeof(a.ifname), "%s", ifname);
    struct pollfd p = {.fd = sock.fd, .events = POLLOUT};
    while ((err = helper_tell(&a)) == -EAGAIN)
        poll(&p, 1, 1000);
    return err ? fail(err, "helper process: %s", strerror(-err)) : 0;
}

int helper_script(const char *script, const char *ifname)
{
    char *path = child_find(script);
    int err = path ? helper_tell_task(HELP_SCRIPT, ifname, path)
                   : fail(-errno, "downscript %s: %s", script, strerror(errno));
    if (!err)
        helper_purpose("downscript of %s", ifname);
    free(path);
    return err;
}

int helper_leave(const char *bridge, const char *ifname)
{
    helper_purpose("%s out of bridge %s", ifname, bridge);
    return helper_tell_task(HELP_LEAVE, ifname, bridge);
}

int helper_lower(const char *ifname)
{
    helper_purpose("%s down", ifname);
    return helper_tell_task(HELP_LOWER, ifname, "");
}

int helper_unlink(const struct addr *a)
{
    if (!addr_is_file(a))
        return 0;
    helper_purpose("removal of %s", a->un.sun_path);
    return helper_tell_task(HELP_UNLINK, "", a->un.sun_path);
}

int helper_pidfile(const char *path)
{
    helper_purpose("removal of %s", path);
    return helper_tell_task(HELP_PIDFILE, "", path);
}

int helper_lend(int way, int fd)
{
    struct help_ask a = {.op = HELP_LEND, .what = (uint16_t)way};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(fd))];
    } ctl = {.room = {0}};
    struct iovec iov = {&a, HELP_ASK_MIN};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &ctl,
                       .msg_controllen = sizeof(ctl)};
    ctl.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(fd)),
                                .cmsg_level = SOL_SOCKET,
                                .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&ctl.head), &fd, sizeof(fd));
    return sendmsg(sock.fd, &m, MSG_NOSIGNAL) < 0
               ? fail(-errno, "helper process: %s", strerror(errno))
               : 0;
}

int helper_seal(void)
{
    return sock.fd < 0 ? 0 : helper_tell_task(HELP_SEAL, "", "");
}

/* ------------------------------------------------------------------ answers */

static struct helper_ask *helper_take_ask(uint32_t tag)
{
    struct helper_ask **p = &asks;
    while (*p && (*p)->tag != tag)
        p = &(*p)->next;
    struct helper_ask *a = *p;
    if (a) {
        *p = a->next;
        a->tag = 0;
    }
    return a;
}

/* Whoever waits is told, by its name in `purposes`, that nothing comes. */
static void helper_gone(void)
{
    const int none[HELP_FDS] = {-1, -1, -1};
    loop_del(&sock);
    close(sock.fd);
    sock.fd = -1;
    log_line("the helper process has ended; the guest goes on without: %s",
             purposes);
    while (asks) {
        struct helper_ask *a = helper_take_ask(asks->tag);
        a->done(a, -EPIPE, none);
    }
}

static void helper_close_all(int fd[HELP_FDS])
{
    for (int i = 0; i < HELP_FDS; i++) {
        if (fd[i] >= 0)
            close(fd[i]);
        fd[i] = -1;
    }
}

/* One answer; false: there is none now.
 *
 * syscalls loop if helper: recvmsg close */
static bool helper_hear(void)
{
    struct help_answer got;
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int) * HELP_FDS)];
    } ctl;
    struct iovec iov = {&got, sizeof(got)};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &ctl,
                       .msg_controllen = sizeof(ctl)};
    int fd[HELP_FDS] = {-1, -1, -1};
    ssize_t n = recvmsg(sock.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n != sizeof(got)) {
        helper_gone();
        return false;
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
    struct helper_ask *a = helper_take_ask(got.tag);
    if (m.msg_flags & MSG_CTRUNC) /* our own limit of descriptors */
        got.err = -EMFILE;
    if (!a || got.err)
        helper_close_all(fd);
    if (!a)
        return true;
    a->which = got.which;
    a->done(a, got.err, fd);
    return true;
}

static void helper_on_answer(struct event *ev, uint32_t ready)
{
    (void)ev;
    (void)ready;
    for (int i = 0; i < 16 && sock.fd >= 0 && helper_hear(); i++)
        ;
}

int helper_watch(struct loop *l)
{
    if (sock.fd < 0 || sock.loop)
        return 0;
    sock.want = EPOLLIN;
    sock.ready = helper_on_answer;
    int err = loop_add(l, &sock);
    return err ? fail(err, "helper process: %s", strerror(-err)) : 0;
}

/* ------------------------------------------------------------------ requests
 */

static int helper_send(struct helper_ask *a, const struct help_ask *what)
{
    int err = helper_tell(what);
    if (err)
        return err;
    a->tag = what->tag;
    a->next = asks;
    asks = a;
    return 0;
}

static uint32_t helper_next_tag(void)
{
    if (!++last_tag)
        last_tag = 1;
    return last_tag;
}

int helper_connect(struct helper_ask *a, int way)
{
    return helper_connect_port(a, way, 0);
}

int helper_connect_port(struct helper_ask *a, int way, uint32_t port)
{
    const struct help_ask what = {.op = HELP_CONNECT,
                                  .what = (uint16_t)way,
                                  .tag = helper_next_tag(),
                                  .port = port};
    return helper_send(a, &what);
}

/* What of `path` is below `dir`, as both are written, or NULL. */
static const char *helper_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (strncmp(path, dir, n) || (path[n] != '/' && n > 1))
        return NULL;
    return path + n + strspn(path + n, "/");
}

/* The directory that `path` is below; what is below. */
static int helper_find_dir(const char *path, const char **below)
{
    for (unsigned i = 0; i < list.ndir; i++)
        if ((*below = helper_below(path, dirs[i])))
            return (int)i;
    return -EACCES;
}

int helper_open(struct helper_ask *a, const char *path, bool write)
{
    struct help_ask what = {
        .op = HELP_OPEN, .tag = helper_next_tag(), .write = write};
    const char *below;
    int dir = helper_find_dir(path, &below);
    if (dir < 0)
        return dir;
    if (!*below || strlen(below) >= sizeof(what.text))
        return -ENAMETOOLONG;
    strcpy(what.text, below);
    what.what = (uint16_t)dir;
    return helper_send(a, &what);
}

int helper_create(struct helper_ask *a, const char *const path[2])
{
    struct help_ask what = {.op = HELP_CREATE, .tag = helper_next_tag()};
    const char *below;
    int dir[2];
    size_t n = 0;
    for (a->which = 0; a->which < 2; a->which++) {
        what.first = (uint32_t)n;
        dir[a->which] = helper_find_dir(path[a->which], &below);
        if (dir[a->which] < 0)
            return dir[a->which];
        if (!*below || strlen(below) >= sizeof(what.text) - n)
            return -ENAMETOOLONG;
        strcpy(what.text + n, below);
        n += strlen(below);
    }
    what.what = (uint16_t)dir[0];
    what.other = (uint32_t)dir[1];
    return helper_send(a, &what);
}

/* syscalls loop if helper: sendto */
int helper_name(int maker)
{
    return send(maker, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* syscalls loop if helper: recvfrom */
int helper_named(int maker, unsigned *which)
{
    struct help_named got = {0};
    ssize_t n = recv(maker, &got, sizeof(got), MSG_DONTWAIT);
    *which = got.which;
    return n == sizeof(got) ? got.err : n < 0 ? -errno : -EPIPE;
}

int helper_tap(struct helper_ask *a, const char *ifname, bool headers,
               bool several)
{
    struct help_ask what = {.op = HELP_TAP,
                            .what = several,
                            .tag = helper_next_tag(),
                            .write = headers};
    if (strlen(ifname) >= IFNAMSIZ || !help_allows_tap(&list, ifname))
        return -EACCES;
    strcpy(what.ifname, ifname);
    return helper_send(a, &what);
}

int helper_upgrade(struct helper_ask *a, const char *path)
{
    struct help_ask what = {.op = HELP_UPGRADE, .tag = helper_next_tag()};
    const char *below = upgrades_from ? helper_below(path, upgrades_from) : "";
    if (!upgrades_from)
        return -EOPNOTSUPP;
    if (!below || !*below)
        return -EACCES;
    if (strlen(below) >= sizeof(what.text))
        return -ENAMETOOLONG;
    strcpy(what.text, below);
    return helper_send(a, &what);
}

void helper_give_up(void)
{
    helper_tell(&(struct help_ask){.op = HELP_GIVE_UP});
}

void helper_mine(void)
{
    helper_tell(&(struct help_ask){.op = HELP_MINE});
}

int helper_reopen_log(struct helper_ask *a)
{
    const struct help_ask what = {.op = HELP_LOG, .tag = helper_next_tag()};
    return helper_send(a, &what);
}

void helper_forget(struct helper_ask *a)
{
    if (a->tag)
        helper_take_ask(a->tag);
}

/* One that has found a request wrong answers no more: this ends all the same.
 */
void helper_wait(struct helper_ask *a)
{
    struct pollfd p = {.fd = sock.fd, .events = POLLIN};
    while (a->tag) {
        int n = poll(&p, 1, WAIT_MS);
        if (n == 0 || (n < 0 && errno != EINTR))
            helper_gone();
        else
            helper_hear();
    }
}

/* ------------------------------------------------------------------- the end
 */

/* It says that all is done, then ends; in between is what the kernel does at
 * the end of a process. */
static void helper_wait_for_end(void)
{
    struct pollfd p = {.fd = sock.fd, .events = POLLIN};
    struct help_answer got = {.tag = 1};
    ssize_t n = 1;
    while (n > 0 && got.tag && poll(&p, 1, -1) > 0)
        n = recv(sock.fd, &got, sizeof(got), MSG_DONTWAIT);
    if (n <= 0)
        log_line("the helper process has ended before its time; left as they "
                 "are: %s",
                 purposes);
    else if (poll(&p, 1, 1000) > 0)
        recv(sock.fd, &got, sizeof(got), MSG_DONTWAIT);
}

/* syscalls loop if helper: shutdown poll recvfrom close */
void helper_end(void)
{
    if (sock.fd >= 0) {
        loop_del(&sock);
        shutdown(sock.fd, SHUT_WR);
        helper_wait_for_end();
        close(sock.fd);
    }
    sock = (struct event){.fd = -1};
    for (unsigned i = 0; i < list.nway; i++)
        free(list.way[i].path);
    free(list.log_name);
    memset(&list, 0, sizeof(list));
    upgrades_from = NULL;
    while (nscripts)
        free(scripts[--nscripts]);
    needed = false;
    purposes[0] = '\0';
    asks = NULL;
}
