/* SPDX-License-Identifier: MIT */
/* The plan inside: network options become netdevs and NICs. */
#ifndef ASKED_H
#define ASKED_H

#include "block/block.h"
#include "machine/machine.h"
#include "net/net.h"

#define PLAN_MAX 256

/* What can be named; each list ends with NULL. */
struct plan_classes {
    const struct device_class *const *devices;
    const struct netdev_class *const *netdevs;
    const struct netdev_class *hubport; /* for -net's vlan= */
    const struct blockdev_class *const *blockdevs;
    const struct device_class *served; /* a disk that another process serves */
};

/* One netdev, blockdev, NIC or other device, before and while it is checked. */
struct asked {
    struct opts o;
    const struct netdev_class *net;
    const struct device_class *dev;
    const struct blockdev_class *block; /* NULL: raw is not tied to it yet, or
                                           it is a part of that */
    bool raw;                           /* or of another format: an image's */
    const struct blockdev_class *image;
    int place;   /* a -drive's, among them */
    int vlan;    /* -net's, else -1 */
    char id[16]; /* where nobody gave one */
    struct netdev *netdev;
    struct device *device;
};
struct asked_list {
    struct asked *at[PLAN_MAX];
    int n;
};
/* One more, empty; NULL (said): too many. */
struct asked *asked_add(struct asked_list *l);
void asked_free(struct asked_list *l);

/* The class of o's driver=, which goes, with what an alias and -global add to
 * the other keys; of a NIC only. NULL (said, beginning with `what`): there is
 * none. */
const struct device_class *plan_model(const struct plan_classes *c,
                                      struct opts *o, const char *what,
                                      bool nic);
const struct netdev_class *plan_type(const struct plan_classes *c,
                                     const char *what, const char *name);

/* Turns one -netdev, -nic, -net or -tap (`o` is taken over) into rows of `nets`
 * and `nics`. 0; 1: help is out; -EINVAL (said). */
int asked_net(const struct plan_classes *c, const char *opt, struct opts *o,
              struct asked_list *nets, struct asked_list *nics);
/* Once all are there: hubs for -net's vlan=. 0 or -errno (said). */
int asked_vlans(const struct plan_classes *c, struct asked_list *nets,
                struct asked_list *nics);

#endif
