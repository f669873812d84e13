/* SPDX-License-Identifier: MIT */
/* Which of the listed system calls are made: records those of VMMs in a test,
 * and compares with the lists.
 *
 * usage: record FILE COMMAND [ARG...]   appends to FILE; COMMAND's exit status
 *        record -c FILE...              1: a call was listed and never seen
 *
 * COMMAND gets a filter by which whatever it runs asks here before each call
 * that is on some list, and is told to go on (SECCOMP_RET_USER_NOTIF): nothing
 * is lost, as it would be of SECCOMP_RET_LOG. What a thread's own filter
 * refuses never comes here, since its word is the stronger. A thread counts
 * from when it has asked for its own filter. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/thread.h"

/* One call on one list (host/syscalls.awk -v places=1). */
struct place {
    const char *at; /* file:line */
    uint16_t nr;
    uint8_t kinds;
    int arg; /* the argument that is looked at; -1: none */
    bool is; /* and must be `value` */
    uint32_t value;
    const char *name, *why; /* it is not seen in tests; NULL: it must be */
};

#include "places.h" /* places[] */

static const char *const kind_names[THREAD_KINDS] = {"loop", "pair", "vcpu",
                                                     "worker", "disk"};

struct seen {
    unsigned kind, nr;
    uint32_t value; /* of the argument that is looked at */
};
static struct seen seen[4096];
static size_t nseen;

static bool add(struct seen s)
{
    for (size_t i = 0; i < nseen; i++)
        if (seen[i].kind == s.kind && seen[i].nr == s.nr &&
            seen[i].value == s.value)
            return false;
    if (nseen == ARRAY_LEN(seen)) {
        fprintf(stderr, "record: more than %zu calls\n", nseen);
        exit(1);
    }
    seen[nseen++] = s;
    return true;
}

/* --------------------------------------------------------------- recording */

#define TIDS (1 << 22)         /* as many as there can be */
static uint8_t confined[TIDS]; /* 1 + kind */
static pid_t child;
static int listener = -1;

static uint8_t kind_of(uint32_t tid)
{
    char path[32], name[16] = "";
    snprintf(path, sizeof(path), "/proc/%u/comm", tid);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    bool got = fgets(name, sizeof(name), f);
    fclose(f);
    /* main()'s is named as the program is. */
    if (!strcmp(name, "vmm\n"))
        return 1 + THREAD_LOOP;
    for (unsigned k = 0; got && k < THREAD_KINDS; k++)
        if (!strncmp(name, kind_names[k], strlen(kind_names[k])))
            return (uint8_t)(1 + k);
    return 0;
}

static void note(const struct seccomp_notif *n)
{
    int arg = -1;
    uint8_t *kind = &confined[n->pid % TIDS];
    unsigned nr = (unsigned)n->data.nr;
    if (nr == SYS_seccomp)
        *kind = kind_of(n->pid);
    if (nr == SYS_seccomp || !*kind)
        return;
    for (size_t i = 0; i < ARRAY_LEN(places) && arg < 0; i++)
        if (places[i].nr == nr)
            arg = places[i].arg;
    struct seen s = {*kind - 1u, nr, arg < 0 ? 0 : (uint32_t)n->data.args[arg]};
    /* The number may be another thread's by now. */
    if (add(s) && kind_of(n->pid) != *kind) {
        nseen--;
        *kind = 0;
    }
}

/* Until nobody is left who has the filter. */
static void serve(void)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    for (;;) {
        struct seccomp_notif n = {0};
        if (poll(&p, 1, -1) < 0)
            continue; /* a signal, which was passed on */
        if (!(p.revents & POLLIN))
            return;
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n) < 0)
            continue; /* it has died meanwhile */
        note(&n);
        struct seccomp_notif_resp r = {
            .id = n.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
    }
}

/* A call that is on some list asks; the rest goes by. */
static struct sock_fprog program(void)
{
    static struct sock_filter code[2 * ARRAY_LEN(places) + 8];
    unsigned short n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (i && places[i].nr == places[i - 1].nr)
            continue;
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                 places[i].nr, 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
                                                 SECCOMP_RET_USER_NOTIF);
    }
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                             SYS_seccomp, 0, 1);
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    return (struct sock_fprog){n, code};
}

/* Shares memory and descriptors with us until it runs the command: this is how
 * the listener comes here. From the filter on it makes no call that is on a
 * list, or nobody would answer. */
static int run(void *command)
{
    char **argv = command;
    struct sock_fprog prog = program();
    if (geteuid())
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                            SECCOMP_FILTER_FLAG_NEW_LISTENER |
                                SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
                            &prog);
    if (listener < 0)
        _exit(126);
    execvp(argv[0], argv);
    __builtin_trap();
}

static void pass_on(int sig)
{
    kill(child, sig);
}

static int record(const char *file, char **command)
{
    static char stack[65536] __attribute__((aligned(16)));
    int status;
    child = clone(run, stack + sizeof(stack),
                  CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, command);
    if (child < 0 || listener < 0) {
        perror("record: a filter that asks");
        return 126;
    }
    struct sigaction sa = {.sa_handler = pass_on};
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    serve();
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    FILE *f = fopen(file, "ae");
    for (size_t i = 0; f && i < nseen; i++)
        fprintf(f, "%s %u %u\n", kind_names[seen[i].kind], seen[i].nr,
                seen[i].value);
    if (!f || fclose(f)) {
        perror(file);
        return 126;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* --------------------------------------------------------------- comparing */

static void take(const char *file)
{
    char name[16];
    struct seen s;
    FILE *f = fopen(file, "re");
    if (!f) {
        perror(file);
        exit(1);
    }
    while (fscanf(f, "%15s %u %u", name, &s.nr, &s.value) == 3)
        for (s.kind = 0; s.kind < THREAD_KINDS; s.kind++)
            if (!strcmp(name, kind_names[s.kind]))
                add(s);
    fclose(f);
}

static bool was_seen(const struct place *p, unsigned kind)
{
    for (size_t i = 0; i < nseen; i++)
        if (seen[i].kind == kind && seen[i].nr == p->nr &&
            (!p->is || seen[i].value == p->value))
            return true;
    return false;
}

static bool same(const struct place *a, const struct place *b, unsigned kind)
{
    return b->kinds >> kind & 1 && a->nr == b->nr && a->is == b->is &&
           a->value == b->value;
}

/* One list's call: 1 if it is missed. What stands in several places counts
 * once, and is excused by any reason that is given. */
static int compare(const struct place *p, unsigned kind, unsigned *n)
{
    const char *why = NULL;
    if (!(p->kinds >> kind & 1))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (!same(p, &places[i], kind))
            continue;
        if (&places[i] < p)
            return 0;
        why = why ? why : places[i].why;
    }
    n[0]++;
    if (was_seen(p, kind)) {
        n[1]++;
        return 0;
    }
    n[2] += why != NULL;
    if (!why)
        printf("%s: %s: %s is listed, and in no test made: take it away, or "
               "say why after a comma\n",
               p->at, kind_names[kind], p->name);
    return !why;
}

int main(int argc, char **argv)
{
    int missed = 0;
    if (argc < 3) {
        fprintf(stderr, "usage: record FILE COMMAND...\n"
                        "       record -c FILE...\n");
        return 2;
    }
    if (strcmp(argv[1], "-c") != 0)
        return record(argv[1], argv + 2);
    for (int i = 2; i < argc; i++)
        take(argv[i]);
    for (unsigned kind = 0; kind < THREAD_KINDS; kind++) {
        unsigned n[3] = {0};
        for (size_t i = 0; i < ARRAY_LEN(places); i++)
            missed += compare(&places[i], kind, n);
        printf("%s: %u calls listed, %u seen, %u not for a reason\n",
               kind_names[kind], n[0], n[1], n[2]);
    }
    return missed > 0;
}
