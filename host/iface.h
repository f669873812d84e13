/* SPDX-License-Identifier: MIT */
/* Interfaces and bridges of the host. */
#ifndef NET_HOST_H
#define NET_HOST_H

#include <stdbool.h>

/* An interface's properties, by name; -errno (not said). */
int if_mtu(const char *ifname); /* bytes */
int if_set_mtu(const char *ifname, int mtu);
int if_is_up(const char *ifname); /* 1, 0 */
int if_set_up(const char *ifname, bool up);
int if_set_bridge(const char *bridge, const char *ifname, bool member);
/* First byte of the MAC to FE: a bridge takes the lowest MAC of its ports for
 * its own, and would change it with each VM that comes and goes. */
int if_raise_mac(const char *ifname);

bool can_net_admin(void); /* CAP_NET_ADMIN in effect */

#endif
