/* SPDX-License-Identifier: MIT */
/* What a machine that goes on from a snapshot has in the place of what its
 * options say. */
#include "control/replace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REPLACE_MAX 64

static struct {
    const char *key, *val;
} told[REPLACE_MAX];
static int ntold;

/* What stands behind "net." in a key that begins so, or NULL. */
static const char *replace_id(const char *key, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(key, prefix, n) || !key[n] ? NULL : key + n;
}

bool replace_is(const char *key)
{
    return !strcmp(key, "vsock") || replace_id(key, "net.") ||
           replace_id(key, "mac.") || replace_id(key, "drive.");
}

int replace_take(const char *key, const char *val)
{
    if (!*val)
        return fail(-EINVAL, "-restore: %s=: is empty", key);
    for (int i = 0; i < ntold; i++)
        if (!strcmp(told[i].key, key))
            return fail(-EINVAL, "-restore: %s=: said twice", key);
    if (ntold == REPLACE_MAX)
        return fail(-EINVAL, "-restore: %s=: at most %d are replaced", key,
                    REPLACE_MAX);
    told[ntold].key = key;
    told[ntold++].val = val;
    return 0;
}

/* Whose option `key` is `id`. */
static struct asked *replace_find(const struct asked_list *l, const char *key,
                                  const char *id)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(opts_str(&l->at[i]->o, key, ""), id))
            return l->at[i];
    return NULL;
}

static int replace_key(struct opts *o, const char *key, const char *val)
{
    opts_move(NULL, o, key, NULL);
    return opts_add(o, key, val);
}

/* ----------------------------------------------------------------- netdevs */

/* All that it was told goes, but for its name and its capture. */
static int replace_class(const struct plan_classes *c, struct asked *a,
                         const char *id, const char *text)
{
    struct opts new;
    const char *pcap = opts_str(&a->o, "pcap", NULL);
    int err = opts_parse(&new, "-restore: net.", text, "type");
    if (err)
        return err;
    const char *type = opts_str(&new, "type", "");
    snprintf(new.what, sizeof(new.what), "-restore: net.%.24s=%.24s", id, type);
    a->net = plan_type(c, "-restore: net:", type);
    opts_move(NULL, &new, "type", NULL);
    if (pcap)
        err = opts_default(&new, "pcap", pcap);
    if (!err)
        err = replace_key(&new, "id", id);
    opts_free(&a->o);
    a->o = new;
    return err ? err : a->net ? 0 : -EINVAL;
}

/* Where it opens a TAP already, it does so as before, but that one. */
static int replace_tap(const struct plan_classes *c, struct asked *a,
                       const char *id, const char *ifname)
{
    static const char *const others[] = {"fd", "fds", "helper", "ifname"};
    char text[64];
    if (strlen(ifname) > 32)
        return fail(-EINVAL, "-restore: net.%s=%s: too long for an interface",
                    id, ifname);
    snprintf(text, sizeof(text), "tap,ifname=%s", ifname);
    if (strcmp(a->net->name, "tap") != 0)
        return replace_class(c, a, id, text);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        opts_move(NULL, &a->o, others[i], NULL);
    return opts_add(&a->o, "ifname", ifname);
}

static int replace_net(const struct plan_classes *c, struct asked_list *nets,
                       const char *id, const char *val)
{
    struct asked *a = replace_find(nets, "id", id);
    bool names_type = strchr(val, ',');
    if (!a)
        return fail(-ENOENT, "-restore: net.%s=: there is no netdev %s", id,
                    id);
    for (int i = 0; c->netdevs[i]; i++)
        names_type |= !strcmp(c->netdevs[i]->name, val);
    return names_type ? replace_class(c, a, id, val)
                      : replace_tap(c, a, id, val);
}

/* --------------------------------------------------------------------- NICs */

static int replace_mac(struct asked_list *nics, struct asked_list *devices,
                       const char *id, const char *val)
{
    struct asked *a = replace_find(nics, "netdev", id);
    if (!a)
        a = replace_find(devices, "netdev", id);
    if (!a)
        return fail(-ENOENT, "-restore: mac.%s=: no NIC is at a netdev %s", id,
                    id);
    int err = replace_key(&a->o, "mac", val);
    return err ? err : replace_key(&a->o, "new-mac", "on");
}

static int replace_vsock(struct asked_list *devices, const char *val)
{
    struct asked *vsock = NULL;
    for (int i = 0; i < devices->n; i++) {
        if (!fields_find(devices->at[i]->dev->fields, "uds_path"))
            continue;
        if (vsock)
            return fail(-EINVAL, "-restore: vsock=: there are several");
        vsock = devices->at[i];
    }
    return vsock ? replace_key(&vsock->o, "uds_path", val)
                 : fail(-ENOENT, "-restore: vsock=: there is no "
                                 "-device virtio-vsock-pci");
}

int replace_devices(const struct plan_classes *c, struct asked_list *nets,
                    struct asked_list *nics, struct asked_list *devices)
{
    int err = 0;
    for (int i = 0; i < ntold && !err; i++) {
        const char *key = told[i].key, *val = told[i].val, *id;
        if ((id = replace_id(key, "net.")))
            err = replace_net(c, nets, id, val);
        else if ((id = replace_id(key, "mac.")))
            err = replace_mac(nics, devices, id, val);
        else if (!strcmp(key, "vsock"))
            err = replace_vsock(devices, val);
    }
    return err;
}

/* ------------------------------------------------------------------- disks */

int replace_disks(struct asked_list *backs)
{
    int err = 0;
    for (int i = 0; i < ntold && !err; i++) {
        const char *id = replace_id(told[i].key, "drive.");
        struct asked *a = id ? replace_find(backs, "id", id) : NULL;
        if (id && !a)
            a = replace_find(backs, "node-name", id);
        if (id && (!a || !a->block))
            err = fail(-ENOENT, "-restore: drive.%s=: there is no disk %s", id,
                       id);
        else if (id)
            err = replace_key(&a->o, "filename", told[i].val);
    }
    return err;
}

void replace_forget(void)
{
    ntold = 0;
}
