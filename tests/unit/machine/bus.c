/* SPDX-License-Identifier: MIT */
/* Buses and the event loop. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/fake.h"

/* ------------------------------------------------------------------- buses */

struct log {
    uint64_t off, val;
    unsigned width, n;
};

static uint64_t log_read(void *owner, uint64_t off, unsigned width)
{
    struct log *l = owner;
    *l = (struct log){off, 0, width, l->n + 1};
    return 0x1122334455667788;
}

static void log_write(void *owner, uint64_t off, unsigned width, uint64_t val)
{
    struct log *l = owner;
    *l = (struct log){off, val, width, l->n + 1};
}

static struct region region(uint64_t base, uint64_t len, struct log *l)
{
    return (struct region){.base = base,
                           .len = len,
                           .read = log_read,
                           .write = log_write,
                           .owner = l,
                           .name = "test"};
}

TEST(bus_offsets_widths_and_values_are_cut_to_size)
{
    struct bus *b = bus_new("test");
    struct log l = {0};
    struct region r = region(0x100, 0x10, &l);
    REQUIRE_EQ(bus_add(b, &r), 0);
    CHECK_EQ(bus_read(b, 0x104, 1), 0x88);
    CHECK_EQ(l.off, 4);
    CHECK_EQ(bus_read(b, 0x104, 2), 0x7788);
    CHECK_EQ(bus_read(b, 0x104, 4), 0x55667788);
    CHECK_EQ(bus_read(b, 0x108, 8), 0x1122334455667788);
    bus_write(b, 0x10f, 1, 0x1234);
    CHECK_EQ(l.off, 15);
    CHECK_EQ(l.val, 0x34);
    bus_free(b);
}

/* Each change moves all that is behind it; what is last is outside of the array
 * meanwhile. */
enum { STILL = 200 };
struct changer {
    struct bus *b;
    _Atomic bool over;
};

static void *bus_change(void *arg)
{
    struct changer *c = arg;
    struct region r = region(0, 16, NULL);
    for (int n = 0; n < 20000; n++) {
        bus_add(c->b, &r);
        bus_del(c->b, &r);
    }
    c->over = true;
    return NULL;
}

TEST(bus_a_region_is_found_while_another_comes_and_goes)
{
    struct changer c = {.b = bus_new("test")};
    struct log l = {0};
    struct region r[STILL];
    pthread_t t;
    for (unsigned i = 0; i < STILL; i++) {
        r[i] = region(0x100 + 16 * i, 16, &l);
        REQUIRE_EQ(bus_add(c.b, &r[i]), 0);
    }
    REQUIRE_EQ(pthread_create(&t, NULL, bus_change, &c), 0);
    unsigned wrong = 0;
    for (unsigned n = 1; !c.over; n++) {
        bus_read(c.b, r[STILL - 1].base + 4, 4);
        wrong += l.off != 4 || l.n != n;
    }
    pthread_join(t, NULL);
    CHECK_EQ(wrong, 0);
    CHECK_EQ(bus_unclaimed(c.b), 0);
    bus_free(c.b);
}

TEST(bus_unclaimed_reads_ones_and_is_counted)
{
    struct bus *b = bus_new("test");
    struct log l = {0};
    struct region r = region(0x100, 0x10, &l);
    REQUIRE_EQ(bus_add(b, &r), 0);
    CHECK_EQ(bus_read(b, 0x0ff, 1), 0xff);
    CHECK_EQ(bus_read(b, 0x110, 4), 0xffffffff);
    CHECK_EQ(bus_read(b, 0x10e, 4), 0xffffffff); /* partly claimed */
    CHECK_EQ(bus_read(b, 0x0fe, 4), 0xffffffff);
    CHECK_EQ(bus_read(b, ~0ull, 8), ~0ull);
    bus_write(b, 0x10e, 4, 0);
    CHECK_EQ(l.n, 0);
    CHECK_EQ(bus_unclaimed(b), 6);
    bus_free(b);
}

TEST(bus_regions_may_not_overlap_or_wrap)
{
    struct bus *b = bus_new("test");
    struct log l = {0};
    struct region a = region(0x100, 0x10, &l);
    struct region in = region(0x104, 1, &l), over = region(0xf0, 0x40, &l),
                  left = region(0xf8, 9, &l), right = region(0x10f, 4, &l),
                  empty = region(0x200, 0, &l), wrap = region(~0ull, 2, &l);
    struct region last = region(~0ull, 1, &l), all = region(0, ~0ull, &l);
    REQUIRE_EQ(bus_add(b, &a), 0);
    CHECK_EQ(bus_add(b, &a), -EEXIST);
    CHECK_EQ(bus_add(b, &in), -EEXIST);
    CHECK_EQ(bus_add(b, &over), -EEXIST);
    CHECK_EQ(bus_add(b, &left), -EEXIST);
    CHECK_EQ(bus_add(b, &right), -EEXIST);
    CHECK_EQ(bus_add(b, &all), -EEXIST);
    CHECK_EQ(bus_add(b, &empty), -EINVAL);
    CHECK_EQ(bus_add(b, &wrap), -EINVAL);
    CHECK_EQ(bus_add(b, &last), 0);
    CHECK_EQ(bus_read(b, ~0ull, 1), 0x88);
    bus_del(b, &a);
    bus_del(b, &a); /* twice does nothing */
    CHECK_EQ(bus_add(b, &over), 0);
    bus_free(b);
}

TEST(bus_many_regions_are_found)
{
    struct bus *b = bus_new("test");
    static struct region r[256];
    static struct log l[256];
    for (unsigned i = 0; i < 256; i++) { /* in scattered order */
        unsigned k = i * 37 % 256;
        r[k] = region(0x1000 + 0x10ull * k, 8, &l[k]);
        REQUIRE_EQ(bus_add(b, &r[k]), 0);
    }
    for (unsigned k = 0; k < 256; k++) {
        bus_write(b, 0x1000 + 0x10 * k, 1, k);
        CHECK_EQ(l[k].val, k);
        CHECK_EQ(bus_read(b, 0x1008 + 0x10 * k, 1), 0xff);
    }
    for (unsigned k = 0; k < 256; k += 2)
        bus_del(b, &r[k]);
    for (unsigned k = 0; k < 256; k++)
        CHECK_EQ(bus_read(b, 0x1000 + 0x10 * k, 1), k & 1 ? 0x88 : 0xff);
    bus_free(b);
}

TEST(bus_read_only_and_write_only_regions)
{
    struct bus *b = bus_new("test");
    struct region r = {.base = 0x80, .len = 1, .name = "post"};
    REQUIRE_EQ(bus_add(b, &r), 0);
    CHECK_EQ(bus_read(b, 0x80, 1), 0xff);
    bus_write(b, 0x80, 1, 1);
    bus_free(b);
}

/* -------------------------------------------------------------------- loop */

struct probe {
    struct event ev;
    int runs, agains;
    struct event *kill; /* to be removed when this one runs */
};

static void probe_ready(struct event *ev, uint32_t got)
{
    struct probe *p = container_of(ev, struct probe, ev);
    uint64_t n;
    p->runs++;
    if (got && read(ev->fd, &n, 8) < 0)
        p->runs += 1000;
    if (p->kill)
        loop_del(p->kill);
    if (p->agains > 0) {
        p->agains--;
        loop_again(ev);
    }
}

static struct probe probe_new(struct loop *l)
{
    struct probe p = {.ev = {.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                             .want = EPOLLIN,
                             .ready = probe_ready}};
    (void)l;
    return p;
}

static void poke(struct probe *p)
{
    uint64_t one = 1;
    REQUIRE(write(p->ev.fd, &one, 8) == 8);
}

TEST(loop_runs_what_is_ready_and_only_that)
{
    struct machine *m = fake_new(4096);
    struct probe a = probe_new(m->loop), b = probe_new(m->loop);
    REQUIRE_EQ(loop_add(m->loop, &a.ev), 0);
    REQUIRE_EQ(loop_add(m->loop, &b.ev), 0);
    poke(&a);
    CHECK_EQ(fake_run_loop(m), 1);
    CHECK_EQ(a.runs, 1);
    CHECK_EQ(b.runs, 0);
    loop_want(&a.ev, 0);
    poke(&a);
    CHECK_EQ(fake_run_loop(m), 0);
    loop_want(&a.ev, EPOLLIN);
    CHECK_EQ(fake_run_loop(m), 1);
    fake_free(m);
}

TEST(loop_del_inside_ready_silences_the_other_at_once)
{
    struct machine *m = fake_new(4096);
    struct probe a = probe_new(m->loop), b = probe_new(m->loop);
    REQUIRE_EQ(loop_add(m->loop, &a.ev), 0);
    REQUIRE_EQ(loop_add(m->loop, &b.ev), 0);
    a.kill = &b.ev;
    b.kill = &a.ev;
    poke(&a);
    poke(&b);
    fake_run_loop(m);
    CHECK_EQ(a.runs + b.runs, 1);
    fake_free(m);
}

TEST(loop_del_of_an_event_that_asked_for_another_turn)
{
    struct machine *m = fake_new(4096);
    struct probe a = probe_new(m->loop), b = probe_new(m->loop),
                 c = probe_new(m->loop);
    struct probe *p[] = {&a, &b, &c};
    for (int i = 0; i < 3; i++) {
        REQUIRE_EQ(loop_add(m->loop, &p[i]->ev), 0);
        loop_again(&p[i]->ev);
        loop_again(&p[i]->ev); /* once is enough */
    }
    a.kill = &b.ev; /* in the turn that is running */
    fake_run_loop(m);
    CHECK_EQ(a.runs, 1);
    CHECK_EQ(b.runs, 0);
    CHECK_EQ(c.runs, 1);
    a.kill = NULL;
    for (int i = 0; i < 3; i += 2)
        loop_again(&p[i]->ev);
    loop_del(&c.ev); /* the last of the list */
    loop_again(&a.ev);
    fake_run_loop(m);
    CHECK_EQ(a.runs, 2);
    CHECK_EQ(c.runs, 1);
    fake_free(m);
}

TEST(loop_again_lets_others_go_first)
{
    struct machine *m = fake_new(4096);
    struct probe a = probe_new(m->loop), b = probe_new(m->loop);
    REQUIRE_EQ(loop_add(m->loop, &a.ev), 0);
    REQUIRE_EQ(loop_add(m->loop, &b.ev), 0);
    a.agains = 5;
    poke(&a);
    loop_poll(m->loop, 0);
    poke(&b);
    loop_poll(m->loop, 0);
    CHECK_EQ(b.runs, 1);
    CHECK(a.runs < 6);
    fake_run_loop(m);
    CHECK_EQ(a.runs, 6);
    fake_free(m);
}

TEST(loop_del_of_what_was_never_added)
{
    struct event ev = {.fd = -1};
    loop_del(&ev);
    loop_want(&ev, EPOLLIN);
    loop_again(&ev);
    CHECK(true);
}

TEST(loop_add_passes_eperm_on)
{
    struct machine *m = fake_new(4096);
    struct event ev = {.fd = open("/proc/self/exe", O_RDONLY), .want = EPOLLIN};
    CHECK_EQ(loop_add(m->loop, &ev), -EPERM);
    ev.fd = -1;
    CHECK_EQ(loop_add(m->loop, &ev), -EBADF);
    fake_free(m);
}

struct clocked {
    struct timer t;
    int order, *next, again;
};

static void clocked_fire(struct timer *t)
{
    struct clocked *c = container_of(t, struct clocked, t);
    c->order = ++*c->next;
    if (c->again-- > 0)
        timer_arm(t, now_ns() + 100);
}

TEST(loop_timers_fire_in_order_and_can_be_moved)
{
    struct machine *m = fake_new(4096);
    int next = 0;
    struct clocked c[4];
    for (int i = 0; i < 4; i++) {
        c[i] = (struct clocked){.next = &next};
        timer_init(&c[i].t, m->loop, clocked_fire);
        timer_arm(&c[i].t, now_ns() + 100 * (uint64_t)(4 - i));
    }
    timer_arm(&c[3].t, now_ns() + 1000); /* later */
    timer_cancel(&c[2].t);
    timer_cancel(&c[2].t);
    fake_run_loop(m);
    CHECK_EQ(next, 0);
    fake_advance_ns(400);
    fake_run_loop(m);
    CHECK_EQ(c[1].order, 1);
    CHECK_EQ(c[0].order, 2);
    CHECK_EQ(c[2].order, 0);
    CHECK_EQ(c[3].order, 0);
    fake_advance_ns(600);
    fake_run_loop(m);
    CHECK_EQ(c[3].order, 3);
    CHECK_EQ(c[3].t.due, 0);
    fake_free(m);
}

TEST(loop_timer_rearms_itself)
{
    struct machine *m = fake_new(4096);
    int next = 0;
    struct clocked c = {.next = &next, .again = 3};
    timer_init(&c.t, m->loop, clocked_fire);
    timer_arm(&c.t, 0); /* at once, whatever the clock */
    for (int i = 0; i < 10; i++) {
        fake_run_loop(m);
        fake_advance_ns(100);
    }
    CHECK_EQ(next, 4);
    fake_free(m);
}

static void *stopper(void *arg)
{
    loop_stop(arg, 42);
    return NULL;
}

TEST(loop_stop_from_another_thread_and_before_run)
{
    struct machine *m = fake_new(4096);
    pthread_t th;
    REQUIRE_EQ(pthread_create(&th, NULL, stopper, m->loop), 0);
    CHECK_EQ(loop_run(m->loop), 42);
    pthread_join(th, NULL);
    loop_stop(m->loop, 7);
    CHECK_EQ(loop_run(m->loop), 7);
    CHECK(loop_is_mine(m->loop));
    fake_free(m);
}
