/* SPDX-License-Identifier: MIT */
/* The list of netdevs. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"

struct netdev *netdevs;
_Atomic bool netdevs_unplugged;

const struct field netdev_fields[] = {
    FIELD(TEXT, "id", struct netdev, id, .arg = "ID", .help = "its name"),
    FIELD(TEXT, "pcap", struct netdev, pcap, .arg = "FILE",
          .help = "capture its frames to a file"),
    {.help = NULL},
};

int netdev_new(const struct netdev_class *cls, struct opts *o,
               struct netdev **out)
{
    struct netdev *nd = calloc(1, cls->size);
    if (!nd) {
        opts_free(o);
        return fail(-ENOMEM, "-netdev %s: out of memory", cls->name);
    }
    nd->cls = cls;
    nd->vhost = cls->vhost;
    nd->opts = opts_taken(o);
    int err = fields_read(cls->fields, nd, &nd->opts);
    const char *what = nd->opts.what;
    if (!err && (!nd->id || !*nd->id))
        err = fail(-EINVAL, "%s: id= is missing", what);
    else if (!err && netdev_find(nd->id))
        err = fail(-EINVAL, "%s: id=%s: used twice", what, nd->id);
    if (!err && cls->check)
        err = cls->check(nd);
    if (err) {
        netdev_free(nd);
        return err;
    }
    netdev_register(nd);
    *out = nd;
    return 0;
}

void netdev_free(struct netdev *nd)
{
    struct opts opts = nd->opts; /* its texts outlive it */
    if (nd->close)
        nd->close(nd);
    else
        free(nd);
    opts_free(&opts);
}

/* To its NIC, where it is not as it was. */
static void netdev_tell(struct netdev *nd, bool was)
{
    bool up = netdev_link(nd);
    if (up != was && nd->link_changed)
        nd->link_changed(nd->nic, up);
}

void netdev_set_link(struct netdev *nd, bool up)
{
    bool was = netdev_link(nd);
    if (nd->link_up == up)
        return;
    nd->link_up = up;
    TRACE(NET, "%s link %s", nd->id, up ? "up" : "down");
    netdev_tell(nd, was);
}

void netdev_toggle_cables(void)
{
    log_line("cables %s", netdevs_unplugged ? "plugged in" : "pulled");
    netdevs_unplugged = !netdevs_unplugged;
    for (struct netdev *nd = netdevs; nd; nd = nd->next)
        netdev_tell(nd, nd->link_up && !nd->unplugged && netdevs_unplugged);
}

void netdev_plug(struct netdev *nd, bool in)
{
    bool was = netdev_link(nd);
    nd->unplugged = !in;
    netdev_tell(nd, was);
}

void netdev_count(struct netdev *nd, struct netdev_counts *c,
                  const struct field *table, const void *base)
{
    struct netdev_counts **p = &nd->counts;
    while (*p)
        p = &(*p)->next;
    *c = (struct netdev_counts){.table = table, .base = base};
    *p = c;
}

void netdev_uncount(struct netdev *nd, struct netdev_counts *c)
{
    struct netdev_counts **p = &nd->counts;
    while (*p && *p != c)
        p = &(*p)->next;
    if (*p)
        *p = c->next;
}

static const struct field vhost_counters[] = {
    COUNT("vhost_errors", struct netdev, vhost_errors, "rings found broken"),
    COUNT("vhost_refused", struct netdev, vhost_refused,
          "queues that vhost-net did not take"),
    {.help = NULL},
};

void netdev_stats(struct tally *t)
{
    for (const struct netdev *nd = netdevs; nd; nd = nd->next) {
        tally_level(t, nd->id, "link", "the cable is in", netdev_link(nd));
        if (nd->vhost != VHOST_NONE)
            fields_count(vhost_counters, nd, nd->id, t);
        if (nd->cls)
            fields_count(nd->cls->fields, nd, nd->id, t);
        for (const struct netdev_counts *c = nd->counts; c; c = c->next)
            fields_count(c->table, c->base, nd->id, t);
    }
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
        netdev_free(nd);
    }
}
