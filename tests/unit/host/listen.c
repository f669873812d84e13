/* SPDX-License-Identifier: MIT */
/* What a service manager hands over (sd_listen_fds(3)). */
#include "host/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/addr.h"
#include "tests/unit/net/net_test.h"

/* Descriptors 3 to 3 + n - 1 must be free to be told of: whatever they are. */
static int told(const char *n, const char *names)
{
    char pid[24];
    snprintf(pid, sizeof(pid), "%d", getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", n, 1);
    if (names)
        setenv("LISTEN_FDNAMES", names, 1);
    int err = listen_early();
    CHECK(!getenv("LISTEN_PID") && !getenv("LISTEN_FDS") &&
          !getenv("LISTEN_FDNAMES"));
    return err;
}

/* So many are open from 3 on; how many were not before. */
static int open_from_3(int n, int *opened)
{
    int k = 0;
    for (int fd = 3; fd < 3 + n; fd++)
        if (fcntl(fd, F_GETFD) < 0 && dup2(0, fd) == fd)
            opened[k++] = fd;
    return k;
}

TEST(listen_names_are_found_each_once_and_the_rest_is_refused)
{
    int opened[8], n = open_from_3(6, opened);
    CHECK_EQ(told("6", "tap:serial:serial:api:serial:tap=t0:tap:serial"), 0);
    CHECK_EQ(listen_take("nothing"), -ENOENT);
    CHECK_EQ(listen_take("tap:serial"), 3);
    CHECK_EQ(listen_take("tap:t0"), 7);
    CHECK_EQ(listen_take("serial"), 4);
    CHECK_EQ(listen_take("api"), 5);
    CHECK_EQ(listen_take("serial"), 6);
    CHECK_EQ(listen_take("serial"), -ENOENT);
    CHECK_EQ(listen_check_rest(), -EINVAL);
    CHECK_HAS(test_log(), "no option takes descriptor 8, \"tap:serial\"");
    CHECK_EQ(listen_take("tap:serial"), 8);
    CHECK_EQ(listen_check_rest(), 0);
    while (n)
        close(opened[--n]);
    CHECK_EQ(told("0", NULL), 0);
}

TEST(listen_what_does_not_fit_is_refused)
{
    static const struct {
        const char *n, *names, *say;
    } bad[] = {
        {"x", "a", "must be a number"},
        {"65", "a", "must be a number"},
        {"-1", "a", "must be a number"},
        {"1 ", "a", "must be a number"},
        {"2", "a", "must name as many"},
        {"1", "a:b", "must name as many"},
        {"1", "tap:a:", "as many"},
        {"2", "tap:a", "must name as many"},
        {"64", "a", "descriptor 66 is not open"},
    };
    int opened[80], n = open_from_3(63, opened);
    close(66);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_EQ(told(bad[i].n, bad[i].names), -EINVAL);
        CHECK_HAS(test_log(), bad[i].say);
    }
    CHECK_EQ(told("1", ""), 0); /* a name, though an empty one */
    CHECK_EQ(listen_take(""), 3);
    CHECK_EQ(told("1", NULL), 0);
    CHECK_EQ(listen_take("unknown"), 3);
    while (n)
        close(opened[--n]);
    /* Another's. */
    setenv("LISTEN_PID", "1", 1);
    setenv("LISTEN_FDS", "x", 1);
    CHECK_EQ(listen_early(), 0);
    CHECK_EQ(listen_check_rest(), 0);
    CHECK_STR(test_log(), "");
}

TEST(listen_socket_must_be_listened_at)
{
    int opened[1], n = open_from_3(1, opened), sv[2], keep = dup(3);
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
    dup2(sv[0], 3);
    CHECK_EQ(told("1", "serial"), 0);
    CHECK_EQ(listen_socket("-serial x", "api"), -ENOENT);
    CHECK_EQ(listen_socket("-serial x", "serial"), -EINVAL);
    CHECK_HAS(test_log(), "-serial x: descriptor 3 (LISTEN_FDNAMES serial)");
    int l = socket(AF_UNIX, SOCK_STREAM, 0);
    struct addr a;
    REQUIRE_EQ(addr_unix("test", nt_path("l"), false, &a), 0);
    REQUIRE_EQ(bind(l, &a.sa, a.len), 0);
    REQUIRE_EQ(listen(l, 1), 0);
    dup2(l, 3);
    CHECK_EQ(told("1", "serial"), 0);
    CHECK_EQ(listen_socket("-serial x", "serial"), 3);
    CHECK(fcntl(3, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(3, F_GETFD) & FD_CLOEXEC);
    close(l);
    close(sv[0]);
    close(sv[1]);
    dup2(keep, 3);
    close(keep);
    if (n)
        close(3);
    CHECK_EQ(told("0", NULL), 0);
    nt_clean();
}
