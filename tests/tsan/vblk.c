/* SPDX-License-Identifier: MIT */
/* A disk on a real file: a driver that keeps what the device may write away
 * from its own eyes until it is given back (tests/tsan/virtio.h), with the
 * drive's threads at work while vCPUs reset, and the disk changes its size. */
#include "devices/virtio_blk/state.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "block/list.h"
#include "devices/list.h"
#include "tests/tsan/virtio.h"

#define SIZE (4u << 20)
#define SECTORS (SIZE / 512)

static struct blockdev *drive;

static void make(const char *options)
{
    struct opts o;
    int fd = open(DISK_PATH, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, SIZE))
        rig_fail("disk: no file");
    close(fd);
    if (opts_parse(&o, "-blockdev", "id=d0,filename=" DISK_PATH, NULL) ||
        blockdev_new(&file_class, &o, &drive) ||
        drive->cls->open(drive, rig.m.loop))
        rig_fail("disk: no drive");
    rig_device(&virtio_blk_class, options);
}

/* Header and data together, or data and status: two descriptors. */
static void ask(struct drv *d, struct queue *q)
{
    bool out = rnd(d->c, 2);
    uint32_t data = 512 * rnd(d->c, 4), type = out;
    unsigned slot = 0;
    while (slot < q->size / 2 && q->count[slot])
        slot++;
    if (slot == q->size / 2)
        return;
    uint8_t *p = ram_at(BUF_AT(q->index) + slot * 2 * BUF_LEN);
    uint64_t sector = rnd(d->c, SECTORS);
    if (!rnd(d->c, 8))
        type = (const uint32_t[]){4, 8, 11, 13}[rnd(d->c, 4)];
    memset(p, 0, 16);
    memcpy(p, &type, 4);
    memcpy(p + 8, &sector, 8);
    const uint32_t len[] = {16 + (out ? data : 0), 1 + (out ? 0 : data)};
    const bool write[] = {false, true};
    add(d, q, 2, len, write);
}

static bool serve(struct drv *d)
{
    for (unsigned n = 0; n < d->nq; n++) {
        struct queue *q = &d->q[n];
        unsigned done = reap(d, q);
        atomic_fetch_add(&rig.sent, done);
        atomic_fetch_add(&rig.received, done);
        for (unsigned i = rnd(d->c, 6); i; i--)
            ask(d, q);
        if (!rnd(d->c, 8))
            suppress(d, q);
        kick(d, n);
        if (q->out && now_ns() - q->since > PATIENCE_NS)
            rig_fail("queue %u: nothing was done for a long time", n);
    }
    return vcpu_sleep(d->c, rnd(d->c, 4) ? 0 : rnd(d->c, 300));
}

static void driver(struct vcpu *c)
{
    static unsigned lives;
    struct drv d = {.c = c, .nq = 2};
    uint64_t want = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_F_RING_RESET) |
                    bit(VIRTIO_BLK_F_MQ) | bit(VIRTIO_BLK_F_DISCARD);
    for (unsigned n = 0; n < QUEUES_MAX; n++)
        d.q[n].life = lives;
    lives++;
    if (rig.sc->flags & SC_PACKED)
        want |= bit(VIRTIO_F_RING_PACKED);
    if (rnd(c, 2))
        want |= bit(VIRTIO_F_EVENT_IDX);
    if (rnd(c, 2)) /* else each write is followed by a flush */
        want |= bit(VIRTIO_BLK_F_FLUSH) | bit(VIRTIO_BLK_F_CONFIG_WCE);
    if (!negotiate(&d, want))
        return;
    for (unsigned n = 0; n < d.nq; n++)
        if (!make_queue(&d, n))
            return;
    wr(COMMON(&d) + 0x10, 2, 0);
    if (!status(&d, 15))
        return;
    atomic_fetch_add(&rig.lives, 1);
    for (unsigned i = 20 + rnd(c, 200); i; i--) {
        if (!serve(&d))
            return;
        if (!rnd(c, 60) && !reset_queue(&d, rnd(c, d.nq)))
            return;
        if (!rnd(c, 40)) /* a vector changes under the loop's hands */
            wr(COMMON(&d) + 0x1a, 2, rnd(c, 4));
    }
}

/* What is not the driver's own: reads, doorbells, the cache. */
static void rude(struct vcpu *c)
{
    uint64_t bar = bar_at(c->slot, 4);
    switch (rnd(c, 4)) {
    case 0:
        rd(bar + rnd(c, 0x3c), 1);
        break;
    case 1:
        rd(bar + 0x2000 + rnd(c, 15) * 4, 4);
        break;
    case 2:
        wr(bar + 0x2000 + 32, 1, rnd(c, 2));
        break;
    default:
        wr(bar + 0x3000 + 4 * rnd(c, 2), 2, 0);
        break;
    }
}

void vblk_resize(uint32_t random)
{
    drive->resize(drive, SIZE / 2 + (random & 1) * (SIZE / 2));
}

const struct guest vblk_guest = {
    .driver = driver, .rude = rude, .cls = &virtio_blk_class, .make = make};
