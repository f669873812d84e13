/* SPDX-License-Identifier: MIT */
/* What a service manager is told (sd_notify(3)). */
#include "host/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/addr.h"
#include "tests/unit/net/net_test.h"

#define MS 1000000ull

static struct {
    struct machine *m;
    int fd;
    bool alive;
    unsigned asked;
} t;

static bool alive(void *arg)
{
    CHECK(arg == &t);
    t.asked++;
    return t.alive;
}

/* With a manager who wants to hear of us every 2 * `half_ms`. */
static void begin(unsigned half_ms)
{
    char usec[24];
    struct addr a;
    t.m = fake_new(1 << 20);
    t.alive = true;
    t.asked = 0;
    t.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    REQUIRE_EQ(addr_unix("test", nt_path("notify"), false, &a), 0);
    REQUIRE_EQ(bind(t.fd, &a.sa, a.len), 0);
    snprintf(usec, sizeof(usec), "%u", 2000 * half_ms);
    setenv("NOTIFY_SOCKET", nt_path("notify"), 1);
    if (half_ms)
        setenv("WATCHDOG_USEC", usec, 1);
    notify_early();
    CHECK(!getenv("NOTIFY_SOCKET") && !getenv("WATCHDOG_USEC"));
    notify_open();
    notify_watch(t.m->loop, alive, &t);
}

static void end(void)
{
    notify_close();
    close(t.fd);
    fake_free(t.m);
    nt_clean();
}

/* The next datagram; "": none. */
static const char *heard(void)
{
    static char text[512];
    ssize_t n = recv(t.fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void pass(unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        fake_advance_ns(MS);
        loop_poll(t.m->loop, 0);
    }
}

TEST(notify_says_what_is_owed_in_one_datagram)
{
    begin(0);
    notify_status("the guest runs");
    CHECK_STR(heard(), "STATUS=the guest runs\n");
    notify_ready(false);
    CHECK_STR(heard(), "READY=1\n");
    pass(100);
    CHECK_STR(heard(), "");
    CHECK_EQ(t.asked, 0);
    notify_stopping();
    CHECK_STR(heard(), "STOPPING=1\n");
    end();
    begin(0);
    notify_ready(true);
    char want[64];
    snprintf(want, sizeof(want), "MAINPID=%d\nREADY=1\n", getpid());
    CHECK_STR(heard(), want);
    end();
}

TEST(notify_is_told_later_to_who_is_slow)
{
    unsigned n = 0;
    begin(0);
    for (; n < 5000 && !strstr(test_log(), "x"); n++)
        notify_status("so many that they wait");
    notify_ready(false);
    notify_stopping();
    pass(300);
    while (!strncmp(heard(), "STATUS", 6))
        ;
    pass(100);
    CHECK_STR(heard(), "READY=1\nSTOPPING=1\nSTATUS=so many that they wait\n");
    pass(300);
    CHECK_STR(heard(), "");
    CHECK_STR(test_log(), "");
    end();
}

TEST(notify_a_manager_who_is_gone_is_one_line)
{
    begin(50);
    pass(1);
    close(t.fd);
    notify_ready(false);
    pass(500);
    CHECK_HAS(test_log(), "Connection refused; nobody is told there");
    notify_stopping();
    CHECK_STR(test_log(), "");
    t.fd = -1;
    end();
}

TEST(notify_watchdog_hears_twice_in_its_time_and_asks_no_more)
{
    begin(50);
    loop_poll(t.m->loop, 0);
    CHECK_STR(heard(), "WATCHDOG=1\n");
    for (int i = 0; i < 4; i++) {
        pass(49);
        CHECK_STR(heard(), "");
        pass(1);
        CHECK_STR(heard(), "WATCHDOG=1\n");
    }
    CHECK_EQ(t.asked, 5);
    end();
}

TEST(notify_watchdog_hears_nothing_while_a_vcpu_does_not_answer)
{
    begin(160);
    loop_poll(t.m->loop, 0);
    CHECK_STR(heard(), "WATCHDOG=1\n");
    t.alive = false;
    pass(165);
    unsigned before = t.asked;
    pass(50);
    CHECK_EQ(t.asked - before, 5); /* a sixteenth, 10 ms, each */
    CHECK_STR(test_log(), "");
    pass(100);
    CHECK_HAS(test_log(), "a vCPU does not answer");
    pass(2000);
    CHECK_STR(heard(), "");
    CHECK_STR(test_log(), "");
    t.alive = true;
    pass(11);
    CHECK_STR(heard(), "WATCHDOG=1\n");
    pass(150);
    CHECK_STR(heard(), "");
    pass(11);
    CHECK_STR(heard(), "WATCHDOG=1\n");
    end();
}

TEST(notify_watchdog_of_another_process_or_none)
{
    static const char *const rows[][2] = {{"100000", "1"},
                                          {"x", NULL},
                                          {"0", NULL},
                                          {"18446744073709551615", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        setenv("WATCHDOG_USEC", rows[i][0], 1);
        if (rows[i][1])
            setenv("WATCHDOG_PID", rows[i][1], 1);
        begin(0);
        CHECK(!getenv("WATCHDOG_PID"));
        pass(300);
        CHECK_STR(heard(), "");
        CHECK_EQ(t.asked, 0);
        end();
    }
}

TEST(notify_without_a_socket_does_nothing)
{
    static const char *const bad[] = {NULL, "", "relative", "/nowhere/at/all"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct machine *m = fake_new(1 << 20);
        if (bad[i])
            setenv("NOTIFY_SOCKET", bad[i], 1);
        setenv("WATCHDOG_USEC", "100000", 1);
        notify_early();
        notify_open();
        notify_watch(m->loop, alive, &t);
        notify_ready(false);
        fake_advance_ns(1000 * MS);
        CHECK_EQ(loop_poll(m->loop, 0), 0);
        notify_close();
        if (bad[i] && *bad[i])
            CHECK_HAS(test_log(), bad[i]);
        else
            CHECK_STR(test_log(), "");
        fake_free(m);
    }
}
