/* SPDX-License-Identifier: MIT */
/* virtio-net: what a hostile ring can make the loop do in one turn. Work is
 * counted in descriptors looked at (virtqueue.walked) and chains given back,
 * time is given generously: what has no bound takes seconds. */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/unit/fakevirtio.h"

#define INDIRECT F(VIRTIO_F_INDIRECT_DESC)
#define MERGEABLE F(VIRTIO_NET_F_MRG_RXBUF)
#define TABLE 1024u /* entries of an indirect table */
/* A turn calls each queue's work twice at most: an event and loop_again. */
#define TURN(descs) (2 * ((descs) + 1024u))

static struct vnet *vnet(struct vd *d)
{
    return container_of(d->dev, struct vnet, v.dev);
}

/* A table of 1024 pieces of `len` bytes each; all of them may be the same. */
static uint64_t table_of(struct vd *d, uint32_t len, bool write)
{
    uint64_t table = vd_alloc(d, 16ull * TABLE, 4096);
    uint64_t at = vd_alloc(d, 4096, 4096);
    for (unsigned i = 0; i < TABLE; i++) {
        struct vd_desc *p = vd_ram(d, table + 16ull * i, 16);
        uint16_t flags = write ? D_WRITE : 0;
        p->addr = at;
        p->len = len;
        if (d->packed) {
            p->packed.flags = flags;
        } else {
            p->split.flags = flags | (i + 1 < TABLE ? D_NEXT : 0);
            p->split.next = (uint16_t)(i + 1);
        }
    }
    return table;
}

/* Every place of the ring names the table; shown at once. */
static void fill_ring(struct vd_queue *q, uint64_t table)
{
    const struct vd_buf one = {table, 16 * TABLE, false};
    for (unsigned i = 0; i < q->size; i++) {
        REQUIRE(vd_put(q, &one, 1) >= 0);
    }
    for (unsigned i = 0; i < q->size; i++) {
        if (q->packed)
            vd_desc(q, i)->packed.flags |= D_INDIRECT;
        else
            vd_desc(q, i)->split.flags |= D_INDIRECT;
    }
    q->held_flags |= D_INDIRECT;
    vd_publish(q);
}

/* Kicks the queue and runs turn after turn; the most descriptors in one. */
static uint32_t most_walked(struct vd *d, unsigned q)
{
    const struct virtqueue *vq = &vnet(d)->v.vq[q];
    uint32_t most = 0, before = vq->walked;
    vd_set(d, C_QUEUE_SEL, 2, q);
    guest_write(d->m, d->ports,
                d->notify + (uint64_t)d->mult * vd_get(d, C_NOTIFY_OFF, 2), 2,
                q);
    for (int turns = 0; loop_poll(d->m->loop, 0) > 0 && turns < 10000;
         turns++) {
        most = vq->walked - before > most ? vq->walked - before : most;
        before = vq->walked;
    }
    return most;
}

static void up(struct vd *d, bool packed, uint64_t want)
{
    d->qsize = 256;
    vd_up(d, packed, INDIRECT | want);
}

/* ------------------------------------------------- descriptors of one turn */

BOTH_RINGS(vnet_bounds_refused_receive_chains)
{
    struct vd d = {0};
    up(&d, packed, MERGEABLE);
    fill_ring(&d.q[RX0], table_of(&d, 1, false));
    CHECK(most_walked(&d, RX0) <= TURN(1024));
    CHECK_EQ(vd_reap(&d.q[RX0]), 256); /* all came back in the end */
    CHECK_EQ(vnet(&d)->v.vq[RX0].walked, 256 * (1 + TABLE));
    CHECK_EQ(vd_count(&d, "rx_drop_desc"), 256);
    vd_check_alive(&d);
    vd_free(&d);
}

/* A chain of 1024 pieces without bytes but for the last one. */
static uint64_t almost_empty_table(struct vd *d)
{
    uint64_t table = table_of(d, 0, true);
    struct vd_desc *last = vd_ram(d, table + 16ull * (TABLE - 1), 16);
    last->len = 13;
    return table;
}

BOTH_RINGS(vnet_bounds_receive_window_of_long_chains)
{
    struct vd d = {0};
    uint8_t f[60];
    up(&d, packed, MERGEABLE);
    fill_ring(&d.q[RX0], almost_empty_table(&d));
    CHECK(most_walked(&d, RX0) <= TURN(1024));
    vd_frame(f, sizeof(f), 1);
    fake_net_give(d.net, 0, NULL, f, sizeof(f));
    CHECK(most_walked(&d, RX0) <= TURN(64 * 2048));
    CHECK_EQ(vd_reap(&d.q[RX0]), 6); /* 72 bytes */
    CHECK_EQ(vd_count(&d, "rx_frames"), 1);
    vd_free(&d);
}

BOTH_RINGS(vnet_bounds_transmit_chains)
{
    struct vd d = {0};
    up(&d, packed, 0);
    fake_net_fail_send(d.net, 256, -5);
    fill_ring(&d.q[TX0], table_of(&d, 1, false));
    CHECK(most_walked(&d, TX0) <= TURN(2048));
    CHECK_EQ(vd_reap(&d.q[TX0]), 256);
    CHECK_EQ(vd_count(&d, "tx_drop_backend"), 256);
    vd_free(&d);
}

/* The guest shows more at the very moment a burst of 63 has found the ring
 * empty and asks for kicks again: the write to avail_event, which lies on a
 * page of its own, is where it does that. */
static struct {
    void *page;
    volatile le16 *idx;
    uint16_t more;
} rearm;

static void on_rearm(int sig)
{
    (void)sig;
    *rearm.idx = (le16)(*rearm.idx + rearm.more);
    mprotect(rearm.page, 4096, PROT_READ | PROT_WRITE);
}

TEST(vnet_bounds_transmit_burst_is_not_stepped_over)
{
    struct vd d = {.packed = false, .qsize = 256};
    struct sigaction act = {.sa_handler = on_rearm}, old;
    vd_new(&d);
    REQUIRE(vd_negotiate(&d, F(VIRTIO_F_VERSION_1) | F(VIRTIO_F_EVENT_IDX)));
    vd_queue_make(&d, RX0, 256);
    d.q[TX0] = (struct vd_queue){.d = &d, .index = TX0, .size = 256};
    struct vd_queue *q = &d.q[TX0];
    uint64_t page = vd_alloc(&d, 3 * 4096, 4096) + 2 * 4096;
    q->desc = vd_alloc(&d, 4096, 4096);
    q->avail = vd_alloc(&d, 4096, 4096);
    q->used = page - 4 - 8 * 256;
    vd_queue_write(q);
    vd_set(&d, C_QUEUE_ENABLE, 2, 1);
    vd_status_or(&d, VIRTIO_DRIVER_OK);
    fake_run_loop(d.m);
    uint64_t at = vd_alloc(&d, 64, 1); /* one short packet, again and again */
    *vd_desc(q, 0) = (struct vd_desc){at, 13, {{0, 0}}};
    rearm.page = vd_ram(&d, page, 4096);
    rearm.idx = vd_avail_word(q, 1);
    rearm.more = 193;
    *rearm.idx = 63;
    sigaction(SIGSEGV, &act, &old);
    mprotect(rearm.page, 4096, PROT_READ);
    struct virtqueue *vq = &vnet(&d)->v.vq[TX0];
    lock_take(&vnet(&d)->pair[0]->lock);
    CHECK(vnet_tx(vnet(&d)->pair[0]) == NULL);
    lock_give(&vnet(&d)->pair[0]->lock);
    sigaction(SIGSEGV, &old, NULL);
    CHECK_EQ(*rearm.idx, 256);
    CHECK_EQ(vq->used_next, 64);
    fake_run_loop(d.m); /* the others, by loop_again */
    CHECK_EQ(vq->used_next, 256);
    vd_free(&d);
}

/* ---------------------------------------------------------- no way to spin */

/* The window is full of one-byte pieces before it holds the packet: it never
 * will, so the packet goes at once. */
BOTH_RINGS(vnet_bounds_packet_that_never_fits_is_dropped_at_once)
{
    struct vd d = {0};
    static uint8_t f[3000];
    up(&d, packed,
       MERGEABLE | F(VIRTIO_NET_F_GUEST_CSUM) | F(VIRTIO_NET_F_GUEST_TSO4));
    fill_ring(&d.q[RX0], table_of(&d, 1, true));
    vd_kick(&d, RX0);
    vd_frame(f, sizeof(f), 1);
    fake_net_give(d.net, 0, NULL, f, sizeof(f));
    CHECK(fake_run_loop(d.m) < 10); /* and the loop comes to rest */
    CHECK_EQ(vd_count(&d, "rx_drop_fit"), 1);
    fake_net_give(d.net, 0, NULL, f, 500);
    fake_run_loop(d.m);
    CHECK_EQ(vd_count(&d, "rx_frames"), 1);
    vd_free(&d);
}

/* The pieces that are used already take no room: with them the window is full
 * before it holds the packet, without them it is not. */
BOTH_RINGS(vnet_bounds_used_pieces_take_no_room)
{
    struct vd d = {0};
    static uint8_t f[1900];
    struct vd_buf b[500];
    up(&d, packed,
       MERGEABLE | F(VIRTIO_NET_F_GUEST_CSUM) | F(VIRTIO_NET_F_GUEST_TSO4));
    for (unsigned i = 0; i < 500; i++)
        b[i] = (struct vd_buf){0x8000 + i, 1, true};
    for (unsigned i = 0; i < 2; i++)
        REQUIRE(vd_put_indirect(&d.q[RX0], b, 500) >= 0);
    vd_publish(&d.q[RX0]);
    vd_kick(&d, RX0);
    vd_frame(f, sizeof(f), 1);
    fake_net_give(d.net, 0, NULL, f, 60);
    fake_run_loop(d.m); /* the first 500 pieces are used */
    for (unsigned i = 0; i < 4; i++)
        REQUIRE(vd_put_indirect(&d.q[RX0], b, 500) >= 0);
    vd_publish(&d.q[RX0]);
    fake_net_give(d.net, 0, NULL, f, 1900);
    vd_kick(&d, RX0);
    CHECK_EQ(vd_count(&d, "rx_frames"), 2);
    CHECK_EQ(vd_count(&d, "rx_drop_fit"), 0);
    vd_free(&d);
}

/* The smallest buffers there are, as many as the longest ring holds: what waits
 * behind those in use has its place once they are used. */
BOTH_RINGS(vnet_bounds_as_many_chains_as_a_ring_holds)
{
    struct vd d = {.opts = "rx_queue_size=1024"};
    static uint8_t f[1024 * 13];
    struct vd_queue *q = &d.q[RX0];
    vd_up(&d, packed,
          MERGEABLE | F(VIRTIO_NET_F_GUEST_CSUM) | F(VIRTIO_NET_F_GUEST_TSO4));
    REQUIRE_EQ(q->size, 1024);
    const struct vd_buf b = {vd_alloc(&d, 13, 1), 13, true};
    for (unsigned i = 0; i < 512; i++)
        REQUIRE(vd_put(q, &b, 1) >= 0);
    vd_publish(q);
    vd_kick(&d, RX0);
    vd_frame(f, sizeof(f), 1);
    fake_net_give(d.net, 0, NULL, f, 400 * 13 - 12);
    fake_run_loop(d.m);
    CHECK_EQ(vd_reap(q), 400);
    for (unsigned i = 0; i < 912; i++)
        REQUIRE(vd_put(q, &b, 1) >= 0);
    vd_publish(q);
    vd_kick(&d, RX0);
    fake_net_give(d.net, 0, NULL, f, 1024 * 13 - 12);
    fake_run_loop(d.m);
    CHECK_EQ(vd_reap(q), 1024);
    CHECK_EQ(vd_count(&d, "rx_frames"), 2);
    vd_free(&d);
}

/* ----------------------------------------------------------- control queue */

/* A command may take long (the kernel, a pair's burst): when half a millisecond
 * has passed, the next one waits for the loop's next turn. */
BOTH_RINGS(vnet_bounds_control_commands_by_time)
{
    struct vd d = {0};
    vd_up(&d, packed, F(VIRTIO_NET_F_CTRL_VQ) | F(VIRTIO_NET_F_CTRL_RX));
    struct vd_queue *q = &d.q[2];
    uint64_t at = vd_alloc(&d, 8, 1);
    const struct vd_buf b[] = {{at, 3, false}, {at + 4, 1, true}};
    fake_run_loop(d.m);
    for (unsigned i = 0; i < 20; i++)
        REQUIRE(vd_put(q, b, 2) >= 0);
    vd_publish(q);
    guest_write(d.m, d.ports, d.notify + 2ull * d.mult, 2, 2);
    fake_tick_ns(1000000);
    unsigned done = 0, turns = 0;
    for (; done < 20 && turns < 100; turns++) {
        loop_poll(d.m->loop, 0);
        unsigned n = vd_reap(q);
        CHECK(n <= 2);
        done += n;
    }
    fake_tick_ns(0);
    CHECK_EQ(done, 20);
    CHECK(turns >= 10);
    vd_free(&d);
}

/* One command that takes that long is all there is: the next one's kick is
 * still asked for, or a driver that waits for its answer waits for good. */
BOTH_RINGS(vnet_bounds_control_turn_cut_by_time_asks_for_kicks)
{
    struct vd d = {0};
    vd_up(&d, packed,
          F(VIRTIO_F_EVENT_IDX) | F(VIRTIO_NET_F_CTRL_VQ) |
              F(VIRTIO_NET_F_CTRL_RX));
    struct vd_queue *q = &d.q[2];
    uint64_t at = vd_alloc(&d, 8, 1);
    const struct vd_buf b[] = {{at, 3, false}, {at + 4, 1, true}};
    fake_run_loop(d.m);
    fake_tick_ns(1000000);
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE(vd_put(q, b, 2) >= 0);
        vd_publish(q);
        CHECK(vd_kick_wanted(q, packed ? 2 : 1));
        vd_kick(&d, 2);
        CHECK_EQ(vd_reap(q), 1);
    }
    fake_tick_ns(0);
    vd_free(&d);
}

/* ------------------------------------------------------- a guest that feeds */

/* A vCPU that makes every place of a ring available again as soon as it is
 * used, as fast as it can. */
struct feeder {
    pthread_t thread;
    struct vd_queue *q;
    struct vnet *n;
    void *avail, *used, *desc;
    _Atomic bool stop;
};

static void feed_packed(const struct feeder *f)
{
    struct vd_desc *ring = f->desc;
    for (unsigned i = 0; i < f->q->size; i++) {
        uint16_t flags =
            __atomic_load_n(&ring[i].packed.flags, __ATOMIC_ACQUIRE);
        uint16_t both = flags & (D_AVAIL | D_USED);
        if (both && both != (D_AVAIL | D_USED))
            continue; /* not used yet */
        ring[i].len = 16 * TABLE;
        __atomic_store_n(&ring[i].packed.flags,
                         D_INDIRECT | (both ? D_USED : D_AVAIL),
                         __ATOMIC_RELEASE);
    }
}

static void *feed(void *arg)
{
    struct feeder *f = arg;
    uint16_t *avail = f->avail;
    const uint16_t *used = f->used;
    while (!atomic_load(&f->stop)) {
        if (f->q->packed)
            feed_packed(f);
        else
            __atomic_store_n(
                &avail[1],
                (uint16_t)(__atomic_load_n(&used[1], __ATOMIC_ACQUIRE) +
                           f->q->size),
                __ATOMIC_RELEASE);
    }
    return NULL;
}

static void feed_start(struct feeder *f, struct vd *d, unsigned q)
{
    f->q = &d->q[q];
    f->n = vnet(d);
    f->desc = vd_ram(d, f->q->desc, 16);
    f->avail = vd_ram(d, f->q->avail, 4);
    f->used = vd_ram(d, f->q->used, 4);
    REQUIRE_EQ(pthread_create(&f->thread, NULL, feed, f), 0);
}

static void feed_stop(struct feeder *f)
{
    atomic_store(&f->stop, true);
    pthread_join(f->thread, NULL);
}

static double clock_ms(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* The longest turn in processor time, of as many as run in 100 ms. */
static double longest_turn(struct vd *d)
{
    double longest = 0, end = clock_ms(CLOCK_MONOTONIC) + 100;
    while (clock_ms(CLOCK_MONOTONIC) < end) {
        double start = clock_ms(CLOCK_THREAD_CPUTIME_ID);
        loop_poll(d->m->loop, 0);
        double took = clock_ms(CLOCK_THREAD_CPUTIME_ID) - start;
        longest = took > longest ? took : longest;
    }
    return longest;
}

static void fed(struct vd *d, unsigned q, bool write, uint32_t len)
{
    struct feeder f = {0};
    fill_ring(&d->q[q], table_of(d, len, write));
    feed_start(&f, d, q);
    guest_write(d->m, d->ports, d->notify + (uint64_t)d->mult * q, 2, q);
    double longest = longest_turn(d);
    feed_stop(&f);
    if (longest > 50) /* under sanitizers; a tenth of it without */
        FAIL("a turn took %.1f ms", longest);
    CHECK_EQ(vd_status(d), 0x0f);
    vd_set(d, C_STATUS, 1, 0);
    vd_drain(d);
}

BOTH_RINGS(vnet_bounds_fed_rings_leave_the_loop_soon)
{
    struct vd d = {0};
    up(&d, packed, MERGEABLE);
    fed(&d, RX0, false, 1);
    d.brk = 0x10000;
    vd_again(&d, INDIRECT | MERGEABLE);
    fed(&d, TX0, false, 1);
    d.brk = 0x10000;
    vd_again(&d, INDIRECT | MERGEABLE);
    fed(&d, TX0, false, 0);
    vd_free(&d);
}

static uint64_t turns_of(struct vd *d)
{
    struct nic_stats *s = &vnet(d)->pair[0]->stats;
    return atomic_load(&s->rx_kicks) + atomic_load(&s->tx_kicks);
}

static void nap_ms(long ms)
{
    nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

static void *reset(void *arg)
{
    struct vd *d = arg;
    vd_set(d, C_STATUS, 1, 0);
    return NULL;
}

/* A vCPU's reset waits for one burst of the pair's thread, which has no end of
 * work and would else have its lock back before anybody wakes up: while
 * somebody waits at the door, the thread does not go on, and a reset comes by
 * the door. */
BOTH_RINGS(vnet_bounds_fed_rings_do_not_hold_a_reset)
{
    struct vd d = {.opts = "iothreads=on"};
    struct feeder f[2] = {{0}};
    pthread_t other;
    up(&d, packed, MERGEABLE);
    fill_ring(&d.q[RX0], table_of(&d, 1, false));
    fill_ring(&d.q[TX0], table_of(&d, 0, false));
    for (unsigned q = 0; q < 2; q++) {
        feed_start(&f[q], &d, q);
        guest_write(d.m, d.ports, d.notify + (uint64_t)d.mult * q, 2, q);
    }
    atomic_fetch_add(&vnet(&d)->pair[0]->waiting, 1);
    lock_take(&vnet(&d)->pair[0]->door);
    nap_ms(50); /* the burst under way ends */
    uint64_t before = turns_of(&d);
    nap_ms(20);
    CHECK(turns_of(&d) - before <= 1);
    REQUIRE_EQ(pthread_create(&other, NULL, reset, &d), 0);
    /* we, the thread and the reset, however long it takes to get there */
    for (int i = 0; i < 3000 && vnet(&d)->pair[0]->waiting < 3; i++)
        nap_ms(10);
    CHECK_EQ(vnet(&d)->pair[0]->waiting, 3);
    CHECK(vnet(&d)->pair[0]->tx_on);
    atomic_fetch_sub(&vnet(&d)->pair[0]->waiting, 1);
    lock_give(&vnet(&d)->pair[0]->door);
    double start = clock_ms(CLOCK_MONOTONIC);
    pthread_join(other, NULL);
    double took = clock_ms(CLOCK_MONOTONIC) - start;
    for (unsigned q = 0; q < 2; q++)
        feed_stop(&f[q]);
    if (took > 1000) /* the feeders have the processors */
        FAIL("a reset took %.1f ms", took);
    CHECK_EQ(vd_status(&d), 0);
    vd_free(&d);
}
