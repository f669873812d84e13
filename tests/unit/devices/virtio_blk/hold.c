/* SPDX-License-Identifier: MIT */
/* virtio-blk with requests under way: reset, a queue's reset, rest, another
 * machine, another size; and what vCPUs and the loop wait for. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "devices/list.h"
#include "tests/unit/fakedisk.h"
#include "tests/unit/records.h"

#define EVENT_IDX F(VIRTIO_F_EVENT_IDX)
#define FLUSH F(VIRTIO_BLK_F_FLUSH)
#define WCE F(VIRTIO_BLK_F_CONFIG_WCE)

static uint64_t ram_sum(struct bd *b)
{
    const uint8_t *p = vd_ram(&b->d, 0, VD_LOW_RAM);
    uint64_t sum = 1469598103934665603ull;
    for (uint64_t i = 0; i < VD_LOW_RAM; i++)
        sum = (sum ^ p[i]) * 1099511628211ull;
    return sum;
}

/* ------------------------------------------------------------------- reset */

/* §2.4: what was not begun is cancelled, what was is waited for, and once the
 * write of 0 has returned not a byte of memory changes. */
BOTH_RINGS(vblk_2_4_a_reset_ends_what_is_under_way)
{
    struct bd b = {0};
    bd_up(&b, packed, FLUSH);
    for (unsigned i = 0; i < 8; i++)
        bd_put(&b, 0, i & 1 ? BLK_OUT : BLK_IN, i, 512);
    vd_kick(&b.d, 0);
    b.f->begun[0] = b.f->begun[1] = true;
    unsigned before = b.f->submits;
    memset(b.f->bytes, 0x77, FB_SIZE);
    vd_set(&b.d, C_STATUS, 1, 0);
    CHECK_EQ(vd_status(&b.d), 0);
    CHECK_EQ(b.f->n, 0);
    CHECK_EQ(b.f->drains, 1);
    CHECK_EQ(b.f->bytes[512], 0);        /* it was begun: written */
    CHECK_EQ(b.f->bytes[3 * 512], 0x77); /* that one was not */
    uint64_t sum = ram_sum(&b);
    fake_run_loop(b.d.m);
    CHECK_EQ(ram_sum(&b), sum);
    CHECK_EQ(b.f->submits, before);
    CHECK_EQ(vd_count(&b.d, "failed"), 0);
    b.d.brk = 0x10000;
    vd_again(&b.d, FLUSH);
    fake_run_loop(b.d.m);
    CHECK_EQ(b.f->submits, before); /* nothing comes again */
    CHECK_EQ(vd_irqs(&b.d, 0), 0);
    bd_check_alive(&b);
    bd_free(&b);
}

/* What was given back, not yet shown, and a request that waits for its flush.
 */
BOTH_RINGS(vblk_2_4_a_reset_between_a_write_and_its_flush)
{
    struct bd b = {0};
    bd_up(&b, packed, 0);
    bd_put(&b, 0, BLK_OUT, 0, 512);
    bd_put(&b, 0, BLK_OUT, 1, 512);
    bd_put(&b, 0, BLK_IN, 1, 512);
    vd_kick(&b.d, 0);
    fake_blk_end(b.f, 2, 0);
    fake_blk_end(b.f, 0, 0); /* its flush is under way */
    CHECK_EQ(b.f->n, 2);
    vd_set(&b.d, C_STATUS, 1, 0);
    CHECK_EQ(b.f->n, 0);
    fake_run_loop(b.d.m);
    b.d.brk = 0x10000;
    vd_again(&b.d, 0);
    bd_check_alive(&b);
    bd_free(&b);
}

/* The machine's reset, with the drive at work. */
TEST(vblk_reset_of_the_machine_with_requests_under_way)
{
    struct bd b = {0};
    bd_up(&b, false, FLUSH);
    bd_put(&b, 0, BLK_IN, 0, 512);
    vd_kick(&b.d, 0);
    fake_reset(b.d.m);
    CHECK_EQ(b.f->n, 0);
    vd_find(&b.d);
    b.d.brk = 0x10000;
    vd_again(&b.d, FLUSH);
    bd_check_alive(&b);
    bd_free(&b);
}

/* The end of the VM: the drive has nothing of ours when it is closed. */
TEST(vblk_end_with_requests_under_way)
{
    struct bd b = {0};
    bd_up(&b, false, FLUSH);
    bd_put(&b, 0, BLK_IN, 0, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->n, 1);
    bd_free(&b);
}

/* §2.6.1: one queue's reset; the others' requests are done, not cancelled. */
BOTH_RINGS(vblk_2_6_1_a_queues_reset_leaves_the_others_alone)
{
    struct bd b = {.d.opts = "num-queues=2"};
    bd_up(&b, packed, FLUSH | F(VIRTIO_F_RING_RESET) | F(VIRTIO_BLK_F_MQ));
    struct bd_req mine = bd_put(&b, 0, BLK_IN, 0, 512);
    struct bd_req other = bd_put(&b, 1, BLK_IN, 0, 512);
    vd_kick(&b.d, 0);
    vd_kick(&b.d, 1);
    vd_set(&b.d, C_QUEUE_SEL, 2, 0);
    vd_set(&b.d, C_QUEUE_RESET, 2, 1);
    CHECK_EQ(b.f->n, 0);
    CHECK_EQ(bd_status(&b, &mine), ST_NONE);
    CHECK_EQ(bd_status(&b, &other), ST_OK);
    CHECK_EQ(vd_reap(&b.d.q[1]), 1);
    CHECK_EQ(vd_irqs(&b.d, 1), 1);
    CHECK_EQ(vd_irqs(&b.d, 0), 0);
    vd_queue_make(&b.d, 0, 0);
    fake_run_loop(b.d.m);
    bd_check_alive(&b);
    bd_free(&b);
}

/* A write of another queue's driver that has no cache: its flush is made, and
 * waited for, too. */
TEST(vblk_2_6_1_a_queues_reset_flushes_what_others_wrote)
{
    struct bd b = {.d.opts = "num-queues=2"};
    bd_up(&b, false, F(VIRTIO_F_RING_RESET) | F(VIRTIO_BLK_F_MQ));
    struct bd_req other = bd_put(&b, 1, BLK_OUT, 0, 512);
    vd_kick(&b.d, 1);
    vd_set(&b.d, C_QUEUE_SEL, 2, 0);
    vd_set(&b.d, C_QUEUE_RESET, 2, 1);
    CHECK_EQ(b.f->ops[BLK_FLUSH], 1);
    CHECK_EQ(b.f->n, 0);
    CHECK_EQ(bd_status(&b, &other), ST_OK);
    CHECK_EQ(vd_reap(&b.d.q[1]), 1);
    bd_free(&b);
}

/* -------------------------------------------------------------------- rest */

static struct device *disk_of(struct machine *m)
{
    struct device *dev = m->devices;
    while (dev && dev->cls != &virtio_blk_class)
        dev = dev->next;
    REQUIRE(dev != NULL);
    return dev;
}

/* Held: all that was asked for is done and shown; nothing is taken any more,
 * until it goes on. */
BOTH_RINGS(vblk_hold_finishes_what_was_asked_for)
{
    struct bd b = {0};
    bd_up(&b, packed, 0); /* each write is flushed */
    for (unsigned i = 0; i < 6; i++)
        bd_put(&b, 0, i & 1 ? BLK_OUT : BLK_IN, i, 512);
    vd_kick(&b.d, 0);
    device_hold(b.d.dev);
    CHECK_EQ(b.f->n, 0);
    CHECK_EQ(b.f->ops[BLK_FLUSH], 3);
    CHECK_EQ(vd_reap(&b.d.q[0]), 6);
    CHECK_EQ(vd_irqs(&b.d, 0), 1);
    bd_put(&b, 0, BLK_IN, 0, 512);
    vd_kick(&b.d, 0);
    CHECK_EQ(b.f->n, 0);
    device_resume(b.d.dev);
    fake_run_loop(b.d.m);
    CHECK_EQ(b.f->n, 1);
    fake_blk_end_all(b.f, 0);
    CHECK_EQ(vd_reap(&b.d.q[0]), 1);
    bd_free(&b);
}

static void make(struct machine *m, void *ctx)
{
    struct bd *b = ctx;
    char text[256];
    b->f->b.taken = false;
    snprintf(text, sizeof(text), "drive=d0,packed=%s%s%s",
             b->d.packed ? "on" : "off", b->d.opts ? "," : "",
             b->d.opts ? b->d.opts : "");
    REQUIRE_EQ(fake_device(m, &virtio_blk_class, "-device", text), 0);
    b->d.m = m;
    b->d.dev = disk_of(m);
    b->f->ev.loop = m->loop;
}

static void between(struct machine *m, void *ctx)
{
    struct bd *b = ctx;
    (void)m;
    CHECK_EQ(b->f->n, 0); /* nothing under way */
    loop_del(&b->f->ev);
}

/* Into another machine in the middle of the work: nothing is lost, nothing is
 * done twice. */
BOTH_RINGS(vblk_moves_with_requests_under_way)
{
    struct bd b = {.d.opts = "num-queues=2"};
    unsigned asked = 0, got = 0;
    test_timeout(120);
    bd_up(&b, packed, EVENT_IDX | FLUSH | F(VIRTIO_BLK_F_MQ));
    uint64_t brk = b.d.brk;
    for (unsigned round = 0; round < 40; round++) {
        b.d.brk = brk + (round & 7) * 0x40000;
        for (unsigned i = 0; i < 5; i++, asked++)
            bd_put(&b, round & 1, i & 1 ? BLK_OUT : BLK_IN, asked % 9, 512);
        vd_kick(&b.d, round & 1);
        for (unsigned i = test_random() % 4; i && b.f->n; i--)
            fake_blk_end(b.f, test_random() % b.f->n, 0);
        if (round % 3 == 0)
            records_move(b.d.m, make, between, &b);
        fake_run_loop(b.d.m);
        got += vd_reap(&b.d.q[0]) + vd_reap(&b.d.q[1]);
    }
    fake_blk_end_all(b.f, 0);
    fake_run_loop(b.d.m);
    got += vd_reap(&b.d.q[0]) + vd_reap(&b.d.q[1]);
    CHECK_EQ(got, asked);
    CHECK_EQ(b.f->submits, asked);
    bd_check_alive(&b);
    bd_free(&b);
}

/* The cache as the driver left it moves along. */
TEST(vblk_moves_with_its_cache_off)
{
    struct bd b = {0};
    bd_up(&b, false, FLUSH | WCE);
    guest_write(b.d.m, false, b.d.config + 32, 1, 0);
    records_move(b.d.m, make, between, &b);
    CHECK_EQ(bd_config(&b, 32, 1), 0);
    CHECK_EQ(bd_do(&b, BLK_OUT, 0, 512), ST_OK);
    CHECK_EQ(b.f->ops[BLK_FLUSH], 1);
    bd_free(&b);
}

TEST(vblk_state_that_no_driver_makes_is_refused)
{
    struct bd b = {0};
    bd_up(&b, false, FLUSH);
    device_hold(b.d.dev);
    struct records r = records_of(b.d.dev);
    const struct bend bends[] = {
        {"capacity", 0, 1ull << 56, "capacity: more than"},
        {"capacity", 0, 77, NULL},
        {"writeback", 0, 2, "writeback"},
        {"writeback", 0, 0, "writeback: not as negotiated"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bends); i++)
        records_bend(b.d.dev, &r, &bends[i]);
    records_free(&r);
    bd_free(&b);
}

/* A driver that knows of no flush may turn the cache on all the same. */
TEST(vblk_moves_with_a_cache_that_is_never_flushed)
{
    struct bd b = {0};
    bd_up(&b, false, WCE);
    CHECK_EQ(bd_config(&b, 32, 1), 0);
    guest_write(b.d.m, false, b.d.config + 32, 1, 1);
    records_move(b.d.m, make, between, &b);
    CHECK_EQ(bd_config(&b, 32, 1), 1);
    CHECK_EQ(bd_do(&b, BLK_OUT, 0, 512), ST_OK);
    CHECK_EQ(b.f->ops[BLK_FLUSH], 0);
    bd_free(&b);
}

/* -------------------------------------------------------------------- size */

static void grow(struct bd *b, uint64_t size)
{
    b->f->b.size = size;
    b->f->b.resized(b->f->b.disk);
    fake_run_loop(b->d.m);
}

/* §5.2.5: the driver is told, and may use it at once. */
BOTH_RINGS(vblk_another_size_is_a_configuration_change)
{
    struct bd b = {0};
    bd_up(&b, packed, FLUSH);
    CHECK_EQ(bd_do(&b, BLK_IN, FB_SECTORS, 512), ST_IOERR);
    uint8_t before = (uint8_t)vd_get(&b.d, C_GENERATION, 1);
    grow(&b, 2 * FB_SIZE);
    CHECK_EQ(vd_config_irqs(&b.d), 1);
    CHECK_NE(vd_get(&b.d, C_GENERATION, 1), before);
    CHECK_EQ(bd_config(&b, 0, 8), 2 * FB_SECTORS);
    CHECK_EQ(bd_do(&b, BLK_IN, FB_SECTORS, 512), ST_OK);
    grow(&b, 2 * FB_SIZE); /* the same: nothing to tell */
    CHECK_EQ(vd_config_irqs(&b.d), 0);
    grow(&b, 512);
    CHECK_EQ(vd_config_irqs(&b.d), 1);
    CHECK_EQ(bd_do(&b, BLK_IN, 1, 512), ST_IOERR);
    CHECK_EQ(bd_do(&b, BLK_IN, 0, 512), ST_OK);
    bd_free(&b);
}

static void empty(struct fake_blk *f)
{
    f->b.size = 0;
}

/* A place for a disk that is to come. */
TEST(vblk_a_disk_of_no_sectors_grows)
{
    struct bd b = {.bend = empty};
    bd_up(&b, false, FLUSH);
    CHECK_EQ(bd_config(&b, 0, 8), 0);
    CHECK_EQ(bd_do(&b, BLK_IN, 0, 512), ST_IOERR);
    CHECK_EQ(bd_do(&b, BLK_GET_ID, 0, 20), ST_OK);
    grow(&b, FB_SIZE);
    CHECK_EQ(vd_config_irqs(&b.d), 1);
    bd_check_alive(&b);
    bd_free(&b);
}

/* While nobody drives it, and while it rests: it is seen afterwards. */
TEST(vblk_another_size_while_it_rests)
{
    struct bd b = {0};
    bd_new(&b);
    grow(&b, 2 * FB_SIZE);
    CHECK_EQ(bd_config(&b, 0, 8), 2 * FB_SECTORS);
    vd_again(&b.d, FLUSH);
    device_hold(b.d.dev);
    grow(&b, FB_SIZE);
    CHECK_EQ(bd_config(&b, 0, 8), 2 * FB_SECTORS);
    device_resume(b.d.dev);
    CHECK_EQ(vd_config_irqs(&b.d), 1);
    CHECK_EQ(bd_config(&b, 0, 8), FB_SECTORS);
    bd_free(&b);
}

/* The drive of the machine it goes on in is another one. */
TEST(vblk_moves_to_a_drive_of_another_size)
{
    struct bd b = {0};
    bd_up(&b, false, FLUSH);
    struct records r;
    device_hold(b.d.dev);
    r = records_of(b.d.dev);
    records_set(&r, "capacity", 0, 5);
    CHECK_EQ(device_load(b.d.dev, r.p, r.len), 0);
    CHECK_EQ(bd_config(&b, 0, 8), 5);
    vd_config_irqs(&b.d); /* what was raised before, perhaps */
    device_resume(b.d.dev);
    CHECK_EQ(bd_config(&b, 0, 8), FB_SECTORS);
    CHECK_EQ(vd_config_irqs(&b.d), 1);
    records_free(&r);
    bd_free(&b);
}

/* ------------------------------------------------------- who waits for whom */

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void nap_us(long us)
{
    nanosleep(&(struct timespec){0, us * 1000}, NULL);
}

/* A vCPU resets the disk again and again while the loop, on its own thread,
 * has rings that break and sizes that change to tell of: both need the
 * registers' lock, and neither waits for the other for ever. */
BOTH_RINGS(vblk_a_vcpu_resets_while_the_loop_wants_the_lock)
{
    struct bd b = {0};
    pthread_t thread;
    test_timeout(120);
    bd_up(&b, packed, FLUSH);
    b.f->self = true;
    REQUIRE_EQ(pthread_create(&thread, NULL, run_loop, b.d.m->loop), 0);
    for (unsigned round = 0; round < 300; round++) {
        const struct vd_raw bad = {~0ull, 100, 0, 0};
        b.d.brk = 0x10000;
        REQUIRE(vd_negotiate(&b.d, FLUSH | F(VIRTIO_F_VERSION_1) |
                                       (packed ? F(VIRTIO_F_RING_PACKED) : 0)));
        vd_irqs_on(&b.d);
        vd_queue_make(&b.d, 0, 0);
        vd_status_or(&b.d, VIRTIO_DRIVER_OK);
        for (unsigned i = 0; i < 4; i++)
            bd_put(&b, 0, BLK_IN, i, 512);
        guest_write(b.d.m, false, b.d.notify, 2, 0);
        nap_us(test_random() % 60);
        if (round & 1) {
            vd_raw(&b.d.q[0], &bad, 1);
            guest_write(b.d.m, false, b.d.notify, 2, 0);
        }
        nap_us(test_random() % 60);
        vd_set(&b.d, C_STATUS, 1, 0);
        CHECK_EQ(vd_status(&b.d), 0);
        memset(vd_ram(&b.d, 0x10000, 0x40000), 0x5a, 0x40000);
        nap_us(50);
        const uint8_t *p = vd_ram(&b.d, 0x10000, 0x40000);
        for (unsigned i = 0; i < 0x40000; i++)
            REQUIRE(p[i] == 0x5a);
    }
    loop_stop(b.d.m->loop, 0);
    pthread_join(thread, NULL);
    b.d.brk = 0x10000;
    vd_again(&b.d, FLUSH);
    b.f->self = false;
    bd_check_alive(&b);
    bd_free(&b);
}

/* The lock is somebody's for a while: the loop tries again, and again. */
TEST(vblk_what_needs_the_lock_waits_without_waiting)
{
    struct bd b = {0};
    const struct vd_raw bad = {~0ull, 100, 0, 0};
    bd_up(&b, false, FLUSH);
    struct vblk *d = container_of(b.d.dev, struct vblk, v.dev);
    pthread_mutex_lock(&d->v.lock);
    b.f->b.size = 2 * FB_SIZE;
    b.f->b.resized(b.f->b.disk);
    vd_raw(&b.d.q[0], &bad, 1);
    virtio_poke(&d->v, 0);
    for (unsigned i = 0; i < 10; i++)
        loop_poll(b.d.m->loop, 0);
    CHECK_EQ(d->config.capacity, FB_SECTORS);
    CHECK_EQ(d->v.status, 0x0f);
    pthread_mutex_unlock(&d->v.lock);
    fake_run_loop(b.d.m);
    CHECK_EQ(bd_config(&b, 0, 8), 2 * FB_SECTORS);
    vd_config_irqs(&b.d);
    CHECK_EQ(vd_status(&b.d), 0x0f | VIRTIO_NEEDS_RESET);
    bd_free(&b);
}
