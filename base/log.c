/* SPDX-License-Identifier: MIT */
/* Messages: each is one write(2), so lines of several threads never mix. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

unsigned trace_mask;

#define LINE_MAX_BYTES 1024

static void put_line(const char *prefix, const char *fmt, va_list ap)
{
    char line[LINE_MAX_BYTES];
    int n = snprintf(line, sizeof(line), "%s", prefix);
    int more = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
    if (more > 0)
        n += more;
    if (n > (int)sizeof(line) - 2)
        n = (int)sizeof(line) - 2;
    line[n++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)n);
    (void)ignored; /* nowhere left to complain to */
}

void log_line(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put_line("vmm: ", fmt, ap);
    va_end(ap);
}

int(fail)(int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put_line("vmm: ", fmt, ap);
    va_end(ap);
    return err;
}

void fault_note(struct fault *f, const char *fmt, ...)
{
    if (__atomic_fetch_add(&f->count, 1, __ATOMIC_RELAXED))
        return;
    va_list ap;
    va_start(ap, fmt);
    put_line("vmm: ", fmt, ap);
    va_end(ap);
}

static const struct {
    const char *name;
    unsigned bit;
} cats[] = {
    {"pci", TRACE_PCI},     {"virtio", TRACE_VIRTIO},
    {"queue", TRACE_QUEUE}, {"e1000", TRACE_E1000},
    {"irq", TRACE_IRQ},     {"net", TRACE_NET},
    {"bus", TRACE_BUS},     {"serial", TRACE_SERIAL},
    {"boot", TRACE_BOOT},   {"vm", TRACE_VM},
    {"all", ~0u},
};

static unsigned cat_bit(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(cats) / sizeof(cats[0]); i++)
        if (strlen(cats[i].name) == len && !memcmp(cats[i].name, name, len))
            return cats[i].bit;
    return 0;
}

int trace_set(const char *list)
{
    for (const char *p = list;; p++) {
        size_t len = strcspn(p, ",");
        unsigned bit = cat_bit(p, len);
        if (!bit)
            return fail(-EINVAL,
                        "-trace %.*s: no such category; there are pci virtio "
                        "queue e1000 irq net bus serial boot vm all",
                        (int)len, p);
        trace_mask |= bit;
        p += len;
        if (!*p)
            return 0;
    }
}

void trace_print(const char *fmt, ...)
{
    static _Atomic uint64_t start;
    struct timespec ts;
    char prefix[32];
    clock_gettime(CLOCK_MONOTONIC, &ts);
    uint64_t now = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
    uint64_t zero = 0;
    atomic_compare_exchange_strong(&start, &zero, now);
    snprintf(prefix, sizeof(prefix), "%10.6f ",
             (double)(now - atomic_load(&start)) / 1e6);
    va_list ap;
    va_start(ap, fmt);
    put_line(prefix, fmt, ap);
    va_end(ap);
}
