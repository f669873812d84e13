/* SPDX-License-Identifier: MIT */
/* What one VMM hands to the next one that goes on with its guest. */
#include "base/handed.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_MAX_LEN 159

static struct handed {
    char name[NAME_MAX_LEN + 1];
    const int *fd;          /* where it is, or */
    const unsigned *number; /* of one that is no descriptor */
    int came;               /* the descriptor, -1: taken, or is a number */
    unsigned value;
    struct handed *next;
} * kept, *got;
static bool wanted, waits;
/* Those of the state: as it is saved, and as they came (-1: taken). */
static struct {
    int *fd;
    unsigned n;
    bool lost;
} late;

static void handed_name(char name[NAME_MAX_LEN + 1], const char *fmt,
                        va_list ap)
{
    vsnprintf(name, NAME_MAX_LEN + 1, fmt, ap);
    for (char *p = name; *p; p++)
        if (*p == '\n' || *p == '=')
            *p = '_';
}

static struct handed *handed_find(struct handed *h, const char *name)
{
    while (h && strcmp(h->name, name) != 0)
        h = h->next;
    return h;
}

static struct handed *handed_add(struct handed **list, const char *name)
{
    struct handed *h = calloc(1, sizeof(*h));
    while (*list)
        list = &(*list)->next;
    *list = h;
    if (h)
        snprintf(h->name, sizeof(h->name), "%s", name);
    return h;
}

/* --------------------------------------------------------------- who has it
 */

void handed_want(void)
{
    wanted = true;
}

static struct handed *handed_keep_name(const char *fmt, va_list ap)
{
    char name[NAME_MAX_LEN + 1];
    handed_name(name, fmt, ap);
    struct handed *h = wanted ? handed_find(kept, name) : NULL;
    return h || !wanted ? h : handed_add(&kept, name);
}

void handed_keep(const int *fd, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct handed *h = handed_keep_name(fmt, ap);
    va_end(ap);
    if (h)
        h->fd = fd;
}

void handed_keep_number(const unsigned *n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct handed *h = handed_keep_name(fmt, ap);
    va_end(ap);
    if (h)
        h->number = n;
}

int handed_list(char text[HANDED_TEXT], int fd[HANDED_MAX])
{
    size_t n = 0;
    int nfd = 0;
    text[0] = '\0';
    for (const struct handed *h = kept; h; h = h->next) {
        if (h->fd && *h->fd < 0)
            continue;
        if (h->fd && nfd == HANDED_MAX)
            return -ENOSPC;
        if (h->fd)
            fd[nfd++] = *h->fd;
        int more = h->fd ? snprintf(text + n, HANDED_TEXT - n, "%s\n", h->name)
                         : snprintf(text + n, HANDED_TEXT - n, "%s=%u\n",
                                    h->name, *h->number);
        n += (size_t)more;
        if (n >= HANDED_TEXT)
            return -ENOSPC;
    }
    return nfd;
}

void handed_late_begin(void)
{
    free(late.fd);
    memset(&late, 0, sizeof(late));
}

unsigned handed_late(int fd)
{
    int *more = realloc(late.fd, (late.n + 1) * sizeof(*more));
    late.lost |= !more || fd < 0;
    if (!more)
        return late.n;
    late.fd = more;
    late.fd[late.n] = fd;
    return late.n++;
}

int handed_late_list(unsigned at, const int **fd)
{
    unsigned n = late.n > at ? late.n - at : 0;
    *fd = n ? late.fd + at : NULL;
    return late.lost ? -ENOMEM : (int)(n < HANDED_MAX ? n : HANDED_MAX);
}

void handed_part(struct parts *out, const char *name, int fd, const void *p,
                 size_t n)
{
    uint32_t i = handed_late(fd);
    uint8_t *all = malloc(sizeof(i) + n);
    if (all) {
        memcpy(all, &i, sizeof(i));
        memcpy(all + sizeof(i), p, n);
        parts_put(out, name, all, sizeof(i) + n);
    }
    out->lost |= !all;
    free(all);
}

/* ------------------------------------------------------------ who takes over
 */

/* *fd: those that no line has named, until `end`. */
static bool handed_line(const char *line, size_t n, const int **fd,
                        const int *end)
{
    char name[NAME_MAX_LEN + 1];
    const char *is = memchr(line, '=', n);
    size_t len = is ? (size_t)(is - line) : n;
    if (!len || len >= sizeof(name) || (!is && *fd == end))
        return false;
    memcpy(name, line, len);
    name[len] = '\0';
    struct handed *h = handed_find(got, name) ? NULL : handed_add(&got, name);
    if (!h)
        return false;
    h->came = is ? -1 : *(*fd)++;
    h->value = is ? (unsigned)strtoul(is + 1, NULL, 10) : 0;
    return true;
}

bool handed_come(const char *text, const int *fd, int n)
{
    const int *end = fd + n;
    bool good = true;
    waits = true;
    for (const char *p = text; good && *p;) {
        size_t len = strcspn(p, "\n");
        good = p[len] && handed_line(p, len, &fd, end);
        p += len + 1;
    }
    return good && fd == end;
}

static struct handed *handed_got(const char *fmt, va_list ap)
{
    char name[NAME_MAX_LEN + 1];
    handed_name(name, fmt, ap);
    return handed_find(got, name);
}

int handed_take(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct handed *h = handed_got(fmt, ap);
    va_end(ap);
    if (!h || h->came < 0)
        return -ENOENT;
    int fd = h->came;
    h->came = -1;
    return fd;
}

bool handed_has(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const struct handed *h = handed_got(fmt, ap);
    va_end(ap);
    return h != NULL;
}

unsigned handed_number(unsigned otherwise, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const struct handed *h = handed_got(fmt, ap);
    va_end(ap);
    return h ? h->value : otherwise;
}

int handed_late_take(unsigned i)
{
    int fd = i < late.n ? late.fd[i] : -1;
    if (fd < 0)
        return -ENOENT;
    late.fd[i] = -1;
    return fd;
}

int handed_part_take(const struct part *part, size_t least, const uint8_t **p,
                     size_t *n)
{
    uint32_t i;
    if (part->len < sizeof(i) + least)
        return -EINVAL;
    memcpy(&i, part->p, sizeof(i));
    *p = part->p + sizeof(i);
    *n = part->len - sizeof(i);
    int fd = handed_late_take(i);
    return fd < 0 ? -EINVAL : fd;
}

const char *handed_left(void)
{
    const struct handed *h = got;
    while (h && h->came < 0)
        h = h->next;
    return h ? h->name : NULL;
}

bool handed_waits(void)
{
    return waits;
}

void handed_mine(void)
{
    waits = false;
    for (unsigned i = 0; i < late.n; i++)
        if (late.fd[i] >= 0)
            close(late.fd[i]);
    handed_late_begin();
}

static void handed_free(struct handed **list)
{
    while (*list) {
        struct handed *h = *list;
        *list = h->next;
        if (list == &got && h->came >= 0)
            close(h->came);
        free(h);
    }
}

void handed_end(void)
{
    handed_free(&kept);
    handed_free(&got);
    wanted = waits = false;
}
