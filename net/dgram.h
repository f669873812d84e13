/* SPDX-License-Identifier: MIT */
/* A backend of datagrams: one frame each, UNIX or UDP. */
#ifndef NET_DGRAM_H
#define NET_DGRAM_H

#include <stdatomic.h>

#include "base/loop.h"
#include "host/addr.h"
#include "host/helper.h"
#include "net/net.h"

struct dgram {
    struct netdev nd;
    struct netbe be;
    /* Where frames arrive (or len 0), or a connected descriptor; where they go;
     * a multicast group is both. */
    struct addr local, remote;
    struct addr_told told_local, told_remote;
    struct fault f_send, f_recv;
    /* Frames leave from here, connected to a remote that is a UNIX socket, by
     * the helper each time that one is another; else -1. */
    int out, way;
    struct event lost; /* an eventfd: it is not connected */
    atomic_bool seeking;
    atomic_int away; /* errno of the last attempt, or 0 */
    struct helper_ask ask;
    struct timer pace;
};
extern const struct field dgram_counters[];
bool dgram_is_group(const struct addr *a); /* multicast */
/* With local and remote known. 0 or -errno (said). */
int dgram_open(struct netdev *nd, struct loop *l);

#endif
