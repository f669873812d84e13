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

/* A queue's file of a TAP interface that is there, which does not block; with
 * IFF_* `flags` of <linux/if_tun.h>. The descriptor or -errno: -ENODEV: there
 * is none of the name; -EINVAL: it is no TAP, or was made with other flags. */
int if_open_tap(const char *ifname, unsigned flags);

/* Can this TAP be had? It is opened and let go; one that is not there is made,
 * and goes again. 0 or -errno. */
int if_try_tap(const char *ifname);
bool can_net_admin(void); /* CAP_NET_ADMIN in effect */

#endif
