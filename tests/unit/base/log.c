/* SPDX-License-Identifier: MIT */
/* Messages: lines, names, rates, and a reader who does not read. */
#include "base/log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/fake.h"

/* What lies in a pipe now, NUL-terminated. */
static const char *take(int fd)
{
    static char text[1 << 17];
    size_t n = 0;
    ssize_t got;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (n < sizeof(text) - 1 &&
           (got = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    return text;
}

static unsigned count(const char *text, const char *part)
{
    unsigned n = 0;
    while ((text = strstr(text, part))) {
        text++;
        n++;
    }
    return n;
}

/* More lines than the kernel holds, to a descriptor that stays blocking for
 * whoever else has it. */
static void stalled(const int fd[2])
{
    unsigned sent = 5000, got;
    int flags = fcntl(fd[1], F_GETFL);
    log_open(fd[1]);
    for (unsigned i = 0; i < sent; i++)
        log_line("line %u of many, which is as long as lines may well be", i);
    CHECK_EQ(fcntl(fd[1], F_GETFL), flags);
    const char *text = take(fd[0]);
    got = count(text, "vmm: line ");
    CHECK(got > 100 && got < sent);
    CHECK_EQ(text[strlen(text) - 1], '\n');
    log_line("back");
    text = take(fd[0]);
    got += count(text, "vmm: line "); /* the one that waited */
    char note[80];
    snprintf(note, sizeof(note), "vmm: %u lines are missing here", sent - got);
    CHECK_HAS(text, note);
    CHECK_EQ(count(text, "vmm: back\n"), 1);
    log_line("again");
    CHECK_STR(take(fd[0]), "vmm: again\n");
    log_close();
    close(fd[0]);
    close(fd[1]);
}

TEST(log_pipe_nobody_reads_drops_and_counts)
{
    int fd[2];
    REQUIRE_EQ(pipe(fd), 0);
    stalled(fd);
}

TEST(log_socket_nobody_reads_drops_and_counts)
{
    int fd[2];
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    stalled(fd);
}

TEST(log_loop_says_what_was_lost_when_it_flows_again)
{
    int fd[2];
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(pipe(fd), 0);
    log_open(fd[1]);
    log_watch(m->loop);
    for (unsigned i = 0; i < 5000; i++)
        log_line("a line that is one of many");
    fake_run_loop(m);
    take(fd[0]);
    fake_run_loop(m);
    const char *text = take(fd[0]);
    CHECK_HAS(text, "lines are missing here");
    log_watch(NULL);
    log_close();
    close(fd[0]);
    close(fd[1]);
    fake_free(m);
}

TEST(log_reader_gone_does_no_harm)
{
    int fd[2];
    struct machine *m = fake_new(4096);
    signal(SIGPIPE, SIG_IGN);
    REQUIRE_EQ(pipe(fd), 0);
    log_open(fd[1]);
    log_watch(m->loop);
    for (unsigned i = 0; i < 5000; i++)
        log_line("a line that is one of many");
    close(fd[0]);
    fake_run_loop(m);
    log_line("nobody is there");
    fake_run_loop(m);
    log_watch(NULL);
    log_close();
    close(fd[1]);
    fake_free(m);
}

TEST(log_lines_carry_the_machines_name)
{
    log_name("web1");
    log_line("up");
    CHECK_STR(test_log(), "vmm web1: up\n");
    log_text("a 1\nb 2", 7);
    CHECK_STR(test_log(), "vmm web1: a 1\nvmm web1: b 2\n");
    log_name(NULL);
    log_text("a 1\nb 2\n", 8);
    CHECK_STR(test_log(), "a 1\nb 2\n");
    log_line("up");
    CHECK_STR(test_log(), "vmm: up\n");
}

TEST(log_lines_are_lines_whatever_is_in_them)
{
    log_line("it says %s", "no\nvmm: all\tis well\x1b[2J\x7f\xc3\xa9");
    CHECK_STR(test_log(), "vmm: it says no?vmm: all\tis well?[2J?\xc3\xa9\n");
    log_text("a\rb\n", 4);
    CHECK_STR(test_log(), "a?b\n");
}

TEST(log_name_of_any_length_is_cut)
{
    char name[300];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    log_name(name);
    log_line("up");
    const char *text = test_log();
    CHECK(strlen(text) < 100);
    CHECK_HAS(text, "xxx: up\n");
    log_name(NULL);
}

TEST(log_fault_note_is_said_once)
{
    struct fault f = {0};
    for (int i = 0; i < 9; i++)
        fault_note(&f, "bad");
    CHECK_STR(test_log(), "vmm: bad\n");
    CHECK_EQ(f.count, 9);
}

TEST(log_fault_say_is_once_a_second_with_a_count)
{
    struct fault f = {0};
    for (int i = 0; i < 100; i++)
        fault_say(&f, "bad %d", i);
    CHECK_STR(test_log(), "vmm: bad 0\n");
    fake_advance_ns(1000000001);
    for (int i = 0; i < 10; i++)
        fault_say(&f, "bad %d", i);
    CHECK_STR(test_log(), "vmm: bad 0 (and 99 like it before)\n");
    fake_advance_ns(1000000001);
    for (int i = 0; i < 10; i++)
        fault_say(&f, "worse");
    CHECK_STR(test_log(), "vmm: worse (and 9 like it before)\n");
    CHECK_EQ(f.count, 120);
}
