/* SPDX-License-Identifier: MIT */
/* vmm ctl clone: several machines that go on from one snapshot.
 *
 * Theory of operation. Each is a process of its own, started with the same
 * words, in which a pattern (%d, %02x) is its number: of a TAP, a MAC, a
 * control socket. It is a daemon whose start is waited for (host/daemon.c), so
 * it is known of each that it runs, and what keeps it from that is read here.
 * The first one is tried alone: what is wrong with all is said once. The others
 * start side by side. If one fails, those that run are ended at once, and
 * waited for. */
#include "control/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/opts.h"
#include "base/text.h"
#include "host/child.h"
#include "host/daemon.h"
#include "host/process.h"

#define CLONES_MAX 1000
#define NUMBER_MAX 1000000
#define WORDS_MAX 256

static struct {
    uint64_t first, last;
    char **files;   /* STATE, MEM, */
    char **keys;    /* then these, */
    char **options; /* then these */
    int n;          /* of the latter */
} told;

static struct clone {
    pid_t pid; /* 0: is not there */
    int ready; /* its end without a byte: it has not started */
} clones[CLONES_MAX];

static volatile sig_atomic_t called_off;

/* ---------------------------------------------------------------- patterns */

/* `text` with the number in the place of %d, %x, %3d, %02x; and % of %%. The
 * numbers that were put there; -1: a pattern is another. */
static int clone_put(struct text *out, const char *text, unsigned number)
{
    int found = 0;
    for (const char *p = text; *p; p++) {
        size_t n = strcspn(p, "%");
        text_add(out, p, n);
        p += n;
        if (!*p)
            break;
        bool zeroes = *++p == '0';
        p += zeroes;
        int width = *p >= '1' && *p <= '9' ? *p++ - '0' : 0;
        if (*p == 'd')
            text_put(out, zeroes ? "%0*u" : "%*u", width, number);
        else if (*p == 'x')
            text_put(out, zeroes ? "%0*x" : "%*x", width, number);
        else if (*p == '%' && p[-1] == '%')
            text_add(out, p, 1);
        else
            return -1;
        found += *p != '%';
    }
    return found;
}

/* One key's, of several: a comma would begin the next. */
static void clone_put_value(struct text *out, const char *value)
{
    for (; *value; value++)
        text_add(out, *value == ',' ? ",," : value, 1 + (*value == ','));
}

/* ----------------------------------------------------------------- reading */

/* Has each its own, where that must be? */
static int clone_check_word(const char *word, bool own)
{
    struct text out = {0};
    int found = clone_put(&out, word, 1);
    text_free(&out);
    if (found < 0)
        return fail(-EINVAL,
                    "ctl: clone: %s: %%d and %%x, as in %%02x, are a clone's "
                    "number; write %%%% for a percent sign",
                    word);
    return own && !found && told.first < told.last
               ? fail(-EINVAL,
                      "ctl: clone: %s: all clones would have it; write %%d "
                      "for a clone's number",
                      word)
               : 0;
}

static bool clone_is_own(const char *key)
{
    return !strncmp(key, "net.", 4) || !strncmp(key, "mac.", 4) ||
           !strncmp(key, "vsock=", 6);
}

static int clone_read_words(char **p)
{
    int err = 0;
    for (told.keys = p; *p && **p != '-' && !err; p++)
        err = strchr(*p, '=') ? clone_check_word(*p, clone_is_own(*p))
                              : fail(-EINVAL,
                                     "ctl: clone: %s: write KEY=VALUE, one of "
                                     "-restore's",
                                     *p);
    for (told.options = p; *p && !err; p++)
        err = clone_check_word(*p, false);
    told.n = (int)(p - told.options);
    return err || told.n <= WORDS_MAX
               ? err
               : fail(-EINVAL, "ctl: clone: more than %d options", WORDS_MAX);
}

int clone_read(char **args)
{
    int n = 0;
    while (n < 3 && args[n] && *args[n] != '-')
        n++;
    if (n < 3)
        return fail(-EINVAL, "ctl: write clone N STATE MEM [KEY=VALUE]... "
                             "[OPTION]...");
    const char *p = args[0];
    bool good = scan_number(&p, NUMBER_MAX, &told.last);
    told.first = 1;
    if (good && *p == '-') {
        told.first = told.last;
        p++;
        good = scan_number(&p, NUMBER_MAX, &told.last);
    }
    if (!good || *p || told.last < told.first ||
        told.last - told.first >= CLONES_MAX)
        return fail(-EINVAL,
                    "ctl: clone: %s: write how many, or FIRST-LAST; at most %d",
                    args[0], CLONES_MAX);
    told.files = args + 1;
    return clone_read_words(args + 3);
}

/* ---------------------------------------------------------------- starting */

/* Only what may be called between fork() and exec() of a process without
 * threads. */
static _Noreturn void clone_exec(const char *program, int ready,
                                 const char *const argv[])
{
    signal(SIGINT, SIG_DFL); /* clone_end_all */
    if (dup2(ready, STDIN_FILENO) == STDIN_FILENO)
        execv(program, (char **)argv);
    fail(-errno, "ctl: clone: %s: %s", program, strerror(errno));
    _exit(EXIT_FAILURE);
}

static int clone_fork(struct clone *c, const char *program,
                      const char *const argv[])
{
    int p[2];
    if (pipe2(p, O_CLOEXEC))
        return fail(-errno, "ctl: clone: %s", strerror(errno));
    pid_t pid = fork();
    if (!pid)
        clone_exec(program, p[1], argv);
    int err = pid < 0 ? -errno : 0;
    close(p[1]);
    if (err) {
        close(p[0]);
        return fail(err, "ctl: clone: fork: %s", strerror(-err));
    }
    c->pid = pid;
    c->ready = p[0];
    return 0;
}

static void clone_put_restore(struct text *out, unsigned number)
{
    clone_put_value(out, told.files[0]);
    text_put(out, ",mem=");
    clone_put_value(out, told.files[1]);
    for (char **p = told.keys; p < told.options; p++) {
        struct text word = {0};
        clone_put(&word, *p, number);
        text_put(out, ",");
        clone_put_value(out, word.p ? word.p : "");
        out->cut |= word.cut;
        text_free(&word);
    }
}

static int clone_start_one(struct clone *c, const char *program,
                           unsigned number)
{
    static const char *const before[] = {"vmm", "-daemonize", "-restore"};
    enum { N = ARRAY_LEN(before) };
    struct text words[WORDS_MAX + 1] = {0};
    const char *argv[N + WORDS_MAX + 2];
    bool cut = false;
    memcpy(argv, before, sizeof(before));
    clone_put_restore(&words[0], number);
    for (int i = 0; i < told.n; i++)
        clone_put(&words[i + 1], told.options[i], number);
    for (int i = 0; i <= told.n; i++) {
        argv[N + i] = words[i].p ? words[i].p : "";
        cut |= words[i].cut;
    }
    argv[N + told.n + 1] = NULL;
    int err = cut ? fail(-ENOMEM, "ctl: clone: out of memory")
                  : clone_fork(c, program, argv);
    for (int i = 0; i <= told.n; i++)
        text_free(&words[i]);
    return err;
}

/* Until it runs, or has said why not. */
static int clone_wait(struct clone *c, unsigned number)
{
    char ready;
    ssize_t n = called_off ? -1 : read(c->ready, &ready, 1);
    close(c->ready);
    if (n == 1)
        return 0;
    if (n < 0)
        return fail(-EINTR, "ctl: clone: called off; none is left");
    int status = child_wait(c->pid);
    c->pid = 0;
    if (c == clones && status < 128)
        return -EIO; /* nothing but its own words is to be said */
    return fail(-EIO,
                "ctl: clone: number %u did not start (exit code %d); none is "
                "left",
                number, status);
}

/* By a signal that is an end at once, and takes away what was made. */
static void clone_end_all(void)
{
    for (struct clone *c = clones; c < clones + CLONES_MAX; c++)
        if (c->pid)
            kill(c->pid, SIGINT);
    for (struct clone *c = clones; c < clones + CLONES_MAX; c++)
        if (c->pid)
            child_wait(c->pid);
}

static void clone_say(const struct clone *c, unsigned number)
{
    struct text line = {0};
    for (char **p = told.keys; p < told.options; p++) {
        text_put(&line, " ");
        clone_put(&line, *p, number);
    }
    printf("%u pid %d%s\n", number, (int)c->pid, line.n ? line.p : "");
    text_free(&line);
}

static void clone_on_signal(int sig)
{
    called_off = sig;
}

static int clone_start_all(const char *program)
{
    const unsigned first = (unsigned)told.first;
    const unsigned n = (unsigned)(told.last - told.first) + 1;
    int err = clone_start_one(&clones[0], program, first);
    if (!err)
        err = clone_wait(&clones[0], first);
    for (unsigned i = 1; i < n && !err; i++)
        err = clone_start_one(&clones[i], program, first + i);
    for (unsigned i = 1; i < n && !err; i++)
        err = clone_wait(&clones[i], first + i);
    for (unsigned i = 0; i < n && !err; i++)
        clone_say(&clones[i], first + i);
    if (err)
        clone_end_all();
    return err;
}

int clone_start(void)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    const struct sigaction sa = {.sa_handler = clone_on_signal};
    char *program = child_find("/proc/self/exe");
    if (!program)
        return fail(-errno, "ctl: clone: /proc/self/exe: %s", strerror(errno));
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (!process_ignores(ends[i]))
            sigaction(ends[i], &sa, NULL);
    daemon_expect();
    int err = clone_start_all(program);
    free(program);
    return err;
}
