/* SPDX-License-Identifier: MIT */
/* Which system calls a thread of each kind may make.
 *
 * Theory of operation. The lists stand beside the functions that make the
 * calls, in comments (`syscalls KIND...: CALL...`); host/syscalls.awk makes one
 * table of them. A thread's filter is built of its rows when the thread begins:
 * only those of its kind, and of what this machine is configured with. What the
 * C library calls by itself is in base/thread.c.
 *
 * A call that is not listed traps (SIGSYS): one line names it, and the process
 * ends, at once. It is never refused with an error, which the code that made it
 * might take for something else. No list has rt_sigaction, so the handler
 * stays.
 *
 * Only calls with arguments that are looked at run the filter; for the others
 * the kernel keeps a bitmap (kernel/seccomp.c, seccomp_cache_prepare). The
 * table begins with ioctl, and that with KVM_RUN. */
#include "host/filter.h"

#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "host/terminal.h"

/* ANY, or what argument `arg` must be: IS `value`, WITHOUT its bits, SELF: this
 * process's number. Their lower halves are compared: all of them are ints or
 * unsigned ints to the kernel, but for the protection of a mapping, of which it
 * is the lower half that counts. */
enum op { ANY, IS, WITHOUT, SELF };
struct rule {
    uint16_t nr;
    uint8_t kinds; /* bits: 1 << THREAD_* */
    uint8_t use;   /* enum thread_use */
    uint8_t op, arg;
    uint32_t value;
};

#include "syscalls.h" /* rules[], call_names[] */

/* ---------------------------------------------------------------- building */

#define X32_BIT 0x40000000 /* another ABI's numbers */

struct program {
    struct sock_filter *at;
    size_t n;
    int loaded; /* the argument that is in the accumulator */
};

static void filter_emit(struct program *p, uint16_t code, uint8_t yes,
                        uint8_t no, uint32_t k)
{
    assert(p->n < FILTER_MAX); /* tests/unit/host/filter.c makes the longest */
    p->at[p->n++] = (struct sock_filter){code, yes, no, k};
}

static void filter_load(struct program *p, size_t offset)
{
    filter_emit(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void filter_give(struct program *p, uint32_t verdict)
{
    filter_emit(p, BPF_RET | BPF_K, 0, 0, verdict);
}

static void filter_test_argument(struct program *p, const struct rule *r)
{
    if (p->loaded != r->arg)
        filter_load(p, offsetof(struct seccomp_data, args) + 8u * r->arg);
    p->loaded = r->arg;
    if (r->op == WITHOUT)
        filter_emit(p, BPF_JMP | BPF_JSET | BPF_K, 1, 0, r->value);
    else
        filter_emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1,
                    r->op == SELF ? (uint32_t)getpid() : r->value);
    filter_give(p, SECCOMP_RET_ALLOW);
}

static bool filter_applies(const struct rule *r, enum thread_kind kind,
                           unsigned uses)
{
    return r->kinds >> kind & 1 && uses >> r->use & 1;
}

/* The rows from `r` on that are of one call. */
static size_t filter_same_call(size_t r)
{
    size_t n = 1;
    while (r + n < ARRAY_LEN(rules) && rules[r + n].nr == rules[r].nr)
        n++;
    return n;
}

/* Is one of a call's rows this thread's? */
static bool filter_lists(const struct rule *r, size_t n, enum thread_kind kind,
                         unsigned uses)
{
    while (n && !filter_applies(r, kind, uses))
        r++, n--;
    return n;
}

/* One call: a jump over the rest, if it is another; then its arguments. */
static void filter_call(struct program *p, const struct rule *r, size_t n,
                        enum thread_kind kind, unsigned uses)
{
    size_t start = p->n;
    bool any = false;
    if (!filter_lists(r, n, kind, uses))
        return;
    for (size_t i = 0; i < n; i++)
        any |= filter_applies(&r[i], kind, uses) && r[i].op == ANY;
    filter_emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, r->nr);
    p->loaded = -1;
    for (size_t i = 0; i < n && !any; i++)
        if (filter_applies(&r[i], kind, uses))
            filter_test_argument(p, &r[i]);
    filter_give(p, any ? SECCOMP_RET_ALLOW : SECCOMP_RET_TRAP);
    assert(p->n - start - 1 <= UINT8_MAX); /* as far as a jump goes */
    p->at[start].jf = (uint8_t)(p->n - start - 1);
}

size_t filter_make(enum thread_kind kind, unsigned uses,
                   struct sock_filter *out)
{
    struct program p = {.at = out};
    filter_load(&p, offsetof(struct seccomp_data, arch));
    filter_emit(&p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
    filter_give(&p, SECCOMP_RET_TRAP);
    filter_load(&p, offsetof(struct seccomp_data, nr));
    filter_emit(&p, BPF_JMP | BPF_JGE | BPF_K, 0, 1, X32_BIT);
    filter_give(&p, SECCOMP_RET_TRAP);
    for (size_t r = 0, n; r < ARRAY_LEN(rules); r += n) {
        n = filter_same_call(r);
        filter_call(&p, &rules[r], n, kind, uses);
    }
    filter_give(&p, SECCOMP_RET_TRAP);
    return p.n;
}

unsigned filter_calls(enum thread_kind kind, unsigned uses)
{
    unsigned calls = 0;
    for (size_t r = 0, n; r < ARRAY_LEN(rules); r += n) {
        n = filter_same_call(r);
        calls += filter_lists(&rules[r], n, kind, uses);
    }
    return calls;
}

/* --------------------------------------------------------------- violations */

const char *filter_call_name(unsigned number)
{
    const char *p = call_names, *end = call_names + sizeof(call_names) - 1;
    while (number-- && p < end)
        p += strlen(p) + 1;
    return p < end ? p : "";
}

/* In a signal handler: no lock, no buffer, no allocation. */
static char *filter_hex(char *p, unsigned long long v)
{
    int digits = 1;
    while (digits < 16 && v >> 4 * digits)
        digits++;
    *p++ = ' ';
    *p++ = '0';
    *p++ = 'x';
    while (digits--)
        *p++ = "0123456789abcdef"[v >> 4 * digits & 15];
    return p;
}

static char *filter_describe(char *p, unsigned number, const ucontext_t *u)
{
    static const int args[] = {REG_RDI, REG_RSI, REG_RDX,
                               REG_R10, REG_R8,  REG_R9};
    p = stpcpy(p, "sandbox: thread ");
    p = stpcpy(p, thread_name());
    p = stpcpy(p, ": system call");
    p = filter_hex(p, number);
    *p++ = ' ';
    p = stpcpy(p, filter_call_name(number));
    *p++ = '(';
    for (size_t i = 0; i < ARRAY_LEN(args); i++)
        p = filter_hex(p, (unsigned long long)u->uc_mcontext.gregs[args[i]]);
    return stpcpy(p, " ) is not on its list; the VMM ends\n");
}

#define BY_FILTER 1 /* the kernel's SYS_SECCOMP, of a si_code */

static void filter_on_violation(int sig, siginfo_t *si, void *context)
{
    char text[256], *p;
    int code = 128 + sig; /* of somebody's kill(1) */
    if (si->si_code == BY_FILTER) {
        p = filter_describe(text, (unsigned)si->si_syscall, context);
        log_dying(text, (size_t)(p - text));
        code = EXIT_VIOLATION;
    }
    terminal_restore();
    /* Not _exit(): with a sanitizer it makes other calls before. */
    syscall(SYS_exit_group, code);
}

/* -------------------------------------------------------------------- begin */

void filter_confine(enum thread_kind kind)
{
    static struct fault missing;
    struct sock_filter code[FILTER_MAX];
    size_t n = filter_make(kind, threads_use(), code);
    struct sock_fprog prog = {(unsigned short)n, code};
    if (!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                 SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog) ||
        !syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
        return;
    fault_note(&missing, "sandbox: no filter of system calls here: %s",
               strerror(errno));
}

/* The lists are of what this program calls, and musl: another C library, and
 * what sanitizers bring along, calls other things. */
#ifdef __GLIBC__
#define LISTS_FIT false
#else
#define LISTS_FIT true
#endif

void filter_catch(void)
{
    struct sigaction sa = {.sa_sigaction = filter_on_violation,
                           .sa_flags = SA_SIGINFO};
    sigfillset(&sa.sa_mask);
    sigaction(SIGSYS, &sa, NULL);
}

void filter_begin(void)
{
    if (!LISTS_FIT)
        return;
    filter_catch();
    thread_confine = filter_confine;
}
