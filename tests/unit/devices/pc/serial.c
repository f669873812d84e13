/* SPDX-License-Identifier: MIT */
/* 16550A: PC16550D data sheet sections in the names; and its console. */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "devices/list.h"
#include "devices/pc/pc.h"
#include "host/console.h"
#include "host/helper.h"
#include "host/terminal.h"
#include "tests/unit/fake.h"

#define COM 0x3f8
#define COM2 0x2f8
enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static int serial_add(struct machine *m, const char *to)
{
    struct opts o;
    struct needs needs = {0};
    struct device *dev;
    opts_init(&o, "-serial");
    REQUIRE_EQ(opts_add(&o, "to", to), 0);
    int err = device_new(&serial_class, &o, &needs, &dev);
    if (err)
        return err;
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    REQUIRE_EQ(helper_watch(m->loop), 0);
    return device_create(m, dev);
}

static struct machine *serial_pc(const char *to)
{
    struct machine *m = fake_new(4096);
    REQUIRE_EQ(serial_add(m, to), 0);
    return m;
}

/* A path in a directory of its own; gone when the process ends. */
static const char *temp_path(void)
{
    static char dir[64], path[80];
    snprintf(dir, sizeof(dir), "/tmp/vmm-unit-XXXXXX");
    REQUIRE(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/s", dir);
    return path;
}

static void temp_done(const char *path)
{
    char dir[80];
    unlink(path);
    snprintf(dir, sizeof(dir), "%.*s", (int)(strlen(path) - 2), path);
    rmdir(dir);
}

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    REQUIRE_EQ(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

/* A serial port with the test at the other end of a socket. */
static struct machine *with_peer(int *peer, const char **path)
{
    char to[100];
    *path = temp_path();
    snprintf(to, sizeof(to), "unix:%s", *path);
    struct machine *m = serial_pc(to);
    *peer = connect_to(*path);
    fake_run_loop(m);
    return m;
}

static void type(struct machine *m, int peer, const char *text)
{
    REQUIRE_EQ(write(peer, text, strlen(text)), strlen(text));
    fake_run_loop(m);
}

static void end(struct machine *m, int peer, const char *path)
{
    fake_free(m);
    close(peer);
    temp_done(path);
}

TEST(serial_8_1_power_on_state)
{
    struct machine *m = serial_pc("none");
    CHECK_EQ(inb(m, COM + IER), 0);
    CHECK_EQ(inb(m, COM + IIR), 0x01);
    CHECK_EQ(inb(m, COM + LCR), 0);
    CHECK_EQ(inb(m, COM + MCR), 0);
    CHECK_EQ(inb(m, COM + LSR), 0x60);
    CHECK_EQ(inb(m, COM + MSR), 0xb0);
    fake_free(m);
}

TEST(serial_scratch_and_divisor_are_separate)
{
    struct machine *m = serial_pc("none");
    outb(m, COM + SCR, 0xa5);
    outb(m, COM + LCR, 0x83);
    outw(m, COM + RBR, 0x1234);
    CHECK_EQ(inb(m, COM + RBR), 0x34);
    CHECK_EQ(inb(m, COM + IER), 0x12);
    outb(m, COM + LCR, 0x03);
    CHECK_EQ(inb(m, COM + IER), 0);
    CHECK_EQ(inb(m, COM + SCR), 0xa5);
    fake_free(m);
}

/* As Linux's 8250 driver looks for the chip (autoconfig): a 16550A. */
TEST(serial_linux_probe_finds_16550a)
{
    struct machine *m = serial_pc("none");
    outb(m, COM + IER, 0x0f);
    CHECK_EQ(inb(m, COM + IER), 0x0f);
    outb(m, COM + IER, 0xff);
    CHECK_EQ(inb(m, COM + IER), 0x0f);
    outb(m, COM + IER, 0);
    outb(m, COM + MCR, 0x1a); /* loop, OUT2, RTS */
    CHECK_EQ(inb(m, COM + MSR) & 0xf0, 0x90);
    outb(m, COM + MCR, 0);
    outb(m, COM + IIR, 0x01);
    CHECK_EQ(inb(m, COM + IIR) & 0xc0, 0xc0);
    outb(m, COM + LCR, 0xbf); /* no extended registers of a 16650 */
    CHECK_NE(inb(m, COM + IIR), 0);
    outb(m, COM + LCR, 0);
    outb(m, COM + IIR, 0x21); /* no 64-byte FIFO of a 16750 */
    CHECK_EQ(inb(m, COM + IIR) & 0x20, 0);
    fake_free(m);
}

/* Linux's test for chips that lose the interrupt (serial8250_do_startup). */
TEST(serial_8_6_thre_interrupt_each_time_it_is_enabled)
{
    struct machine *m = serial_pc("none");
    outb(m, COM + MCR, 0x08);
    for (int i = 0; i < 2; i++) {
        outb(m, COM + IER, 0x02);
        CHECK_EQ(fake_irqs(m, 4), 1);
        CHECK_EQ(inb(m, COM + IIR) & 0x0f, 0x02);
        CHECK_EQ(inb(m, COM + IIR) & 0x0f, 0x01);
        outb(m, COM + IER, 0);
    }
    fake_free(m);
}

TEST(serial_out2_gates_the_interrupt)
{
    struct machine *m = serial_pc("none");
    outb(m, COM + IER, 0x02);
    CHECK_EQ(fake_irqs(m, 4), 0);
    outb(m, COM + MCR, 0x08);
    CHECK_EQ(fake_irqs(m, 4), 1);
    fake_free(m);
}

TEST(serial_one_edge_for_a_burst_with_fifo_one_a_byte_without)
{
    struct machine *m = serial_pc("none");
    outb(m, COM + MCR, 0x08);
    outb(m, COM + IIR, 0x01);
    outb(m, COM + IER, 0x02);
    CHECK_EQ(inb(m, COM + IIR) & 0x0f, 0x02);
    fake_irqs(m, 4);
    for (int i = 0; i < 16; i++)
        outb(m, COM, 'x');
    CHECK_EQ(fake_irqs(m, 4), 1);
    outb(m, COM + IIR, 0);
    for (int i = 0; i < 3; i++)
        outb(m, COM, 'x');
    CHECK_EQ(fake_irqs(m, 4), 3);
    fake_free(m);
}

TEST(serial_8_4_receive_fifo_trigger_and_timeout)
{
    const char *path;
    int peer;
    struct machine *m = with_peer(&peer, &path);
    outb(m, COM + MCR, 0x08);
    outb(m, COM + IIR, 0x41); /* FIFO, trigger 4 */
    outb(m, COM + IER, 0x01);
    type(m, peer, "abc");
    CHECK_EQ(fake_irqs(m, 4), 1);
    CHECK_EQ(inb(m, COM + IIR), 0xcc);
    type(m, peer, "d");
    CHECK_EQ(inb(m, COM + IIR), 0xc4);
    CHECK_EQ(inb(m, COM + LSR) & 1, 1);
    CHECK_EQ(inb(m, COM), 'a');
    CHECK_EQ(inb(m, COM), 'b');
    CHECK_EQ(inb(m, COM), 'c');
    CHECK_EQ(inb(m, COM), 'd');
    CHECK_EQ(inb(m, COM + IIR), 0xc1);
    CHECK_EQ(inb(m, COM + LSR) & 1, 0);
    end(m, peer, path);
}

TEST(serial_input_waits_for_room_and_nothing_is_lost)
{
    const char *path;
    int peer;
    char text[200], got[200];
    struct machine *m = with_peer(&peer, &path);
    outb(m, COM + IIR, 0x01);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('A' + i % 50);
    text[sizeof(text) - 1] = 0;
    type(m, peer, text);
    size_t n = 0;
    while (n < sizeof(got) - 1 && inb(m, COM + LSR) & 1) {
        CHECK_EQ(inb(m, COM + LSR) & 2, 0); /* no overrun */
        got[n++] = (char)inb(m, COM);
        fake_run_loop(m);
    }
    got[n] = 0;
    CHECK_STR(got, text);
    end(m, peer, path);
}

TEST(serial_without_fifo_takes_one_byte_at_a_time)
{
    const char *path;
    int peer;
    struct machine *m = with_peer(&peer, &path);
    type(m, peer, "xy");
    CHECK_EQ(inb(m, COM), 'x');
    CHECK_EQ(inb(m, COM + LSR) & 3, 0);
    fake_run_loop(m);
    CHECK_EQ(inb(m, COM), 'y');
    end(m, peer, path);
}

TEST(serial_8_6_8_loopback_overrun_and_modem_deltas)
{
    struct machine *m = serial_pc("none");
    outb(m, COM + MCR, 0x18);
    CHECK_EQ(inb(m, COM + MSR), 0x83); /* DCD on; CTS, DSR went */
    CHECK_EQ(inb(m, COM + MSR), 0x80);
    outb(m, COM + MCR, 0x1c); /* OUT1: RI begins: no delta */
    CHECK_EQ(inb(m, COM + MSR), 0xc0);
    outb(m, COM + MCR, 0x18); /* and ends: TERI */
    CHECK_EQ(inb(m, COM + MSR), 0x84);
    outb(m, COM, 'a');
    outb(m, COM, 'b');
    CHECK_EQ(inb(m, COM + LSR), 0x63);
    CHECK_EQ(inb(m, COM + LSR), 0x61);
    CHECK_EQ(inb(m, COM), 'a');
    fake_free(m);
}

TEST(serial_loopback_sends_nothing_to_the_host)
{
    const char *path;
    int peer;
    char c;
    struct machine *m = with_peer(&peer, &path);
    outb(m, COM + MCR, 0x10);
    outb(m, COM, 'x');
    fake_sleep_ns(m, 1000000);
    CHECK_EQ(recv(peer, &c, 1, MSG_DONTWAIT), -1);
    end(m, peer, path);
}

TEST(serial_reset_in_mid_traffic)
{
    const char *path;
    int peer;
    struct machine *m = with_peer(&peer, &path);
    outb(m, COM + IIR, 0x01);
    outb(m, COM + IER, 0x0f);
    outb(m, COM + MCR, 0x0b);
    type(m, peer, "abc");
    m->devices->reset(m->devices);
    CHECK_EQ(inb(m, COM + IER), 0);
    CHECK_EQ(inb(m, COM + IIR), 0x01);
    CHECK_EQ(inb(m, COM + LSR), 0x60);
    end(m, peer, path);
}

TEST(serial_odd_widths_do_no_harm)
{
    struct machine *m = serial_pc("none");
    for (unsigned port = COM - 3; port < COM + 9; port++) {
        inl(m, port);
        inw(m, port);
        outl(m, port, 0xffffffff);
        outw(m, port, 0);
    }
    fake_free(m);
}

/* ---------------------------------------------------------------- console */

TEST(serial_accesses_are_traced)
{
    struct machine *m = serial_pc("null");
    test_log();
    trace_mask = TRACE_SERIAL;
    outb(m, COM + SCR, 0x5a);
    inb(m, COM + SCR);
    trace_mask = 0;
    inb(m, COM + SCR);
    const char *log = test_log();
    CHECK_HAS(log, "serial0: write 7: 5a\n");
    CHECK_HAS(log, "serial0: read 7: 5a\n");
    CHECK(!strstr(strstr(log, "read") + 1, "read"));
    fake_free(m);
}

TEST(console_output_is_batched)
{
    const char *path;
    int peer;
    char got[64] = "";
    struct machine *m = with_peer(&peer, &path);
    outb(m, COM, '!');
    fake_run_loop(m); /* the very first one does not wait */
    CHECK_EQ(recv(peer, got, sizeof(got), MSG_DONTWAIT), 1);
    outb(m, COM, 'h');
    fake_run_loop(m); /* woken; waits for more */
    outb(m, COM, 'i');
    CHECK_EQ(recv(peer, got, sizeof(got), MSG_DONTWAIT), -1);
    fake_sleep_ns(m, 1000000);
    CHECK_EQ(recv(peer, got, sizeof(got), MSG_DONTWAIT), 2);
    CHECK_MEM(got, "hi", 2);
    end(m, peer, path);
}

TEST(console_file_holds_everything_at_exit)
{
    const char *path = temp_path();
    char to[100], got[64] = "";
    snprintf(to, sizeof(to), "file:%s", path);
    struct machine *m = serial_pc(to);
    for (const char *p = "last words"; *p; p++)
        outb(m, COM, (uint8_t)*p);
    console_flush_all();
    int fd = open(path, O_RDONLY);
    CHECK_EQ(read(fd, got, sizeof(got)), 10);
    CHECK_STR(got, "last words");
    close(fd);
    fake_free(m);
    temp_done(path);
}

/* Fills the socket and the ring until the UART is busy. */
static unsigned fill(struct machine *m)
{
    unsigned n = 0;
    while (inb(m, COM + LSR) & 0x20) {
        outb(m, COM, (uint8_t)n++);
        if (n % 1000 == 0)
            fake_sleep_ns(m, 1000000);
        REQUIRE(n < 4000000);
    }
    return n;
}

TEST(console_slow_reader_holds_the_guest_back)
{
    const char *path;
    int peer;
    uint8_t buf[4096];
    struct machine *m = with_peer(&peer, &path);
    outb(m, COM + MCR, 0x08);
    outb(m, COM + IIR, 0x01);
    unsigned sent = fill(m), got = 0;
    CHECK(sent >= 65536);
    outb(m, COM + IER, 0x02);
    fake_irqs(m, 4);
    CHECK_EQ(inb(m, COM + IIR), 0xc1); /* busy: no THRE interrupt */
    ssize_t n;
    while ((n = recv(peer, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            REQUIRE_EQ(buf[i], (uint8_t)(got + (unsigned)i));
        got += (unsigned)n;
        fake_run_loop(m);
    }
    CHECK_EQ(got, sent);
    CHECK_EQ(fake_irqs(m, 4), 1); /* room again */
    CHECK_EQ(inb(m, COM + LSR) & 0x20, 0x20);
    end(m, peer, path);
}

TEST(console_dead_reader_is_given_up_after_a_second)
{
    const char *path;
    int peer;
    struct machine *m = with_peer(&peer, &path);
    outb(m, COM + MCR, 0x08);
    outb(m, COM + IIR, 0x01);
    fill(m);
    outb(m, COM + IER, 0x02);
    fake_irqs(m, 4);
    fake_sleep_ns(m, 1100000000);
    CHECK_EQ(fake_irqs(m, 4), 1);
    CHECK_EQ(inb(m, COM + LSR) & 0x20, 0x20);
    for (int i = 0; i < 100000; i++)
        outb(m, COM, 'z');
    CHECK_EQ(inb(m, COM + LSR) & 0x20, 0x20);
    CHECK_EQ(fake_run_loop(m), 0); /* and nothing spins */
    end(m, peer, path);
}

TEST(console_late_client_sees_the_last_64k)
{
    const char *path = temp_path();
    char to[100];
    static char got[70000];
    snprintf(to, sizeof(to), "unix:%s", path);
    struct machine *m = serial_pc(to);
    for (int i = 0; i < 100000; i++)
        outb(m, COM, (uint8_t)("0123456789"[i % 10]));
    int peer = connect_to(path);
    ssize_t n, total = 0;
    fake_run_loop(m);
    while ((n = recv(peer, got + total, sizeof(got) - (size_t)total,
                     MSG_DONTWAIT)) > 0) {
        total += n;
        fake_run_loop(m);
    }
    CHECK_EQ(total, 65536);
    CHECK_EQ(got[total - 1], '9');
    end(m, peer, path);
}

TEST(console_client_comes_and_goes)
{
    const char *path;
    int peer;
    char c;
    struct machine *m = with_peer(&peer, &path);
    int second = connect_to(path);
    fake_run_loop(m);
    CHECK_EQ(recv(second, &c, 1, MSG_DONTWAIT), -1); /* one at a time */
    close(peer);
    fake_run_loop(m);
    outb(m, COM, 'x'); /* kept for whoever comes next */
    fake_sleep_ns(m, 1000000);
    fake_sleep_ns(m, 300000000);
    peer = second;
    CHECK_EQ(recv(peer, &c, 1, MSG_DONTWAIT), 1);
    CHECK_EQ(c, 'x');
    shutdown(peer, SHUT_WR); /* only reads on */
    fake_run_loop(m);
    outb(m, COM, 'y');
    fake_sleep_ns(m, 1000000);
    CHECK_EQ(recv(peer, &c, 1, MSG_DONTWAIT), 1);
    CHECK_EQ(c, 'y');
    end(m, peer, path);
}

TEST(console_unix_replaces_a_stale_socket_but_not_a_live_one)
{
    const char *path = temp_path();
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char to[100];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    REQUIRE_EQ(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    close(fd); /* as after kill -9 */
    snprintf(to, sizeof(to), "unix:%s", path);
    struct machine *m = serial_pc(to);
    struct machine *other = fake_new(4096);
    CHECK_EQ(serial_add(other, to), -EADDRINUSE);
    CHECK_HAS(test_log(), "another process listens there");
    CHECK_EQ(access(path, F_OK), 0);
    fake_free(other);
    fake_free(m);
    CHECK_EQ(access(path, F_OK), -1); /* nothing left behind */
    temp_done(path);
}

static int create_error(const char *to)
{
    struct machine *m = fake_new(4096);
    int err = serial_add(m, to);
    fake_free(m);
    return err;
}

TEST(console_bad_targets_are_named)
{
    CHECK_EQ(create_error("pigeon:1"), -EINVAL);
    CHECK_HAS(test_log(), "-serial pigeon:1: not one of stdio, null,");
    CHECK_EQ(create_error("mon:pigeon"), -EINVAL);
    CHECK_HAS(test_log(), "-serial mon:pigeon: not one of stdio, null,");
    CHECK_EQ(create_error("chardev:nobody"), -EINVAL);
    CHECK_HAS(test_log(), "there is no such -chardev");
    CHECK_EQ(create_error("file:a,b"), -EINVAL);
    CHECK_HAS(test_log(), "no key \"b\"");
    CHECK_EQ(create_error("tcp:1"), -EINVAL);
    CHECK_EQ(create_error("tcp:nowhere:1"), -EINVAL);
    CHECK_EQ(create_error("unix:"), -EINVAL);
    CHECK_EQ(create_error("unix:s,reconnect=1,server=on"), -EINVAL);
    CHECK_EQ(create_error("file:/no/such/dir/x"), -ENOENT);
    CHECK_HAS(test_log(), "/no/such/dir/x: No such file");
    CHECK_EQ(create_error("file:"), -EINVAL);
}

/* --------------------------------------------------- files, forms, COM2 */

/* A terminal hands its input over in its own time. */
static void keys(struct machine *m, int master, const char *text)
{
    REQUIRE_EQ(write(master, text, strlen(text)), strlen(text));
    for (int i = 0; i < 10; i++)
        loop_poll(m->loop, 5);
}

static struct machine *serial_to(const char *form, const char *path)
{
    char to[200];
    snprintf(to, sizeof(to), form, path);
    return serial_pc(to);
}

static void say(struct machine *m, uint16_t com, const char *text)
{
    for (; *text; text++)
        outb(m, com, (uint8_t)*text);
    fake_sleep_ns(m, 1000000);
}

static const char *content(const char *path)
{
    static char got[200001];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof(got) - 1);
    if (fd >= 0)
        close(fd);
    got[n > 0 ? n : 0] = '\0';
    return n < 0 ? NULL : got;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    REQUIRE(f != NULL);
    fputs(text, f);
    fclose(f);
}

TEST(console_file_is_emptied_when_the_start_is_sure)
{
    const char *path = temp_path();
    write_file(path, "precious");
    fake_free(serial_to("file:%s", path)); /* something else failed */
    CHECK_STR(content(path), "precious");
    struct machine *m = serial_to("file:%s", path);
    CHECK_STR(content(path), "precious");
    console_begin_all();
    say(m, COM, "new");
    CHECK_STR(content(path), "new");
    fake_free(m);
    unlink(path);
    fake_free(serial_to("file:%s", path));
    CHECK_EQ(access(path, F_OK), -1);
    temp_done(path);
}

TEST(console_file_append_and_a_file_cut_short_meanwhile)
{
    const char *path = temp_path();
    write_file(path, "old ");
    struct machine *m = serial_to("file:%s,append=on", path);
    console_begin_all();
    say(m, COM, "new");
    CHECK_STR(content(path), "old new");
    REQUIRE_EQ(truncate(path, 0), 0); /* logrotate's copytruncate */
    say(m, COM, "on");
    CHECK_STR(content(path), "on");
    fake_free(m);
    temp_done(path);
}

/* A file size limit is to a file what a full disk is, and easier to have. */
TEST(console_file_resumes_when_there_is_room_again)
{
    const char *path = temp_path();
    struct rlimit all, few;
    signal(SIGXFSZ, SIG_IGN);
    struct machine *m = serial_to("file:%s", path);
    console_begin_all();
    test_log();
    getrlimit(RLIMIT_FSIZE, &all);
    few = all;
    few.rlim_cur = 1000;
    setrlimit(RLIMIT_FSIZE, &few);
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 30000; j++) {
            outb(m, COM, 'x');
            REQUIRE(inb(m, COM + LSR) & 0x20 || i < 1); /* not held back */
        }
        fake_sleep_ns(m, 1100000000);
    }
    size_t during = strlen(content(path));
    setrlimit(RLIMIT_FSIZE, &all);
    CHECK_EQ(during, 1000);
    const char *log = test_log();
    CHECK_HAS(log, "File too large");
    CHECK(!strstr(strstr(log, "File too large") + 1, "File too large"));
    trace_mask = TRACE_SERIAL;
    fake_sleep_ns(m, 1100000000);
    trace_mask = 0;
    log = test_log();
    CHECK_HAS(log, ": takes bytes again\n");
    CHECK_HAS(log, "23464 bytes are missing there");
    say(m, COM, "end");
    const char *text = content(path);
    CHECK_EQ(strlen(text), 1000 + 65536 + 3);
    CHECK_STR(text + strlen(text) - 4, "xend");
    say(m, COM, "more");
    fake_free(m);
    temp_done(path);
}

TEST(console_unix_never_removes_what_is_no_socket)
{
    const char *path = temp_path();
    char to[100], link[100];
    snprintf(to, sizeof(to), "unix:%s", path);
    write_file(path, "precious");
    CHECK_EQ(create_error(to), -EADDRINUSE);
    CHECK_HAS(test_log(), "a file that is no socket");
    CHECK_STR(content(path), "precious");
    snprintf(link, sizeof(link), "%s.link", path);
    REQUIRE_EQ(symlink(path, link), 0);
    snprintf(to, sizeof(to), "unix:%s", link);
    CHECK_EQ(create_error(to), -EADDRINUSE);
    struct stat st;
    CHECK_EQ(lstat(link, &st), 0);
    unlink(link);
    temp_done(path);
}

TEST(console_logfile_holds_what_a_socket_nobody_reads_is_told)
{
    const char *path = temp_path();
    char log[100];
    snprintf(log, sizeof(log), "%s.log", path);
    write_file(log, "old ");
    char to[300];
    snprintf(to, sizeof(to), "unix:%s,logfile=%s,logappend=on", path, log);
    struct machine *m = serial_pc(to);
    console_begin_all();
    say(m, COM, "boot");
    CHECK_STR(content(log), "old boot");
    int peer = connect_to(path);
    char got[8] = "";
    fake_run_loop(m);
    CHECK_EQ(recv(peer, got, sizeof(got) - 1, MSG_DONTWAIT), 4);
    CHECK_STR(got, "boot");
    type(m, peer, "k");
    CHECK_EQ(inb(m, COM), 'k');
    unlink(log);
    end(m, peer, path);
}

TEST(console_pty_carries_both_ways_without_an_echo)
{
    struct machine *m = serial_pc("pty");
    outb(m, COM + IIR, 1);
    const char *said = test_log();
    CHECK_HAS(said, "char device redirected to /dev/pts/");
    char name[64] = "", got[16] = "";
    sscanf(strstr(said, "/dev/pts/"), "%63[a-z0-9/]", name);
    say(m, COM, "login: ");
    int fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    CHECK_EQ(read(fd, got, sizeof(got) - 1), 7);
    CHECK_STR(got, "login: ");
    keys(m, fd, "root\n");
    for (const char *p = "root\n"; *p; p++)
        CHECK_EQ(inb(m, COM), *p);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    CHECK_EQ(read(fd, got, sizeof(got)), -1);
    close(fd); /* others may come */
    fake_sleep_ns(m, 1000000);
    fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    say(m, COM, "x");
    CHECK_EQ(read(fd, got, sizeof(got)), 1);
    close(fd);
    fake_free(m);
}

static int listen_on(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    REQUIRE_EQ(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    REQUIRE_EQ(listen(fd, 1), 0);
    return fd;
}

static bool somebody_at(int listener)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

TEST(console_unix_server_off_connects_and_comes_back)
{
    const char *path = temp_path();
    char to[120], got[8] = "";
    snprintf(to, sizeof(to), "unix:%s,server=off", path);
    CHECK_EQ(create_error(to), -ENOENT);
    CHECK_HAS(test_log(), "reconnect=1 tries again");
    struct machine *m = serial_to("unix:%s,reconnect=1", path);
    say(m, COM, "a");
    int l = listen_on(path);
    fake_sleep_ns(m, 1100000000);
    FAKE_SOON(m, somebody_at(l));
    int peer = accept(l, NULL, NULL);
    FAKE_SOON(m, recv(peer, got, 1, MSG_PEEK | MSG_DONTWAIT) > 0);
    CHECK_EQ(recv(peer, got, sizeof(got), MSG_DONTWAIT), 1);
    close(peer);
    fake_run_loop(m);
    say(m, COM, "b");
    fake_sleep_ns(m, 1100000000);
    FAKE_SOON(m, somebody_at(l));
    peer = accept(l, NULL, NULL);
    FAKE_SOON(m, recv(peer, got, 1, MSG_PEEK | MSG_DONTWAIT) > 0);
    CHECK_EQ(recv(peer, got, sizeof(got), MSG_DONTWAIT), 1);
    CHECK_EQ(got[0], 'b');
    close(l);
    fake_free(m);
    CHECK_EQ(access(path, F_OK), 0); /* it is not ours */
    close(peer);
    temp_done(path);
}

static unsigned starts;
static void count_start(struct machine *m)
{
    (void)m;
    starts++;
}

TEST(console_server_on_waits_for_somebody)
{
    const char *path = temp_path();
    struct machine *m = serial_to("unix:%s,server=on,wait=off", path);
    CHECK_EQ(m->holds, 0);
    fake_free(m);
    m = serial_to("unix:%s", path); /* ours, which QEMU means otherwise */
    CHECK_EQ(m->holds, 0);
    fake_free(m);
    m = serial_to("unix:%s,server=on", path);
    starts = 0;
    m->start = count_start;
    CHECK_EQ(m->holds, 1);
    int peer = connect_to(path);
    fake_run_loop(m);
    CHECK_EQ(starts, 1);
    close(peer);
    fake_sleep_ns(m, 300000000);
    peer = connect_to(path);
    fake_run_loop(m);
    CHECK_EQ(starts, 1);
    end(m, peer, path);
}

TEST(console_chardev_forms)
{
    const char *path = temp_path();
    char text[200];
    CHECK_EQ(chardev_add("file,id=log"), -EINVAL);
    CHECK_HAS(test_log(), "-chardev log: path= is missing");
    CHECK_EQ(chardev_add("pigeon,id=p"), -EINVAL);
    CHECK_HAS(test_log(), "there are null stdio file pty socket");
    CHECK_EQ(chardev_add("null"), -EINVAL);
    CHECK_EQ(chardev_add("socket,id=s"), -EINVAL);
    CHECK_EQ(chardev_add("socket,id=s,path=p,port=1"), -EINVAL);
    CHECK_EQ(chardev_add("socket,id=s,path=p,wait=on"), -EINVAL);
    CHECK_EQ(chardev_add("null,id=n,path=x"), -EINVAL);
    CHECK_EQ(chardev_add("null,id=n,logappend=on"), -EINVAL);
    CHECK_EQ(chardev_add("null,id=n"), 0);
    CHECK_EQ(chardev_add("null,id=n"), -EINVAL);
    CHECK_HAS(test_log(), "-chardev n: is there already");
    snprintf(text, sizeof(text), "file,id=f,path=%s,append=on", path);
    CHECK_EQ(chardev_add(text), 0);
    struct machine *m = serial_pc("chardev:f");
    CHECK_EQ(create_error("chardev:f"), -EINVAL);
    CHECK_HAS(test_log(), "f is in use already");
    console_begin_all();
    say(m, COM, "text");
    CHECK_STR(content(path), "text");
    fake_free(m);
    CHECK_EQ(chardev_add("socket,id=s,path=/tmp/x"), 0);
    CHECK(!chardev_find("s")->server); /* QEMU's default */
    CHECK_EQ(
        chardev_add("socket,id=t,host=127.0.0.1,port=7,server=on,wait=off"), 0);
    CHECK(chardev_find("t")->server && !chardev_find("t")->wait);
    chardev_free();
    CHECK(!chardev_find("n"));
    temp_done(path);
}

TEST(serial_second_is_com2)
{
    const char *path = temp_path();
    struct machine *m = serial_pc("null");
    char to[100];
    snprintf(to, sizeof(to), "file:%s", path);
    REQUIRE_EQ(serial_add(m, to), 0);
    CHECK_EQ(serial_add(m, "null"), -EINVAL);
    CHECK_HAS(test_log(), "there are two serial ports");
    say(m, COM, "one");
    say(m, COM2, "two");
    CHECK_STR(content(path), "two");
    outb(m, COM2 + MCR, 0x08);
    outb(m, COM2 + IER, 0x02);
    CHECK_EQ(fake_irqs(m, 3), 1);
    CHECK_EQ(fake_irqs(m, 4), 0);
    console_begin_all();
    fake_free(m);
    temp_done(path);
}

TEST(serial_counts_what_it_carries)
{
    const char *path;
    int peer;
    struct machine *m = with_peer(&peer, &path);
    struct tally_lines lines;
    struct text text = {0};
    say(m, COM, "hello");
    type(m, peer, "k");
    m->devices->stats(m->devices, tally_lines(&lines, &text));
    CHECK_HAS(text.p, "serial0.rx_bytes 1\n");
    CHECK_HAS(text.p, "serial0.tx_bytes 5\n");
    CHECK_HAS(text.p, "serial0.tx_dropped 0\n");
    text_free(&text);
    end(m, peer, path);
}

/* stdin and stdout are put back after each of these. */
static int saved[2];
static void stdio_set(int in, int out)
{
    fflush(stdout);
    saved[0] = dup(0);
    saved[1] = dup(1);
    dup2(in, 0);
    dup2(out, 1);
}
static void stdio_back(void)
{
    dup2(saved[0], 0);
    dup2(saved[1], 1);
}

TEST(console_stdio_pipe_input_then_eof_and_no_spin)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    char got[8];
    REQUIRE(!pipe(in) && !pipe(out));
    stdio_set(in[0], out[1]);
    struct machine *m = serial_pc("stdio");
    outb(m, COM + IIR, 1);
    REQUIRE_EQ(write(in[1], "k\1x", 3), 3); /* no terminal: no escapes */
    fake_run_loop(m);
    bool blocking = !(fcntl(1, F_GETFL) & O_NONBLOCK);
    uint8_t k = inb(m, COM), esc = inb(m, COM), x = inb(m, COM);
    close(in[1]);
    int ran = fake_run_loop(m);
    outb(m, COM, 'o');
    fake_sleep_ns(m, 1000000);
    fake_free(m);
    stdio_back();
    CHECK(blocking);
    CHECK_EQ(k, 'k');
    CHECK_EQ(esc, 1);
    CHECK_EQ(x, 'x');
    CHECK(ran < 5);
    CHECK_EQ(read(out[0], got, sizeof(got)), 1);
    CHECK_EQ(got[0], 'o');
}

TEST(console_stdio_file_input_is_read_to_its_end)
{
    FILE *f = tmpfile();
    int null = open("/dev/null", O_WRONLY);
    REQUIRE(f && null >= 0);
    fputs("from a file", f);
    rewind(f);
    stdio_set(fileno(f), null);
    struct machine *m = serial_pc("stdio");
    char got[32];
    size_t n = 0;
    fake_run_loop(m);
    while (n < sizeof(got) - 1 && inb(m, COM + LSR) & 1) {
        got[n++] = (char)inb(m, COM);
        fake_run_loop(m);
    }
    got[n] = 0;
    outb(m, COM, 'x'); /* /dev/null cannot be polled */
    fake_sleep_ns(m, 1000000);
    int ran = fake_run_loop(m);
    fake_free(m);
    stdio_back();
    fclose(f);
    CHECK_STR(got, "from a file");
    CHECK_EQ(ran, 0);
}

TEST(console_stdio_reader_goes_away)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    REQUIRE(!pipe(in) && !pipe(out));
    stdio_set(in[0], out[1]);
    struct machine *m = serial_pc("stdio");
    close(out[0]);
    for (int i = 0; i < 70000; i++)
        outb(m, COM, 'x');
    fake_sleep_ns(m, 1000000);
    uint8_t lsr = inb(m, COM + LSR);
    int ran = fake_run_loop(m);
    fake_free(m);
    stdio_back();
    CHECK_EQ(lsr & 0x20, 0x20);
    CHECK_EQ(ran, 0);
}

TEST(console_stdio_closed_descriptors)
{
    int null = open("/dev/null", O_RDWR);
    stdio_set(null, null);
    close(0);
    close(1);
    struct machine *m = serial_pc("stdio");
    outb(m, COM, 'x');
    fake_sleep_ns(m, 1000000);
    fake_free(m);
    stdio_back();
}

TEST(console_terminal_is_raw_and_given_back)
{
    int master, slave;
    struct termios before = {0}, during = {0}, after = {0};
    char got[256];
    REQUIRE_EQ(openpty(&master, &slave, NULL, NULL, NULL), 0);
    tcgetattr(slave, &before);
    stdio_set(slave, slave);
    struct machine *m = serial_pc("stdio");
    outb(m, COM + IIR, 1);
    tcgetattr(slave, &during);
    keys(m, master, "\3\1\1\1h");
    uint8_t ctrl_c = inb(m, COM), ctrl_a = inb(m, COM);
    fake_sleep_ns(m, 1000000);
    ssize_t n = read(master, got, sizeof(got) - 1);
    int asked = fake_requests(m);
    keys(m, master, "\1x");
    int quit = fake_last_request(m);
    terminal_restore();
    tcgetattr(slave, &after);
    fake_free(m);
    stdio_back();
    got[n > 0 ? n : 0] = 0;
    CHECK_EQ(during.c_lflag & (ICANON | ECHO | ISIG), 0);
    CHECK_EQ(during.c_oflag, before.c_oflag);
    CHECK_EQ(ctrl_c, 3);
    CHECK_EQ(ctrl_a, 1);
    CHECK_HAS(got, "Ctrl-A x");
    CHECK_EQ(asked, 0);
    CHECK_EQ(quit, STOP_POWEROFF);
    CHECK_MEM(&after, &before, sizeof(after));
}
