/* SPDX-License-Identifier: MIT */
/* Inside the tap backend: its state, and how it comes by descriptors. */
#ifndef NET_TAP_FD_H
#define NET_TAP_FD_H

#include <net/if.h>
#include <stdatomic.h>

#include "host/iface.h"
#include "net/net.h"

#define TAP_HELPER "/usr/lib/qemu/qemu-bridge-helper"

/* What the command line says. */
struct tap_opts {
    const char *ifname, *br, *helper, *script, *downscript;
    const char *fd, *fds, *vhostfd, *vhostfds;
    uint32_t sndbuf, poll_us;
    uint8_t queues, vnet_hdr, vhost, vhostforce;
};

struct tap {
    struct netdev nd;
    struct tap_opts o;
    int handed[NET_QUEUES_MAX]; /* descriptors from who started us, */
    int nhanded;                /* instead of opening by the name; */
    bool moved;                 /* from whom we take the guest over */
    unsigned restores;          /* TAP_*: what is to be put back at the end */
    struct netbe q[NET_QUEUES_MAX];
    char ifname[IFNAMSIZ];
    unsigned flags; /* IFF_*, as TUNGETIFF has them */
    bool named;     /* opened by its name: can be again */
    int idle;       /* a file never ready, for when the interface is gone */
    int sndbuf;     /* as set, 0: not; so too the next two */
    unsigned offload, active;
    bool found;         /* the interface was there before us */
    bool bridged;       /* we made it a port of br */
    struct event links; /* rtnetlink: some interface changed */
    struct timer retry; /* the next look at one that could not be used */
    _Atomic bool dead;
    struct fault f_down, f_send, f_recv, f_again;
};

enum { TAP_LEAVES = 1, TAP_LOWERS = 2 };

/* Each adds queues to t and sets flags, ifname and found. 0 or -errno (said);
 * the queues opened until then are closed by the caller. */
int tap_open_name(struct tap *t);
int tap_open_fds(struct tap *t);
int tap_open_moved(struct tap *t);
int tap_open_helper(struct tap *t);
/* "3" or "3:4:5" into fd[NET_QUEUES_MAX]; how many, or -errno (said): each must
 * be open. `what` opens the message. */
int tap_parse_fds(const char *what, const char *key, const char *text, int *fd);
/* Takes what is handed to us under the name ifname=. 0 or -errno (said). */
int tap_take_handed(struct tap *t);
/* Are they a tap's? 0, or -errno (said). */
int tap_check_fds(const struct tap *t);

/* tap.c: of its netdev. */
int tap_set_offload(struct netdev *nd, unsigned bits);
int tap_set_queues(struct netdev *nd, unsigned n);
/* tap_links.c: hears of the interface's end, where that is allowed, and of one
 * of its name. 0 or -errno. */
int tap_links_watch(struct tap *t, struct loop *l);
int tap_swap(struct netdev *nd, const int *fd, const char *ifname);
void tap_drop(struct netdev *nd);

#endif
