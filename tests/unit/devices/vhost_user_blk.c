/* SPDX-License-Identifier: MIT */
/* vhost-user-blk-pci between a driver and a back-end in a thread: what crosses,
 * what is kept while nobody is there, and back-ends that lie. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "block/block.h"
#include "devices/list.h"
#include "devices/virtio/served.h"
#include "host/chardev.h"
#include "tests/unit/fakesys.h"
#include "tests/unit/fakevirtio.h"
#include "tests/unit/net/net_test.h"
#include "tests/unit/vubackend.h"

#define BLK_BITS (0x7e46ull | 1ull << 28 | 1ull << 29 | 1ull << 30 | 1ull << 32)
#define QSIZE 8

static struct vd d;
static struct backend *b;
static int listener;

/* Of the cache, as qemu-storage-daemon begins, whatever it does. */
static uint8_t wce_at_first;

static struct backend *backend_blk(int fd)
{
    struct backend *n = backend_new(fd);
    n->features = BLK_BITS;
    n->config_len = 60;
    n->protocol |= 1 << 5; /* its own requests */
    n->config[32] = wce_at_first;
    return n;
}

static const char *whose = "chardev=c";

static struct machine *up(const char *more, uint64_t want)
{
    char text[256];
    d = (struct vd){.cls = &vhost_user_blk_class, .type = 2, .qsize = QSIZE};
    struct machine *m = d.m = fake_new2(VD_LOW_RAM, VD_HIGH_BASE, VD_HIGH_RAM);
    REQUIRE_EQ(pci_bus_new(m), 0);
    m->ram.fd = memfd_create("guest", MFD_CLOEXEC);
    REQUIRE_EQ(ftruncate(m->ram.fd, BACKEND_MEM), 0);
    const char *path = nt_path("blk");
    listener = backend_listen(path);
    b = backend_blk(listener);
    pthread_create(&b->thread, NULL, backend_accept, b);
    snprintf(text, sizeof(text), "socket,id=c,path=%s,reconnect-ms=1", path);
    REQUIRE_EQ(chardev_add(text), 0);
    snprintf(text, sizeof(text), "%s,num-queues=2%s", whose, more);
    struct opts o;
    struct needs needs = {0};
    struct device *dev;
    REQUIRE_EQ(opts_parse(&o, "-device vhost-user-blk-pci", text, NULL), 0);
    REQUIRE_EQ(device_new(&vhost_user_blk_class, &o, &needs, &dev), 0);
    CHECK(needs.shared_ram);
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    REQUIRE_EQ(helper_watch(m->loop), 0);
    REQUIRE_EQ(device_create(m, dev), 0);
    d.dev = dev;
    vd_find(&d);
    d.brk = 0x10000;
    vd_again(&d, want);
    return m;
}

static void down(struct machine *m)
{
    int fd = m->ram.fd;
    if (b)
        backend_end(b);
    b = NULL;
    m->ram.fd = -1;
    fake_free(m);
    chardev_free();
    helper_end();
    close(fd);
    close(listener);
    nt_clean();
}

/* ------------------------------------------- what the back-end's rings show */

static void wait_enabled(unsigned q)
{
    for (int i = 0; i < 200 && !b->enabled[q]; i++)
        usleep(5000);
    REQUIRE(b->enabled[q]);
}

static uint16_t *ring_of(uint64_t at)
{
    return (uint16_t *)(uintptr_t)at;
}

static uint16_t given(unsigned q)
{
    return ring_of(b->avail[q])[1];
}

static uint16_t given_head(unsigned q, unsigned i)
{
    return ring_of(b->avail[q])[2 + i % QSIZE];
}

/* It has done the request. */
static void used(unsigned q, uint32_t id, uint32_t len)
{
    uint16_t *u = ring_of(b->used[q]);
    uint32_t e[2] = {id, len};
    memcpy((uint8_t *)u + 4 + 8 * (u[1] % QSIZE), e, sizeof(e));
    __atomic_store_n(&u[1], (uint16_t)(u[1] + 1), __ATOMIC_RELEASE);
}

static void call(unsigned q)
{
    eventfd_write(b->call[q], 1);
    fake_run_loop(d.m);
}

static unsigned kicks(unsigned q)
{
    uint64_t n;
    unsigned k = 0;
    while (read(b->kick[q], &n, sizeof(n)) == sizeof(n))
        k += n > 0;
    return k;
}

/* A request: header, data, status, which is 0xee until somebody writes it. */
static uint8_t *status;
static int request_of(unsigned q, uint32_t type, bool indirect)
{
    const struct vd_buf buf[3] = {{vd_alloc(&d, 16, 16), 16, false},
                                  {vd_alloc(&d, 512, 512), 512, type != 1},
                                  {vd_alloc(&d, 1, 1), 1, true}};
    memcpy(vd_ram(&d, buf[0].at, 4), &type, sizeof(type));
    status = vd_ram(&d, buf[2].at, 1);
    *status = 0xee;
    int id =
        indirect ? vd_put_indirect(&d.q[q], buf, 3) : vd_put(&d.q[q], buf, 3);
    vd_publish(&d.q[q]);
    vd_kick(&d, q);
    return id;
}

static int request(unsigned q)
{
    return request_of(q, 0, true);
}

static void gone(struct machine *m)
{
    backend_end(b);
    b = NULL;
    usleep(20000);
    fake_run_loop(m);
}

/* The clock passes the pauses between two back-ends, and hardly moves while one
 * is greeted: its thread may be late. */
static void comes(struct machine *m)
{
    b = backend_blk(listener);
    pthread_create(&b->thread, NULL, backend_accept, b);
    for (int i = 0; i < 2000 && b->hint < 0; i++) {
        fake_sleep_ns(m, b->fd == listener ? 20000000 : 100000);
        usleep(b->fd == listener ? 10000 : 1000);
    }
    REQUIRE(b->hint >= 0);
}

static void another(struct machine *m, unsigned queue)
{
    comes(m);
    wait_enabled(queue);
}

#define WANT (F(VIRTIO_F_INDIRECT_DESC) | F(VIRTIO_F_EVENT_IDX) | F(9) | F(11))

static bool next_used(unsigned q, int id, uint32_t len)
{
    int got_id = -1;
    uint32_t got_len = 0;
    return vd_used(&d.q[q], &got_id, &got_len) && got_id == id &&
           got_len == len;
}

/* ------------------------------------------------------------------- tests */

TEST(v5_2_vhost_user_blk_requests_cross_and_come_back)
{
    struct machine *m = up("", WANT);
    uint64_t offered = vd_offered(&d);
    wait_enabled(1);
    /* its feature bits, and of the rings those that the device has itself */
    CHECK_EQ(offered & 0xffff, 0x7e46);
    CHECK(offered & F(VIRTIO_F_EVENT_IDX));
    CHECK(!(offered & F(VIRTIO_F_RING_PACKED)));
    CHECK_EQ(b->acked & F(VIRTIO_F_EVENT_IDX), 0);
    CHECK_EQ(b->regions, 3);
    CHECK(!ram_ptr(&m->ram, gpa(b->share), 1));
    /* where the guest's descriptors are, but not its rings */
    CHECK_EQ(b->desc[1], (uintptr_t)vd_ram(&d, d.q[1].desc, 16));
    CHECK(b->avail[1] != (uintptr_t)vd_ram(&d, d.q[1].avail, 4));
    kicks(0);
    kicks(1);
    int a = request(1), c = request(1);
    CHECK_EQ(given(0), 0);
    REQUIRE_EQ(given(1), 2);
    CHECK_EQ(given_head(1, 0), a);
    CHECK_EQ(given_head(1, 1), c);
    CHECK_EQ(kicks(1), 2);
    CHECK_EQ(kicks(0), 0);
    /* a back-end that looks by itself is not kicked */
    ring_of(b->used[1])[0] = 1;
    int e = request(1);
    CHECK_EQ(given(1), 3);
    CHECK_EQ(kicks(1), 0);
    /* in any order */
    used(1, (uint32_t)c, 513);
    call(1);
    CHECK_EQ(vd_irqs(&d, 1), 1);
    CHECK(next_used(1, c, 513));
    used(1, (uint32_t)e, 1);
    used(1, (uint32_t)a, 2);
    call(1);
    CHECK(next_used(1, e, 1));
    CHECK(next_used(1, a, 2));
    CHECK_EQ(vd_reap(&d.q[1]), 0);
    /* many rounds, beyond the ring's end */
    ring_of(b->used[1])[0] = 0;
    for (unsigned i = 0; i < 3 * QSIZE; i++) {
        int id = request(0);
        REQUIRE_EQ(given(0), i + 1);
        used(0, (uint32_t)id, i);
        call(0);
        REQUIRE(next_used(0, id, i));
    }
    down(m);
}

/* What is out when a back-end goes, and only that, is the next one's. */
TEST(v5_2_vhost_user_blk_requests_outlive_their_back_end)
{
    struct machine *m = up("", WANT);
    wait_enabled(1);
    int old = request(0);
    for (unsigned i = 0; i < 3 * QSIZE; i++) { /* the ring is written over */
        int id = request(0);
        used(0, (uint32_t)id, 1);
        call(0);
        REQUIRE(next_used(0, id, 1));
    }
    int x = request(0), y = request(0), z = request(0);
    used(0, (uint32_t)z, 7);
    call(0);
    CHECK(next_used(0, z, 7));
    used(0, (uint32_t)x, 5); /* done, and not told before it went */
    gone(m);
    CHECK(next_used(0, x, 5));
    CHECK_EQ(vd_reap(&d.q[0]), 0);
    int late = request(0); /* nobody is there */
    CHECK_EQ(vd_status(&d), 0x0f);
    another(m, 1);
    FAKE_SOON(m, given(0) == 3);
    unsigned seen = 0;
    for (unsigned i = 0; i < 3; i++)
        seen |= 1u << given_head(0, i);
    CHECK_EQ(seen, 1u << old | 1u << y | 1u << late);
    CHECK(kicks(0) > 0);
    used(0, (uint32_t)late, 1);
    used(0, (uint32_t)old, 2);
    used(0, (uint32_t)y, 3);
    call(0);
    CHECK(next_used(0, late, 1));
    CHECK(next_used(0, old, 2));
    CHECK(next_used(0, y, 3));
    down(m);
}

/* Its used ring is as hostile as a guest's. */
TEST(v5_2_vhost_user_blk_returns_what_it_does_not_have)
{
    struct machine *m = up("", WANT);
    int id = 0;
    for (unsigned how = 0; how < 4; how++) {
        wait_enabled(1);
        if (how == 0)
            id = request(0);
        FAKE_SOON(m, given(0) == 1);
        uint16_t *u = ring_of(b->used[0]);
        if (how == 0)
            used(0, (uint32_t)(id + 1) % QSIZE, 1); /* not given */
        else if (how == 1)
            used(0, 0x10000u + (uint32_t)id, 1); /* no such head */
        else if (how == 2)
            u[1] = 2; /* more than it has */
        else
            u[1] = 0xffff; /* backwards */
        call(0);
        CHECK_EQ(vd_reap(&d.q[0]), 0);
        CHECK_EQ(vd_status(&d), 0x0f);
        fake_run_loop(m);
        if (how == 0)
            CHECK_HAS(test_log(), "returned what it does not have");
        gone(m);
        another(m, 1);
    }
    int other = request(0);
    used(0, (uint32_t)id, 1);
    used(0, (uint32_t)id, 1); /* twice: it is not its any more */
    call(0);
    CHECK(next_used(0, id, 1));
    CHECK_EQ(vd_reap(&d.q[0]), 0);
    gone(m);
    another(m, 1);
    FAKE_SOON(m, given(0) == 1);
    CHECK_EQ(given_head(0, 0), other);
    down(m);
}

/* A chain that is out is made available again: the guest's fault, not the
 * back-end's. */
TEST(v2_7_13_vhost_user_blk_buffer_available_twice)
{
    struct machine *m = up("", WANT);
    wait_enabled(1);
    int id = request(0);
    *vd_avail_word(&d.q[0], 2 + (d.q[0].add++ & (QSIZE - 1u))) = (uint16_t)id;
    *vd_avail_word(&d.q[0], 1) = d.q[0].add;
    vd_kick(&d, 0);
    CHECK_EQ(vd_status(&d) & 0x40, 0x40);
    CHECK_EQ(given(0), 1);
    CHECK_HAS(test_log(), "made available twice");
    vd_again(&d, WANT);
    wait_enabled(1);
    CHECK_EQ(given(0), 0);
    down(m);
}

TEST(v5_2_4_vhost_user_blk_configuration_is_the_back_ends)
{
    struct machine *m = up("", WANT);
    wait_enabled(1);
    for (unsigned i = 0; i < 32; i++)
        CHECK_EQ(drv_r8(m, d.config + i), (uint8_t)(200 + i));
    CHECK_EQ(drv_r8(m, d.config + 34), 2); /* queues: ours */
    /* so is the cache: a guest that knows of none would flush nothing */
    CHECK_EQ(drv_r8(m, d.config + 32), 1);
    for (int i = 0; i < 200 && !b->config[32]; i++)
        usleep(5000);
    CHECK_EQ(b->config[32], 1);
    CHECK_EQ(drv_r8(m, d.config + 35), 0);
    for (int i = 0; i < 200 && b->hint < 0; i++)
        usleep(5000);
    REQUIRE(b->hint >= 0);
    vd_config_irqs(&d);
    /* it grows */
    uint32_t gen = vd_get(&d, C_GENERATION, 1);
    const uint32_t news[3] = {2, 1, 0};
    b->config[1] = 0x55;
    CHECK_EQ(send(b->hint, news, 12, MSG_NOSIGNAL), 12);
    FAKE_SOON(m, drv_r8(m, d.config + 1) == 0x55);
    CHECK_EQ(vd_config_irqs(&d), 1);
    CHECK(vd_get(&d, C_GENERATION, 1) != gen);
    /* a piece of a message, and no change: no interrupt */
    CHECK_EQ(send(b->hint, news, 5, MSG_NOSIGNAL), 5);
    b->asked_len = 0;
    FAKE_SOON(m, b->asked_len == 60);
    usleep(20000);
    fake_run_loop(m);
    CHECK_EQ(vd_config_irqs(&d), 0);
    /* what the driver may not write, and what it may; the next one is told */
    guest_write(m, false, d.config, 1, 9);
    guest_write(m, false, d.config + 32, 1, 0);
    CHECK_EQ(drv_r8(m, d.config), 200);
    CHECK_EQ(drv_r8(m, d.config + 32), 0);
    for (int i = 0; i < 200 && b->config[32]; i++)
        usleep(5000);
    CHECK_EQ(b->config[32], 0);
    CHECK_EQ(b->config[0], 200);
    gone(m);
    wce_at_first = 1;
    another(m, 1);
    wce_at_first = 0;
    for (int i = 0; i < 200 && b->config[32]; i++)
        usleep(5000);
    CHECK_EQ(b->config[32], 0);
    CHECK_EQ(drv_r8(m, d.config + 1), 201); /* that one's */
    CHECK_EQ(vd_config_irqs(&d), 1);
    /* the next driver has what the first one found */
    vd_again(&d, WANT);
    for (int i = 0; i < 200 && !b->config[32]; i++)
        usleep(5000);
    CHECK_EQ(b->config[32], 1);
    CHECK_EQ(drv_r8(m, d.config + 32), 1);
    down(m);
}

/* One that sends wrong answers, or more than were asked for, while it runs. */
TEST(v5_2_4_vhost_user_blk_lies_about_its_configuration)
{
    struct machine *m = up("", WANT);
    for (unsigned how = 0; how < 3; how++) {
        wait_enabled(1);
        for (int i = 0; i < 200 && b->hint < 0; i++)
            usleep(5000);
        const uint32_t bad[3][6] = {{24, 5, 12 + 61, 0, 61, 0},
                                    {24, 1, 12 + 60, 0, 60, 0},
                                    {24, 5, 0, 0, 0, 0}};
        b->silent = true;
        b->config_len = 0; /* its answer will be: none */
        if (how < 2)
            CHECK_EQ(send(b->fd, bad[how], 24, MSG_NOSIGNAL), 24);
        CHECK_EQ(send(b->hint, "x", 1, MSG_NOSIGNAL), 1);
        for (int i = 0; i < 200; i++) {
            usleep(1000);
            fake_run_loop(m);
        }
        CHECK_EQ(drv_r8(m, d.config), 200);
        if (how == 0)
            CHECK_HAS(test_log(), "broke the protocol");
        gone(m);
        another(m, 1);
    }
    down(m);
}

/* What is out at a reset has a quarter of a second to come back. */
TEST(v2_4_vhost_user_blk_reset_with_requests_out)
{
    struct machine *m = up("", WANT);
    wait_enabled(1);
    request(0);
    int64_t before = real_ms();
    vd_set(&d, C_STATUS, 1, 0);
    CHECK(real_ms() - before >= 240 && real_ms() - before < 1000);
    fake_run_loop(m);
    CHECK_HAS(test_log(), "does not finish");
    gone(m);
    comes(m);
    vd_again(&d, WANT);
    wait_enabled(1);
    CHECK_EQ(given(0), 0);            /* forgotten */
    used(0, (uint32_t)request(0), 1); /* done, and not told */
    before = real_ms();
    vd_again(&d, WANT);
    CHECK(real_ms() - before < 200);
    wait_enabled(1);
    CHECK_EQ(given(0), 0);
    down(m);
}

TEST(v2_6_1_vhost_user_blk_queue_reset)
{
    struct machine *m = up("", WANT | F(VIRTIO_F_RING_RESET));
    wait_enabled(1);
    int id = request(1);
    used(1, (uint32_t)id, 1);
    int other = request(0);
    vd_set(&d, C_QUEUE_SEL, 2, 1);
    vd_set(&d, C_QUEUE_RESET, 2, 1);
    CHECK_EQ(vd_get(&d, C_QUEUE_ENABLE, 2), 0);
    fake_run_loop(m);
    gone(m); /* queue 0's request was out: hung up on */
    another(m, 0);
    FAKE_SOON(m, given(0) == 1);
    CHECK_EQ(given_head(0, 0), other);
    vd_queue_make(&d, 1, QSIZE);
    down(m);
}

/* A stack on which each word is this descriptor's number. */
__attribute__((noinline)) static void leave_on_stack(int fd)
{
    volatile int word[8192];
    for (unsigned i = 0; i < 8192; i++)
        word[i] = fd;
}

/* Of the second queue nothing had been made yet: nothing of it is closed. */
TEST(vhost_user_blk_without_descriptors_for_its_queues)
{
    struct machine *m = up("", WANT);
    wait_enabled(1);
    int mine = open("/dev/null", O_RDONLY);
    vd_set(&d, C_STATUS, 1, 0);
    fake_run_loop(m);
    REQUIRE(vd_negotiate(&d, WANT | F(VIRTIO_F_VERSION_1)));
    vd_irqs_on(&d);
    for (unsigned q = 0; q < 2; q++)
        vd_queue_make(&d, q, QSIZE);
    fake_fds(0);
    leave_on_stack(mine);
    vd_status_or(&d, VIRTIO_DRIVER_OK);
    fake_fds(-1);
    fake_run_loop(m);
    CHECK_HAS(test_log(), "its queues cannot begin");
    CHECK_EQ(fcntl(mine, F_GETFD), 0);
    close(mine);
    vd_set(&d, C_STATUS, 1, 0);
    vd_again(&d, WANT);
    wait_enabled(1);
    down(m);
}

/* A pause: nothing is under way, and it goes on with what was out. */
TEST(vhost_user_blk_hold_and_resume)
{
    struct machine *m = up("", WANT);
    wait_enabled(1);
    int id = request(0);
    used(0, (uint32_t)id, 3);
    device_hold(d.dev);
    CHECK(next_used(0, id, 3));
    id = request(0);
    CHECK_EQ(device_save(d.dev, NULL, 0), 0);
    device_resume(d.dev);
    FAKE_SOON(m, given(0) == 1);
    CHECK_EQ(given_head(0, 0), id);
    down(m);
}

/* -------------------------------------------------------- a cache that dies */

static int serve(struct blockdev *bd, unsigned queues, struct peer *p,
                 struct chardev **out)
{
    CHECK_EQ(queues, 2);
    int err = chardev_take(bd->id, "c", p, out);
    return err ? err : chardev_need_helper(*out);
}

static void image_up(bool writeback, struct machine **m)
{
    static struct blockdev image;
    image =
        (struct blockdev){.id = "d0", .writeback = writeback, .serve = serve};
    blockdevs = &image;
    whose = "drive=d0";
    *m = up("", WANT);
    whose = "chardev=c";
    wait_enabled(1);
}

enum { IN, OUT, FLUSH = 4 };

static void done(struct machine *m, unsigned q, int id)
{
    (void)m;
    used(q, (uint32_t)id, 1);
    call(q);
    CHECK(next_used(q, id, 1));
}

TEST(v5_2_6_2_vhost_user_blk_flushes_fail_where_writes_are_lost)
{
    struct machine *m;
    image_up(true, &m);
    CHECK_STR(d.dev->id, "d0");
    /* nothing is lost: what was written is flushed, or was not done */
    done(m, 0, request_of(0, OUT, true));
    done(m, 1, request_of(1, FLUSH, true));
    int w = request_of(0, OUT, true), f = request_of(0, FLUSH, true);
    gone(m);
    another(m, 1);
    FAKE_SOON(m, given(0) == 2);
    done(m, 0, f);
    done(m, 0, w);
    /* it hangs up on one that lies, which is ended well */
    used(1, 3, 1);
    call(1);
    fake_run_loop(m);
    gone(m);
    another(m, 1);
    w = request_of(0, OUT, true);
    FAKE_SOON(m, given(0) == 1);
    test_log();
    /* a write that is done, and a flush that is not */
    done(m, 0, w);
    w = request_of(0, OUT, true);
    f = request_of(0, FLUSH, false);
    uint8_t *first = status;
    gone(m);
    CHECK_HAS(test_log(), "its flushes fail until it restarts");
    CHECK_EQ(*first, 0xee);
    vd_irqs(&d, 0);
    vd_irqs(&d, 1);
    vd_irq_always(&d.q[0]);
    vd_irq_always(&d.q[1]);
    another(m, 1);
    FAKE_SOON(m, given(0) == 1);
    CHECK_EQ(given_head(0, 0), w);
    CHECK(next_used(0, f, 1));
    CHECK_EQ(*first, 1);
    CHECK_EQ(vd_irqs(&d, 0), 1);
    done(m, 0, w);
    f = request_of(1, FLUSH, true);
    CHECK(next_used(1, f, 1));
    CHECK_EQ(*status, 1);
    CHECK_EQ(vd_irqs(&d, 1), 1);
    CHECK_EQ(given(1), 0);
    done(m, 1, request_of(1, IN, true));
    /* a chain that has no status is the back-end's to refuse */
    struct vd_buf one = {vd_alloc(&d, 16, 16), 16, false};
    memcpy(vd_ram(&d, one.at, 4), &(uint32_t){FLUSH}, 4);
    f = vd_add(&d.q[1], &one, 1);
    vd_kick(&d, 1);
    CHECK_EQ(given(1), 2);
    done(m, 1, f);
    /* the next driver begins anew */
    vd_again(&d, WANT);
    wait_enabled(1);
    FAKE_SOON(m, (request_of(0, FLUSH, true), given(0) == 1));
    CHECK_EQ(*status, 0xee);
    down(m);
    blockdevs = NULL;
}

/* A driver that makes each buffer available again as soon as it is back. */
static unsigned answered;

static bool eager(struct served *s, unsigned q, uint16_t head)
{
    struct vd_queue *dq = &d.q[q];
    vq_push(&s->v.vq[q], &(struct vq_chain){.id = head}, 1);
    if (++answered == 4 * QSIZE)
        return true;
    *vd_avail_word(dq, 2 + (dq->add++ & (QSIZE - 1u))) = head;
    *vd_avail_word(dq, 1) = dq->add;
    return true;
}

TEST(v2_7_13_vhost_user_blk_answers_a_ring_full_at_a_time)
{
    struct machine *m = up("", WANT);
    wait_enabled(1);
    struct served *s = container_of(d.dev, struct served, v.dev);
    const struct vd_buf one = {vd_alloc(&d, 16, 16), 16, false};
    s->answers = eager;
    answered = 0;
    vd_add(&d.q[0], &one, 1);
    served_kick(&s->v, 0);
    CHECK_EQ(answered, QSIZE);
    fake_run_loop(m);
    CHECK_EQ(answered, 4 * QSIZE);
    CHECK_EQ(given(0), 0);
    s->answers = NULL;
    done(m, 0, request(0)); /* and goes on */
    down(m);
}

TEST(v5_2_5_vhost_user_blk_write_through_loses_nothing)
{
    struct machine *m;
    for (int how = 0; how < 2; how++) {
        image_up(how == 1, &m);
        if (how == 1) /* the driver has chosen it */
            guest_write(m, false, d.config + 32, 1, 0);
        done(m, 0, request_of(0, OUT, true));
        gone(m);
        another(m, 1);
        int f = request_of(0, FLUSH, true);
        FAKE_SOON(m, given(0) == 1);
        done(m, 0, f);
        CHECK_EQ(*status, 0xee);
        down(m);
        blockdevs = NULL;
    }
}

TEST(vhost_user_blk_what_is_wrong_is_said)
{
    static const struct {
        const char *text, *said;
    } bad[] = {
        {"num-queues=1", "chardev= is missing"},
        {"chardev=nobody", "no -chardev nobody"},
        {"chardev=c2,queue-size=100", "must be a power of two"},
        {"chardev=c2,num-queues=0", "num-queues 0: must be"},
        {"chardev=c2,serial=x", "serial"},
    };
    REQUIRE_EQ(chardev_add("socket,id=c2,path=/nonexistent/x"), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct opts o;
        struct needs needs = {0};
        struct device *dev;
        REQUIRE_EQ(
            opts_parse(&o, "-device vhost-user-blk-pci", bad[i].text, NULL), 0);
        CHECK_EQ(device_new(&vhost_user_blk_class, &o, &needs, &dev), -EINVAL);
        CHECK_HAS(test_log(), bad[i].said);
    }
    chardev_free();
}
