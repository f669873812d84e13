/* SPDX-License-Identifier: MIT */
/* -netdev, -nic, -net and -tap.
 *
 * Each is parsed once; its keys are dealt out to a netdev and a NIC by the
 * tables of their classes. -net is the oldest form: NICs and backends with one
 * vlan= are on one hub; where there is just one of each, the cable goes
 * directly and the NIC keeps its offloads. */
#include "control/asked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/models.h"

#define DEFAULT_MODEL "virtio-net-pci"

struct asked *asked_add(struct asked_list *l)
{
    struct asked *a = l->n < PLAN_MAX ? calloc(1, sizeof(*a)) : NULL;
    if (!a) {
        fail(-E2BIG, "too many netdevs or devices (at most %d)", PLAN_MAX);
        return NULL;
    }
    a->vlan = -1;
    l->at[l->n++] = a;
    return a;
}

void asked_free(struct asked_list *l)
{
    while (l->n) {
        struct asked *a = l->at[--l->n];
        opts_free(&a->o);
        if (a->device)
            device_free(a->device);
        free(a);
    }
}

/* ------------------------------------------------------------------ names */

static bool asked_is_nic(const struct device_class *cls)
{
    return fields_find(cls->fields, "netdev") != NULL;
}

const struct device_class *plan_model(const struct plan_classes *c,
                                      struct opts *o, const char *what,
                                      bool nic)
{
    char list[256] = "";
    if (models_adjust(c->devices, o))
        return NULL;
    const char *name = opts_str(o, "driver", "");
    for (int i = 0; c->devices[i]; i++) {
        const struct device_class *cls = c->devices[i];
        if (nic && !asked_is_nic(cls))
            continue;
        if (!strcmp(cls->name, name)) {
            opts_move(NULL, o, "driver", NULL);
            return cls;
        }
        size_t n = strlen(list);
        snprintf(list + n, sizeof(list) - n, " %s", cls->name);
    }
    fail(-EINVAL, "%s%s: no such device; there are%s", what, name, list);
    return NULL;
}

const struct netdev_class *plan_type(const struct plan_classes *c,
                                     const char *what, const char *name)
{
    char list[256] = "";
    for (int i = 0; c->netdevs[i]; i++) {
        if (!strcmp(c->netdevs[i]->name, name))
            return c->netdevs[i];
        size_t n = strlen(list);
        snprintf(list + n, sizeof(list) - n, " %s", c->netdevs[i]->name);
    }
    fail(-EINVAL, "%s %s: no such type; there are%s", what, name, list);
    return NULL;
}

/* An id that nobody has. */
static int asked_new_id(const struct asked_list *nets, struct asked *a)
{
    unsigned number = 0;
    snprintf(a->id, sizeof(a->id), "net0");
    for (int i = 0; i < nets->n; i++)
        if (!strcmp(opts_str(&nets->at[i]->o, "id", ""), a->id)) {
            snprintf(a->id, sizeof(a->id), "net%u", ++number);
            i = -1; /* look at all of them again */
        }
    return opts_add(&a->o, "id", a->id);
}

/* ------------------------------------------------------------------- help */

static bool asked_wants_help(const char *word)
{
    return word && (!strcmp(word, "help") || !strcmp(word, "?"));
}

static int asked_help_types(const struct plan_classes *c)
{
    for (int i = 0; c->netdevs[i]; i++)
        printf("-netdev %s,id=ID: %s\n", c->netdevs[i]->name,
               c->netdevs[i]->help);
    puts("-netdev TYPE,help lists the keys of one");
    return 1;
}

static int asked_help_models(const struct plan_classes *c)
{
    for (int i = 0; c->devices[i]; i++)
        if (asked_is_nic(c->devices[i]))
            printf("%s: %s\n", c->devices[i]->name, c->devices[i]->help);
    return 1;
}

static int asked_help_net(const struct netdev_class *net,
                          const struct device_class *dev)
{
    if (net) {
        printf("-netdev %s: %s\n", net->name, net->help);
        fields_help(net->fields);
    }
    if (dev) {
        printf("-device %s: %s\n", dev->name, dev->help);
        fields_help(dev->fields);
    }
    return 1;
}

/* ------------------------------------------------------------------- forms */

/* A netdev alone. */
static int asked_take_netdev(const struct plan_classes *c, struct opts *o,
                             struct asked_list *nets)
{
    char what[sizeof(o->what)];
    const char *type = opts_str(o, "type", NULL);
    if (!type)
        return fail(-EINVAL, "-netdev: no type; -netdev help lists them");
    if (asked_wants_help(type))
        return asked_help_types(c);
    const struct netdev_class *cls = plan_type(c, o->what, type);
    if (!cls)
        return -EINVAL;
    if (opts_str(o, "help", NULL))
        return asked_help_net(cls, NULL);
    struct asked *a = asked_add(nets);
    if (!a)
        return -EINVAL;
    const char *id = opts_str(o, "id", NULL);
    snprintf(what, sizeof(what), "-netdev %s%s%s", cls->name, id ? ",id=" : "",
             id ? id : "");
    memcpy(o->what, what, sizeof(what));
    opts_move(NULL, o, "type", NULL);
    a->net = cls;
    a->o = opts_taken(o);
    return 0;
}

/* The other names of keys, in options that are netdev and NIC in one. */
static const char *asked_nic_key(const char *key)
{
    return !strcmp(key, "macaddr") ? "mac" : key;
}

/* Moves o's keys to where the tables know them: the netdev (NULL: there is
 * none), else the NIC (the same). */
static int asked_deal_out(struct opts *o, struct asked *net, struct asked *nic)
{
    int err = 0;
    for (int i = 0; !err && i < o->n; i++) {
        const char *key = o->kv[i].key, *val = o->kv[i].val;
        if (net && fields_find(net->net->fields, key))
            err = opts_add(&net->o, key, val);
        else if (nic && fields_find(nic->dev->fields, asked_nic_key(key)))
            err = opts_add(&nic->o, asked_nic_key(key), val);
        else
            err = fail(-EINVAL, "%s: no key \"%s\"; %s%s%s%s%s lists them",
                       o->what, key, net ? "-netdev " : "",
                       net ? net->net->name : "",
                       net && nic ? ",help and -device " : "",
                       nic ? nic->dev->name : "", ",help");
    }
    return err;
}

/* The NIC's model; its options begin in *n. */
static const struct device_class *asked_model_of(const struct plan_classes *c,
                                                 struct opts *o, struct opts *n)
{
    char what[sizeof(o->what) + 8];
    opts_init(n, o->what);
    snprintf(what, sizeof(what), "%s: model=", o->what);
    if (opts_add(n, "driver", opts_str(o, "model", DEFAULT_MODEL)))
        return NULL;
    return plan_model(c, n, what, true);
}

/* -nic TYPE,… and -tap: a netdev and its NIC. "-nic none" says that there is no
 * NIC; with a model it is one without a cable. */
static int asked_take_both(const struct plan_classes *c, struct opts *o,
                           const char *type, struct asked_list *nets,
                           struct asked_list *nics)
{
    if (asked_wants_help(type))
        return asked_help_types(c);
    if (asked_wants_help(opts_str(o, "model", NULL)))
        return asked_help_models(c);
    if (!strcmp(type, "none") && o->n == 1)
        return 0;
    const struct netdev_class *cls = plan_type(c, o->what, type);
    struct asked *net = cls ? asked_add(nets) : NULL;
    struct asked *nic = net ? asked_add(nics) : NULL;
    if (!nic || !(nic->dev = asked_model_of(c, o, &nic->o)))
        return -EINVAL;
    if (opts_str(o, "help", NULL))
        return asked_help_net(cls, nic->dev);
    net->net = cls;
    opts_init(&net->o, o->what);
    opts_move(NULL, o, "type", NULL);
    opts_move(NULL, o, "model", NULL);
    int err = asked_deal_out(o, net, nic);
    const char *id = opts_str(&net->o, "id", NULL);
    if (!err && !id) {
        err = asked_new_id(nets, net);
        id = net->id;
    }
    return err ? err : opts_add(&nic->o, "netdev", id);
}

/* -net nic and -net TYPE: halves that find each other by vlan=. */
static int asked_take_half(const struct plan_classes *c, struct opts *o,
                           struct asked_list *nets, struct asked_list *nics)
{
    const char *type = opts_str(o, "type", NULL);
    uint64_t vlan = 0;
    if (!type)
        return fail(-EINVAL, "-net: no type; nic, tap, user ...");
    if (asked_wants_help(type))
        return asked_help_types(c);
    if (!strcmp(type, "none") && o->n == 1)
        return 0;
    if (asked_wants_help(opts_str(o, "model", NULL)))
        return asked_help_models(c);
    const char *number = opts_str(o, "vlan", "0");
    if (parse_u64("-net: vlan", number, 0, 65535, &vlan))
        return -EINVAL;
    bool nic = !strcmp(type, "nic");
    const struct netdev_class *cls = nic ? NULL : plan_type(c, o->what, type);
    struct asked *a = nic || cls ? asked_add(nic ? nics : nets) : NULL;
    if (!a)
        return -EINVAL;
    opts_init(&a->o, o->what);
    a->net = cls;
    if (nic && !(a->dev = asked_model_of(c, o, &a->o)))
        return -EINVAL;
    if (opts_str(o, "help", NULL))
        return asked_help_net(cls, a->dev);
    opts_move(NULL, o, "type", NULL);
    opts_move(NULL, o, "vlan", NULL);
    if (nic)
        opts_move(NULL, o, "model", NULL);
    int err = opts_move(&a->o, o, "name", "id");
    if (!err)
        err = asked_deal_out(o, nic ? NULL : a, nic ? a : NULL);
    if (!nic || !opts_str(&a->o, "netdev", NULL))
        a->vlan = (int)vlan;
    if (!err && !nic && !opts_str(&a->o, "id", NULL))
        err = asked_new_id(nets, a);
    return err;
}

int asked_net(const struct plan_classes *c, const char *opt, struct opts *o,
              struct asked_list *nets, struct asked_list *nics)
{
    int err;
    if (!strcmp(opt, "-netdev"))
        err = asked_take_netdev(c, o, nets);
    else if (!strcmp(opt, "-nic"))
        err = asked_take_both(c, o, opts_str(o, "type", "user"), nets, nics);
    else if (!strcmp(opt, "-net"))
        err = asked_take_half(c, o, nets, nics);
    else if (!opts_str(o, "ifname", NULL))
        err = fail(-EINVAL, "-tap: no name; write -tap tap0");
    else
        err = asked_take_both(
            c, o, asked_wants_help(opts_str(o, "ifname", "")) ? "help" : "tap",
            nets, nics);
    opts_free(o);
    return err;
}

/* ------------------------------------------------------------------- vlans */

static int asked_on_vlan(const struct asked_list *l, int vlan,
                         struct asked **which)
{
    int n = 0;
    for (int i = 0; i < l->n; i++)
        if (l->at[i]->vlan == vlan) {
            *which = l->at[i];
            n++;
        }
    return n;
}

/* A port of hub `vlan`, for a backend's id or (NULL) for a NIC. */
static int asked_add_port(const struct plan_classes *c, struct asked_list *nets,
                          int vlan, const char *back, const char **id)
{
    char num[16];
    struct asked *a = asked_add(nets);
    if (!a)
        return -EINVAL;
    a->net = c->hubport;
    opts_init(&a->o, "-net");
    snprintf(num, sizeof(num), "%d", vlan);
    int err = asked_new_id(nets, a);
    if (!err)
        err = opts_add(&a->o, "hubid", num);
    if (!err && back)
        err = opts_add(&a->o, "netdev", back);
    *id = a->id;
    return err;
}

/* Everything on one vlan is tied together. */
static int asked_tie(const struct plan_classes *c, int vlan,
                     struct asked_list *nets, struct asked_list *nics)
{
    struct asked *net = NULL, *nic = NULL;
    int nn = asked_on_vlan(nets, vlan, &net),
        nc = asked_on_vlan(nics, vlan, &nic);
    int err = 0, all = nets->n;
    bool direct = nn == 1 && nc == 1;
    const char *id = direct ? opts_str(&net->o, "id", "") : NULL;
    if (nn == 0)
        log_line("warning: -net nic: vlan %d has no backend, only NICs", vlan);
    if (net && nc == 0)
        log_line("warning: -net %s: vlan %d has no NIC", net->net->name, vlan);
    for (int i = 0; i < all && !err; i++) {
        const char *port, *back = opts_str(&nets->at[i]->o, "id", "");
        if (nets->at[i]->vlan != vlan)
            continue;
        nets->at[i]->vlan = -1;
        if (!direct)
            err = asked_add_port(c, nets, vlan, back, &port);
    }
    for (int i = 0; i < nics->n && !err; i++) {
        if (nics->at[i]->vlan != vlan)
            continue;
        nics->at[i]->vlan = -1;
        if (!direct)
            err = asked_add_port(c, nets, vlan, NULL, &id);
        if (!err)
            err = opts_add(&nics->at[i]->o, "netdev", id);
    }
    return err;
}

int asked_vlans(const struct plan_classes *c, struct asked_list *nets,
                struct asked_list *nics)
{
    int err = 0;
    for (int i = 0; i < nets->n && !err; i++)
        if (nets->at[i]->vlan >= 0)
            err = asked_tie(c, nets->at[i]->vlan, nets, nics);
    for (int i = 0; i < nics->n && !err; i++)
        if (nics->at[i]->vlan >= 0)
            err = asked_tie(c, nics->at[i]->vlan, nets, nics);
    return err;
}
