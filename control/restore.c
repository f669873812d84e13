/* SPDX-License-Identifier: MIT */
/* A machine goes on from where it was saved: -restore.
 *
 * The state file may be anybody's. It says what the guest and its devices are
 * in the middle of, no more: no file and no interface is named in it that would
 * be opened, all of that is on the command line. It is read once, and is then
 * looked at as a whole; what its parts hold is checked by whom they are for. */
#include "control/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/parts.h"
#include "control/replace.h"
#include "host/terminal.h"

#define STATE_MAX (64u << 20)

static struct {
    struct opts o, others; /* its own keys; what is replaced */
    const char *state, *mem;
    uint8_t paused;
    struct saved saved;
    int fd;
} told = {.fd = -1};

static const struct field restore_fields[] = {
    FIELD(TEXT, "state", __typeof__(told), state, .arg = "FILE",
          .help = "of a snapshot: all but its memory"),
    FIELD(TEXT, "mem", __typeof__(told), mem, .arg = "FILE",
          .help = "its memory; it must not change while the machine runs"),
    FIELD(FLAG, "paused", __typeof__(told), paused,
          .help = "until vmm ctl SOCKET resume"),
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
    if (!err && (!told.state || !told.mem))
        err = fail(-EINVAL, "-restore: write STATE,mem=FILE");
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

static int restore_read(const char *path, uint8_t **out, size_t *len)
{
    struct stat st;
    int fd = restore_open(path, &st);
    if (fd < 0)
        return fd;
    int err = st.st_size > STATE_MAX
                  ? fail(-EINVAL, "%s: is no state of a machine", path)
                  : 0;
    uint8_t *p = err ? NULL : malloc((size_t)st.st_size + 1);
    ssize_t n = p ? read(fd, p, (size_t)st.st_size) : -1;
    if (!err && n != st.st_size)
        err = fail(-EIO, "%s: cannot be read", path);
    close(fd);
    if (!err)
        err = parts_check(path, p, (size_t)n);
    if (err) {
        free(p);
        return err;
    }
    *out = p;
    *len = (size_t)n;
    return 0;
}

static int restore_load(const char *path, struct saved *s)
{
    uint8_t *p = NULL;
    int err = restore_read(path, &p, &s->len);
    s->p = p;
    return err ? err : saved_open(s, path);
}

/* Of pages that the file has no more, or that cannot be read. In a signal
 * handler: no lock, no allocation. */
static void restore_on_bus(int sig)
{
    char text[4200], *p = text;
    (void)sig;
    p = stpcpy(p, "guest memory: ");
    p = stpncpy(p, told.mem, 4095);
    p = stpcpy(p, " was cut short, or cannot be read; the VMM ends\n");
    log_dying(text, (size_t)(p - text));
    terminal_restore();
    syscall(SYS_exit_group, STOP_FAULT);
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

int restore_check(struct config *c)
{
    struct sigaction sa = {.sa_handler = restore_on_bus};
    struct stat st;
    struct saved *s = &told.saved;
    if (!told.state)
        return 0;
    int err = restore_load(told.state, s);
    if (!err)
        err = restore_compare(c, s);
    if (err)
        return err;
    told.fd = restore_open(told.mem, &st);
    if (told.fd < 0)
        return told.fd;
    if ((uint64_t)st.st_size != s->ram)
        return fail(-EINVAL, "%s: has %llu bytes, the saved machine %llu",
                    told.mem, (unsigned long long)st.st_size,
                    (unsigned long long)s->ram);
    sigfillset(&sa.sa_mask);
    sigaction(SIGBUS, &sa, NULL);
    s->paused = told.paused;
    c->vm.saved = s;
    c->vm.ram = s->ram;
    c->vm.cpus = s->cpus;
    c->vm.threads = s->threads;
    c->vm.package = s->package;
    c->vm.memory.image = told.mem;
    c->vm.memory.fd = told.fd;
    /* What it was booted from is not here: it cannot be booted again. */
    bool boots = c->boot.kernel || c->boot.bios || c->boot.order;
    c->vm.no_reboot |= !s->guest && !boots;
    return 0;
}

int restore_memory(void)
{
    return told.fd;
}

void restore_end(void)
{
    if (told.fd >= 0)
        close(told.fd);
    told.fd = -1;
    free(told.saved.p);
    told.saved.p = NULL;
    opts_free(&told.o);
    opts_free(&told.others);
}

/* -------------------------------------------------------------- describing */

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
