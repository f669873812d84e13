/* SPDX-License-Identifier: MIT */
/* -netdev tap and -netdev bridge. */
#ifndef NET_TAP_H
#define NET_TAP_H

#include "net/net.h"

extern const struct netdev_class tap_class, bridge_class;

#endif
