/* SPDX-License-Identifier: MIT */
/* -netdev none. */
#ifndef NET_NONE_H
#define NET_NONE_H

#include "net/net.h"

extern const struct netdev_class none_class;

#endif
