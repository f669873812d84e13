/* SPDX-License-Identifier: MIT */
/* A machine goes on from where it was saved: -restore.
 *
 * The state file may be anybody's. It says what the guest and its devices are
 * in the middle of, no more: no file and no interface is named in it that would
 * be opened, all of that is on the command line. It is read once, and is then
 * looked at as a whole; what its parts hold is checked by whom they are for.
 *
 * Memory is a file's, or another process makes it, page by page
 * (machine/kvm/uffd.c). Once that has closed its connection and ended, whoever
 * waits for a page waits for ever, and that may be the main loop: so it is a
 * signal that says so, which some thread can always take. One that has only
 * closed its connection serves on. */
#include "control/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/parts.h"
#include "base/thread.h"
#include "control/replace.h"
#include "host/addr.h"
#include "host/terminal.h"

#define STATE_MAX (64u << 20)
#ifndef SO_PEERPIDFD /* Linux 6.5 */
#define SO_PEERPIDFD 77
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

static struct {
    struct opts o, others; /* its own keys; what is replaced */
    const char *state, *mem, *uffd;
    uint8_t paused, clock;
    struct saved saved;
    int fd;           /* of mem */
    int peer, server; /* of uffd: the socket, the process; or -1 */
} told = {.fd = -1, .peer = -1, .server = -1};

enum { FROM_SAVED, FROM_REALTIME };
static const char *const clocks[] = {"saved", "realtime", NULL};

static const struct field restore_fields[] = {
    FIELD(TEXT, "state", __typeof__(told), state, .arg = "FILE",
          .help = "of a snapshot: all but its memory"),
    FIELD(TEXT, "mem", __typeof__(told), mem, .arg = "FILE",
          .help = "its memory; it must not change while the machine runs"),
    FIELD(TEXT, "uffd", __typeof__(told), uffd, .arg = "SOCKET",
          .help = "instead of mem=: of a process that serves page faults as "
                  "one of Firecracker's"),
    FIELD(FLAG, "paused", __typeof__(told), paused,
          .help = "until vmm ctl SOCKET resume"),
    FIELD(WORD, "clock", __typeof__(told), clock, .words = clocks,
          .help = "kvmclock goes on from where it was, or is set forward by "
                  "the time since"),
    {.name = ""},
};

/* Those of what is replaced have names that no table can have. */
static int restore_sort_out(void)
{
    struct opts own;
    int err = 0;
    opts_init(&own, told.o.what);
    opts_init(&told.others, told.o.what);
    for (int i = 0; i < told.o.n && !err; i++) {
        const char *key = told.o.kv[i].key;
        err = opts_add(replace_is(key) ? &told.others : &own, key,
                       told.o.kv[i].val);
    }
    opts_free(&told.o);
    told.o = own;
    for (int i = 0; i < told.others.n && !err; i++)
        err = replace_take(told.others.kv[i].key, told.others.kv[i].val);
    return err;
}

int restore_option(const char *arg)
{
    if (word_among(arg, "help ?")) {
        fields_help(restore_fields);
        puts(REPLACE_HELP);
        return 1;
    }
    if (told.state)
        return fail(-EINVAL, "-restore: there is one machine");
    int err = opts_parse(&told.o, "-restore", arg, "state");
    if (!err)
        err = restore_sort_out();
    if (!err)
        err = fields_read(restore_fields, &told, &told.o);
    if (!err && (!told.state || !told.mem == !told.uffd))
        err = fail(-EINVAL,
                   "-restore: write STATE,mem=FILE or STATE,uffd=SOCKET");
    return err;
}

/* ----------------------------------------------------------------- reading */

static int restore_open(const char *path, struct stat *st)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    st->st_size = 0;
    if (fd < 0)
        return fail(-errno, "%s: %s", path, strerror(errno));
    if (fstat(fd, st) || !S_ISREG(st->st_mode)) {
        close(fd);
        return fail(-EINVAL, "%s: is no file", path);
    }
    return fd;
}

int restore_read(int fd, const char *name, struct saved *s)
{
    struct stat st;
    if (fstat(fd, &st) || st.st_size > STATE_MAX)
        return fail(-EINVAL, "%s: is no state of a machine", name);
    size_t len = (size_t)st.st_size;
    uint8_t *p = malloc(len + 1);
    int err = p && pread(fd, p, len, 0) == (ssize_t)len
                  ? parts_check(name, p, len)
                  : fail(-EIO, "%s: cannot be read", name);
    if (err) {
        free(p);
        return err;
    }
    free(s->p);
    s->p = p;
    s->len = len;
    return saved_open(s, name);
}

static int restore_load(const char *path, struct saved *s)
{
    struct stat st;
    int fd = restore_open(path, &st);
    if (fd < 0)
        return fd;
    int err = restore_read(fd, path, s);
    close(fd);
    return err;
}

void restore_into(struct config *c, struct saved *s)
{
    c->stopped = false; /* not before it is loaded */
    c->vm.saved = s;
    c->vm.ram = s->ram;
    c->vm.cpus = s->cpus;
    c->vm.threads = s->threads;
    c->vm.package = s->package;
    /* What it was booted from is not here: it cannot be booted again. */
    bool boots = c->boot.kernel || c->boot.bios || c->boot.order;
    c->vm.no_reboot |= !s->guest && !boots;
}

int restore_from(const char *state, const char *mem, const char *uffd,
                 bool paused, bool realtime)
{
    restore_end(); /* another's, that failed */
    told.state = state;
    told.mem = mem;
    told.uffd = uffd;
    told.paused = paused;
    told.clock = realtime ? FROM_REALTIME : FROM_SAVED;
    return restore_load(state, &told.saved);
}

bool restore_part(const char *name, struct part *part)
{
    return parts_find(told.saved.p, told.saved.len, name, part);
}

/* Guest memory is lost: `who` is at fault, and `how`. In a signal handler: no
 * lock, no allocation. */
static void restore_die(const char *who, const char *name, const char *how)
{
    char text[4400], *p = text;
    p = stpcpy(p, "guest memory: ");
    p = stpcpy(p, who);
    p = stpncpy(p, name, 4095);
    p = stpcpy(p, how);
    p = stpcpy(p, "; the VMM ends\n");
    log_dying(text, (size_t)(p - text));
    terminal_restore();
    syscall(SYS_exit_group, STOP_FAULT);
}

/* Of pages that the file has no more, or that cannot be read. */
static void restore_on_bus(int sig)
{
    (void)sig;
    restore_die("", told.mem, " was cut short, or cannot be read");
}

/* What is said of memory and CPUs need not be, and is right. */
static int restore_compare(const struct config *c, const struct saved *s)
{
    if (c->ram_said && c->vm.ram != s->ram)
        return fail(-EINVAL, "-m: the saved machine has %lluM; leave -m away",
                    (unsigned long long)s->ram >> 20);
    if (c->cpus_said && c->vm.cpus != s->cpus)
        return fail(-EINVAL, "-smp: the saved machine has %u; leave -smp away",
                    s->cpus);
    return 0;
}

/* ------------------------------------------------------------------ memory */

static int restore_check_mem(struct config *c)
{
    struct sigaction sa = {.sa_handler = restore_on_bus};
    const struct saved *s = &told.saved;
    struct stat st;
    told.fd = restore_open(told.mem, &st);
    if (told.fd < 0)
        return told.fd;
    if ((uint64_t)st.st_size != s->ram)
        return fail(-EINVAL, "%s: has %llu bytes, the saved machine %llu",
                    told.mem, (unsigned long long)st.st_size,
                    (unsigned long long)s->ram);
    sigfillset(&sa.sa_mask);
    sigaction(SIGBUS, &sa, NULL);
    c->vm.memory.image = told.mem;
    c->vm.memory.fd = told.fd;
    return 0;
}

/* Who serves it knows this process by its number, so it is not called before
 * that is the last one (restore_dial). */
static int restore_check_uffd(struct config *c)
{
    struct addr a;
    struct stat st;
    int err = addr_unix("-restore: uffd", told.uffd, false, &a);
    if (err)
        return err;
    if (stat(told.uffd, &st))
        return fail(-errno, "-restore: uffd=%s: %s", told.uffd,
                    strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return fail(-EINVAL, "-restore: uffd=%s: is no socket", told.uffd);
    c->vm.memory.server = told.uffd;
    return 0;
}

int restore_check_memory(const struct config *c)
{
    const struct ram_config *m = &c->vm.memory;
    if (!m->server || (!m->path && !m->page && !m->shared && !c->vm.shared_ram))
        return 0;
    return fail(-EINVAL,
                "-restore: uffd=%s: memory must be this process's "
                "own: without -mem-path, huge pages, share=on and "
                "vhost-user",
                m->server);
}

/* In a signal handler: no lock, no allocation. Of a process that ends, the
 * connection is closed first.
 *
 * syscalls worker if restored: poll, of a server that ends just now */
static void restore_on_lost(int sig)
{
    struct pollfd peer = {.fd = told.peer, .events = POLLRDHUP};
    struct pollfd end = {.fd = told.server, .events = POLLIN};
    int err = errno;
    (void)sig;
    if (poll(&peer, 1, 0) != 1 || poll(&end, 1, 1000) != 1) {
        errno = err;
        return;
    }
    restore_die("the process that serves ", told.uffd, " has ended");
}

/* The process at the other end, or -1: it is not known. */
static int restore_server(int peer)
{
    struct ucred who;
    socklen_t len = sizeof(int);
    int fd = -1;
    if (!getsockopt(peer, SOL_SOCKET, SO_PEERPIDFD, &fd, &len))
        return fd;
    len = sizeof(who);
    if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &len) || who.pid <= 0)
        return -1;
    return (int)syscall(SYS_pidfd_open, who.pid, 0);
}

int restore_dial(struct config *c)
{
    struct sigaction sa = {.sa_handler = restore_on_lost,
                           .sa_flags = SA_RESTART};
    struct addr a;
    if (!told.uffd)
        return 0;
    int err = addr_unix("-restore: uffd", told.uffd, false, &a);
    int fd = err ? err : addr_dial(&a);
    if (fd < 0)
        return fail(fd, "-restore: uffd=%s: %s", told.uffd, strerror(-fd));
    c->vm.memory.peer = told.peer = fd;
    told.server = restore_server(fd);
    if (told.server < 0)
        return 0;
    sigfillset(&sa.sa_mask);
    sigaction(LOST_SIGNAL, &sa, NULL);
    if (fcntl(fd, F_SETOWN, getpid()) < 0 ||
        fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) < 0)
        return fail(-errno, "-restore: uffd=%s: %s", told.uffd,
                    strerror(errno));
    restore_on_lost(LOST_SIGNAL); /* it may have been quicker */
    return 0;
}

int restore_check(struct config *c)
{
    struct saved *s = &told.saved;
    if (!told.state)
        return 0;
    int err = s->p ? 0 : restore_load(told.state, s);
    if (!err)
        err = restore_compare(c, s);
    if (!err)
        err = told.mem ? restore_check_mem(c) : restore_check_uffd(c);
    if (err)
        return err;
    s->paused = told.paused || c->stopped;
    s->realtime = told.clock == FROM_REALTIME;
    restore_into(c, s);
    return 0;
}

int restore_memory(void)
{
    return told.fd;
}

static void restore_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void restore_end(void)
{
    restore_close(&told.fd);
    restore_close(&told.peer);
    restore_close(&told.server);
    free(told.saved.p);
    told.saved.p = NULL;
    told.state = NULL;
    opts_free(&told.o);
    opts_free(&told.others);
}

/* -------------------------------------------------------------- describing */

int restore_look(const char *path)
{
    struct saved s = {0};
    int err = restore_load(path, &s);
    free(s.p);
    return err;
}

int restore_describe(const char *arg)
{
    struct saved s = {0};
    struct part part;
    int err = restore_load(arg, &s);
    if (!err) {
        printf("format %d\nram %llu\ncpus %u\nguest %s\n", PARTS_VERSION,
               (unsigned long long)s.ram, s.cpus,
               s.guest ? "built in" : "another");
        for (size_t at = 0; parts_next(s.p, s.len, &at, &part);)
            printf("part %s %u\n", part.name, part.len);
    }
    free(s.p);
    return err ? -EINVAL : 1;
}
