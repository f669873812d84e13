/* SPDX-License-Identifier: MIT */
/* Messages to the operator, counters for things that go wrong, and traces. */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One operator-visible line on stderr, "vmm: " (with -name: "vmm NAME: ")
 * before it, newline after it. Callable from every thread; never waits for a
 * reader: what does not fit is lost, and how much is said once it flows. */
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The same, and gives back `err` (a negative errno), so that a function can
 * say why it fails and fail in one statement:
 *     return fail(-EBUSY, "tap %s: in use by another process", name);
 * Whoever knows most prints; callers only pass the value on. */
int fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Until it is ended (NULL), what this thread's fail() says goes there and not
 * to the operator: the first line of it, cut where it does not fit. For who is
 * asked by somebody else, and tells them. */
void log_catch(char *to, size_t size);

#ifdef __clang_analyzer__ /* clang-tidy: fail() returns what it was given */
#define fail(err, ...) (fail((err), __VA_ARGS__), (err))
#endif

/* A fault of the guest's or of the world's, counted always. */
struct fault {
    uint64_t count; /* atomic, relaxed, as all of it */
    uint64_t said;  /* count at the last line */
    uint64_t when;  /* time of it, ns; 0: none yet */
};
/* Said once. */
void fault_note(struct fault *f, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* For what is worth a line each time, but comes as often as others like: at
 * most one a second, with how many went unsaid before it. */
void fault_say(struct fault *f, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same for a report of several lines: true when it is due. */
bool fault_due(struct fault *f, uint64_t *unsaid);

/* For main(), in this order. From here on `fd` (standard error) is written to
 * without waiting. */
void log_open(int fd);
/* The same in two steps: log_next() opens what it takes, log_move() goes over.
 * `fd` is the log's then. */
void log_next(int fd);
void log_move(void);
/* At once, to a file, which is the log's then: in the sandbox. */
void log_take(int fd);
void log_name(const char *name); /* the machine's; NULL: none */
void log_timestamps(bool on);    /* the time of day before each line, in UTC */
/* Lines have this before them and the time of day before that, or, where it is
 * empty, neither; or (`off`) they are not written. */
void log_form(const char *before, bool off);
/* With a loop, what waits goes out as soon as it can, not with the next line.
 * NULL before that loop is freed. */
struct loop;
void log_watch(struct loop *l);
/* The lines of a text, each as one of the log's; without -name as they are. */
void log_text(const char *text, size_t left);
/* The end is near: from now on a slow reader is waited for, `ns` in all. */
void log_patience(uint64_t ns);
/* A line as it is, from a signal handler, of a process that ends at once. */
void log_dying(const char *line, size_t n);
/* What it writes to, now and after log_move(), for who closes all other
 * descriptors. */
void log_fds(int fd[2]);
/* Back to plain writes. */
void log_close(void);

#define TRACE_CATEGORIES "pci virtio queue e1000 irq net bus serial boot vm all"

/* -trace CAT[,CAT]: one bit a category; a disabled TRACE costs one load and
 * one predicted branch. */
enum trace_cat {
    TRACE_PCI = 1 << 0,
    TRACE_VIRTIO = 1 << 1,
    TRACE_QUEUE = 1 << 2,
    TRACE_E1000 = 1 << 3,
    TRACE_IRQ = 1 << 4,
    TRACE_NET = 1 << 5,
    TRACE_BUS = 1 << 6,
    TRACE_SERIAL = 1 << 7,
    TRACE_BOOT = 1 << 8,
    TRACE_VM = 1 << 9,
};
extern unsigned trace_mask;
/* Sets trace_mask from "pci,virtio" or "all"; -EINVAL (said) on another. */
int trace_set(const char *list);
void trace_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define TRACE(cat, ...)                                                        \
    do {                                                                       \
        if (__builtin_expect(trace_mask & TRACE_##cat, 0))                     \
            trace_print(__VA_ARGS__);                                          \
    } while (0)

#endif
