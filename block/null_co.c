/* SPDX-License-Identifier: MIT */
/* -blockdev null-co: a disk of nothing, for tests and measurements. What is
 * written is lost; what is read leaves memory as it is, or is zeroes. */
#include "base/bytes.h"
#include "base/iov.h"
#include "block/list.h"

#define NULL_MAX_BYTES (1ull << 30) /* of a discard */

struct null {
    struct blockdev b;
    uint64_t told_size;
    uint8_t read_zeroes;
    struct event ev; /* fd -1: only loop_again */
    struct blk_req *first, **last;
};

static void null_submit(struct blockdev *b, struct blk_req *r)
{
    struct null *s = container_of(b, struct null, b);
    r->next = NULL;
    *s->last = r;
    s->last = &r->next;
    blockdev_begin(b);
}

static void null_kick(struct blockdev *b)
{
    struct null *s = container_of(b, struct null, b);
    loop_again(&s->ev);
}

/* Those that are here now, not those that their done() brings. */
static void null_finish(struct null *s)
{
    struct blk_req *r = s->first, *next;
    s->first = NULL;
    s->last = &s->first;
    for (; r; r = next) {
        next = r->next;
        if (s->read_zeroes && r->op == BLK_READ)
            iov_zero(r->iov, r->niov, r->len);
        blockdev_end(&s->b, r, 0);
    }
}

static void null_ready(struct event *ev, uint32_t got)
{
    (void)got;
    null_finish(container_of(ev, struct null, ev));
}

/* All of it takes no time. */
static void null_drain(struct blockdev *b, bool cancel)
{
    struct null *s = container_of(b, struct null, b);
    (void)cancel;
    while (s->first)
        null_finish(s);
}

static int null_resize(struct blockdev *b, uint64_t size)
{
    size -= size % BLK_SECTOR;
    if (size == 0 || size == b->size)
        return 0;
    b->size = size;
    if (b->resized)
        b->resized(b->disk);
    return 0;
}

static void null_close(struct blockdev *b)
{
    struct null *s = container_of(b, struct null, b);
    null_drain(b, true);
    loop_del(&s->ev);
}

static int null_open(struct blockdev *b, struct loop *l)
{
    struct null *s = container_of(b, struct null, b);
    s->ev = (struct event){.fd = -1, .ready = null_ready, .loop = l};
    s->last = &s->first;
    b->size = s->told_size ? s->told_size : 1ull << 30;
    b->size -= b->size % BLK_SECTOR;
    b->physical = BLK_SECTOR;
    b->can_flush = b->cache != BLK_UNSAFE;
    b->can_discard = b->discard && !b->readonly;
    b->can_zero = !b->readonly;
    b->zero_may_unmap = b->can_discard;
    b->discard_align = BLK_SECTOR;
    b->max_discard = b->max_zero = NULL_MAX_BYTES;
    b->submit = null_submit;
    b->kick = null_kick;
    b->drain = null_drain;
    b->resize = null_resize;
    b->close = null_close;
    return 0;
}

static const struct field null_fields[] = {
    FIELDS_OF(blockdev_fields, "", struct null, b),
    FIELD(SIZE, "size", struct null, told_size, .help = "bytes (1G)"),
    FIELD(FLAG, "read-zeroes", struct null, read_zeroes,
          .help = "reads give zeroes, else what the guest had there"),
    {.help = NULL},
};

const struct blockdev_class null_co_class = {
    .name = "null-co",
    .help = "a disk of nothing, for tests and measurements",
    .fields = null_fields,
    .size = sizeof(struct null),
    .open = null_open,
};
