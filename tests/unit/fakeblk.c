/* SPDX-License-Identifier: MIT */
/* The fake drive: see fakeblk.h. */
#include "tests/unit/fakeblk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/iov.h"

/* ------------------------------------------------------------------ drive */

static struct fake_blk *fake_of(struct blockdev *b)
{
    return container_of(b, struct fake_blk, b);
}

static void fb_submit(struct blockdev *b, struct blk_req *r)
{
    struct fake_blk *f = fake_of(b);
    REQUIRE(f->n < FB_PENDING);
    CHECK(r->op <= BLK_WRITE_ZEROES);
    if (r->op != BLK_FLUSH) {
        CHECK(r->len && r->len % 512 == 0 && r->offset % 512 == 0);
        CHECK(r->offset <= b->size && r->len <= b->size - r->offset);
    }
    if (r->op == BLK_READ || r->op == BLK_WRITE)
        CHECK_EQ(iov_len(r->iov, r->niov), r->len);
    CHECK(!b->readonly || r->op == BLK_READ || r->op == BLK_FLUSH);
    f->submits++;
    f->ops[r->op]++;
    f->last_unmap = r->unmap;
    f->begun[f->n] = false;
    f->req[f->n++] = r;
}

/* What it is asked, if it lies in what there is. */
static void fb_move(struct fake_blk *f, const struct blk_req *r)
{
    if (r->op == BLK_FLUSH || r->offset + r->len > FB_SIZE)
        return;
    uint8_t *at = f->bytes + r->offset;
    if (r->op == BLK_READ)
        iov_write(r->iov, (unsigned)r->niov, 0, at, r->len);
    else if (r->op == BLK_WRITE)
        iov_read(r->iov, (unsigned)r->niov, 0, at, r->len);
    else
        memset(at, r->op == BLK_DISCARD ? 0xdd : 0, r->len);
}

void fake_blk_end(struct fake_blk *f, unsigned i, int err)
{
    REQUIRE(i < f->n);
    struct blk_req *r = f->req[i];
    f->n--;
    for (; i < f->n; i++) {
        f->req[i] = f->req[i + 1];
        f->begun[i] = f->begun[i + 1];
    }
    if (!err)
        fb_move(f, r);
    r->err = err;
    r->done(r);
}

void fake_blk_end_all(struct fake_blk *f, int err)
{
    while (f->n)
        fake_blk_end(f, 0, err);
}

static void fb_ready(struct event *ev, uint32_t got)
{
    struct fake_blk *f = container_of(ev, struct fake_blk, ev);
    (void)got;
    for (unsigned n = f->n; n; n--)
        fake_blk_end(f, 0, 0);
}

static void fb_kick(struct blockdev *b)
{
    struct fake_blk *f = fake_of(b);
    f->kicks++;
    if (f->self)
        loop_again(&f->ev);
}

static void fb_drain(struct blockdev *b, bool cancel)
{
    struct fake_blk *f = fake_of(b);
    f->drains++;
    for (unsigned n = f->n; n; n--)
        fake_blk_end(f, 0, cancel && !f->begun[0] ? -ECANCELED : 0);
}

static void fb_close(struct blockdev *b)
{
    struct fake_blk *f = fake_of(b);
    loop_del(&f->ev);
    CHECK_EQ(f->n, 0);
    free(f->bytes);
}

static const struct blockdev_class fake_blk_class = {
    .name = "fake", .fields = NULL, .size = sizeof(struct fake_blk)};

struct fake_blk *fake_blk_new(const char *opts)
{
    static struct blockdev_class cls;
    struct blockdev *b;
    struct opts o;
    cls = fake_blk_class;
    cls.fields = blockdev_fields;
    char text[256];
    snprintf(text, sizeof(text), "id=d0%s%s", opts ? "," : "",
             opts ? opts : "");
    REQUIRE_EQ(opts_parse(&o, "-blockdev", text, NULL), 0);
    REQUIRE_EQ(blockdev_new(&cls, &o, &b), 0);
    struct fake_blk *f = fake_of(b);
    f->ev = (struct event){.fd = -1, .ready = fb_ready};
    f->bytes = calloc(1, FB_SIZE);
    REQUIRE(f->bytes != NULL);
    b->size = FB_SIZE;
    b->physical = 512;
    b->can_flush = b->can_discard = b->can_zero = b->zero_may_unmap = true;
    b->discard_align = 4096;
    b->max_discard = b->max_zero = 1 << 30;
    if (!*b->serial)
        strcpy(b->serial, "fake-serial");
    b->submit = fb_submit;
    b->kick = fb_kick;
    b->drain = fb_drain;
    b->close = fb_close;
    return f;
}
