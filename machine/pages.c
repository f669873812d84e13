/* SPDX-License-Identifier: MIT */
/* Guest memory into a file.
 *
 * Theory of operation. Which pages a guest has written is known by KVM's log
 * alone, and only those that KVM wrote; rings and buffers are written by this
 * process and by the kernel's vhost as well, or by another process. So no log
 * is kept, which would cost a running guest, too: a page is looked at when a
 * file is written, and its sum compared with that of the last file. Most pages
 * need no look: what nobody has touched has no page (/proc/self/pagemap), and
 * what is a private copy of a file is still that file's until it is written
 * (Documentation/admin-guide/mm/pagemap.rst, bit 61). Where that file, or the
 * memory's own, has holes nothing was written either.
 *
 * Where another process serves the pages that are not there, those are no
 * zeroes: a whole file has each of them, got by touching it, and a difference
 * those that are there.
 *
 * Sums are replaced when the file is kept: one that could not be written
 * changes nothing. */
#include "machine/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sum.h"

#define PAGE 4096u
#define CHUNK 512u /* pages that are looked at together */

#define ENTRY_THERE (3ull << 62) /* present, or swapped */
#define ENTRY_OF_FILE (1ull << 61)

/* What may be in a page: what was there before anybody touched it; the same,
 * which the file it is a private copy of has; anything. */
enum { UNTOUCHED, FILES, TOUCHED };

/* A file that is being written. */
struct pages_out {
    struct pages *p;
    const struct ram *ram;
    int fd;
    bool diff;
    const uint8_t *run; /* pages that are owed to it */
    size_t run_len;
    off_t run_at;
};

void pages_open(struct pages *p, int base)
{
    *p = (struct pages){.base = base};
    p->map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

void pages_close(struct pages *p)
{
    if (p->map > 0)
        close(p->map);
    free(p->sum);
    free(p->next);
    free(p->entry);
    *p = (struct pages){.map = -1, .base = -1};
}

void pages_forget(struct pages *p)
{
    free(p->next);
    p->next = NULL;
}

void pages_keep(struct pages *p)
{
    free(p->sum);
    p->sum = p->next;
    p->next = NULL;
}

static uint64_t pages_size(const struct ram *ram)
{
    uint64_t size = 0;
    for (int i = 0; i < ram->n; i++)
        size += ram->region[i].size;
    return size;
}

static bool pages_is_zero(const uint8_t *page)
{
    const uint64_t *w = (const void *)page;
    for (unsigned i = 0; i < PAGE / 8; i += 8)
        if (w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] |
            w[i + 6] | w[i + 7])
            return false;
    return true;
}

/* ------------------------------------------------------ what is worth a look
 */

/* The file whose holes nobody has written to, or -1. */
static int pages_backing(const struct pages_out *o)
{
    return o->ram->fd >= 0 ? o->ram->fd : o->p->base;
}

/* Of `n` pages, those that the backing file has from `at` on, and nobody is
 * known to have touched, are `kind`.
 *
 * syscalls worker if control: lseek */
static void pages_mark_data(const struct pages_out *o, uint64_t at, unsigned n,
                            uint8_t *page, uint8_t kind)
{
    int fd = pages_backing(o);
    off_t end = (off_t)(at + (uint64_t)n * PAGE), from = (off_t)at;
    while (from < end) {
        off_t data = lseek(fd, from, SEEK_DATA);
        off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
        if (data < 0 && errno == ENXIO)
            return;
        if (data < 0 || hole < 0) { /* it cannot tell */
            data = from;
            hole = end;
        }
        data -= data % PAGE;
        for (off_t i = data; i < end && i < hole; i += PAGE)
            if (page[((uint64_t)i - at) / PAGE] == UNTOUCHED)
                page[((uint64_t)i - at) / PAGE] = kind;
        from = hole;
    }
}

/* What may be in `n` pages at `hva`; `at`: their place in the file.
 *
 * syscalls worker if control: pread64 */
static void pages_look(const struct pages_out *o, const uint8_t *hva,
                       uint64_t at, unsigned n, uint8_t *page)
{
    size_t len = n * sizeof(uint64_t);
    const uint64_t *e = o->p->entry;
    bool shared = o->ram->fd >= 0, copy = !shared && o->p->base >= 0;
    bool served = o->ram->served && (!o->diff || o->ram->cut);
    bool can = !shared && !served && o->p->map >= 0 &&
               pread(o->p->map, o->p->entry, len,
                     (off_t)((uintptr_t)hva / PAGE * sizeof(uint64_t))) ==
                   (ssize_t)len;
    for (unsigned i = 0; i < n; i++)
        page[i] = shared || (can && (!(e[i] & ENTRY_THERE) ||
                                     (copy && e[i] & ENTRY_OF_FILE)))
                      ? UNTOUCHED
                      : TOUCHED;
    if (shared)
        pages_mark_data(o, at, n, page, TOUCHED);
    else if (copy && !o->diff)
        pages_mark_data(o, at, n, page, FILES);
}

/* ----------------------------------------------------------------- writing */

/* syscalls worker if control: pwrite64 */
static int pages_flush(struct pages_out *o)
{
    while (o->run_len) {
        ssize_t n = pwrite(o->fd, o->run, o->run_len, o->run_at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENOSPC;
        o->run += n;
        o->run_at += n;
        o->run_len -= (size_t)n;
    }
    return 0;
}

static int pages_owe(struct pages_out *o, const uint8_t *page, uint64_t at)
{
    int err = 0;
    if (o->run_len && (o->run + o->run_len != page ||
                       o->run_at + (off_t)o->run_len != (off_t)at))
        err = pages_flush(o);
    if (!o->run_len) {
        o->run = page;
        o->run_at = (off_t)at;
    }
    o->run_len += PAGE;
    return err;
}

/* A hole of a whole file is zeroes, and of a difference what the last has. */
static int pages_take(struct pages_out *o, uint8_t kind, const uint8_t *page,
                      uint64_t at)
{
    uint64_t was = o->p->sum ? o->p->sum[at / PAGE] : 0, is = 0;
    bool zero = kind != UNTOUCHED && pages_is_zero(page);
    if (kind == TOUCHED && !(zero && o->p->base < 0 && !o->ram->served))
        is = sum_of(page, PAGE);
    o->p->next[at / PAGE] = is;
    if (o->diff ? is == was : zero || kind == UNTOUCHED)
        return 0;
    return pages_owe(o, page, at);
}

static int pages_write_region(struct pages_out *o, const struct ram_region *r)
{
    uint8_t kind[CHUNK];
    int err = 0;
    for (uint64_t off = 0; off < r->size && !err; off += CHUNK * PAGE) {
        uint64_t left = (r->size - off) / PAGE;
        unsigned n = left < CHUNK ? (unsigned)left : CHUNK;
        pages_look(o, r->hva + off, r->offset + off, n, kind);
        for (unsigned i = 0; i < n && !err; i++) {
            uint64_t at = off + (uint64_t)i * PAGE;
            err = pages_take(o, kind[i], r->hva + at, r->offset + at);
        }
    }
    return err;
}

/* syscalls worker if control: ftruncate */
int pages_write(struct pages *p, const struct ram *ram, int fd, bool diff)
{
    struct pages_out o = {.p = p, .ram = ram, .fd = fd, .diff = diff};
    uint64_t size = pages_size(ram);
    int err = 0;
    pages_forget(p);
    p->next = calloc(size / PAGE + 1, sizeof(*p->next));
    if (!p->entry) /* not before: most machines are never saved */
        p->entry = malloc(CHUNK * sizeof(*p->entry));
    if (!p->next || !p->entry)
        return -ENOMEM;
    if (ftruncate(fd, (off_t)size) < 0)
        return -errno;
    for (int i = 0; i < ram->n && !err; i++)
        err = pages_write_region(&o, &ram->region[i]);
    return err ? err : pages_flush(&o);
}
