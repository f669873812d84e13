/* SPDX-License-Identifier: MIT */
/* The event loop: epoll, a sorted list of timers, a list of events that asked
 * for another turn, and a short look around before going to sleep (base/pace.c
 * says when, and for how long).
 *
 * Ownership. Timers, pollers and turns are lists without a lock, the loop's
 * thread's alone; another thread that touches one is a bug of ours and ends the
 * VMM at once (assert), before it loses a timer quietly. */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/pace.h"

#define BATCH 32
#define TURNS_MAX 100 /* while the clock stands still (a test's) */

struct call {
    void (*fn)(void *arg);
    void *arg;
    sem_t done;
};

struct loop {
    int epfd;
    struct event wake; /* loop_stop's, loop_call's, loop_nudge's */
    pthread_mutex_t calling;
    struct call *_Atomic call;
    pthread_t thread;
    _Atomic bool running;
    _Atomic bool stop;
    _Atomic int value;
    struct timer *timers;              /* by due time */
    struct event *again, **again_tail; /* next turn's */
    struct event *turn;                /* this turn's, not yet called */
    /* The batch being worked on: loop_del takes its event out of it. */
    struct epoll_event batch[BATCH];
    int nbatch, at;
    struct poller *pollers; /* signals off: the loop looks */
    struct pace pace;
    uint64_t seen; /* ticks: when the file descriptors were looked at */
};

/* syscalls all: write */
void event_signal(int fd)
{
    static const uint64_t one = 1;
    ssize_t ignored = write(fd, &one, sizeof(one));
    (void)ignored; /* EAGAIN: the counter is full, the signal stands */
}

/* syscalls loop pair vcpu worker: read */
void event_drain(int fd)
{
    uint64_t n;
    ssize_t ignored = read(fd, &n, sizeof(n));
    (void)ignored; /* EAGAIN: nothing was in it */
}

static void loop_drain_wake(struct event *ev, uint32_t got)
{
    struct loop *l = container_of(ev, struct loop, wake);
    (void)got;
    event_drain(ev->fd);
    struct call *c = atomic_exchange(&l->call, NULL);
    if (!c)
        return;
    c->fn(c->arg);
    sem_post(&c->done);
}

void loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
    struct call c = {.fn = fn, .arg = arg};
    sem_init(&c.done, 0, 0);
    pthread_mutex_lock(&l->calling);
    atomic_store(&l->call, &c);
    event_signal(l->wake.fd);
    while (sem_wait(&c.done))
        continue; /* a signal */
    pthread_mutex_unlock(&l->calling);
    sem_destroy(&c.done);
}

/* syscalls loop: poll */
void loop_serve(struct loop *l, bool (*over)(void *arg), void *arg)
{
    struct pollfd p = {.fd = l->wake.fd, .events = POLLIN};
    while (!over(arg)) {
        poll(&p, 1, -1);
        loop_drain_wake(&l->wake, 0);
    }
}

void loop_nudge(struct loop *l)
{
    event_signal(l->wake.fd);
}

int loop_new(struct loop **out)
{
    struct loop *l = calloc(1, sizeof(*l));
    int err;
    if (!l)
        return -ENOMEM;
    l->again_tail = &l->again;
    l->pace = (struct pace)PACE_NEW;
    pthread_mutex_init(&l->calling, NULL);
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epfd < 0) {
        err = -errno;
        goto free_loop;
    }
    l->wake = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                             .want = EPOLLIN,
                             .ready = loop_drain_wake};
    if (l->wake.fd < 0) {
        err = -errno;
        goto close_ep;
    }
    err = loop_add(l, &l->wake);
    if (err)
        goto close_wake;
    *out = l;
    return 0;
close_wake:
    close(l->wake.fd);
close_ep:
    close(l->epfd);
free_loop:
    free(l);
    return err;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    close(l->wake.fd);
    close(l->epfd);
    free(l);
}

bool loop_is_mine(const struct loop *l)
{
    return !atomic_load(&l->running) ||
           pthread_equal(l->thread, pthread_self());
}

/* syscalls loop pair vcpu: epoll_ctl */
int loop_add(struct loop *l, struct event *ev)
{
    struct epoll_event e = {.events = ev->want, .data.ptr = ev};
    ev->loop = l;
    ev->again = false;
    if (!epoll_ctl(l->epfd, EPOLL_CTL_ADD, ev->fd, &e))
        return 0;
    ev->loop = NULL;
    return -errno;
}

void loop_want(struct event *ev, uint32_t want)
{
    if (!ev->loop || ev->want == want)
        return;
    ev->want = want;
    struct epoll_event e = {.events = want, .data.ptr = ev};
    epoll_ctl(ev->loop->epfd, EPOLL_CTL_MOD, ev->fd, &e);
}

/* syscalls loop vcpu if vhost: dup3 close */
int loop_refile(struct event *ev, int fd)
{
    struct epoll_event e = {.events = ev->want, .data.ptr = ev};
    epoll_ctl(ev->loop->epfd, EPOLL_CTL_DEL, ev->fd, NULL);
    if (fd < 0)
        return 0;
    int err = dup3(fd, ev->fd, O_CLOEXEC) < 0 ? -errno : 0;
    close(fd);
    if (!err && epoll_ctl(ev->loop->epfd, EPOLL_CTL_ADD, ev->fd, &e) < 0)
        err = -errno;
    return err;
}

/* Takes ev out of whichever of the two lists it is in. */
static void loop_again_remove(struct loop *l, struct event *ev)
{
    struct event **p = &l->turn;
    while (*p && *p != ev)
        p = &(*p)->again_next;
    for (p = *p ? p : &l->again; *p != ev;)
        p = &(*p)->again_next;
    *p = ev->again_next;
    if (l->again_tail == &ev->again_next)
        l->again_tail = p;
    ev->again = false;
}

void loop_del(struct event *ev)
{
    struct loop *l = ev->loop;
    if (!l)
        return;
    if (ev->fd >= 0)
        epoll_ctl(l->epfd, EPOLL_CTL_DEL, ev->fd, NULL);
    if (ev->again)
        loop_again_remove(l, ev);
    for (int i = l->at; i < l->nbatch; i++)
        if (l->batch[i].data.ptr == ev)
            l->batch[i].data.ptr = NULL;
    ev->loop = NULL;
}

void loop_again(struct event *ev)
{
    struct loop *l = ev->loop;
    if (!l)
        return;
    assert(loop_is_mine(l));
    if (ev->again)
        return;
    ev->again = true;
    ev->again_next = NULL;
    *l->again_tail = ev;
    l->again_tail = &ev->again_next;
}

void timer_init(struct timer *t, struct loop *l, void (*fire)(struct timer *t))
{
    *t = (struct timer){.fire = fire, .loop = l};
}

void timer_cancel(struct timer *t)
{
    if (!t->due)
        return;
    assert(loop_is_mine(t->loop));
    struct timer **p = &t->loop->timers;
    while (*p != t)
        p = &(*p)->next;
    *p = t->next;
    t->due = 0;
}

void timer_arm(struct timer *t, uint64_t due_ns)
{
    assert(loop_is_mine(t->loop));
    timer_cancel(t);
    t->due = due_ns ? due_ns : 1;
    struct timer **p = &t->loop->timers;
    while (*p && (*p)->due <= t->due)
        p = &(*p)->next;
    t->next = *p;
    *p = t;
}

uint64_t timer_stop(struct timer *t)
{
    uint64_t due = t->due, now = now_ns();
    timer_cancel(t);
    return !due ? 0 : due > now ? due - now : 1;
}

void timer_go(struct timer *t, uint64_t left)
{
    if (left)
        timer_arm(t, now_ns() + left);
}

static int loop_fire_timers(struct loop *l)
{
    int ran = 0;
    if (!l->timers)
        return 0;
    uint64_t now = now_ns();
    while (l->timers && l->timers->due <= now) {
        struct timer *t = l->timers;
        l->timers = t->next;
        t->due = 0;
        t->fire(t);
        ran++;
    }
    return ran;
}

/* Those asking during this turn wait for the next one. */
static int loop_run_again(struct loop *l)
{
    int ran = 0;
    l->turn = l->again;
    l->again = NULL;
    l->again_tail = &l->again;
    while (l->turn) {
        struct event *ev = l->turn;
        l->turn = ev->again_next;
        ev->again = false;
        ev->ready(ev, 0);
        ran++;
    }
    return ran;
}

/* Nanoseconds to wait at most: -1 is for ever. */
static int64_t loop_wait_limit(const struct loop *l, int64_t limit)
{
    if (l->again || atomic_load(&l->stop))
        return 0;
    if (!l->timers)
        return limit;
    uint64_t now = now_ns();
    int64_t left = l->timers->due <= now ? 0 : (int64_t)(l->timers->due - now);
    return limit >= 0 && limit < left ? limit : left;
}

/* epoll_pwait2 takes nanoseconds (Linux 5.11); before it, round up to ms.
 *
 * syscalls loop pair: epoll_pwait */
/* syscalls loop: epoll_pwait2 */
/* syscalls pair: epoll_pwait2, for a nap, or a timer of theirs, under load */
static SELDOM int loop_wait_timed(struct loop *l, int64_t ns)
{
    static _Atomic bool no_pwait2;
    if (!no_pwait2) {
        struct timespec ts = {ns / 1000000000, ns % 1000000000};
        long n =
            syscall(SYS_epoll_pwait2, l->epfd, l->batch, BATCH, &ts, NULL, 0);
        if (n >= 0 || errno != ENOSYS)
            return (int)n;
        no_pwait2 = true;
    }
    return epoll_wait(l->epfd, l->batch, BATCH, (int)((ns + 999999) / 1000000));
}

/* -1: for as long as it takes. */
static int loop_wait_ns(struct loop *l, int64_t ns)
{
    if (ns > 0)
        return loop_wait_timed(l, ns);
    return epoll_wait(l->epfd, l->batch, BATCH, (int)ns);
}

/* ---------------------------------------------------------------- looking */

void loop_worked(struct loop *l, unsigned small)
{
    pace_worked(&l->pace, small);
}

void loop_window(struct loop *l, uint64_t ns)
{
    pace_ask(&l->pace, ns);
}

bool loop_look(struct loop *l, struct poller *p)
{
    assert(loop_is_mine(l));
    if (!pace_looks(&l->pace))
        return false;
    if (!p->listed) {
        p->listed = true;
        p->next = l->pollers;
        l->pollers = p;
    }
    return true;
}

void loop_unlook(struct loop *l, struct poller *p)
{
    struct poller **at = &l->pollers;
    assert(loop_is_mine(l));
    if (!p->listed)
        return;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    p->listed = false;
}

static struct poller *loop_find_work(struct loop *l)
{
    for (struct poller *p = l->pollers; p; p = p->next)
        if (p->look(p))
            return p;
    return NULL;
}

static void loop_arm_all(struct loop *l)
{
    while (l->pollers) {
        struct poller *p = l->pollers;
        loop_unlook(l, p);
        p->arm(p);
    }
}

/* Sleeps, or until an event. Returns as loop_look_about() does. */
static int loop_nap(struct loop *l)
{
    int n = loop_wait_ns(l, loop_wait_limit(l, (int64_t)l->pace.nap));
    bool worked = false;
    for (struct poller *p = l->pollers, *next; p; p = next) {
        next = p->next;
        if (!p->look(p))
            continue;
        loop_unlook(l, p);
        p->ready(p);
        worked = true;
    }
    pace_napped(&l->pace, !n);
    if (n > 0 || worked)
        return n > 0 ? n : -1;
    if (!l->pace.naps)
        loop_arm_all(l);
    return l->pace.naps ? -1 : 0;
}

/* The number of events in the batch, -1 when a poller had work (it is done), 0
 * for nothing: all signals are on. */
static int loop_look_about(struct loop *l)
{
    if (l->pace.naps)
        return loop_nap(l);
    uint64_t start = now_ticks(), now = start, last;
    int turns = 0;
    do {
        if (now - l->seen > l->pace.blind) {
            l->seen = now;
            int n = epoll_wait(l->epfd, l->batch, BATCH, 0);
            if (n > 0)
                return n;
        }
        struct poller *p = loop_find_work(l);
        if (p) {
            loop_unlook(l, p);
            p->ready(p);
            return -1;
        }
        __builtin_ia32_pause();
        last = now;
        now = now_ticks();
    } while (now - start < l->pace.window && now - last < l->pace.gap &&
             (now != start || ++turns < TURNS_MAX));
    pace_looked(&l->pace);
    loop_arm_all(l);
    return 0;
}

/* Events for the batch, or -1. */
static int loop_wait_events(struct loop *l, int64_t limit)
{
    if (l->pollers && !l->again && !atomic_load(&l->stop)) {
        int n = loop_look_about(l);
        if (n)
            return n;
    }
    limit = loop_wait_limit(l, limit);
    uint64_t before = now_ticks();
    int n = loop_wait_ns(l, limit);
    l->seen = now_ticks();
    if (limit)
        l->pace.slept = l->seen - before;
    return n;
}

int loop_poll(struct loop *l, int timeout_ms)
{
    int64_t limit = timeout_ms < 0 ? -1 : (int64_t)timeout_ms * 1000000;
    int n = loop_wait_events(l, limit);
    l->nbatch = n > 0 ? n : 0;
    l->at = 0;
    int ran = n < 0;            /* pollers; or a signal, which does no harm */
    ran += loop_fire_timers(l); /* a timer may delete an event of the batch */
    for (; l->at < l->nbatch; l->at++) {
        struct event *ev = l->batch[l->at].data.ptr;
        if (!ev)
            continue;
        ev->ready(ev, l->batch[l->at].events);
        ran++;
    }
    l->nbatch = 0;
    return ran + loop_run_again(l);
}

int loop_run(struct loop *l)
{
    l->thread = pthread_self();
    atomic_store(&l->running, true);
    while (!atomic_load(&l->stop))
        loop_poll(l, -1);
    atomic_store(&l->running, false);
    atomic_store(&l->stop, false);
    return atomic_load(&l->value);
}

void loop_stop(struct loop *l, int value)
{
    atomic_store(&l->value, value);
    atomic_store(&l->stop, true);
    event_signal(l->wake.fd);
}
