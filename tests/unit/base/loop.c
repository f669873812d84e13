/* SPDX-License-Identifier: MIT */
/* The loop's naps ("Napping" in base/pace.c), and its calls; events and timers
 * are in tests/unit/machine/bus.c. */
#include "base/loop.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/fake.h"

#define LONGER_THAN_A_NAP 2000000

/* A ring in which `waits` packets lie. */
struct ring {
    struct poller p;
    struct loop *l;
    unsigned waits, done, looked;
    bool signals;
};

static bool ring_look(struct poller *p)
{
    struct ring *r = container_of(p, struct ring, p);
    r->looked++;
    return r->waits > 0;
}

static void ring_ready(struct poller *p)
{
    struct ring *r = container_of(p, struct ring, p);
    unsigned n = r->waits;
    r->waits = 0;
    r->done += n;
    loop_worked(r->l, n);
    r->signals = !loop_look(r->l, p);
}

static void ring_arm(struct poller *p)
{
    container_of(p, struct ring, p)->signals = true;
}

static struct ring ring_new(struct machine *m)
{
    return (struct ring){
        .p = {.look = ring_look, .ready = ring_ready, .arm = ring_arm},
        .l = m->loop,
        .signals = true,
    };
}

/* The guest signalled: n packets, ns after those before. */
static void kick(struct ring *r, unsigned n, uint64_t ns)
{
    fake_advance_ns(ns);
    r->waits = n;
    ring_ready(&r->p);
}

static void turn(struct ring *r, unsigned n)
{
    r->waits = n;
    fake_advance_ns(LONGER_THAN_A_NAP);
    loop_poll(r->l, 0);
}

TEST(loop_naps_in_a_flood_and_not_in_a_trickle)
{
    struct machine *m = fake_new(4096);
    struct ring r = ring_new(m);
    for (int i = 0; i < 100; i++)
        kick(&r, 1, LONGER_THAN_A_NAP);
    CHECK(r.signals);
    kick(&r, 100, 0); /* the trickle is still in the mean */
    kick(&r, 100, 0);
    CHECK(!r.signals);
    turn(&r, 10);
    CHECK_EQ(r.done, 310);
    CHECK(!r.signals);
    turn(&r, 1); /* too little for a nap, so it was the last */
    CHECK_EQ(r.done, 311);
    turn(&r, 0);
    CHECK(r.signals);
    fake_free(m);
}

TEST(loop_with_a_window_asked_for_does_not_nap)
{
    struct machine *m = fake_new(4096);
    struct ring r = ring_new(m);
    loop_window(m->loop, 1000000);
    kick(&r, 100, 0);
    kick(&r, 100, 0);
    CHECK(!r.signals);
    r.looked = 0;
    loop_poll(m->loop, 0);
    CHECK(r.signals);
    /* The clock stands still: a few turns, for each may cost a time slice. */
    CHECK(r.looked > 0);
    CHECK(r.looked < 1000);
    fake_free(m);
}

TEST(loop_doubts_naps_that_found_little)
{
    struct machine *m = fake_new(4096);
    struct ring r = ring_new(m);
    unsigned needed[4];
    kick(&r, 100, LONGER_THAN_A_NAP);
    for (int i = 0; i < 4; i++) {
        for (needed[i] = 0; r.signals && needed[i] < 10000; needed[i]++)
            kick(&r, 1, 0);
        turn(&r, 0);
        CHECK(r.signals);
    }
    CHECK(needed[0] < needed[1]);
    CHECK(needed[1] < needed[2]);
    CHECK(needed[2] < needed[3]);
    fake_free(m);
}

struct edge {
    struct event ev;
    unsigned told;
};

static void edge_ready(struct event *ev, uint32_t got)
{
    (void)got;
    container_of(ev, struct edge, ev)->told++;
}

/* A look is in memory alone, but while it finds work, or lasts, the loop is not
 * deaf to its file descriptors. */
TEST(loop_that_looks_goes_on_to_hear_of_its_file_descriptors)
{
    struct machine *m = fake_pc(1 << 20);
    struct edge e = {
        .ev = {.fd = eventfd(1, EFD_NONBLOCK), .want = 0, .ready = edge_ready}};
    struct ring r = ring_new(m);
    REQUIRE_EQ(loop_add(m->loop, &e.ev), 0);
    loop_poll(m->loop, 1);
    kick(&r, 1, 0); /* soon after that sleep */
    REQUIRE(!r.signals);
    loop_want(&e.ev, EPOLLIN);
    fake_tick_ns(50);
    for (unsigned turns = 0; !e.told; turns++) {
        REQUIRE(turns < 1000);
        r.waits = 1;
        loop_poll(m->loop, 0);
    }
    fake_tick_ns(0);
    CHECK(r.done > 1);
    CHECK(!r.signals); /* it has not stopped to look for that */
    loop_unlook(m->loop, &r.p);
    loop_del(&e.ev);
    close(e.ev.fd);
    fake_free(m);
}

/* Whoever else had the processor needs it more. */
TEST(loop_ends_a_look_when_it_was_not_running)
{
    struct machine *m = fake_new(4096);
    struct ring r = ring_new(m);
    loop_window(m->loop, 1000000000);
    kick(&r, 1, 0);
    REQUIRE(!r.signals);
    r.looked = 0;
    fake_tick_ns(10000); /* each turn takes longer than its due */
    loop_poll(m->loop, 0);
    fake_tick_ns(0);
    CHECK(r.signals);
    CHECK_EQ(r.looked, 1);
    fake_free(m);
}

/* A doorbell is told by its edge, once: it may ring while the loop measures
 * what a signal costs, or at any other time. */
TEST(loop_loses_no_edge_while_it_measures)
{
    struct machine *m = fake_pc(1 << 20);
    struct edge e = {.ev = {.fd = eventfd(0, EFD_NONBLOCK),
                            .want = EPOLLIN | EPOLLET,
                            .ready = edge_ready}};
    uint64_t one = 1;
    struct ring r = ring_new(m);
    REQUIRE_EQ(loop_add(m->loop, &e.ev), 0);
    REQUIRE_EQ(write(e.ev.fd, &one, 8), 8);
    kick(&r, 1000, 1); /* a flood: the loop measures */
    loop_poll(m->loop, 0);
    CHECK_EQ(e.told, 1);
    loop_unlook(m->loop, &r.p);
    loop_del(&e.ev);
    close(e.ev.fd);
    fake_free(m);
}

/* ------------------------------------------------------------------- calls */

struct caller {
    struct machine *m;
    _Atomic unsigned *parked;
    unsigned times, inside;
    pthread_t thread;
};
static unsigned called; /* the loop's thread's alone */

static void count_call(void *arg)
{
    struct caller *c = arg;
    called++;
    c->inside++;
}

/* Calls the loop so often, then stays away, as a vCPU parks. */
static void *call_and_park(void *arg)
{
    struct caller *c = arg;
    for (unsigned i = 0; i < c->times; i++)
        loop_call(c->m->loop, count_call, c);
    atomic_fetch_add(c->parked, 1);
    loop_nudge(c->m->loop);
    return NULL;
}

static bool all_parked(void *arg)
{
    return atomic_load((_Atomic unsigned *)arg) == 4;
}

/* Four threads call at the same time, while the loop's waits for all of them to
 * be done: none is forgotten, none waits for ever. */
TEST(loop_serves_calls_while_it_waits_for_the_callers)
{
    struct machine *m = fake_new(1 << 20);
    _Atomic unsigned parked = 0;
    struct caller c[4];
    called = 0;
    for (unsigned i = 0; i < 4; i++) {
        c[i] = (struct caller){.m = m, .parked = &parked, .times = 500};
        REQUIRE_EQ(pthread_create(&c[i].thread, NULL, call_and_park, &c[i]), 0);
    }
    loop_serve(m->loop, all_parked, &parked);
    CHECK_EQ(called, 2000);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(c[i].inside, 500);
        pthread_join(c[i].thread, NULL);
    }
    fake_free(m);
}
