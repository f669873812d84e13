/* SPDX-License-Identifier: MIT */
/* The list of open netdevs. */
#include <stddef.h>
#include <string.h>

#include "net/net.h"

struct netdev *netdevs;

struct netdev *netdev_find(const char *id)
{
    for (struct netdev *nd = netdevs; nd; nd = nd->next)
        if (!strcmp(nd->id, id))
            return nd;
    return NULL;
}

/* In the order of the command line: stats and warnings come out that way. */
void netdev_register(struct netdev *nd)
{
    struct netdev **p = &netdevs;
    while (*p)
        p = &(*p)->next;
    nd->next = NULL;
    *p = nd;
}

/* Newest first, so that what was put on top of another goes before it. */
void netdev_close_all(void)
{
    while (netdevs) {
        struct netdev **p = &netdevs;
        while ((*p)->next)
            p = &(*p)->next;
        struct netdev *nd = *p;
        *p = NULL;
        nd->close(nd);
    }
}
