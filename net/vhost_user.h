/* SPDX-License-Identifier: MIT */
/* -netdev vhost-user. */
#ifndef NET_VHOST_USER_H
#define NET_VHOST_USER_H

#include "net/net.h"

extern const struct netdev_class vhost_user_class;

#endif
