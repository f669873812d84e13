/* SPDX-License-Identifier: MIT */
/* A loop's pace: how long it looks around before it sleeps, and when it naps.
 *
 * Looking. Under load the next packet of the guest's comes soon after the loop
 * went to sleep; the signal (an exit of the vCPU), the sleep and the wake-up
 * then cost more than the packet. So before it sleeps the loop looks at the
 * rings in guest memory, without entering the kernel, for a few times what a
 * signal costs here, if that has paid: if the last look found something, or if
 * the ring's signal came soon after the loop went to sleep, when a look would
 * have. A look that finds nothing is the last, so whoever sends seldom, or asks
 * and waits, or has another process on this processor (a gap in the time stamp
 * counter tells), costs nothing. No memory shows that a file descriptor is
 * ready, so they are looked at too when looking takes longer than that.
 *
 * What is "soon" depends on what a signal and a wake-up cost on this host,
 * which differs by a factor of fifty between a bare machine and a nested one;
 * it is measured, once, at the first short sleep.
 *
 * Napping. A flood of small packets is better served in batches: while the loop
 * turns round and round it finds them one by one, and the CPU it burns is not
 * there for whoever receives them. So when small packets come faster than it
 * could nap, the loop naps: it sleeps for a fixed time, signals off, and does
 * what has come together. A nap that finds little is the last, and makes the
 * loop slower to try again, so whoever waits for each answer is not held up. */
#include "base/pace.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

/* In signals sent to oneself: a look, at most; a sleep, with its wake-up, that
 * a look would have saved; a turn of a look; a nap. */
#define LOOK_COSTS 8
#define SOON_COSTS 32
#define GAP_COSTS 2
#define NAP_COSTS 128
#define LOOK_LEAST 2000 /* ticks */
#define LOOK_MAX 200000
#define NAP_LEAST_NS 20000
#define NAP_MAX_NS 1000000
#define NAP_AFTER 16 /* small packets, looked at together */
#define NAP_LEAST 3  /* small packets that are worth a nap */
#define DOUBT_MAX 5  /* NAP_AFTER doubles as often, at most */

/* What it costs to signal an eventfd, to be told by epoll, and to read it. Of
 * its own making, both: what epoll_wait gave here would be lost to the loop,
 * and an edge is told once. In ticks; 0: no descriptors left.
 *
 * syscalls loop pair: epoll_create1 eventfd2 close */
static uint64_t pace_signal_cost(void)
{
    uint64_t least = 0;
    eventfd_t n;
    struct epoll_event got = {.events = EPOLLIN};
    int ep = epoll_create1(EPOLL_CLOEXEC);
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ep < 0 || fd < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &got))
        goto out;
    for (int i = 0; i < 4; i++) {
        uint64_t start = now_ticks();
        eventfd_write(fd, 1);
        epoll_wait(ep, &got, 1, 0);
        eventfd_read(fd, &n);
        uint64_t cost = now_ticks() - start;
        least = i == 0 || cost < least ? cost : least;
    }
out:
    if (fd >= 0)
        close(fd);
    if (ep >= 0)
        close(ep);
    return least;
}

static uint64_t pace_between(uint64_t ns, uint64_t least, uint64_t most)
{
    return ns < least ? least : ns > most ? most : ns;
}

static void pace_measure(struct pace *p)
{
    uint64_t ns = now_ns(), ticks = now_ticks();
    uint64_t cost = pace_signal_cost();
    ticks = now_ticks() - ticks;
    ns = now_ns() - ns;
    if (!ticks || !ns) /* a clock that stands still: a test's */
        ticks = ns = 1;
    p->blind = pace_between(LOOK_COSTS * cost, LOOK_LEAST, LOOK_MAX);
    p->window = p->asked ? p->asked * ticks / ns + 1 : p->blind;
    p->gap = p->blind / LOOK_COSTS * GAP_COSTS;
    p->nap =
        pace_between(NAP_COSTS * cost * ns / ticks, NAP_LEAST_NS, NAP_MAX_NS);
}

void pace_worked(struct pace *p, unsigned small)
{
    p->found += small;
    if (p->naps || p->found >> p->doubt < NAP_AFTER)
        return;
    if (!p->nap)
        pace_measure(p);
    uint64_t now = now_ns();
    p->naps = !p->asked && now - p->since < p->found * p->nap;
    p->found = 0;
    p->since = now;
}

bool pace_looks(struct pace *p)
{
    const uint64_t most = LOOK_MAX / LOOK_COSTS * SOON_COSTS;
    if (!p->window && (p->slept < most || p->asked))
        pace_measure(p);
    if (p->slept <= p->blind / LOOK_COSTS * SOON_COSTS)
        p->pays = true;
    p->slept = UINT64_MAX;
    return p->pays || p->asked || p->naps;
}

void pace_looked(struct pace *p)
{
    p->pays = false;
}

void pace_ask(struct pace *p, uint64_t ns)
{
    p->asked = ns > p->asked ? ns : p->asked;
}

void pace_napped(struct pace *p, bool whole)
{
    uint64_t now = now_ns();
    if (!whole && now - p->since < p->nap)
        return;
    p->naps = p->found >= NAP_LEAST;
    if (p->naps)
        p->doubt -= p->doubt > 0;
    else
        p->doubt += p->doubt < DOUBT_MAX;
    p->found = 0;
    p->since = now;
}
