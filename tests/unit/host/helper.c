/* SPDX-License-Identifier: MIT */
/* The helper process, asked by the VMM and by whoever has taken it over. */
#include "host/helper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "host/child.h"
#include "host/help.h"
#include "tests/unit/net/net_test.h"

#define NOBODY 65534

/* ------------------------------------------------- a hostile asker's socket */

static struct raw {
    struct help help;
    int fd;
    pid_t pid;
} raw;

static bool raw_taps; /* may open some */

static void raw_fork(void)
{
    int sv[2];
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
    raw.pid = fork();
    if (raw.pid == 0)
        help_main(&raw.help, sv[1]);
    REQUIRE(raw.pid > 0);
    close(sv[1]);
    raw.fd = sv[0];
}

/* A helper with the address `a` (may be NULL) and the directory `dir`, of an
 * asker that becomes `uid`. */
static void raw_begin_as(uid_t uid, const struct addr *a, const char *dir)
{
    memset(&raw, 0, sizeof(raw));
    raw.help = (struct help){.uid = uid, .gid = uid};
    if (a)
        raw.help.way[raw.help.nway++].addr = *a;
    if (raw_taps) {
        raw.help.tap[raw.help.ntap++] = "mv*";
        raw.help.tap[raw.help.ntap++] = "tap7";
    }
    if (dir) {
        raw.help.dir[0] = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        REQUIRE(raw.help.dir[raw.help.ndir++] >= 0);
    }
    raw_fork();
    if (dir)
        close(raw.help.dir[0]);
}

/* One that may open the log `name` in `dir` anew. */
static void raw_begin_log(const char *dir, char *name)
{
    memset(&raw, 0, sizeof(raw));
    raw.help = (struct help){.uid = NOBODY, .gid = NOBODY, .log_name = name};
    raw.help.log_dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(raw.help.log_dir >= 0);
    raw_fork();
    close(raw.help.log_dir);
}

static void raw_begin(const struct addr *a, const char *dir)
{
    raw_begin_as(geteuid(), a, dir);
}

static void raw_end(void)
{
    int st = -1;
    close(raw.fd);
    CHECK_EQ(waitpid(raw.pid, &st, 0), raw.pid);
    CHECK_EQ(st, 0);
}

static void raw_send(const void *p, size_t n)
{
    CHECK_EQ(send(raw.fd, p, n, MSG_NOSIGNAL), n);
}

static void raw_ask(struct help_ask a, const char *text)
{
    size_t n = strlen(text);
    memcpy(a.text, text, n);
    raw_send(&a, HELP_ASK_MIN + n);
}

/* err of the next answer, whose descriptors go to fd; 1: none comes. */
static int raw_answer_all(uint32_t tag, int fd[HELP_FDS], unsigned *which,
                          int ms)
{
    struct help_answer got = {0};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int) * HELP_FDS)];
    } ctl;
    struct iovec iov = {&got, sizeof(got)};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &ctl,
                       .msg_controllen = sizeof(ctl)};
    struct pollfd p = {.fd = raw.fd, .events = POLLIN};
    for (int i = 0; i < HELP_FDS; i++)
        fd[i] = -1;
    if (poll(&p, 1, ms) <= 0)
        return 1;
    if (recvmsg(raw.fd, &m, 0) != sizeof(got))
        return 1;
    CHECK_EQ(got.tag, tag);
    *which = got.which;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c)
        memcpy(fd, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
    return got.err;
}

static int raw_answer(uint32_t tag, int *fd, int ms)
{
    int all[HELP_FDS];
    unsigned which;
    int err = raw_answer_all(tag, all, &which, ms);
    *fd = all[0];
    CHECK(all[1] < 0 && all[2] < 0);
    return err;
}

static int raw_open(const char *path, bool write, int *fd)
{
    const struct help_ask a = {.op = HELP_OPEN, .tag = 7, .write = write};
    int err = -EBUSY; /* those of before have answered, but not ended yet */
    for (int i = 0; i < 5000 && err == -EBUSY; i++) {
        raw_ask(a, path);
        err = raw_answer(7, fd, 5000);
    }
    return err;
}

static struct addr unix_addr(const char *path)
{
    struct addr a;
    REQUIRE_EQ(addr_unix("test", path, false, &a), 0);
    return a;
}

static int bound(const struct addr *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE_EQ(addr_bind(fd, a), 0);
    REQUIRE_EQ(listen(fd, 8), 0);
    return fd;
}

static void text_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    REQUIRE(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    fchmod(fd, mode);
    close(fd);
}

/* Each message ends service, and none the closing work. */
TEST(helper_messages_that_are_not_of_the_form)
{
    static const struct {
        struct help_ask a;
        size_t n; /* 0: as it should be for `a` */
        bool before_seal;
    } bad[] = {
        {{.op = HELP_CONNECT, .what = 1}, 1, true},
        {{.op = HELP_CONNECT, .what = 1}, HELP_ASK_MIN - 1, true},
        {{.op = HELP_CONNECT, .what = 1}, sizeof(struct help_ask), true},
        {{.op = HELP_CONNECT, .what = 1}, HELP_ASK_MIN + 1, true}, /* a NUL */
        {{.op = HELP_CONNECT, .what = 1, .text = "x"}, 0, true},
        {{.op = HELP_CONNECT, .what = 1, .port = 1}, 0, true}, /* has none */
        {{.op = HELP_CONNECT, .what = 0}, 0, true},
        {{.op = HELP_CONNECT, .what = 2}, 0, true},
        {{.op = HELP_CONNECT, .what = 0xffff}, 0, true},
        {{.op = HELP_OPEN, .what = 1, .text = "f"}, 0, true},
        {{.op = HELP_OPEN, .what = 0xffff, .text = "f"}, 0, true},
        {{.op = HELP_OPEN, .what = 0}, 0, true},
        {{.op = HELP_OPEN, .write = 2, .text = "f"}, 0, true},
        {{.op = HELP_OPEN, .text = "f"}, HELP_ASK_MIN + 3, true},
        {{.op = HELP_OPEN, .first = 1, .text = "f"}, 0, true},
        {{.op = HELP_OPEN, .other = 1, .text = "f"}, 0, true},
        {{.op = HELP_CREATE, .text = "fg"}, 0, true},
        {{.op = HELP_CREATE, .first = 2, .text = "fg"}, 0, true},
        {{.op = HELP_CREATE, .first = ~0u, .text = "fg"}, 0, true},
        {{.op = HELP_CREATE, .first = 1, .what = 1, .text = "fg"}, 0, true},
        {{.op = HELP_CREATE, .first = 1, .other = 1, .text = "fg"}, 0, true},
        {{.op = HELP_LOG}, 0, true},                   /* there is none */
        {{.op = HELP_UPGRADE, .text = "f"}, 0, false}, /* nor a DIR for it */
        {{.op = HELP_GIVE_UP}, 0, false},
        {{.op = 0}, 0, true},
        {{.op = HELP_OPS}, 0, true},
        {{.op = 0xffff}, 0, true},
        {{.op = HELP_LOWER, .ifname = "0123456789abcdef"}, 0, true},
        {{.op = HELP_LEND, .what = 1}, 0, true}, /* without a descriptor */
        {{.op = HELP_LEND, .what = 1}, 0, false},
        {{.op = HELP_SEAL}, 0, false},
        {{.op = HELP_SCRIPT, .text = "/bin/true"}, 0, false},
        {{.op = HELP_LEAVE, .ifname = "lo", .text = "br0"}, 0, false},
        {{.op = HELP_LOWER, .ifname = "lo"}, 0, false},
        {{.op = HELP_UNLINK, .text = "/etc/passwd"}, 0, false},
        {{.op = HELP_PIDFILE, .text = "/etc/passwd"}, 0, false},
        {{.op = HELP_TAP, .ifname = "lo"}, 0, false},
        {{.op = HELP_TAP}, 0, false},
        {{.op = HELP_TAP, .ifname = "mv0", .what = 2}, 0, false},
        {{.op = HELP_TAP, .ifname = "mv0", .text = "x"}, 0, false},
        {{.op = HELP_TAP, .ifname = "mv0", .write = 2}, 0, false},
    };
    struct addr a = unix_addr(nt_path("s"));
    text_file(nt_path("f"), "x", 0600);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int l = bound(&a), fd;
        raw_taps = true;
        raw_begin(&a, nt_path(""));
        raw_taps = false;
        raw_ask((struct help_ask){.op = HELP_UNLINK}, a.un.sun_path);
        if (!bad[i].before_seal)
            raw_ask((struct help_ask){.op = HELP_SEAL}, "");
        CHECK_EQ(raw_open("f", false, &fd), 0);
        close(fd);
        raw_send(&bad[i].a,
                 bad[i].n ? bad[i].n : HELP_ASK_MIN + strlen(bad[i].a.text));
        raw_ask((struct help_ask){.op = HELP_OPEN, .tag = 7}, "f");
        if (!CHECK_EQ(raw_answer(7, &fd, 50), 1))
            FAIL("message %zu is taken", i);
        CHECK_EQ(waitpid(raw.pid, NULL, WNOHANG), 0);
        raw_end();
        CHECK_HAS(test_log(), "helper: asked for what is on no list");
        CHECK_EQ(access(a.un.sun_path, F_OK), -1);
        close(l);
    }
    nt_clean();
}

static unsigned fds_of(pid_t pid)
{
    char cmd[80];
    snprintf(cmd, sizeof(cmd), "exit $(ls /proc/%d/fd | wc -l)", (int)pid);
    return (unsigned)WEXITSTATUS(system(cmd));
}

TEST(helper_takes_no_descriptor)
{
    struct help_ask a = {.op = HELP_OPEN, .tag = 7, .text = "f"};
    int give[200], fd;
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(give))];
    } ctl = {.head = {.cmsg_len = CMSG_LEN(sizeof(give)),
                      .cmsg_level = SOL_SOCKET,
                      .cmsg_type = SCM_RIGHTS}};
    struct iovec iov = {&a, HELP_ASK_MIN + 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &ctl,
                       .msg_controllen = sizeof(ctl)};
    for (size_t i = 0; i < ARRAY_LEN(give); i++)
        give[i] = STDERR_FILENO;
    memcpy(CMSG_DATA(&ctl.head), give, sizeof(give));
    text_file(nt_path("f"), "x", 0600);
    struct addr to = unix_addr(nt_path("s"));
    for (int way = 0; way < 4; way++) { /* one, many; a file's, a lent one's */
        m.msg_controllen = ctl.head.cmsg_len =
            CMSG_LEN(way & 1 ? sizeof(give) : sizeof(int));
        a.op = way & 2 ? HELP_LEND : HELP_OPEN;
        a.what = way & 2 ? 1 : 0;
        iov.iov_len = HELP_ASK_MIN + !(way & 2);
        for (int sealed = 0; sealed < 2; sealed++) {
            if (way == 2 && !sealed)
                continue; /* what is taken then */
            raw_begin(&to, nt_path(""));
            if (sealed)
                raw_ask((struct help_ask){.op = HELP_SEAL}, "");
            CHECK_EQ(raw_open("f", false, &fd), 0);
            close(fd);
            unsigned before = fds_of(raw.pid);
            for (int i = 0; i < 5; i++)
                CHECK_EQ(sendmsg(raw.fd, &m, 0), iov.iov_len);
            CHECK_EQ(raw_answer(7, &fd, 100), 1);
            CHECK_EQ(fds_of(raw.pid), before);
            raw_end();
            CHECK_HAS(test_log(), "asked for what is on no list");
        }
    }
    nt_clean();
}

TEST(helper_asker_who_does_not_read_is_not_waited_for)
{
    int fd;
    test_timeout(180); /* each of them is a fork */
    text_file(nt_path("f"), "x", 0600);
    raw_begin(NULL, nt_path(""));
    fcntl(raw.fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 350; i++) {
        struct help_ask a = {.op = HELP_OPEN, .tag = 7, .text = "f"};
        struct pollfd p = {.fd = raw.fd, .events = POLLOUT};
        if (!CHECK_EQ(poll(&p, 1, 5000), 1))
            break;
        send(raw.fd, &a, HELP_ASK_MIN + 1, MSG_NOSIGNAL);
    }
    while (raw_answer(7, &fd, 200) != 1)
        if (fd >= 0)
            close(fd);
    CHECK_EQ(raw_open("f", false, &fd), 0);
    close(fd);
    raw_end();
    nt_clean();
}

/* ------------------------------------------------------------------- opening
 */

TEST(helper_opens_only_what_is_below)
{
    static const struct {
        const char *path;
        int err;
    } tried[] = {
        {"f", 0},
        {"sub/f", 0},
        {"./sub/../f", 0},
        {"inside", 0},
        {"..", -EXDEV},
        {"../out", -EXDEV},
        {"sub/../../out", -EXDEV},
        {"/etc/passwd", -EXDEV},
        {"//etc/passwd", -EXDEV},
        {"absolute", -EXDEV},
        {"up", -EXDEV},
        {"loop", -ELOOP},
        {"dangling", -ENOENT},
        {"none", -ENOENT},
        {"f/x", -ENOTDIR},
        {"sub", -EACCES},  /* a directory */
        {".", -EACCES},    /* the one itself */
        {"pipe", -EACCES}, /* and nobody waits for its other end */
        {"sock", -EACCES},
    };
    char cmd[512], longest[PATH_MAX];
    const char *dir = nt_path("");
    snprintf(cmd, sizeof(cmd),
             "cd %s && mkdir -p in/sub && cd in && touch f sub/f ../out && "
             "ln -s sub/f inside && ln -s /etc/passwd absolute && "
             "ln -s ../out up && ln -s loop loop && ln -s x dangling && "
             "mkfifo pipe",
             dir);
    REQUIRE_EQ(system(cmd), 0);
    struct addr a = unix_addr(nt_path("in/sock"));
    int l = bound(&a), fd;
    raw_begin(NULL, nt_path("in"));
    for (int w = 0; w < 2; w++)
        for (size_t i = 0; i < ARRAY_LEN(tried); i++) {
            if (!CHECK_EQ(raw_open(tried[i].path, w, &fd), tried[i].err))
                FAIL("%s", tried[i].path);
            CHECK_EQ(fd >= 0, tried[i].err == 0);
            if (fd < 0)
                continue;
            CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, w ? O_RDWR : O_RDONLY);
            close(fd);
        }
    memset(longest, 'a', sizeof(longest));
    longest[300] = '\0';
    CHECK_EQ(raw_open(longest, false, &fd), -ENAMETOOLONG);
    for (int i = 1; i < PATH_MAX - 1; i += 2)
        longest[i] = '/';
    longest[300] = 'a';
    longest[PATH_MAX - 2] = '\0';
    CHECK_EQ(raw_open(longest, false, &fd), -ENOENT);
    raw_end();
    close(l);
    nt_clean();
}

/* Two files that are to be made, and who gives them their names. */
struct made {
    int fd[HELP_FDS];
    unsigned which; /* of them an error is about */
};

static int raw_create(const char *first, const char *second, struct made *f)
{
    struct help_ask a = {
        .op = HELP_CREATE, .tag = 7, .first = (uint32_t)strlen(first)};
    char both[2 * NAME_MAX];
    int err = -EBUSY;
    snprintf(both, sizeof(both), "%s%s", first, second);
    for (int i = 0; i < 5000 && err == -EBUSY; i++) {
        raw_ask(a, both);
        err = raw_answer_all(7, f->fd, &f->which, 5000);
    }
    return err;
}

/* The maker's word, within 5 s: 0 or -errno. */
static int raw_name(struct made *f)
{
    struct pollfd p = {.fd = f->fd[2], .events = POLLIN};
    CHECK_EQ(helper_name(f->fd[2]), 0);
    CHECK_EQ(poll(&p, 1, 5000), 1);
    return helper_named(f->fd[2], &f->which);
}

static void made_close(struct made *f)
{
    for (int i = 0; i < HELP_FDS; i++)
        close(f->fd[i]);
}

/* How many there are whose names say that they are not whole. */
static int halves(const char *dir)
{
    char cmd[300];
    snprintf(cmd, sizeof(cmd), "exit $(ls -A %s %s/sub | grep -c '^[.]')", dir,
             dir);
    int st = system(cmd);
    return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

TEST(helper_makes_files_only_below_and_only_over_files)
{
    static const struct {
        const char *path;
        int err;
    } tried[] = {
        {"new", 0},
        {"sub/new", 0},
        {"./sub/../other", 0},
        {"f", 0},              /* is replaced */
        {"dangling", -EEXIST}, /* so is no link, wherever it points */
        {"absolute", -EEXIST},
        {"sub", -EEXIST},
        {"pipe", -EEXIST},
        {"..", -EINVAL},
        {".", -EINVAL},
        {"sub/", -EINVAL},
        {"sub/..", -EINVAL},
        {"../out", -EXDEV},
        {"sub/../../out", -EXDEV},
        {"/etc/new", -EXDEV},
        {"away/new", -EXDEV},
        {"none/new", -ENOENT},
        {"f/new", -ENOTDIR},
    };
    char cmd[512];
    struct made f;
    snprintf(cmd, sizeof(cmd),
             "cd %s && mkdir -p in/sub && cd in && touch f && ln -s "
             "/etc/passwd absolute && ln -s x dangling && ln -s / away && "
             "mkfifo pipe",
             nt_path(""));
    REQUIRE_EQ(system(cmd), 0);
    raw_begin(NULL, nt_path("in"));
    for (size_t i = 0; i < 2 * ARRAY_LEN(tried); i++) {
        const char *path = tried[i / 2].path;
        int err = tried[i / 2].err;
        bool second = i % 2;
        struct stat st;
        if (!CHECK_EQ(
                raw_create(second ? "one" : path, second ? path : "one", &f),
                err))
            FAIL("%s", path);
        CHECK_EQ(f.fd[0] >= 0 && f.fd[1] >= 0 && f.fd[2] >= 0, err == 0);
        CHECK(!err || f.which == second);
        if (err)
            continue;
        for (int k = 0; k < 2; k++) {
            CHECK_EQ(fstat(f.fd[k], &st), 0);
            CHECK_EQ(st.st_mode, S_IFREG | 0600);
            CHECK_EQ(fcntl(f.fd[k], F_GETFL) & O_ACCMODE, O_RDWR);
        }
        if (!CHECK_EQ(raw_name(&f), 0))
            FAIL("%s", path);
        made_close(&f);
    }
    raw_end();
    CHECK_EQ(halves(nt_path("in")), 0);
    snprintf(cmd, sizeof(cmd),
             "cd %s/in && test -f new -a -f sub/new -a -f other -a -f one -a "
             "-p pipe -a -h dangling -a ! -e x",
             nt_path(""));
    CHECK_EQ(system(cmd), 0);
    nt_clean();
}

TEST(helper_makes_no_file_out_of_two)
{
    static const char *const same[] = {"sub/f", "./sub/f", "sub//f",
                                       "sub/../sub/f", "link/f"};
    struct made f;
    REQUIRE_EQ(mkdir(nt_path("in"), 0700), 0);
    REQUIRE_EQ(mkdir(nt_path("in/sub"), 0700), 0);
    REQUIRE_EQ(symlink("sub", nt_path("in/link")), 0);
    raw_begin(NULL, nt_path("in"));
    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        CHECK_EQ(raw_create("sub/f", same[i], &f), -ENOTUNIQ);
    REQUIRE_EQ(raw_create("f", "sub/f", &f), 0);
    CHECK_EQ(raw_name(&f), 0);
    made_close(&f);
    raw_end();
    CHECK_EQ(halves(nt_path("in")), 0);
    nt_clean();
}

static void has(const char *path, const char *text)
{
    char is[16] = "";
    int fd = open(path, O_RDONLY);
    CHECK(read(fd, is, sizeof(is) - 1) >= 0);
    CHECK_STR(is, text);
    close(fd);
}

/* Whoever gives up, or is killed, leaves what was there, and no half. */
TEST(helper_makes_no_file_that_nobody_names)
{
    struct made f;
    REQUIRE_EQ(mkdir(nt_path("in"), 0700), 0);
    REQUIRE_EQ(mkdir(nt_path("in/sub"), 0700), 0);
    text_file(nt_path("in/f"), "before", 0600);
    raw_begin(NULL, nt_path("in"));
    REQUIRE_EQ(raw_create("f", "g", &f), 0);
    CHECK_EQ(write(f.fd[0], "half", 4), 4);
    CHECK_EQ(halves(nt_path("in")), 2);
    made_close(&f);
    raw_end();
    CHECK_EQ(halves(nt_path("in")), 0);
    has(nt_path("in/f"), "before");
    CHECK_EQ(access(nt_path("in/g"), F_OK), -1);
    nt_clean();
}

/* The second has come to be something else: the first is what it was. */
TEST(helper_names_both_files_or_none)
{
    struct made f;
    REQUIRE_EQ(mkdir(nt_path("in"), 0700), 0);
    REQUIRE_EQ(mkdir(nt_path("in/sub"), 0700), 0);
    text_file(nt_path("in/f"), "before", 0600);
    raw_begin(NULL, nt_path("in"));
    for (int was = 1; was >= 0; was--) {
        REQUIRE_EQ(raw_create("f", "g", &f), 0);
        CHECK_EQ(write(f.fd[0], "new", 3), 3);
        REQUIRE_EQ(mkdir(nt_path("in/g"), 0700), 0);
        CHECK_EQ(raw_name(&f), -EEXIST);
        CHECK_EQ(f.which, 1);
        made_close(&f);
        REQUIRE_EQ(rmdir(nt_path("in/g")), 0);
        if (was)
            has(nt_path("in/f"), "before");
        else
            CHECK_EQ(access(nt_path("in/f"), F_OK), -1);
        unlink(nt_path("in/f"));
    }
    raw_end();
    CHECK_EQ(halves(nt_path("in")), 0);
    nt_clean();
}

TEST(helper_opens_no_magic_link_and_no_device)
{
    static const char *const links[] = {"self/exe", "self/cwd/x",
                                        "self/root/etc/passwd", "self/fd/2",
                                        "thread-self/exe"};
    static const char *const devices[] = {"null", "zero", "tty",  "net/tun",
                                          "kvm",  "ptmx", "stdin"};
    int fd;
    raw_begin(NULL, "/proc");
    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        int err = raw_open(links[i], false, &fd);
        CHECK(err == -ELOOP || err == -EXDEV);
        CHECK_EQ(fd, -1);
    }
    raw_end();
    raw_begin(NULL, "/dev");
    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        CHECK(raw_open(devices[i], true, &fd) < 0);
        CHECK_EQ(fd, -1);
    }
    raw_end();
}

/* None is made, whoever may: that it is there was the operator's doing. */
TEST(helper_opens_taps_that_are_there_and_allowed)
{
    static const char *const no[] = {"",    "*a",  "a*b",
                                     "a/b", "a b", "longer-than-15ch"};
    int fd;
    raw_taps = true;
    raw_begin(NULL, nt_path(""));
    raw_taps = false;
    raw_ask((struct help_ask){.op = HELP_SEAL}, "");
    raw_ask((struct help_ask){.op = HELP_TAP, .tag = 3, .ifname = "mv-none"},
            "");
    CHECK_EQ(raw_answer(3, &fd, 1000), -ENODEV);
    CHECK_EQ(fd, -1);
    raw_ask((struct help_ask){.op = HELP_TAP, .tag = 4, .ifname = "tap7"}, "");
    CHECK_EQ(raw_answer(4, &fd, 1000), -ENODEV);
    CHECK(!help_allows_tap(&raw.help, "tap77"));
    CHECK(!help_allows_tap(&raw.help, "m"));
    CHECK(!help_allows_tap(&raw.help, ""));
    CHECK(help_allows_tap(&raw.help, "mv"));
    raw_end();
    for (size_t i = 0; i < ARRAY_LEN(no); i++) {
        CHECK_EQ(helper_allow_tap(no[i]), -EINVAL);
        CHECK_HAS(test_log(), "must be an interface's name, or PREFIX*");
    }
    CHECK_EQ(helper_allow_tap("*"), 0);
    struct helper_ask a = {0};
    CHECK_EQ(helper_tap(&a, "longer-than-15ch", true, false), -EACCES);
    CHECK_EQ(helper_tap(&a, "tap0", true, false), -EPIPE);
    helper_end();
    CHECK_EQ(helper_tap(&a, "tap0", true, false), -EACCES);
    nt_clean();
}

TEST(helper_opens_as_the_user_and_block_devices)
{
    int fd;
    if (geteuid())
        SKIP("not root");
    text_file(nt_path("mine"), "x", 0600);
    text_file(nt_path("read"), "x", 0644);
    text_file(nt_path("group"), "x", 0060); /* root's group is not theirs */
    chmod(nt_path(""), 0711);
    bool block = !mknod(nt_path("disk"), S_IFBLK | 0666, makedev(7, 250));
    raw_begin(NULL, nt_path(""));
    CHECK_EQ(raw_open("mine", true, &fd), 0);
    close(fd);
    int err = block ? raw_open("disk", false, &fd) : -ENXIO;
    CHECK(err == 0 || err == -ENXIO); /* there may be no such disk */
    if (fd >= 0)
        close(fd);
    raw_end();
    raw_begin_as(NOBODY, NULL, nt_path(""));
    raw_ask((struct help_ask){.op = HELP_SEAL}, "");
    CHECK_EQ(raw_open("mine", false, &fd), -EACCES);
    CHECK_EQ(raw_open("group", false, &fd), -EACCES);
    CHECK_EQ(raw_open("read", true, &fd), -EACCES);
    CHECK_EQ(raw_open("read", false, &fd), 0);
    close(fd);
    raw_end();
    nt_clean();
}

/* ------------------------------------------------------- what is it left with
 */

static uint64_t status_of(pid_t pid, const char *key)
{
    char path[40], line[128];
    unsigned long long n = ~0ull;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    REQUIRE(f != NULL);
    while (fgets(line, sizeof(line), f))
        if (!strncmp(line, key, strlen(key)))
            sscanf(line + strlen(key), "%llx", &n);
    fclose(f);
    return n;
}

TEST(helper_keeps_the_capabilities_of_its_list)
{
    static const struct {
        struct help_ask a;
        uint64_t keeps;
    } lists[] = {
        {{.op = HELP_UNLINK, .text = "/tmp/none"}, 1 << 1 | 1 << 3},
        {{.op = HELP_LOWER, .ifname = "none"}, 1 << 12},
        {{.op = HELP_LEAVE, .ifname = "none", .text = "br"}, 1 << 12},
    };
    if (geteuid())
        SKIP("not root");
    uint64_t all = status_of(getpid(), "CapEff:");
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        raw_begin(NULL, NULL);
        raw_ask(lists[i].a, lists[i].a.text);
        raw_ask((struct help_ask){.op = HELP_SEAL}, "");
        for (int k = 0; k < 200 && !status_of(raw.pid, "NoNewPrivs:"); k++)
            usleep(5000);
        CHECK_EQ(status_of(raw.pid, "NoNewPrivs:"), 1);
        CHECK_EQ(status_of(raw.pid, "CapEff:"), lists[i].keeps & all);
        CHECK_EQ(status_of(raw.pid, "CapPrm:"), lists[i].keeps & all);
        CHECK_EQ(status_of(raw.pid, "CapBnd:"),
                 lists[i].keeps & status_of(getpid(), "CapBnd:"));
        CHECK(fds_of(raw.pid) <= 6); /* 0 to 2, socket, log, a directory */
        raw_end();
    }
}

/* -------------------------------------------------------------- closing work
 */

static void ask_and_die(const char *script, const struct addr *a,
                        const char *pidfile)
{
    helper_need();
    if (helper_begin(geteuid(), getegid()) ||
        (script && helper_script(script, "t0")) || (a && helper_unlink(a)) ||
        (pidfile && helper_pidfile(pidfile)) || helper_seal())
        _exit(1);
    raise(SIGKILL);
}

static void killed(const char *script, const struct addr *a,
                   const char *pidfile)
{
    pid_t pid = fork();
    if (pid == 0)
        ask_and_die(script, a, pidfile);
    CHECK_EQ(child_wait(pid), 128 + SIGKILL);
}

static bool soon_gone(const char *path)
{
    for (int i = 0; i < 1000 && !access(path, F_OK); i++)
        usleep(2000);
    return access(path, F_OK) < 0;
}

TEST(helper_does_its_work_when_the_asker_is_killed)
{
    char text[256];
    struct addr a = unix_addr(nt_path("s"));
    int l = bound(&a);
    snprintf(text, sizeof(text), "#!/bin/sh\necho \"$1\" $# >%s\n",
             nt_path("note"));
    text_file(nt_path("down"), text, 0755);
    text_file(nt_path("pid"), "12\n", 0644);
    killed(nt_path("down"), &a, nt_path("pid"));
    CHECK(soon_gone(a.un.sun_path));
    CHECK(soon_gone(nt_path("pid")));
    snprintf(text, sizeof(text), "[ \"$(cat %s)\" = 't0 1' ]", nt_path("note"));
    CHECK_EQ(system(text), 0);
    close(l);
    nt_clean();
}

/* The helper, our only child, has read that it shall remove the file. */
static bool soon_held(const char *path)
{
    char text[512];
    snprintf(text, sizeof(text),
             "for p in $(cat /proc/%d/task/*/children); do "
             "find /proc/$p/fd -lname '%s' 2>/dev/null; done | grep -q .",
             getpid(), path);
    for (int i = 0; i < 500; i++) {
        if (system(text) == 0)
            return true;
        usleep(10000);
    }
    return false;
}

/* The next VMM was quicker. */
TEST(helper_removes_nothing_that_is_anothers)
{
    struct addr a = unix_addr(nt_path("s"));
    struct flock lk = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    text_file(nt_path("pid"), "12\n", 0644);
    int fd = open(nt_path("pid"), O_RDWR | O_CLOEXEC);
    CHECK_EQ(fcntl(fd, F_SETLK, &lk), 0);
    int l = bound(&a);
    helper_need();
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    CHECK_EQ(helper_unlink(&a), 0);
    CHECK_EQ(helper_pidfile(nt_path("pid")), 0);
    CHECK_EQ(helper_seal(), 0);
    close(l);
    CHECK(soon_held(a.un.sun_path));
    CHECK(soon_held(nt_path("pid")));
    unlink(a.un.sun_path);
    l = bound(&a);
    helper_end();
    CHECK_EQ(access(a.un.sun_path, F_OK), 0);
    CHECK_EQ(access(nt_path("pid"), F_OK), 0);
    close(fd);
    close(l);
    nt_clean();
}

TEST(helper_script_that_fails_is_told)
{
    helper_need();
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    CHECK_EQ(helper_script("/bin/false", "t7"), 0);
    CHECK_EQ(helper_seal(), 0);
    helper_end();
    CHECK_HAS(test_log(), "false t7: failed with status 1");
}

/* ------------------------------------------------------------ when it is gone
 */

static pid_t helper_pid(void)
{
    char command[64];
    pid_t pid = 0;
    /* Of this process: others run machines, or these tests. */
    snprintf(command, sizeof(command), "pgrep -n -P %d -x vmm-helper",
             (int)getpid());
    FILE *f = popen(command, "r");
    REQUIRE(f != NULL && fscanf(f, "%d", &pid) == 1);
    pclose(f);
    return pid;
}

/* The signal may find it at work: until it stands. */
static void stop(pid_t pid)
{
    siginfo_t stopped;
    kill(pid, SIGSTOP);
    waitid(P_PID, (id_t)pid, &stopped, WSTOPPED | WNOWAIT);
}

static int answered = 1;
static void note_answer(struct helper_ask *a, int err, const int fd[2])
{
    (void)a;
    answered = err;
    for (int i = 0; i < 2; i++)
        if (fd[i] >= 0)
            close(fd[i]);
}

TEST(helper_that_dies_is_named_and_nobody_waits)
{
    struct machine *m = fake_new(4096);
    struct addr a = unix_addr(nt_path("s"));
    struct helper_ask one = {.done = note_answer}, two = one;
    int l = bound(&a);
    CHECK_EQ(helper_address("unix:s", &a), 1);
    helper_need_unlink(&a);
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    CHECK_EQ(helper_watch(m->loop), 0);
    CHECK_EQ(helper_unlink(&a), 0);
    CHECK_EQ(helper_seal(), 0);
    answered = 1;
    CHECK_EQ(helper_connect(&one, 1), 0);
    FAKE_SOON(m, answered != 1);
    CHECK_EQ(answered, 0);
    /* under way when it dies */
    pid_t pid = helper_pid();
    stop(pid);
    answered = 1;
    CHECK_EQ(helper_connect(&one, 1), 0);
    CHECK_EQ(helper_connect(&two, 1), 0);
    helper_forget(&two);
    kill(pid, SIGKILL);
    FAKE_SOON(m, answered != 1);
    CHECK_EQ(answered, -EPIPE);
    CHECK_HAS(test_log(), "the helper process has ended; the guest goes on "
                          "without: unix:s, removal of ");
    CHECK_EQ(helper_connect(&one, 1), -EPIPE);
    helper_end();
    CHECK_EQ(access(a.un.sun_path, F_OK), 0);
    close(l);
    fake_free(m);
    nt_clean();
}

TEST(helper_that_is_stopped_holds_nobody_up)
{
    struct machine *m = fake_new(4096);
    struct addr a = unix_addr(nt_path("s"));
    int l = bound(&a), err = 0, n = 0;
    static struct helper_ask many[4000];
    CHECK_EQ(helper_address("unix:s", &a), 1);
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    CHECK_EQ(helper_watch(m->loop), 0);
    CHECK_EQ(helper_seal(), 0);
    pid_t pid = helper_pid();
    stop(pid);
    for (; n < 4000 && !err; n++) {
        many[n].done = note_answer;
        err = helper_connect(&many[n], 1);
    }
    CHECK_EQ(err, -EAGAIN);
    kill(pid, SIGCONT);
    answered = 1;
    FAKE_SOON(m, answered != 1);
    fake_free(m);
    close(l);
    nt_clean();
}

/* ---------------------------------------------------- what it may be made run
 */

TEST(child_trusted_looks_at_the_whole_way)
{
    static const struct {
        const char *path, *culprit; /* NULL: none */
    } tried[] = {
        {"ok/run", NULL},        {"sticky/run", NULL},
        {"ok/open", "ok/open"},  {"ok/theirs", "ok/theirs"},
        {"world/run", "world"},  {"world/in/run", "world"},
        {"own/run", "own"},      {"sticky/theirs", "sticky/theirs"},
        {"group/run", NULL},     {"theirgroup/run", "theirgroup"},
        {"hidden/in/run", NULL},
    };
    char cmd[1024], path[300], who[256], want[300];
    if (geteuid())
        SKIP("not root");
    /* /tmp is sticky; below it */
    const char *dir = nt_path("");
    snprintf(
        cmd, sizeof(cmd),
        "umask 022; cd %s && chmod 755 . && mkdir -p ok sticky world/in own "
        "group theirgroup hidden/in && for f in ok/run ok/open ok/theirs "
        "sticky/run sticky/theirs world/run world/in/run own/run group/run "
        "theirgroup/run hidden/in/run; do cp /bin/true $f; done && "
        "chmod 777 ok/open world hidden/in && chown 65534 ok/theirs "
        "sticky/theirs own && chmod 1777 sticky && chgrp 12 group && "
        "chgrp 65534 theirgroup && chmod 775 group theirgroup && "
        "chmod 700 hidden",
        dir);
    REQUIRE_EQ(system(cmd), 0);
    for (size_t i = 0; i < ARRAY_LEN(tried); i++) {
        snprintf(path, sizeof(path), "%s%s", dir, tried[i].path);
        int err = child_trusted(path, NOBODY, NOBODY, who, sizeof(who));
        if (!CHECK_EQ(err, tried[i].culprit ? -EPERM : 0))
            FAIL("%s: %s", tried[i].path, who);
        snprintf(want, sizeof(want), "%s%s", dir,
                 tried[i].culprit ? tried[i].culprit : tried[i].path);
        CHECK_STR(who, want);
        CHECK_EQ(child_trusted(path, 0, 0, who, sizeof(who)), 0);
    }
    /* and it is not begun with such a one */
    snprintf(path, sizeof(path), "%sworld/run", dir);
    CHECK_EQ(helper_need_script(path), 0);
    CHECK_EQ(helper_begin(NOBODY, NOBODY), -EPERM);
    CHECK_HAS(test_log(), "user 65534, who is in it, could write");
    nt_clean();
}

TEST(child_find_by_path_and_by_name)
{
    char *sh = child_find("sh"), *real = realpath("/bin/sh", NULL);
    CHECK_STR(sh, real);
    free(sh);
    free(real);
    CHECK(child_find("no-such-program-anywhere") == NULL);
    CHECK(child_find("/no/such") == NULL);
}

/* ----------------------------------------------------------------- the log */

static int raw_log(int *fd)
{
    raw_ask((struct help_ask){.op = HELP_LOG, .tag = 7}, "");
    return raw_answer(7, fd, 5000);
}

TEST(helper_log_is_opened_anew_at_its_name_alone)
{
    struct stat st, was;
    char name[] = "log";
    int fd;
    raw_begin_log(nt_path(""), name);
    raw_ask((struct help_ask){.op = HELP_SEAL}, "");
    CHECK_EQ(raw_log(&fd), 0);
    CHECK_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
    REQUIRE_EQ(fstat(fd, &was), 0);
    close(fd);
    REQUIRE_EQ(rename(nt_path("log"), nt_path("log.1")), 0);
    CHECK_EQ(raw_log(&fd), 0);
    REQUIRE_EQ(fstat(fd, &st), 0);
    CHECK_NE(st.st_ino, was.st_ino);
    close(fd);
    REQUIRE_EQ(unlink(nt_path("log")), 0);
    REQUIRE_EQ(symlink(nt_path("elsewhere"), nt_path("log")), 0);
    CHECK_EQ(raw_log(&fd), -ELOOP);
    REQUIRE_EQ(unlink(nt_path("log")), 0);
    REQUIRE_EQ(mkfifo(nt_path("log"), 0600), 0);
    CHECK(raw_log(&fd) < 0);
    CHECK_EQ(fd, -1);
    raw_end();
    CHECK_EQ(access(nt_path("elsewhere"), F_OK), -1);
    nt_clean();
}
