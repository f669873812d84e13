/* SPDX-License-Identifier: MIT */
/* When it is ready: with the vCPUs (-ready run), or with the guest's first
 * frame (-ready guest).
 *
 * The guest is looked at until it has sent one, and not afterwards, so that
 * nothing on a frame's way has to know. */
#include "control/ready.h"

#include <errno.h>
#include <string.h>

#define LOOK_NS 10000000ull

static struct {
    bool for_guest;
    bool done; /* said */
    struct machine *m;
    struct timer look;
    void (*tell)(struct machine *m);
} ready;

int ready_option(const char *arg)
{
    if (!word_among(arg, "run guest"))
        return fail(-EINVAL, "-ready %s: must be run or guest", arg);
    ready.for_guest = !strcmp(arg, "guest");
    return 0;
}

int ready_check(const struct needs *needs)
{
    if (!ready.for_guest || needs->nics)
        return 0;
    return fail(-EINVAL, "-ready guest: waits for a frame of the guest's, and "
                         "there is no NIC; -nic, or -ready run");
}

static void ready_tell(void)
{
    ready.done = true;
    ready.tell(ready.m);
}

static void ready_look(struct timer *t)
{
    if (machine_sent(ready.m))
        ready_tell();
    else
        timer_arm(t, now_ns() + LOOK_NS);
}

void ready_runs(struct machine *m, void (*done)(struct machine *m))
{
    if (ready.done || ready.m)
        return; /* a reset */
    ready.m = m;
    ready.tell = done;
    timer_init(&ready.look, m->loop, ready_look);
    if (ready.for_guest)
        timer_arm(&ready.look, now_ns() + LOOK_NS);
    else
        ready_tell();
}

void ready_end(void)
{
    if (ready.m)
        timer_cancel(&ready.look);
}
