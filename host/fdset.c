/* SPDX-License-Identifier: MIT */
/* Sets of descriptors, by which a file is named that somebody else has opened.
 */
#include "host/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/field.h"
#include "base/handed.h"
#include "base/log.h"

#define PREFIX "/dev/fdset/"

static struct member {
    bool there;
    uint32_t told; /* fd= of the option, whose place it keeps; 0: QMP's */
    uint32_t set;
    int fd;
    char *opaque; /* or NULL */
} members[FDSET_FDS];

/* ------------------------------------------------------------- what is there
 */

/* A number that no set has. */
static uint32_t fdset_unused(void)
{
    uint32_t set = 0;
    for (size_t i = 0; i < FDSET_FDS; i++)
        if (members[i].there && members[i].set == set) {
            set++;
            i = (size_t)-1;
        }
    return set;
}

static int fdset_add_told(uint32_t *set, int fd, const char *opaque,
                          uint32_t told)
{
    struct member *m = members;
    while (m < members + FDSET_FDS && (m->there || m->told))
        m++;
    if (m == members + FDSET_FDS)
        return fail(-ENFILE, "add-fd: at most %d descriptors", FDSET_FDS);
    char *copy = opaque ? strdup(opaque) : NULL;
    if (opaque && !copy)
        return fail(-ENOMEM, "add-fd: out of memory");
    if (*set == FDSET_NEW)
        *set = fdset_unused();
    *m = (struct member){
        .there = true, .told = told, .set = *set, .fd = fd, .opaque = copy};
    return 0;
}

int fdset_add(uint32_t *set, int fd, const char *opaque)
{
    return fdset_add_told(set, fd, opaque, 0);
}

/* syscalls loop if control: close */
static void fdset_drop(struct member *m)
{
    close(m->fd);
    free(m->opaque);
    *m = (struct member){.told = m->told, .fd = -1};
}

int fdset_remove(uint32_t set, uint32_t fd)
{
    bool any = false;
    for (struct member *m = members; m < members + FDSET_FDS; m++) {
        if (!m->there || m->set != set ||
            (fd != FDSET_ALL && (uint32_t)m->fd != fd))
            continue;
        fdset_drop(m);
        any = true;
    }
    if (any)
        return 0;
    return fd == FDSET_ALL
               ? fail(-ENOENT, "remove-fd: there is no set %u", set)
               : fail(-ENOENT, "remove-fd: set %u has no descriptor %u", set,
                      fd);
}

void fdset_free(void)
{
    for (struct member *m = members; m < members + FDSET_FDS; m++)
        if (m->there)
            fdset_drop(m);
    memset(members, 0, sizeof(members));
}

/* --------------------------------------------------------- another process */

void fdset_keep(void)
{
    for (const struct member *m = members; m < members + FDSET_FDS; m++)
        if (m->told)
            handed_keep(&m->fd, "fdset:%u", m->told);
}

/* The option's go before, as other options speak of them. */
void fdset_leave(struct parts *out)
{
    for (const struct member *m = members; m < members + FDSET_FDS; m++) {
        struct text t = {0};
        if (!m->there || m->told)
            continue;
        text_add(&t, &m->set, sizeof(m->set));
        if (m->opaque)
            text_add(&t, m->opaque, strlen(m->opaque) + 1);
        handed_part(out, FDSET_PART, m->fd, t.p, t.n);
        out->lost |= t.cut;
        text_free(&t);
    }
}

void fdset_arrive(const struct part *part)
{
    const uint8_t *p;
    uint32_t set;
    size_t n;
    int fd = handed_part_take(part, sizeof(set), &p, &n);
    if (fd < 0)
        return;
    memcpy(&set, p, sizeof(set));
    const char *opaque = n > sizeof(set) ? (const char *)p + sizeof(set) : NULL;
    if ((opaque && p[n - 1]) || fdset_add(&set, fd, opaque))
        close(fd);
}

static void fdset_put_members(struct text *out, uint32_t set)
{
    bool first = true;
    for (const struct member *m = members; m < members + FDSET_FDS; m++) {
        if (!m->there || m->set != set)
            continue;
        text_put(out, "%s{\"fd\": %d", first ? "" : ", ", m->fd);
        if (m->opaque) {
            text_put(out, ", \"opaque\": ");
            text_quote(out, m->opaque);
        }
        text_put(out, "}");
        first = false;
    }
}

void fdset_put(struct text *out)
{
    bool first = true;
    text_put(out, "[");
    for (const struct member *m = members; m < members + FDSET_FDS; m++) {
        const struct member *before = members;
        while (before < m && (!before->there || before->set != m->set))
            before++;
        if (!m->there || before < m)
            continue;
        text_put(out, "%s{\"fdset-id\": %u, \"fds\": [", first ? "" : ", ",
                 m->set);
        fdset_put_members(out, m->set);
        text_put(out, "]}");
        first = false;
    }
    text_put(out, "]");
}

/* ------------------------------------------------------------------- option */

struct fdset_told {
    const char *opaque;
    uint32_t set, fd;
};
static const struct field fdset_fields[] = {
    FIELD(NUMBER, "fd", struct fdset_told, fd, .max = INT32_MAX,
          .def = UINT32_MAX, .help = "its number"),
    FIELD(NUMBER, "set", struct fdset_told, set, .max = INT32_MAX,
          .def = UINT32_MAX, .help = "N of /dev/fdset/N"),
    FIELD(TEXT, "opaque", struct fdset_told, opaque, .arg = "TEXT",
          .help = "for who asks by query-fdsets"),
    {.name = ""},
};

static int fdset_take(const struct fdset_told *t)
{
    uint32_t set = t->set;
    int fd = (int)t->fd;
    if (t->set == UINT32_MAX || t->fd == UINT32_MAX)
        return fail(-EINVAL, "-add-fd: set= and fd= are needed");
    if (handed_waits() && (fd = handed_take("fdset:%u", t->fd)) < 0)
        return 0; /* it was removed there */
    if (t->fd <= STDERR_FILENO || fcntl(fd, F_GETFD) < 0)
        return fail(-EINVAL,
                    "-add-fd: fd=%u: must be open, and no one of 0 "
                    "to 2",
                    t->fd);
    for (const struct member *m = members; m < members + FDSET_FDS; m++)
        if (m->told == t->fd)
            return fail(-EINVAL, "-add-fd: fd=%u: is in set %u already", t->fd,
                        m->set);
    fd_take(fd);
    return fdset_add_told(&set, fd, t->opaque, t->fd);
}

int fdset_option(const char *arg)
{
    struct fdset_told told;
    struct opts o;
    if (word_among(arg, "help ?")) {
        fields_help(fdset_fields);
        return 1;
    }
    int err = opts_parse(&o, "-add-fd", arg, NULL);
    if (!err)
        err = fields_read(fdset_fields, &told, &o);
    if (!err)
        err = fdset_take(&told);
    opts_free(&o);
    return err;
}

/* --------------------------------------------------------------- who opens it
 */

bool fdset_names(const char *path)
{
    return !strncmp(path, PREFIX, sizeof(PREFIX) - 1);
}

/* Can it be used for what `mode` (O_ACCMODE) wants? One that can be both read
 * and written, too. */
static bool fdset_suits(const struct member *m, int mode)
{
    int is = fcntl(m->fd, F_GETFL);
    is = is < 0 ? -1 : is & O_ACCMODE;
    return is == mode || is == O_RDWR;
}

/* NULL: there is none, and errno says why. */
static const struct member *fdset_find(const char *path, int mode)
{
    uint64_t set;
    const char *p = path + sizeof(PREFIX) - 1;
    errno = ENOENT;
    if (!scan_number(&p, INT32_MAX, &set) || *p)
        return NULL;
    for (const struct member *m = members; m < members + FDSET_FDS; m++) {
        if (!m->there || m->set != set)
            continue;
        if (mode < 0 || fdset_suits(m, mode))
            return m;
        errno = EACCES;
    }
    return NULL;
}

/* syscalls loop if disk: fcntl(F_GETFL|F_DUPFD_CLOEXEC|F_SETFD) */
int fdset_open(const char *path, int flags)
{
    if (!fdset_names(path))
        return open(path, flags, 0666);
    const struct member *m = fdset_find(path, flags & O_ACCMODE);
    return m ? fcntl(m->fd, F_DUPFD_CLOEXEC, 3) : -1;
}

int fdset_stat(const char *path, struct stat *st)
{
    if (!fdset_names(path))
        return stat(path, st);
    const struct member *m = fdset_find(path, -1);
    return m ? fstat(m->fd, st) : -1;
}
