/* SPDX-License-Identifier: MIT */
/* The fake driver of a disk: see fakedisk.h. */
#include "tests/unit/fakedisk.h"

#include <stdio.h>

#include "devices/list.h"

void bd_new(struct bd *b)
{
    static char opts[256];
    blockdev_close_all(); /* of a test that ended early */
    b->f = fake_blk_new(b->drive);
    if (b->bend)
        b->bend(b->f);
    snprintf(opts, sizeof(opts), "drive=d0%s%s", b->d.opts ? "," : "",
             b->d.opts ? b->d.opts : "");
    const char *told = b->d.opts;
    b->d.cls = &virtio_blk_class;
    b->d.type = 2;
    b->d.opts = opts;
    vd_new(&b->d);
    b->d.opts = told;
    b->f->ev.loop = b->d.m->loop;
}

void bd_up(struct bd *b, bool packed, uint64_t want)
{
    b->d.packed = packed;
    bd_new(b);
    vd_again(&b->d, want);
}

void bd_free(struct bd *b)
{
    loop_del(&b->f->ev);
    vd_free(&b->d);
    blockdev_close_all();
}

static void put_header(struct bd *b, struct bd_req *r, uint32_t type,
                       uint64_t sector)
{
    r->head = vd_alloc(&b->d, 16, 16);
    r->status = vd_alloc(&b->d, 1, 1);
    memcpy(vd_ram(&b->d, r->head, 4), &type, 4);
    memcpy(vd_ram(&b->d, r->head + 8, 8), &sector, 8);
    *(uint8_t *)vd_ram(&b->d, r->status, 1) = ST_NONE;
}

struct bd_req bd_put(struct bd *b, unsigned q, uint32_t type, uint64_t sector,
                     uint32_t len)
{
    struct bd_req r = {.len = len};
    put_header(b, &r, type, sector);
    r.data = vd_alloc(&b->d, len, 512);
    bool write = type != BLK_OUT;
    struct vd_buf all[] = {
        {r.head, 16, false}, {r.data, len, write}, {r.status, 1, true}};
    struct vd_buf bare[] = {all[0], all[2]};
    r.id = len ? vd_add(&b->d.q[q], all, 3) : vd_add(&b->d.q[q], bare, 2);
    REQUIRE(r.id >= 0);
    return r;
}

struct bd_req bd_put_seg(struct bd *b, uint32_t type, uint64_t sector,
                         uint32_t num, uint32_t flags)
{
    struct bd_req r = {.len = 16};
    put_header(b, &r, type, 0);
    r.data = vd_alloc(&b->d, 16, 16);
    uint8_t *p = vd_ram(&b->d, r.data, 16);
    memcpy(p, &sector, 8);
    memcpy(p + 8, &num, 4);
    memcpy(p + 12, &flags, 4);
    struct vd_buf all[] = {
        {r.head, 16, false}, {r.data, 16, false}, {r.status, 1, true}};
    r.id = vd_add(&b->d.q[0], all, 3);
    REQUIRE(r.id >= 0);
    return r;
}

uint8_t bd_status(struct bd *b, const struct bd_req *r)
{
    return *(uint8_t *)vd_ram(&b->d, r->status, 1);
}

uint8_t bd_finish(struct bd *b, const struct bd_req *r, uint32_t *len)
{
    int id;
    uint32_t used;
    vd_kick(&b->d, 0);
    while (b->f->n) { /* a write may be followed by a flush */
        fake_blk_end_all(b->f, 0);
        fake_run_loop(b->d.m);
    }
    REQUIRE(vd_used(&b->d.q[0], &id, &used));
    CHECK_EQ(id, r->id);
    if (len)
        *len = used;
    return bd_status(b, r);
}

uint8_t bd_do(struct bd *b, uint32_t type, uint64_t sector, uint32_t len)
{
    struct bd_req r = bd_put(b, 0, type, sector, len);
    return bd_finish(b, &r, NULL);
}

void bd_check_alive(struct bd *b)
{
    uint8_t text[1024];
    uint32_t used;
    for (unsigned i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * 7 + i / 251);
    struct bd_req r = bd_put(b, 0, BLK_OUT, 9, sizeof(text));
    memcpy(vd_ram(&b->d, r.data, sizeof(text)), text, sizeof(text));
    CHECK_EQ(bd_finish(b, &r, &used), ST_OK);
    CHECK_EQ(used, 1);
    CHECK_MEM(b->f->bytes + 9 * 512, text, sizeof(text));
    r = bd_put(b, 0, BLK_IN, 9, sizeof(text));
    CHECK_EQ(bd_finish(b, &r, &used), ST_OK);
    CHECK_EQ(used, 1 + sizeof(text));
    CHECK_MEM(vd_ram(&b->d, r.data, sizeof(text)), text, sizeof(text));
}

uint64_t bd_config(struct bd *b, unsigned off, unsigned width)
{
    return guest_read(b->d.m, false, b->d.config + off, width);
}
