/* SPDX-License-Identifier: MIT */
/* -netdev vhost-user, and the -chardev it is used to. */
#ifndef NET_VHOST_USER_H
#define NET_VHOST_USER_H

#include "net/net.h"

extern const struct netdev_class vhost_user_class;

/* -chardev socket,id=,path=,server=,wait=,reconnect=: remembered for
 * -netdev vhost-user,chardev=ID. 0 or -errno (said). */
int vhost_user_chardev(const char *arg);

#endif
