/* SPDX-License-Identifier: MIT */
/* -netdev, -nic, -net, -tap and -object filter-dump, as QEMU's users write
 * them, turned into netdevs and -device texts. */
#ifndef NET_CMDLINE_H
#define NET_CMDLINE_H

#include "net/net.h"

/* For main(): each option as it comes (opt is "-nic" …), then net_open when the
 * loop exists, then a device for each net_device(i), then net_check.
 *
 * Takes an option in. 0, or -EINVAL (said). */
int net_option(const char *opt, const char *arg);
/* Opens all netdevs, hubs and captures. `classes` ends with NULL. 0, -errno
 * (said), or 1 when the user asked for help, which is out on stdout. On an
 * error netdev_close_all is the caller's. */
int net_open(struct loop *l, const struct netdev_class *const *classes);
/* "virtio-net-pci,netdev=n0,…": what else -device would have got; NULL after
 * the last. Valid after net_open, until net_free. */
const char *net_device(int i);
/* Warns of netdevs that no NIC took. */
void net_check(void);
void net_free(void);

#endif
