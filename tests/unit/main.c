/* SPDX-License-Identifier: MIT */
/* Runs the unit tests: unit [-l] [-v] [PART_OF_NAME...]. */
#include "tests/unit/test.h"

#include "tests/unit/fakesys.h"

#include <fcntl.h>
#include <inttypes.h>
#include <net/if.h>
#include <sanitizer/common_interface_defs.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "host/helper.h"

static struct test *tests, **tests_end = &tests;
static struct test *current;
static bool failed;
static const char *skipped;
static jmp_buf out;
static int real_stderr, log_fd;
static off_t log_seen;
static uint32_t seed;

void test_register(struct test *t)
{
    *tests_end = t;
    tests_end = &t->next;
}

/* -------------------------------------------------------------- checking */

void test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    failed = true;
    printf("%s:%d: ", file, line);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf(" (in %s)\n", current ? current->name : "?");
    fflush(stdout);
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
        test_fail(file, line,
                  "%s is 0x%" PRIx64 " (%" PRId64 "), not %s = 0x%" PRIx64
                  " (%" PRId64 ")",
                  sa, a, (int64_t)a, sb, b, (int64_t)b);
    return a == b;
}

bool test_ne(uint64_t a, uint64_t b, const char *file, int line, const char *sa,
             const char *sb)
{
    if (a == b)
        test_fail(file, line, "%s is 0x%" PRIx64 ", the same as %s", sa, a, sb);
    return a != b;
}

bool test_str(const char *a, const char *b, const char *file, int line,
              const char *sa)
{
    bool same = a && b ? strcmp(a, b) == 0 : a == b;
    if (!same)
        test_fail(file, line, "%s is \"%s\", not \"%s\"", sa, a ? a : "(null)",
                  b ? b : "(null)");
    return same;
}

bool test_has(const char *text, const char *part, const char *file, int line)
{
    bool found = text && strstr(text, part);
    if (!found)
        test_fail(file, line, "\"%s\" does not contain \"%s\"",
                  text ? text : "(null)", part);
    return found;
}

bool test_mem(const void *a, const void *b, size_t len, const char *file,
              int line, const char *sa)
{
    const uint8_t *x = a, *y = b;
    for (size_t i = 0; i < len; i++) {
        if (x[i] != y[i]) {
            test_fail(file, line,
                      "%s differs at byte %zu of %zu: %02x, not %02x", sa, i,
                      len, x[i], y[i]);
            return false;
        }
    }
    return true;
}

void test_end(void)
{
    longjmp(out, 1);
}

void test_skip(const char *why)
{
    skipped = why;
    longjmp(out, 1);
}

const char *test_stdout(void (*say)(void))
{
    static char text[1 << 16];
    fflush(stdout);
    int keep = dup(1), fd = memfd_create("out", 0);
    dup2(fd, 1);
    say();
    fflush(stdout);
    dup2(keep, 1);
    close(keep);
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    close(fd);
    return text;
}

const char *test_log(void)
{
    static char *text;
    off_t end = lseek(log_fd, 0, SEEK_END);
    free(text);
    text = calloc(1, (size_t)(end - log_seen) + 1);
    if (!text || pread(log_fd, text, (size_t)(end - log_seen), log_seen) < 0)
        return "";
    log_seen = end;
    return text;
}

void test_timeout(unsigned seconds)
{
    alarm(seconds);
}

uint32_t test_random(void)
{
    seed ^= seed << 13; /* xorshift32 */
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

/* --------------------------------------------------------------- running */

static void show_log(void)
{
    char buf[512];
    ssize_t n;
    lseek(log_fd, 0, SEEK_SET); /* writing appends */
    while ((n = read(log_fd, buf, sizeof(buf))) > 0)
        if (write(real_stderr, buf, (size_t)n) < 0)
            return;
}

static void die(const char *how)
{
    static const char in[] = "in test ";
    const char *name = current ? current->name : "(none)";
    show_log();
    if (write(real_stderr, in, sizeof(in) - 1) < 0 ||
        write(real_stderr, name, strlen(name)) < 0 ||
        write(real_stderr, how, strlen(how)) < 0)
        _exit(1);
}

static void on_death(void)
{
    die(": the sanitizer report above\n");
}

static void on_alarm(int sig)
{
    (void)sig;
    signal(SIGABRT, SIG_DFL);
    die(": hung\n");
    abort(); /* shows where */
}

/* Freed memory that is watched for later use: a test's, not all tests'.  Each
 * process that a test starts has the page tables of it copied. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=16";
}

/* An assertion of ours. */
static void on_abort(int sig)
{
    die(": aborted\n");
    signal(sig, SIG_DFL);
}

static void run_one(struct test *t)
{
    failed = false;
    skipped = NULL;
    current = t;
    seed = 2463534242u;
    log_seen = 0;
    if (ftruncate(log_fd, 0) < 0)
        perror("ftruncate");
    lseek(log_fd, 0, SEEK_SET);
    fflush(stdout);
    dup2(log_fd, 2);
    alarm(60); /* of a machine that may be busy */
    if (setjmp(out) == 0)
        t->run();
    alarm(0);
    fake_host_real();
    helper_end();
    dup2(real_stderr, 2);
    close_range((unsigned)log_fd + 1, ~0u, 0); /* what the test left open */
    current = NULL;
}

static bool wanted(const struct test *t, int argc, char **argv)
{
    bool any = false;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-')
            continue;
        any = true;
        if (strstr(t->name, argv[i]))
            return true;
    }
    return !any;
}

static bool flag(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return false;
}

/* Ports and interfaces are the tests' own, where that is allowed. */
static void own_network(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    if (unshare(CLONE_NEWNET) < 0)
        return;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
        perror("unit: lo");
    close(fd);
}

int main(int argc, char **argv)
{
    int counts[3] = {0}; /* passed, failed, skipped */
    bool list = flag(argc, argv, "-l"), verbose = flag(argc, argv, "-v");

    real_stderr = dup(2);
    log_fd = memfd_create("test log", 0);
    if (real_stderr < 0 || log_fd < 0) {
        perror("unit");
        return 1;
    }
    fcntl(log_fd, F_SETFL, O_APPEND);
    __sanitizer_set_report_fd((void *)(intptr_t)real_stderr);
    __sanitizer_set_death_callback(on_death);
    own_network();
    signal(SIGALRM, on_alarm);
    signal(SIGABRT, on_abort);
    signal(SIGPIPE, SIG_IGN); /* as vmm.c does */

    for (struct test *t = tests; t; t = t->next) {
        if (!wanted(t, argc, argv))
            continue;
        if (list) {
            printf("%s\n", t->name);
            continue;
        }
        run_one(t);
        counts[failed ? 1 : skipped ? 2 : 0]++;
        if (failed) {
            show_log();
            printf("FAIL %s\n", t->name);
        } else if (skipped) {
            printf("SKIP %s: %s\n", t->name, skipped);
        } else if (verbose) {
            printf("ok   %s\n", t->name);
        }
    }
    if (!list)
        printf("%d passed, %d failed, %d skipped\n", counts[0], counts[1],
               counts[2]);
    return counts[1] > 0;
}
