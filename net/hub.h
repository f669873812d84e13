/* SPDX-License-Identifier: MIT */
/* -netdev hubport: Ethernet hubs inside the process. */
#ifndef NET_HUB_H
#define NET_HUB_H

#include "net/net.h"

extern const struct netdev_class hubport_class;

#endif
