/* SPDX-License-Identifier: MIT */
/* A backend of datagrams: one frame each, UNIX or UDP. */
#ifndef NET_DGRAM_H
#define NET_DGRAM_H

#include "host/addr.h"
#include "net/net.h"

struct dgram {
    struct netdev nd;
    struct netbe be;
    /* Where frames arrive (or len 0), or a connected descriptor; where they go;
     * a multicast group is both. */
    struct addr local, remote;
    struct addr_told told_local, told_remote;
    struct fault f_send, f_recv;
};
extern const struct field dgram_counters[];
bool dgram_is_group(const struct addr *a); /* multicast */
/* With local and remote known. 0 or -errno (said). */
int dgram_open(struct netdev *nd, struct loop *l);

#endif
