/* SPDX-License-Identifier: MIT */
/* The list of open netdevs. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "net/net.h"

struct netdev *netdevs;
static bool pulled; /* every cable, by the operator */

int netdev_read_id(struct netdev *nd, struct opts *o)
{
    const char *id = opts_str(o, "id", "");
    if (strlen(id) >= sizeof(nd->id))
        return fail(-EINVAL, "%s: id=%s: longer than %zu characters", o->what,
                    id, sizeof(nd->id) - 1);
    strcpy(nd->id, id);
    return 0;
}

bool netdev_link(const struct netdev *nd)
{
    return nd->link_up && !pulled;
}

void netdev_set_link(struct netdev *nd, bool up)
{
    if (nd->link_up == up)
        return;
    nd->link_up = up;
    if (nd->link_changed && !pulled)
        nd->link_changed(nd->nic, up);
}

void netdev_toggle_cables(void)
{
    pulled = !pulled;
    log_line("cables %s", pulled ? "pulled" : "plugged in");
    for (struct netdev *nd = netdevs; nd; nd = nd->next)
        if (nd->link_up && nd->link_changed)
            nd->link_changed(nd->nic, !pulled);
}

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
