/* SPDX-License-Identifier: MIT */
/* Runs every piece of work whose cost is in the table, for tests/cost/run to
 * count: instructions under valgrind's callgrind, system calls under strace.
 *
 * Theory of operation. The product's own objects are linked with the unit
 * tests' fake machine and drivers. Each row is done until it is warm, then N
 * times, then 2N times; the difference over N is what one costs, and whatever
 * is done once falls out. Between cost_on() and cost_off() callgrind collects;
 * under strace (an argument "calls") two writes to no descriptor stand around
 * the stretch in the log, and others begin each part. What cost_on() and
 * cost_off() cost themselves is the row "nothing", taken off every other.
 *
 * The clock is the fake machine's, so the loop's decisions are the same each
 * time. valgrind 3.19 does not know epoll_pwait2, and a loop that is told so
 * waits in milliseconds from then on, by another path than the product's. So
 * the call is answered here, as the kernel answers it when an event is there;
 * and when none is, the row would sleep, which ends the run. So does a wait in
 * milliseconds, and one that does not end. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

#include "tests/cost/cost.h"
#include "tests/unit/fake.h"

/* A multiple of every ring's size, so that each part goes around them equally
 * often. strace takes its time, and which calls are made does not depend on the
 * place in a ring; but what is done once, after so many packets, must be over
 * by the end of the first part. */
#define TIMES 64
#define TIMES_CALLS 32
#define TIMES_CALLS_MANY 4 /* things at a time */

static bool calls; /* strace counts, not callgrind */
static const char *row = "start";

/* ---------------------------------------------------------------- counting */

static void mark(const char *text)
{
    ssize_t ignored = write(-1, text, strlen(text));
    (void)ignored; /* EBADF; strace has seen it */
}

void cost_on(void)
{
    if (calls)
        mark("+");
    else
        CALLGRIND_TOGGLE_COLLECT;
}

void cost_off(void)
{
    if (calls)
        mark("-");
    else
        CALLGRIND_TOGGLE_COLLECT;
}

/* Ends a part: callgrind writes its sum down and begins again from 0. */
static void part(const char *name, unsigned things)
{
    char text[120];
    snprintf(text, sizeof(text), "= %s|%u", name, things);
    if (calls)
        mark(text);
    else
        CALLGRIND_DUMP_STATS_AT(text);
}

static void repeat(cost_work *work, void *arg, unsigned times)
{
    while (times--)
        work(arg);
}

void cost_row(const char *name, unsigned per, cost_work *work, void *arg)
{
    unsigned times = !calls ? TIMES : per < 16 ? TIMES_CALLS : TIMES_CALLS_MANY;
    row = name;
    alarm(60);
    repeat(work, arg, times);
    part("warm", 0);
    repeat(work, arg, times);
    part(name, times * per);
    repeat(work, arg, 2 * times);
    part(name, 2 * times * per);
}

void cost_turn(struct machine *m)
{
    cost_on();
    loop_poll(m->loop, -1);
    cost_off();
}

static void nothing(void *arg)
{
    (void)arg;
    cost_on();
    cost_off();
}

/* ------------------------------------------------------- the loop's waiting */

long __real_syscall(long nr, ...);
long __wrap_syscall(long nr, ...);

/* All of the product's calls by number come here (--wrap=syscall). */
long __wrap_syscall(long nr, ...)
{
    long a[6];
    va_list ap;
    va_start(ap, nr);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (nr != SYS_epoll_pwait2)
        return __real_syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    long n = __real_syscall(SYS_epoll_pwait, a[0], a[1], a[2], 0L, 0L, 0L);
    if (!n)
        FAIL("the loop would sleep");
    return n;
}

int __real_epoll_wait(int fd, struct epoll_event *ev, int max, int ms);
int __wrap_epoll_wait(int fd, struct epoll_event *ev, int max, int ms);

/* A wait in whole milliseconds: the way around epoll_pwait2. */
int __wrap_epoll_wait(int fd, struct epoll_event *ev, int max, int ms)
{
    if (ms > 0)
        FAIL("the loop waits in milliseconds");
    return __real_epoll_wait(fd, ev, max, ms);
}

/* --------------------------------- what the fakes need of the test framework
 */

void test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "cost: %s: %s:%d: ", row, file, line);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

bool test_check(bool ok, const char *file, int line, const char *what)
{
    if (!ok)
        test_fail(file, line, "%s does not hold", what);
    return ok;
}

bool test_eq(uint64_t a, uint64_t b, const char *file, int line, const char *sa,
             const char *sb)
{
    if (a != b)
        test_fail(file, line, "%s is %llu, not %s = %llu", sa,
                  (unsigned long long)a, sb, (unsigned long long)b);
    return true;
}

bool test_mem(const void *a, const void *b, size_t len, const char *file,
              int line, const char *sa)
{
    if (memcmp(a, b, len))
        test_fail(file, line, "%s differs", sa);
    return true;
}

void test_end(void)
{
    exit(1);
}

static void hung(int sig)
{
    static const char text[] = "cost: a row waits for ever\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)ignored;
    (void)sig;
    _exit(1);
}

int main(int argc, char **argv)
{
    calls = argc > 1 && !strcmp(argv[1], "calls");
    signal(SIGALRM, hung);
    cost_row("nothing", 1, nothing, NULL);
    cost_exit();
    cost_bus();
    cost_vq();
    cost_virtio_net();
    cost_e1000();
    cost_virtio_blk();
    return 0;
}
