/* SPDX-License-Identifier: MIT */
/* The list of blockdevs, and what all of them are told and count. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "block/block.h"

struct blockdev *blockdevs;

static const char *const discard_words[] = {"ignore", "unmap", NULL};

const struct field blockdev_options[] = {
    FIELD(TEXT, "id", struct blockdev, id, .arg = "ID", .help = "its name"),
    FIELD(TEXT, "node-name", struct blockdev, node, .arg = "ID",
          .help = "its name, too"),
    FIELD(TEXT, "serial", struct blockdev, told_serial, .arg = "TEXT",
          .help = "of its disk, up to 20 characters"),
    FIELD(FLAG, "read-only", struct blockdev, readonly,
          .help = "nothing is written to it"),
    FIELD(FLAG, "cache.direct", struct blockdev, direct,
          .help = "past the host's page cache"),
    FIELD(FLAG, "cache.writeback", struct blockdev, writeback, .def = ON,
          .help = "off: each write is on stable storage when it is done"),
    FIELD(FLAG, "cache.no-flush", struct blockdev, no_flush,
          .help = "flushes do nothing: a crash of the host loses data"),
    FIELD(WORD, "discard", struct blockdev, discard, .words = discard_words,
          .help = "what the guest does not need: given back or not"),
    {.help = NULL},
};

const struct field blockdev_fields[] = {
    FIELDS_OF(blockdev_options, "", struct blockdev, cls),
    COUNT("reads", struct blockdev, reads, "requests done"),
    COUNT("writes", struct blockdev, writes, "requests done"),
    COUNT("flushes", struct blockdev, flushes, "requests done"),
    COUNT("discards", struct blockdev, discards, "requests done"),
    COUNT("write_zeroes", struct blockdev, zeroes, "requests done"),
    COUNT("read_bytes", struct blockdev, read_bytes, "bytes"),
    COUNT("written_bytes", struct blockdev, written_bytes, "bytes"),
    COUNT("in_flight", struct blockdev, in_flight, "requests under way"),
    COUNT("errors", struct blockdev, errors, "requests that failed"),
    {.help = NULL},
};

static void blockdev_cache(struct blockdev *b)
{
    if (b->no_flush)
        b->cache = BLK_UNSAFE;
    else if (b->writeback)
        b->cache = b->direct ? BLK_NONE : BLK_WRITEBACK;
    else
        b->cache = b->direct ? BLK_DIRECTSYNC : BLK_WRITETHROUGH;
}

static int blockdev_check_names(struct blockdev *b)
{
    const char *what = b->opts.what, *names[] = {b->id, b->node};
    if (!b->id || !*b->id)
        return fail(-EINVAL, "%s: node-name= is missing", what);
    for (int i = 0; i < 2; i++)
        if (names[i] && blockdev_find(names[i]))
            return fail(-EINVAL, "%s: %s: this name is used twice", what,
                        names[i]);
    if (b->told_serial && strlen(b->told_serial) >= sizeof(b->serial))
        return fail(-EINVAL, "%s: serial=%s: at most %zu characters", what,
                    b->told_serial, sizeof(b->serial) - 1);
    if (b->told_serial)
        snprintf(b->serial, sizeof(b->serial), "%s", b->told_serial);
    return 0;
}

/* In the order of the command line. */
static void blockdev_register(struct blockdev *b)
{
    struct blockdev **p = &blockdevs;
    while (*p)
        p = &(*p)->next;
    *p = b;
}

int blockdev_new(const struct blockdev_class *cls, struct opts *o,
                 struct blockdev **out)
{
    struct blockdev *b = calloc(1, cls->size);
    if (!b) {
        opts_free(o);
        return fail(-ENOMEM, "-blockdev %s: out of memory", cls->name);
    }
    b->cls = cls;
    b->opts = opts_taken(o);
    int err = fields_read(cls->fields, b, &b->opts);
    blockdev_cache(b);
    if (!err)
        err = blockdev_check_names(b);
    if (!err && cls->check)
        err = cls->check(b);
    if (err) {
        blockdev_free(b);
        return err;
    }
    blockdev_register(b);
    *out = b;
    return 0;
}

void blockdev_free(struct blockdev *b)
{
    if (b->close)
        b->close(b);
    opts_free(&b->opts);
    free(b);
}

struct blockdev *blockdev_find(const char *id)
{
    struct blockdev *b = blockdevs;
    while (b && strcmp(b->id, id) && (!b->node || strcmp(b->node, id)))
        b = b->next;
    return b;
}

void blockdev_close_all(void)
{
    while (blockdevs) {
        struct blockdev *b = blockdevs;
        blockdevs = b->next;
        blockdev_free(b);
    }
}

void blockdev_stats(struct tally *t)
{
    for (const struct blockdev *b = blockdevs; b; b = b->next)
        fields_count(b->cls->fields, b, b->id, t);
}

/* ---------------------------------------------------------------- requests */

static void blockdev_count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

void blockdev_begin(struct blockdev *b)
{
    blockdev_count(&b->in_flight, 1);
}

void blockdev_end(struct blockdev *b, struct blk_req *r, int err)
{
    static const char *const words[] = {"read", "write", "flush", "discard",
                                        "write of zeroes"};
    uint64_t *const counters[] = {&b->reads, &b->writes, &b->flushes,
                                  &b->discards, &b->zeroes};
    blockdev_count(&b->in_flight, (uint64_t)-1);
    if (err != -ECANCELED)
        blockdev_count(counters[r->op], 1);
    if (!err && r->op == BLK_READ)
        blockdev_count(&b->read_bytes, r->len);
    if (!err && r->op == BLK_WRITE)
        blockdev_count(&b->written_bytes, r->len);
    if (err && err != -ECANCELED)
        fault_say(&b->errors, "disk %s: %s of %llu bytes at %llu: %s", b->id,
                  words[r->op], (unsigned long long)r->len,
                  (unsigned long long)r->offset, strerror(-err));
    r->err = err;
    r->done(r);
}

const char *blockdev_looks_like(int fd)
{
    static const struct {
        char magic[9];
        const char *format;
    } known[] = {{"QFI\xfb", "qcow2"},     {"KDMV", "vmdk"},
                 {"conectix", "vpc"},      {"vhdxfile", "vhdx"},
                 {"QED", "qed"},           {"<<< ", "vdi"},
                 {"WithoutF", "parallels"}};
    char head[8] = "";
    ssize_t n = pread(fd, head, sizeof(head), 0);
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        size_t len = strlen(known[i].magic);
        if (n >= (ssize_t)len && !memcmp(head, known[i].magic, len))
            return known[i].format;
    }
    return NULL;
}
