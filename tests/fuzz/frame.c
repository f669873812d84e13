/* SPDX-License-Identifier: MIT */
/* What tests/unit/main.c is for unit tests: here a failed check is a crash. */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    signal(SIGPIPE, SIG_IGN); /* as vmm.c does */
    /* What is said to the operator is noise here, and a system call a line. */
    log_open(open("/dev/null", O_WRONLY | O_CLOEXEC));
    return 0;
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "%s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
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
        test_fail(file, line, "%s is 0x%llx, not %s = 0x%llx", sa,
                  (unsigned long long)a, sb, (unsigned long long)b);
    return a == b;
}

bool test_mem(const void *a, const void *b, size_t len, const char *file,
              int line, const char *what)
{
    if (memcmp(a, b, len))
        test_fail(file, line, "%s differs", what);
    return true;
}

void test_end(void)
{
    abort();
}
