/* SPDX-License-Identifier: MIT */
/* What a machine that goes on from a snapshot has in the place of what its
 * options say: one command line for all that come from the same. */
#ifndef REPLACE_H
#define REPLACE_H

#include "control/asked.h"

/* What help says of its keys; and is it one of them? */
#define REPLACE_HELP                                                           \
    "  drive.ID=FILE             what disk ID is now\n"                        \
    "  mac.ID=MAC                the address of the NIC at netdev ID\n"        \
    "  net.ID=TAP                netdev ID's; or TYPE,,KEY=V...: another\n"    \
    "  vsock=PATH                the vsock device's socket"
bool replace_is(const char *key);
/* Takes one in; both texts live as long as the plan. 0 or -EINVAL (said). */
int replace_take(const char *key, const char *val);

/* For the plan, while what was asked for is sorted out and nothing is made of
 * it: netdevs, NICs and vsock; and, once nodes are tied, disks. One that finds
 * nobody is an error. 0 or -errno (said). */
int replace_devices(const struct plan_classes *c, struct asked_list *nets,
                    struct asked_list *nics, struct asked_list *devices);
int replace_disks(struct asked_list *backs);
void replace_forget(void);

#endif
