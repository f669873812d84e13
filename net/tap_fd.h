/* SPDX-License-Identifier: MIT */
/* Inside the tap backend: its state, and how it comes by descriptors. */
#ifndef NET_TAP_FD_H
#define NET_TAP_FD_H

#include <net/if.h>
#include <stdatomic.h>

#include "host/iface.h"
#include "net/tap.h"

#define TAP_HELPER "/usr/lib/qemu/qemu-bridge-helper"

struct tap {
    struct netdev nd;
    struct netbe q[NET_QUEUES_MAX];
    char ifname[IFNAMSIZ];
    unsigned flags; /* IFF_*, as TUNGETIFF has them */
    bool named;     /* opened by its name: can be again */
    int sndbuf;     /* as set, 0: not; so too the next two */
    unsigned offload, active;
    bool found;            /* the interface was there before us */
    bool down_again;       /* we brought it up, though it is not ours */
    char bridge[IFNAMSIZ]; /* we made it a port of this one; "" none */
    struct downscript down;
    struct event links; /* rtnetlink: some interface changed */
    _Atomic bool dead;
    struct fault f_down, f_send, f_recv, f_again;
    struct netdev_counts counts;
};

/* What the command line says. */
struct tap_opts {
    const char *ifname, *br, *helper, *script, *downscript;
    const char *fd, *fds, *vhostfd, *vhostfds;
    uint64_t queues, sndbuf, poll_us;
    bool vnet_hdr, vhost, vhostforce;
};

/* Each adds queues to t and sets flags, ifname and found. 0 or -errno (said);
 * the queues opened until then are closed by the caller. */
int tap_open_name(struct tap *t, const struct tap_opts *o);
int tap_open_fds(struct tap *t, const struct tap_opts *o);
int tap_open_helper(struct tap *t, const struct tap_opts *o);
/* "3" or "3:4:5" into fd[NET_QUEUES_MAX]; how many, or -EINVAL (said). */
int tap_parse_fds(const char *key, const char *text, int *fd);

#endif
