/* SPDX-License-Identifier: MIT */
/* Threads: of which kind each is, made in one place. */
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"

#define SMALL_STACK_BYTES (64 * 1024) /* of a vCPU, of a disk */

/* What the C library calls by itself: locks; the heap; the end of a thread, and
 * of a process; after a signal; what the kernel starts again after SIGSTOP; the
 * clock, where the host's cannot be read without a call.
 *
 * syscalls all: futex */
/* syscalls loop vcpu worker: exit_group */
/* syscalls pair disk: exit_group, a violation ends the process on its thread */
/* syscalls vcpu: rt_sigreturn */
/* syscalls loop pair worker disk: rt_sigreturn, a fault's signal does not end
 * process 1 of a namespace until it is met again */
/* syscalls all: restart_syscall, the kernel makes it where SIGSTOP came into a
 * poll or a futex */
/* syscalls all: clock_gettime, of hosts whose clock takes a call */
/* syscalls pair vcpu worker disk: rt_sigprocmask exit */
/* syscalls loop worker: mmap(!PROT_EXEC) */
/* syscalls loop: munmap madvise(MADV_FREE) */
/* syscalls worker: munmap madvise(MADV_FREE), as its heap happens to shrink */
/* syscalls loop worker: brk mprotect(!PROT_EXEC) mremap, as the heap happens to
 * grow */

void (*thread_confine)(enum thread_kind kind);
static _Thread_local const struct thread *self; /* NULL: main()'s */
static pid_t pid;
static bool held;
static const char *machine_name; /* NULL: none */
static struct thread *waiting, **last = &waiting;

void threads_name(const char *machine)
{
    machine_name = machine;
}

static void thread_set_name(const struct thread *t)
{
    char name[sizeof(t->name) + 1] = "";
    size_t own = strlen(t->name);
    if (machine_name && own < sizeof(t->name) - 2) {
        strncat(name, machine_name, sizeof(t->name) - 2 - own);
        strcat(name, "/");
    }
    strcat(name, t->name);
    prctl(PR_SET_NAME, name);
}

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    self = t;
    thread_set_name(t);
    atomic_store(&t->tid, (pid_t)syscall(SYS_gettid));
    if (thread_confine)
        thread_confine(t->kind);
    t->run(t->arg);
    return NULL;
}

/* A fault's signal that is blocked ends the process without a word, and with
 * the terminal as it is. */
static void thread_own_signals(enum thread_kind kind, sigset_t *set)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE,
                                 SIGABRT, SIGSYS, SIGTRAP};
    sigfillset(set);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        sigdelset(set, faults[i]);
    if (kind == THREAD_VCPU)
        sigdelset(set, WAKE_SIGNAL);
    if (kind == THREAD_WORKER)
        sigdelset(set, LOST_SIGNAL);
}

static int thread_create(struct thread *t)
{
    sigset_t own, old;
    pthread_attr_t attr;
    pid = getpid();
    pthread_attr_init(&attr);
    if (t->kind == THREAD_VCPU || t->kind == THREAD_DISK)
        pthread_attr_setstacksize(&attr, SMALL_STACK_BYTES);
    thread_own_signals(t->kind, &own);
    pthread_sigmask(SIG_SETMASK, &own, &old);
    int err = pthread_create(&t->id, &attr, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    t->runs = !err;
    return err ? fail(-err, "thread %s: %s", t->name, strerror(err)) : 0;
}

int thread_start(struct thread *t)
{
    if (!held)
        return thread_create(t);
    t->next = NULL;
    *last = t;
    last = &t->next;
    return 0;
}

static void thread_forget(const struct thread *t)
{
    struct thread **p = &waiting;
    while (*p && *p != t)
        p = &(*p)->next;
    if (!*p)
        return;
    *p = t->next;
    if (last == &t->next)
        last = p;
}

void thread_join(struct thread *t)
{
    thread_forget(t);
    if (t->runs)
        pthread_join(t->id, NULL);
    t->runs = false;
}

/* By tgkill, which a filter can bind to this process; what the C library's
 * pthread_kill and raise call, tkill, it cannot.
 *
 * syscalls loop: tgkill(SELF) */
void thread_wake(struct thread *t)
{
    pid_t tid = atomic_load(&t->tid);
    if (tid)
        syscall(SYS_tgkill, pid, tid, WAKE_SIGNAL);
}

/* syscalls loop: tgkill(SELF) */
/* syscalls pair vcpu worker disk: tgkill(SELF), a fault of ours on such a
 * thread */
void thread_raise(int sig)
{
    pid_t own = pid ? pid : getpid();
    syscall(SYS_tgkill, own, self ? atomic_load(&self->tid) : own, sig);
}

/* A bug of ours: named as all else is, and by the signal that abort() would
 * raise in a way that no list has. (Another C library's is left alone.) */
#ifndef __GLIBC__
_Noreturn void __assert_fail(const char *what, const char *file, int line,
                             const char *function)
{
    log_line("%s:%d: %s: %s does not hold: a fault of this VMM; report it",
             file, line, function, what);
    thread_raise(SIGABRT);
    __builtin_trap();
}
#endif

const char *thread_name(void)
{
    return self ? self->name : "loop";
}

void threads_hold(void)
{
    held = true;
}

int threads_begin(void)
{
    int err = 0;
    sigset_t lost;
    held = false;
    while (waiting && !err) {
        err = thread_create(waiting);
        waiting = waiting->next;
    }
    waiting = NULL;
    last = &waiting;
    sigemptyset(&lost);
    sigaddset(&lost, LOST_SIGNAL);
    pthread_sigmask(SIG_BLOCK, &lost, NULL);
    if (!err && thread_confine)
        thread_confine(THREAD_LOOP);
    return err;
}
