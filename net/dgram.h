/* SPDX-License-Identifier: MIT */
/* A backend of datagrams: one frame each, UNIX or UDP. */
#ifndef NET_DGRAM_H
#define NET_DGRAM_H

#include "host/addr.h"
#include "net/net.h"

extern const struct netdev_class dgram_class;

/* local: where frames arrive (or len 0), or a connected descriptor; remote:
 * where they go; a multicast group is both. 0 or -errno (said). */
int dgram_new(struct loop *l, const char *id, const struct addr *local,
              const struct addr *remote, struct netdev **out);

#endif
