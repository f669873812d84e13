/* SPDX-License-Identifier: MIT */
/* Rings that another process serves (vhost-user-blk, vhost-user-fs): between a
 * driver that writes what it likes and a back-end that does, that goes in the
 * middle of it and comes again. What the back-end is given is in the ring's
 * range and not with it already, and what it has is known. The protocol's own
 * messages are fuzz_vhost_user's. */
#define vhost_user_open fuzz_open
/* NOLINTNEXTLINE(bugprone-suspicious-include) */
#include "devices/virtio/served.c"
#undef vhost_user_open

#include "block/block.h"
#include "tests/fuzz/fuzz_small.h"
#include "tests/fuzz/kernel.h"

#define QUEUES 2u

/* The back-end, and the connection to it. */
static struct back_end {
    struct vhost v;
    bool up, running;
    bool dropped;   /* hung up on */
    bool liar;      /* its rings are nothing to go by any more */
    unsigned fails; /* starts that will */
    uint8_t config[VHOST_CONFIG_MAX];
    struct back_queue {
        struct pair_avail *avail; /* NULL: not this one */
        struct pair_used *used;
        int call;
        uint16_t num, taken;
        uint8_t has[FV_SIZE];
    } q[QUEUES];
} both[2], *b;

/* ------------------------------------------------------------- the contract */

static int back_start(struct vhost *v, uint64_t features,
                      const struct vhost_ring *rings, unsigned n)
{
    REQUIRE(v == &b->v && b->up && !b->running && n == QUEUES);
    REQUIRE(has(features, VIRTIO_F_VERSION_1));
    if (b->fails) {
        b->fails--;
        return -EIO;
    }
    for (unsigned i = 0; i < n; i++) {
        struct back_queue *q = &b->q[i];
        memset(q, 0, sizeof(*q));
        if (rings[i].kick < 0)
            continue;
        REQUIRE(rings[i].num && rings[i].num <= FV_SIZE && rings[i].desc);
        q->num = rings[i].num;
        q->avail = rings[i].avail;
        q->used = rings[i].used;
        q->call = rings[i].call;
    }
    b->running = true;
    b->liar = false;
    return 0;
}

static void back_stop(struct vhost *v, uint32_t *base)
{
    REQUIRE(v == &b->v && !base);
    b->running = false;
    memset(b->q, 0, sizeof(b->q));
}

static void back_get_config(struct vhost *v, unsigned off, void *p,
                            unsigned len)
{
    REQUIRE(v == &b->v && off + len <= v->dev.config_len);
    memcpy(p, b->config + off, len);
}

static void back_set_config(struct vhost *v, unsigned off, const void *p,
                            unsigned len)
{
    REQUIRE(v == &b->v && off + len <= v->dev.config_len);
    memcpy(b->config + off, p, len);
}

static void back_hang_up(struct vhost *v, const char *why)
{
    REQUIRE(v == &b->v && why);
    b->dropped = true;
}

static void back_close(struct vhost *v)
{
    REQUIRE(v == &b->v);
}

static const struct vhost_ops back_ops = {.start = back_start,
                                          .stop = back_stop,
                                          .get_config = back_get_config,
                                          .set_config = back_set_config,
                                          .hang_up = back_hang_up,
                                          .close = back_close};

int fuzz_open(const struct vhost_device *dev, struct chardev *c,
              struct machine *m, struct vhost **out)
{
    (void)c;
    (void)m;
    b->v = (struct vhost){.ops = &back_ops, .dev = *dev, .features = ~0ull};
    b->v.features &= dev->mask;
    b->up = true;
    dev->here(dev->dev, true);
    *out = &b->v;
    return 0;
}

/* --------------------------------------------------------- what it does */

static struct served *served_now(void)
{
    return b->v.dev.dev;
}

/* As the peer says it. */
static void back_goes(const char *why)
{
    if (!b->up)
        return;
    served_now()->peer.lost = why;
    b->up = b->dropped = false;
    b->v.dev.here(b->v.dev.dev, false);
    REQUIRE(!b->running);
}

static void back_comes(void)
{
    if (b->up)
        return;
    b->up = true;
    b->v.dev.here(b->v.dev.dev, true);
}

/* Takes what is there, all of which an honest one must be able to take. */
static void back_takes(struct back_queue *q)
{
    if (!b->running || !q->avail || b->liar)
        return;
    uint16_t idx = q->avail->idx;
    REQUIRE((uint16_t)(idx - q->taken) <= q->num);
    for (; q->taken != idx; q->taken++) {
        uint16_t head = q->avail->ring[q->taken & (q->num - 1u)];
        REQUIRE(head < q->num && !q->has[head]);
        q->has[head] = 1;
    }
}

static void back_uses(struct back_queue *q, uint32_t id, uint32_t len)
{
    struct pair_entry e = {id, len};
    memcpy(&q->used->ring[q->used->idx & (q->num - 1u)], &e, sizeof(e));
    q->used->idx++;
}

/* Gives back up to `n` of what it has. */
static void back_gives(struct back_queue *q, unsigned n, uint32_t len)
{
    back_takes(q);
    for (uint16_t head = 0; b->running && n && head < q->num; head++) {
        if (!q->has[head])
            continue;
        q->has[head] = 0;
        back_uses(q, head, len);
        n--;
    }
}

static void back_lies(struct back_queue *q, struct fuzz *f)
{
    uint8_t how = fuzz_u8(f);
    if (!b->running || !q->avail)
        return;
    back_takes(q);
    b->liar = true;
    if (how & 1)
        back_uses(q, how & 2 ? fuzz_u8(f) % FV_SIZE : fuzz_u32(f), how);
    if (how & 4)
        q->used->idx = (uint16_t)(q->used->idx + (int8_t)fuzz_u8(f));
    if (how & 8)
        q->used->flags = fuzz_u16(f);
    if (how & 16) /* its half of the ring is ours to write, too */
        q->avail->idx = fuzz_u16(f);
}

/* What it has by its own count and by the device's, of an honest one. */
static void back_check(void)
{
    const struct served *s = served_now();
    for (unsigned i = 0; i < QUEUES; i++) {
        unsigned n = 0;
        for (unsigned head = 0; head < s->queue_size; head++)
            n += s->q[i].has[head];
        REQUIRE(n == s->q[i].out);
    }
    if (b->dropped)
        back_goes("hung up on");
}

static void back_act(struct fv *v, struct fuzz *f)
{
    uint8_t how = fuzz_u8(f);
    struct back_queue *q = &b->q[how >> 7];
    switch (how & 7) {
    case 0:
    case 1:
        back_gives(q, 1u + (how >> 3 & 7), fuzz_u8(f));
        break;
    case 2:
        back_lies(q, f);
        if (b->up && how & 8) /* it would have found its own lie */
            back_goes("hung up");
        break;
    case 3:
        back_goes(how & 8 ? "hung up" : "broke the protocol");
        break;
    case 4:
        b->config[how >> 1 & 0x3c] = fuzz_u8(f);
        b->v.dev.config_changed(b->v.dev.dev);
        break;
    case 5:
        b->fails = how >> 6;
        break;
    case 6:
        b->v.dev.broken(b->v.dev.dev);
        break;
    default:
        back_comes();
        break;
    }
    if (b->running && q->avail && how & 64)
        event_signal(q->call);
    loop_poll(v->m->loop, 0);
}

/* ------------------------------------------------------------------ inputs */

static int serve(struct blockdev *bd, unsigned queues, struct peer *peer,
                 struct chardev **out)
{
    static int nobody;
    (void)bd;
    (void)peer;
    CHECK_EQ(queues, QUEUES);
    *out = (void *)&nobody; /* fuzz_open's, which does not look at it */
    return 0;
}

static void make(struct fv *v, bool fs)
{
    static struct blockdev image = {.id = "d0", .writeback = 1, .serve = serve};
    v->m = fake_pc(FV_RAM);
    v->type = fs ? 26 : 2;
    if (fs) {
        CHECK_EQ(chardev_add("socket,id=c,path=/nonexistent/c"), 0);
        CHECK_EQ(
            fake_device(v->m, &vhost_user_fs_class, "fuzz", "chardev=c,tag=t"),
            0);
        return;
    }
    blockdevs = &image;
    CHECK_EQ(fake_device(v->m, &vhost_user_blk_class, "fuzz",
                         "drive=d0,num-queues=2"),
             0);
    blockdevs = NULL;
}

/* Both begin anew, and a request crosses. */
static void proof(struct fv *v)
{
    back_goes("hung up");
    b->fails = 0;
    fs_begin(v, 0, 0);
    back_comes();
    fv_chain(v, 0, FV_BUF, 1, 64, false);
    fake_run_loop(v->m);
    REQUIRE(b->running && b->q[0].avail);
    back_gives(&b->q[0], 1, 1);
    event_signal(b->q[0].call);
    fake_run_loop(v->m);
    CHECK_EQ(((uint16_t *)fake_ram(v->m, v->q[0].used, 4))[1], 1);
    CHECK_EQ(drv_r8(v->m, v->common + 0x14), 15);
    back_check();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fv each[2];
    struct fuzz f = {data, size};
    uint8_t how = fuzz_u8(&f);
    struct fv *v = &each[how & 1];
    b = &both[how & 1];
    if (!v->m)
        make(v, how & 1);
    back_comes();
    fs_begin(v, how >> 1, (uint64_t)fuzz_u8(&f) << 24);
    for (int i = 0; f.n && i < FV_ACTS; i++) {
        if (fuzz_u8(&f) & 1)
            back_act(v, &f);
        else
            fs_act(v, &f);
        back_check();
    }
    proof(v);
    return 0;
}
