/* SPDX-License-Identifier: MIT */
/* A loop's pace: how long it looks around before it sleeps, and when it naps.
 *
 * Looking. Under load the other side's next signal comes soon after the loop
 * went to sleep; the signal (an exit of the vCPU), the sleep and the wake-up
 * then cost more than the packet. So after a sleep that was short the loop
 * opens a window: before the next sleep it polls the rings and the file
 * descriptors for that long. Each short sleep doubles the window, a long one
 * closes it (as KVM's halt polling does). A loop whose events are far apart
 * never looks, so an idle machine costs nothing.
 *
 * What "short" is depends on what a signal and a wake-up cost on this host,
 * which differs by a factor of fifty between a bare machine and a nested one;
 * it is measured, once, at the first look.
 *
 * Answers. Who asks and waits leaves long pauses, but what the guest is given
 * it answers soon: a ping, a request, an acknowledgement. So after a delivery
 * the loop looks for the answer, for up to twice as long as the last one took.
 * No answer in time, and it does not look for the next.
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

#define LOOK_COSTS 32    /* a window in signals sent to oneself, at most */
#define NAP_COSTS 128    /* and a nap */
#define ANSWER_COSTS 200 /* and a look for an answer */
#define LOOK_MAX_NS 250000
#define ANSWER_MAX_NS 2000000
#define NAP_MAX_NS 1000000
#define LOOK_LEAST_NS 20000
#define NAP_AFTER 16 /* small packets, looked at together */
#define NAP_LEAST 3  /* small packets that are worth a nap */
#define DOUBT_MAX 5  /* NAP_AFTER doubles as often, at most */

/* What it costs to signal an eventfd, to be told by epoll, and to read it. Of
 * its own making, both: what epoll_wait gave here would be lost to the loop,
 * and an edge is told once. 0: no descriptors left.
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
        uint64_t start = now_ns();
        eventfd_write(fd, 1);
        epoll_wait(ep, &got, 1, 0);
        eventfd_read(fd, &n);
        uint64_t cost = now_ns() - start;
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
    uint64_t cost = pace_signal_cost();
    p->window_max = pace_between(LOOK_COSTS * cost, LOOK_LEAST_NS, LOOK_MAX_NS);
    if (p->asked)
        p->window_max = p->asked;
    p->nap = pace_between(NAP_COSTS * cost, LOOK_LEAST_NS, NAP_MAX_NS);
    p->answer_max =
        pace_between(ANSWER_COSTS * cost, LOOK_LEAST_NS, ANSWER_MAX_NS);
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

void pace_answered(struct pace *p, uint64_t took)
{
    if (!p->given)
        return;
    p->given = false;
    p->answer = 0;
    if (took > ANSWER_MAX_NS)
        return;
    if (!p->answer_max)
        pace_measure(p);
    if (took <= p->answer_max)
        p->answer = pace_between(2 * took, LOOK_LEAST_NS, p->answer_max);
}

void pace_slept(struct pace *p, uint64_t slept)
{
    if (slept > LOOK_MAX_NS && slept > p->asked) {
        p->window = 0;
        return;
    }
    if (!p->window_max)
        pace_measure(p);
    if (slept > p->window_max)
        p->window = 0;
    else if (!p->window)
        p->window = p->window_max / 8;
    else if (p->window < p->window_max / 2)
        p->window *= 2;
    else
        p->window = p->window_max;
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
