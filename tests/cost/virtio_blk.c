/* SPDX-License-Identifier: MIT */
/* What a disk's request costs beside what the drive does: from the loop's
 * waking to its next sleep, with a drive of nothing (block/null_co.c). */
#include <stdio.h>

#include "block/list.h"
#include "devices/list.h"
#include "devices/virtio_blk/state.h"
#include "tests/cost/cost.h"
#include "tests/unit/fakevirtio.h"

#define SIZE 64 /* of the ring */
#define PAGE 4096u
/* ns for each look at the clock: too far apart to look for more. */
#define FAR_APART 200000000
#define WINDOW 1000000

#define WANT                                                                   \
    (F(VIRTIO_F_EVENT_IDX) | F(VIRTIO_F_INDIRECT_DESC) |                       \
     F(VIRTIO_BLK_F_FLUSH) | F(VIRTIO_BLK_F_SEG_MAX))

enum { READ = 0, WRITE = 1, FLUSH = 4 };

static struct {
    struct vd d;
    uint64_t door; /* where the driver writes */
    uint64_t head, data, status;
    unsigned batch;
    uint32_t len;
    bool writes; /* the device, to memory */
    bool looks;  /* the loop may look instead of being woken */
} s;

/* As Linux: an indirect table of header, pages, status. */
static void put_request(void)
{
    struct vd_buf b[40];
    unsigned n = 0;
    b[n++] = (struct vd_buf){s.head, 16, false};
    for (uint32_t at = 0; at < s.len; at += PAGE)
        b[n++] = (struct vd_buf){s.data + at, PAGE, s.writes};
    b[n++] = (struct vd_buf){s.status, 1, true};
    REQUIRE(vd_put_indirect(&s.d.q[0], b, n) >= 0);
}

static void work(void *arg)
{
    struct vd_queue *q = &s.d.q[0];
    uint64_t brk = s.d.brk; /* of the tables */
    unsigned done = 0;
    (void)arg;
    vd_irq_after(q, 1);
    for (unsigned i = 0; i < s.batch; i++)
        put_request();
    vd_publish(q);
    if (!s.looks || vd_kick_wanted(q, s.batch))
        REQUIRE(fake_kick_write(s.d.m, s.d.ports, s.door, 2, 0));
    while (done < s.batch) {
        cost_turn(s.d.m);
        done += vd_reap(q);
    }
    REQUIRE_EQ(vd_irqs(&s.d, 0), 1);
    s.d.brk = brk;
}

static void make_disk(bool packed)
{
    struct blockdev *b;
    struct opts o;
    s.d = (struct vd){.cls = &virtio_blk_class, .type = 2, .qsize = SIZE};
    s.d.packed = packed;
    s.d.m = fake_new2(VD_LOW_RAM, VD_HIGH_BASE, VD_HIGH_RAM);
    REQUIRE_EQ(pci_bus_new(s.d.m), 0);
    REQUIRE_EQ(opts_parse(&o, "-blockdev", "id=d0", NULL), 0);
    REQUIRE_EQ(blockdev_new(&null_co_class, &o, &b), 0);
    REQUIRE_EQ(b->cls->open(b, s.d.m->loop), 0);
    REQUIRE_EQ(fake_device(s.d.m, &virtio_blk_class, "-device",
                           packed ? "drive=d0,packed=on" : "drive=d0"),
               0);
    vd_find(&s.d);
    vd_forget(&s.d);
    s.d.brk = 0x10000;
    vd_again(&s.d, WANT);
}

static void row(bool packed, unsigned type, uint32_t len, unsigned batch)
{
    static const char *const names[] = {
        [READ] = "read", [WRITE] = "write", [FLUSH] = "flush"};
    char name[80], size[24] = "";
    make_disk(packed);
    s.batch = batch;
    s.len = len;
    s.writes = type == READ;
    vd_set(&s.d, C_QUEUE_SEL, 2, 0);
    s.door = s.d.notify + (uint64_t)s.d.mult * vd_get(&s.d, C_NOTIFY_OFF, 2);
    s.head = vd_alloc(&s.d, 16, 16);
    *(uint8_t *)vd_ram(&s.d, s.head, 1) = (uint8_t)type;
    s.status = vd_alloc(&s.d, 1, 1);
    s.data = vd_alloc(&s.d, len, PAGE);
    fake_tick_ns(s.looks ? 0 : FAR_APART);
    if (s.looks)
        loop_window(s.d.m->loop, WINDOW);
    if (len)
        snprintf(size, sizeof(size), ", %u B", len);
    snprintf(name, sizeof(name), "virtio-blk %s, %s%s, %u a turn%s",
             packed ? "packed" : "split", names[type], size, batch,
             s.looks ? ", looked for" : "");
    cost_row(name, batch, work, NULL);
    fake_tick_ns(0);
    vd_free(&s.d);
    blockdev_close_all();
}

void cost_virtio_blk(void)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        row(packed, READ, PAGE, 1);
        row(packed, WRITE, PAGE, 1);
        row(packed, READ, PAGE, 32);
        row(packed, WRITE, PAGE, 32);
        row(packed, READ, 32 * PAGE, 1);
        row(packed, FLUSH, 0, 1);
        s.looks = true;
        row(packed, READ, PAGE, 1);
        s.looks = false;
    }
}
