/* SPDX-License-Identifier: MIT */
/* -netdev user, with a script in passt's place. */
#include <arpa/inet.h>
#include <sys/socket.h>

#include "net/list.h"
#include "net/stream.h"
#include "tests/unit/net/net_test.h"

static char *old_path;

/* A passt that notes its arguments and runs `body`. */
static void fake_passt(const char *body)
{
    char path[4200];
    const char *dir = nt_path("");
    snprintf(path, sizeof(path), "%spasst", dir);
    FILE *f = fopen(path, "w");
    REQUIRE(f != NULL);
    fprintf(f, "#!/bin/bash\necho \"$*\" >>%sargs\nfd=${@: -1}\n%s\n", dir,
            body);
    fclose(f);
    chmod(path, 0755);
    old_path = strdup(getenv("PATH"));
    snprintf(path, sizeof(path), "%s:%s", dir, old_path);
    setenv("PATH", path, 1);
}

static void real_path(void)
{
    setenv("PATH", old_path, 1);
    free(old_path);
    nt_clean();
}

static int args_have(const char *part)
{
    char cmd[300];
    snprintf(cmd, sizeof(cmd), "grep -q -e '%s' %s", part, nt_path("args"));
    for (int i = 0; i < 100; i++) {
        if (access(nt_path("args"), F_OK) == 0 && system(cmd) == 0)
            return 1;
        usleep(10000);
    }
    return 0;
}

/* pgrep or pkill of ours: was there one? */
static bool passt(const char *what)
{
    char cmd[200];
    snprintf(cmd, sizeof(cmd), "%s '%s/*[p]asst' >/dev/null", what,
             nt_path(""));
    return system(cmd) == 0;
}

TEST(net_user_speaks_to_passt_and_ends_it)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    fake_passt("cat <&$fd >&$fd"); /* an echo: the framing is its own */
    REQUIRE_EQ(nt_open(m, &user_class,
                       "id=u,hostfwd=tcp::39185-:22,"
                       "hostfwd=udp:127.0.0.1:39186-10.0.2.15:5353",
                       &nd),
               0);
    CHECK(netdev_link(nd));
    CHECK(args_have("-f -q -a 10.0.2.15 -g 10.0.2.2 --dns-forward 10.0.2.3 "
                    "-n 24 -t 39185:22 -u 127.0.0.1/39186:5353 --fd "));
    CHECK_EQ(nt_recv(nd, 2000, 5), 0); /* does not wait */
    CHECK_EQ(nt_send(nd, 300, 5), 312);
    ssize_t r = 0;
    for (int i = 0; i < 200 && r == 0; i++) {
        usleep(10000);
        r = nt_recv(nd, 2000, 5);
    }
    CHECK_EQ(r, 300);
    /* Ethernet's padding is not passt's: 14 + 30 bytes of 60 */
    uint8_t p[NET_HDR_LEN + 60] = {[NET_HDR_LEN + 12] = 8,
                                   [NET_HDR_LEN + 17] = 30};
    struct iovec iov[2] = {{p, 30}, {p + 30, sizeof(p) - 30}};
    CHECK_EQ(nd->q[0]->send(nd->q[0], iov, 2), sizeof(p));
    r = 0;
    for (int i = 0; i < 200 && r == 0; i++) {
        usleep(10000);
        r = nd->q[0]->recv(nd->q[0], iov, 2);
    }
    CHECK_EQ(r, NET_HDR_LEN + 44);
    nt_free(nd);
    CHECK(!passt("pgrep -f"));
    real_path();
    fake_free(m);
}

TEST(net_user_passt_that_does_not_stay_is_given_up)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    fake_passt("cd ${0%/*}; [ -e once ] && exit 1; touch once\n"
               "head -c 46 <&$fd >&$fd");
    REQUIRE_EQ(nt_open(m, &user_class, "id=u", &nd), 0);
    bool gave_up = false;
    for (int i = 0; i < 500 && !gave_up; i++) {
        usleep(10000);
        fake_sleep_ns(m, 20000000);
        gave_up = strstr(test_log(), "giving up") != NULL;
    }
    CHECK(gave_up);
    CHECK(!netdev_link(nd));
    nt_free(nd);
    real_path();
    fake_free(m);
}

/* passt writes a frame's length and the frame by themselves. */
TEST(net_user_answer_in_pieces_is_not_the_guests)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    fake_passt("head -c 46 <&$fd >/dev/null\n"
               "printf '\\0\\0\\0\\3' >&$fd; sleep 1.2; printf ab >&$fd\n"
               "sleep 0.1; printf c >&$fd\n"
               "printf '\\0\\0\\0\\24' >&$fd\n"
               "printf '\\5\\6\\7\\10\\11\\12\\13\\14\\15\\16' >&$fd\n"
               "printf '\\17\\20\\21\\22\\23\\24\\25\\26\\27\\30' >&$fd\n"
               "cat <&$fd >/dev/null");
    REQUIRE_EQ(nt_open(m, &user_class, "id=u", &nd), 0);
    ssize_t r = 0;
    for (int i = 0; i < 200 && r == 0; i++) {
        usleep(10000);
        r = nt_recv(nd, 2000, 5);
    }
    CHECK_EQ(r, 20);
    nt_free(nd);
    real_path();
    fake_free(m);
}

/* passt is another process: what it says first may be too long. */
TEST(net_user_answer_longer_than_any_is_none)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    fake_passt("printf '\\0\\0\\10\\1' >&$fd; head -c 2100 /dev/zero >&$fd");
    if (!CHECK_EQ(nt_open(m, &user_class, "id=u", &nd), -EIO))
        netdev_free(nd);
    CHECK_HAS(test_log(), "u: passt ended at once");
    real_path();
    fake_free(m);
}

TEST(net_user_passt_that_ends_at_once_is_an_error)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    fake_passt("echo 'Invalid MTU: 7' >&2; exit 1");
    CHECK_EQ(nt_open(m, &user_class, "id=u", &nd), -EIO);
    const char *log = test_log();
    CHECK_HAS(log, "u: passt: Invalid MTU: 7\n");
    CHECK_HAS(log, "u: passt ended at once");
    real_path();
    fake_free(m);
}

/* Its words come by the log, and no more than one reads. */
TEST(net_user_what_passt_says_is_bounded)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    fake_passt("printf '%0300d\\n\\a' 0 >&2\n"
               "for i in {1..1000}; do echo noise >&2; done; cat <&$fd >&$fd");
    REQUIRE_EQ(nt_open(m, &user_class, "id=u", &nd), 0);
    fake_sleep_ns(m, 1000000);
    nt_free(nd);
    int lines = 0;
    const char *log = test_log();
    CHECK_HAS(log, "u: passt: 000");
    CHECK_HAS(log, "u: passt: ?noise\n");
    for (const char *p = log; (p = strstr(p, "u: passt: ")); p++)
        lines++;
    CHECK_EQ(lines, 20);
    real_path();
    fake_free(m);
}

TEST(net_user_addresses)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    fake_passt("cat <&$fd >/dev/null");
    REQUIRE_EQ(nt_open(m, &user_class,
                       "id=u,net=192.168.76.0/255.255.255.0,ipv6=off,"
                       "dns=192.168.76.9,mtu=1400",
                       &nd),
               0);
    CHECK(args_have("-4 -a 192.168.76.15 -g 192.168.76.2 --dns-forward "
                    "192.168.76.9 -n 24 -m 1400"));
    nt_free(nd);
    real_path();
    fake_free(m);
}

TEST(net_user_errors_are_said)
{
    static const char *const bad[][2] = {
        {"id=u,hostfwd=tcp:2222-22", "must be tcp|udp"},
        {"id=u,hostfwd=tcp::2222", "must be tcp|udp"},
        {"id=u,hostfwd=sctp::1-:1", "must be tcp|udp"},
        {"id=u,hostfwd=tcp::70000-:1", "must be tcp|udp"},
        {"id=u,hostfwd=tcp::1-:0", "must be tcp|udp"},
        {"id=u,hostfwd=tcp::1-:22x", "must be tcp|udp"},
        {"id=u,net=10/8", "10.0.2.0/24"},
        {"id=u,net=10.0.0.0/40", "10.0.2.0/24"},
        {"id=u,dns=x", "IPv4 address"},
        {"id=u,ipv4=off,ipv6=off", "neither"},
        {"id=u,tftp=/srv", "tftp"},
    };
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK(nt_open(m, &user_class, bad[i][0], &nd) < 0);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    old_path = strdup(getenv("PATH"));
    setenv("PATH", "/nonexistent", 1);
    CHECK_EQ(nt_open(m, &user_class, "id=u", &nd), -ENOENT);
    setenv("PATH", old_path, 1);
    free(old_path);
    CHECK_HAS(test_log(), "apt install passt");
    fake_free(m);
}

TEST(net_user_hostfwd_is_read_to_its_end)
{
    static const char *const bad[] = {
        "tcp:127.0.0.1:2222", /* no guest's port */
        "tcp::2222-x:22",      "tcp::2222-10.0.2:22",
        "tcp:1.2.3:2222-:22",  "tcp:ff:2222-:22",
        "tcp::2222-:22:33",    "tcp::-2222-:22",
        "tcp::2222-:22 ",      "udp:",
        "tcp::2222-10.0.2.15", "::2222-:70000",
        "tcp:1.2.3.4.5:1-:1",  "",
    };
    static const char *const good[][2] = {
        /* QEMU: the first word may be left out */
        {"::39185-:22", "-t 39185:22 "},
        {"tcp:127.0.0.1:39185-10.0.2.15:65535", "-t 127.0.0.1/39185:65535 "},
        {"udp::39185-:5353", "-u 39185:5353 "},
    };
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    char text[100], want[100];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(text, sizeof(text), "id=u,hostfwd=%s", bad[i]);
        snprintf(want, sizeof(want), "hostfwd=%s: must be tcp|udp", bad[i]);
        if (!CHECK_EQ(nt_new(&user_class, text, &nd), -EINVAL))
            nt_free(nd);
        CHECK_HAS(test_log(), want);
    }
    fake_passt("cat <&$fd >&$fd");
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        unlink(nt_path("args"));
        snprintf(text, sizeof(text), "id=u,hostfwd=%s", good[i][0]);
        REQUIRE_EQ(nt_open(m, &user_class, text, &nd), 0);
        CHECK(args_have(good[i][1]));
        nt_free(nd);
    }
    real_path();
    fake_free(m);
}

TEST(net_user_networks)
{
    static const char *const bad[] = {
        "net=10.0.2.0/24x",
        "net=10.0.2.0/",
        "net=10.0.2.0/7",
        "net=10.0.2.0/29",
        "net=10.0.0.0/255.0.255.0",
        "net=10.0.2/24",
        "net=10.0.2.0/24.",
        "net=10.0.2.0/255.255.255",
        "net=x",
        "net=10.0.2.0/0",
        "net=10.0.2.0/255.255.255.254",
    };
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    char text[100];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(text, sizeof(text), "id=u,%s", bad[i]);
        if (!CHECK_EQ(nt_new(&user_class, text, &nd), -EINVAL))
            nt_free(nd);
        CHECK_HAS(test_log(), "must be like 10.0.2.0/24");
    }
    fake_passt("cat <&$fd >&$fd");
    REQUIRE_EQ(
        nt_open(m, &user_class, "id=u,net=10.99.0.77/16,host=10.99.9.9", &nd),
        0);
    CHECK(
        args_have("-a 10.99.0.15 -g 10.99.9.9 --dns-forward 10.99.0.3 -n 16"));
    nt_free(nd);
    REQUIRE_EQ(nt_open(m, &user_class, "id=u,ipv4=off", &nd), 0);
    CHECK(args_have("-f -q -6 --fd"));
    nt_free(nd);
    real_path();
    fake_free(m);
}

TEST(net_user_as_many_ports_as_there_is_room_for)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    static char text[4096];
    int n = snprintf(text, sizeof(text), "id=u");
    for (int i = 1; i <= 60; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      ",hostfwd=tcp::%d-:%d", 39200 + i, i);
    CHECK_EQ(nt_new(&user_class, text, &nd), -EINVAL);
    CHECK_HAS(test_log(), "-netdev user: too many options");
    fake_free(m);
}

/* A passt that has run for long and dies is started again, each time. */
TEST(net_user_passt_that_dies_late_is_started_again)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    fake_passt("exec -a \"$0\" cat <&$fd >&$fd");
    REQUIRE_EQ(nt_open(m, &user_class, "id=u", &nd), 0);
    for (int i = 0; i < 5; i++) {
        fake_sleep_ns(m, 6000000000);
        CHECK(netdev_link(nd));
        CHECK(passt("pkill -f"));
        for (int k = 0; k < 200 && netdev_link(nd); k++) {
            usleep(10000);
            fake_run_loop(m);
        }
        CHECK(!netdev_link(nd));
        fake_sleep_ns(m, 1100000000);
        FAKE_SOON(m, netdev_link(nd));
    }
    CHECK(!strstr(test_log(), "giving up"));
    nt_free(nd);
    real_path();
    fake_free(m);
}

/* One that does not end with its socket is told to, and then made to. */
TEST(net_user_passt_that_stays_is_ended)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    fake_passt("head -c 46 <&$fd >&$fd; trap '' TERM;"
               "while :; do sleep 0.05; done");
    REQUIRE_EQ(nt_open(m, &user_class, "id=u", &nd), 0);
    CHECK(passt("pgrep -f"));
    nt_free(nd);
    /* A child of its shell bears its name until it is a sleep. */
    for (int i = 0; i < 100 && passt("pgrep -f"); i++)
        usleep(50000);
    CHECK(!passt("pgrep -f"));
    real_path();
    fake_free(m);
}

TEST(net_user_without_descriptors)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    fake_passt("cat <&$fd >&$fd");
    for (int n = 0; n < 2; n++) { /* its socket, what it says */
        REQUIRE_EQ(nt_new(&user_class, "id=u", &nd), 0);
        REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
        fake_fds(n);
        CHECK_EQ(nt_open_new(m, nd), -EMFILE);
        fake_fds(-1);
        helper_end();
        CHECK_HAS(test_log(), "passt: cannot start it: Too many open files");
    }
    real_path();
    fake_free(m);
}

/* passt would serve IPv6 alone, and not say so. */
TEST(net_user_port_in_use_is_said)
{
    static const struct {
        int type;
        const char *fwd;
    } rows[] = {
        {SOCK_STREAM, "tcp::%u-:22"},
        {SOCK_STREAM, "tcp:127.0.0.1:%u-:22"},
        {SOCK_DGRAM, "udp::%u-:22"},
    };
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sockaddr_in sa = {.sin_family = AF_INET};
        socklen_t len = sizeof(sa);
        char fwd[40], text[100], want[100];
        int fd = socket(AF_INET, rows[i].type, 0);
        REQUIRE_EQ(bind(fd, (struct sockaddr *)&sa, len), 0);
        if (rows[i].type == SOCK_STREAM)
            REQUIRE_EQ(listen(fd, 1), 0);
        REQUIRE_EQ(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
        unsigned port = ntohs(sa.sin_port);
        snprintf(fwd, sizeof(fwd), rows[i].fwd, port);
        snprintf(text, sizeof(text), "id=u,hostfwd=%s", fwd);
        snprintf(want, sizeof(want),
                 "hostfwd=%s: port %u of the host: Address already in use", fwd,
                 port);
        if (!CHECK(nt_new(&user_class, text, &nd) < 0))
            nt_free(nd);
        CHECK_HAS(test_log(), want);
        close(fd);
        REQUIRE_EQ(nt_new(&user_class, text, &nd), 0);
        nt_free(nd);
    }
    fake_fds(0);
    CHECK(nt_new(&user_class, "id=u,hostfwd=tcp::39188-:22", &nd) < 0);
    fake_fds(-1);
    CHECK_HAS(test_log(), "Too many open files");
    fake_free(m);
}
