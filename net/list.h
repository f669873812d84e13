/* SPDX-License-Identifier: MIT */
/* What -netdev can name: one row each, of which everything else is made. */
#ifndef NET_LIST_H
#define NET_LIST_H

#include "net/net.h"

#define NETDEV_CLASSES(ROW)                                                    \
    ROW(tap)                                                                   \
    ROW(bridge)                                                                \
    ROW(hubport)                                                               \
    ROW(stream)                                                                \
    ROW(dgram)                                                                 \
    ROW(socket)                                                                \
    ROW(user)                                                                  \
    ROW(none)                                                                  \
    ROW(vhost_user)

#define NETDEV_EXTERN(name) extern const struct netdev_class name##_class;
NETDEV_CLASSES(NETDEV_EXTERN)

/* &tap_class, …, for tables of them all. */
#define NETDEV_CLASS(name) &name##_class,
#define NETDEV_ROWS NETDEV_CLASSES(NETDEV_CLASS)

#endif
