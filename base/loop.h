/* SPDX-License-Identifier: MIT */
/* The event loop: ready file descriptors and timers, one thread a loop. */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/clock.h"

struct loop;

/* A file descriptor somebody waits for; embedded in its owner. ready() runs on
 * the loop's thread, never blocks, and does a bounded amount of work: when more
 * is left it calls loop_again() and returns. Level-triggered. */
struct event {
    int fd;
    uint32_t want; /* EPOLLIN | EPOLLOUT …; 0 waits for errors only */
    void (*ready)(struct event *ev, uint32_t got);
    /* the loop's own */
    struct loop *loop;
    struct event *again_next;
    bool again;
};

/* 0 or -errno; *out is freed by loop_free. */
int loop_new(struct loop **out);
void loop_free(struct loop *l);

/* Watches ev->fd with ev->want. Any thread. 0 or -errno. EPERM from a regular
 * file (always ready) is passed on. */
int loop_add(struct loop *l, struct event *ev);
/* Changes what is waited for; cheap when nothing changes. Any thread, but one
 * at a time for one event. */
void loop_want(struct event *ev, uint32_t want);
/* Puts another file, which is taken over, behind the event's descriptor, whose
 * number stays; -1: it is not waited for any more. For a file that others have
 * a descriptor of, too: epoll would go on telling of it. Any thread; one more
 * ready() for the old file may be under way. 0 or -errno. */
int loop_refile(struct event *ev, int fd);
/* Forgets the event; ready() is not called any more once this returns, when
 * called on the loop's thread (or before the loop runs). The fd stays open.
 * Does nothing to an event that was never added. */
void loop_del(struct event *ev);
/* Loop thread only: calls ready(ev, 0) once more in the next turn, after the
 * other ready events had theirs. ev need not have been added (fd may be -1),
 * but ev->loop must be set, by loop_add or by hand. */
void loop_again(struct event *ev);

/* Something the loop can look at without a system call (a ring in guest
 * memory). While events come in quick succession the loop looks by itself for
 * a short while before it sleeps, so the other side need not signal; see
 * "Looking" in pace.c. Embedded in its owner. All on the loop's thread. */
struct poller {
    bool (*look)(struct poller *p);  /* is there work? */
    void (*ready)(struct poller *p); /* do it, a bounded amount */
    /* The loop stops looking: have signals sent again, and if work came in
     * the meantime see that it is done (loop_again). */
    void (*arm)(struct poller *p);
    /* the loop's own */
    struct poller *next;
    bool listed;
};
/* The owner did what there was and found no more work. True: the loop will
 * look, signals may stay off until arm(). False: it is about to sleep, the
 * owner arms at once. */
bool loop_look(struct loop *l, struct poller *p);
/* The owner did so many small packets (of LOOP_SMALL bytes at most), which cost
 * little beside the way to them. */
#define LOOP_SMALL 2048
void loop_worked(struct loop *l, unsigned small);
/* Before the loop runs: look for up to `ns` after each event, and do not nap.
 * Of several wishes the longest counts. */
void loop_window(struct loop *l, uint64_t ns);
/* Forgets the poller; arm() is not called. */
void loop_unlook(struct loop *l, struct poller *p);

/* An eventfd's two ends, non-blocking. A counter that is full, or empty, has
 * said what there is to say. Any thread, and signal handlers. */
void event_signal(int fd);
void event_drain(int fd);

/* Runs until loop_stop. Returns the value given to loop_stop. */
int loop_run(struct loop *l);
/* Any thread, and signal handlers. */
void loop_stop(struct loop *l, int value);
bool loop_is_mine(const struct loop *l); /* on the loop's own thread? */

/* Runs fn(arg) on the thread that runs the loop, between two events, and waits
 * until it is done. Other threads', one after the other; the loop runs, or
 * will. */
void loop_call(struct loop *l, void (*fn)(void *arg), void *arg);
/* For the loop's thread, in place of a wait of its own for a thread that may be
 * waiting in loop_call: does what is called until over(arg). Who makes that
 * true calls loop_nudge then. */
void loop_serve(struct loop *l, bool (*over)(void *arg), void *arg);
void loop_nudge(struct loop *l);

/* Tests: runs the ready events and due timers once, without loop_run; waits at
 * most timeout_ms for one. Returns how many ran. */
int loop_poll(struct loop *l, int timeout_ms);

/* A one-shot timer on a loop. Arming costs no system call. */
struct timer {
    void (*fire)(struct timer *t); /* on the loop's thread */
    /* the loop's own */
    struct loop *loop;
    uint64_t due; /* ns, CLOCK_MONOTONIC; 0: not armed */
    struct timer *next;
};
void timer_init(struct timer *t, struct loop *l, void (*fire)(struct timer *t));
/* Loop thread only (or before the loop runs). Re-arming moves it. */
void timer_arm(struct timer *t, uint64_t due_ns);
void timer_cancel(struct timer *t);
/* Stops it: gives the ns that were left, at least 1; 0: it was not armed.
 * timer_go arms it for what timer_stop gave. */
uint64_t timer_stop(struct timer *t);
void timer_go(struct timer *t, uint64_t left);

#endif
