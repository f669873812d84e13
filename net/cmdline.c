/* SPDX-License-Identifier: MIT */
/* -netdev, -nic, -net, -tap and -object filter-dump.
 *
 * All of them end as netdev texts ("tap,ifname=t0,id=n0") and device texts
 * ("e1000,netdev=n0"). -net is the oldest form: NICs and backends with one
 * vlan= are on one hub; where there is just one of each, the cable goes
 * directly and the NIC keeps its offloads. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/cmdline.h"
#include "net/dump.h"

#define ITEMS 64
#define DEFAULT_MODEL "virtio-net-pci"

/* A list of texts, each with what -net needs to know. */
struct item {
    char *text;
    char id[64];
    int vlan;   /* -net's, else -1 */
    char *pcap; /* of a netdev: capture to there */
};
struct list {
    struct item item[ITEMS];
    int n;
};
static struct list nets, nics, dumps;
static int serial; /* for ids nobody gave */

/* Text being put together out of keys and values. */
struct text {
    char s[4096];
    size_t n;
    bool full;
};

static void put(struct text *t, const char *s, bool escape)
{
    for (; *s; s++) {
        if (t->n + 3 > sizeof(t->s)) {
            t->full = true;
            return;
        }
        if (escape && *s == ',')
            t->s[t->n++] = ',';
        t->s[t->n++] = *s;
    }
    t->s[t->n] = '\0';
}

static void put_key(struct text *t, const char *key, const char *val)
{
    put(t, ",", false);
    put(t, key, false);
    put(t, "=", false);
    put(t, val, true);
}

static struct item *add(struct list *l, const struct text *t, const char *id,
                        int vlan)
{
    if (l->n == ITEMS || t->full) {
        fail(-E2BIG, "too many network options (at most %d), or too long ones",
             ITEMS);
        return NULL;
    }
    struct item *it = &l->item[l->n];
    *it = (struct item){.text = strdup(t->s), .vlan = vlan};
    snprintf(it->id, sizeof(it->id), "%s", id);
    if (!it->text)
        return NULL;
    l->n++;
    return it;
}

/* Among the words? */
static bool among(const char *key, const char *const *words)
{
    while (*words && strcmp(*words, key))
        words++;
    return *words != NULL;
}

static const char *model_of(const char *model)
{
    if (!model || !strcmp(model, "virtio"))
        return DEFAULT_MODEL;
    return model;
}

static int id_check(const char *what, const char *id)
{
    if (!*id || strlen(id) >= sizeof(((struct item *)0)->id))
        return fail(-EINVAL, "%s: id=%s: 1 to 63 characters", what, id);
    for (int i = 0; i < nets.n; i++)
        if (!strcmp(nets.item[i].id, id))
            return fail(-EEXIST, "%s: id=%s: used twice", what, id);
    return 0;
}

/* The netdev half of an option: all keys but `skip` (NULL-terminated). */
static int add_netdev(struct opts *o, const char *type, const char *id,
                      int vlan, const char *const *skip)
{
    struct text t = {.n = 0};
    const char *pcap = opts_str(o, "pcap", NULL);
    int r = id_check(o->what, id);
    if (r < 0)
        return r;
    put(&t, type, true);
    for (int i = 0; i < o->n; i++)
        if (!among(o->kv[i].key, skip) && strcmp(o->kv[i].key, "id") &&
            strcmp(o->kv[i].key, "type") && strcmp(o->kv[i].key, "pcap"))
            put_key(&t, o->kv[i].key, o->kv[i].val);
    put_key(&t, "id", id);
    struct item *it = add(&nets, &t, id, vlan);
    if (!it)
        return -EINVAL;
    it->pcap = pcap ? strdup(pcap) : NULL;
    return 0;
}

/* The NIC half: `keys` of the option, under the names in `as`. */
static int add_nic(struct opts *o, const char *model, const char *netdev,
                   int vlan, const char *const *keys, const char *const *as)
{
    struct text t = {.n = 0};
    put(&t, model_of(model), true);
    if (netdev)
        put_key(&t, "netdev", netdev);
    for (int i = 0; keys[i]; i++) {
        const char *val = opts_str(o, keys[i], NULL);
        if (val && as[i])
            put_key(&t, as[i], val);
    }
    return add(&nics, &t, "", vlan) ? 0 : -EINVAL;
}

static const char *new_id(char *buf, size_t size)
{
    snprintf(buf, size, "net%d", serial++);
    for (int i = 0; i < nets.n; i++)
        if (!strcmp(nets.item[i].id, buf))
            return new_id(buf, size);
    return buf;
}

static int opt_netdev(struct opts *o)
{
    static const char *const none[] = {NULL};
    const char *type = opts_str(o, "type", NULL);
    const char *id = opts_str(o, "id", NULL);
    if (!type)
        return fail(-EINVAL, "-netdev: no type; -netdev help lists them");
    if (!strcmp(type, "help") || !strcmp(type, "?"))
        return add_netdev(o, "help", "help", -1, none);
    if (!id)
        return fail(-EINVAL, "-netdev %s: id= is missing", type);
    return add_netdev(o, type, id, -1, none);
}

/* -nic TYPE,model=,mac=, and what belongs to the netdev. "-nic none" says that
 * there is no NIC; with a model it is one without a cable. */
static int opt_nic(struct opts *o)
{
    static const char *const keys[] = {"mac", "macaddr", "addr", "bus", NULL};
    static const char *const as[] = {"mac", "mac", "addr", "bus", NULL};
    static const char *const skip[] = {"mac", "macaddr", "addr",
                                       "bus", "model",   NULL};
    char buf[64];
    const char *type = opts_str(o, "type", "user");
    const char *model = opts_str(o, "model", NULL);
    const char *id = opts_str(o, "id", NULL);
    if (!strcmp(type, "none") && o->n == 1)
        return 0;
    if (!id)
        id = new_id(buf, sizeof(buf));
    int r = add_netdev(o, type, id, -1, skip);
    return r < 0 ? r : add_nic(o, model, id, -1, keys, as);
}

/* -tap NAME[,model=][,mac=]… */
static int opt_tap(struct opts *o)
{
    static const char *const keys[] = {"mac", "addr", "bus", NULL};
    static const char *const skip[] = {"mac", "addr", "bus", "model", NULL};
    char buf[64];
    const char *id = opts_str(o, "id", NULL);
    if (!opts_str(o, "ifname", NULL))
        return fail(-EINVAL, "-tap: no name; write -tap tap0");
    if (!id)
        id = new_id(buf, sizeof(buf));
    int r = add_netdev(o, "tap", id, -1, skip);
    return r < 0 ? r
                 : add_nic(o, opts_str(o, "model", NULL), id, -1, keys, keys);
}

static int opt_net(struct opts *o)
{
    static const char *const keys[] = {"macaddr", "name", "addr", "vectors",
                                       NULL};
    static const char *const as[] = {"mac", "id", "addr", "vectors"};
    static const char *const skip[] = {"vlan", "name", NULL};
    char buf[64];
    uint64_t vlan = 0;
    const char *type = opts_str(o, "type", NULL);
    if (!type)
        return fail(-EINVAL, "-net: no type; nic, tap, user …");
    if (!strcmp(type, "none") && o->n == 1)
        return 0;
    if (opts_u64(o, "vlan", 0, 65535, &vlan))
        return -EINVAL;
    if (strcmp(type, "nic")) {
        const char *id = opts_str(o, "id", opts_str(o, "name", NULL));
        if (!id)
            id = new_id(buf, sizeof(buf));
        return add_netdev(o, type, id, (int)vlan, skip);
    }
    const char *netdev = opts_str(o, "netdev", NULL);
    int r = add_nic(o, opts_str(o, "model", NULL), netdev,
                    netdev ? -1 : (int)vlan, keys, as);
    return r < 0 ? r : opts_done(o);
}

static int opt_object(const char *arg)
{
    static const char name[] = "filter-dump,";
    struct text t = {.n = 0};
    if (strncmp(arg, name, sizeof(name) - 1))
        return fail(-EINVAL, "-object %s: the only object is filter-dump", arg);
    put(&t, arg + sizeof(name) - 1, false);
    return add(&dumps, &t, "", -1) ? 0 : -EINVAL;
}

int net_option(const char *opt, const char *arg)
{
    static const struct {
        const char *opt, *first;
        int (*take)(struct opts *o);
    } forms[] = {
        {"-netdev", "type", opt_netdev},
        {"-nic", "type", opt_nic},
        {"-net", "type", opt_net},
        {"-tap", "ifname", opt_tap},
    };
    struct opts o;
    if (!strcmp(opt, "-object"))
        return opt_object(arg);
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (strcmp(forms[i].opt, opt))
            continue;
        int r = opts_parse(&o, opt, arg, forms[i].first);
        if (r == 0)
            r = forms[i].take(&o);
        opts_free(&o);
        return r;
    }
    return fail(-EINVAL, "%s: not a network option", opt);
}

/* ---------------------------------------------------------------- opening */

static int help(const struct netdev_class *const *classes)
{
    for (; *classes; classes++) {
        printf("-netdev %s,id=ID[,pcap=FILE],…\n", (*classes)->name);
        for (const char *s = (*classes)->help; *s;) {
            int n = (int)strcspn(s, "\n");
            printf("    %.*s\n", n, s);
            s += n + (s[n] == '\n');
        }
    }
    return 1;
}

static int open_text(struct loop *l, const char *text,
                     const struct netdev_class *const *classes)
{
    char what[64], names[512] = "";
    struct opts o;
    struct netdev *nd = NULL;
    int n = (int)strcspn(text, ",");
    if (n == 4 && !strncmp(text, "help", 4))
        return help(classes);
    for (; *classes; classes++) {
        if (strlen((*classes)->name) == (size_t)n &&
            !strncmp((*classes)->name, text, (size_t)n))
            break;
        size_t k = strlen(names);
        snprintf(names + k, sizeof(names) - k, " %s", (*classes)->name);
    }
    if (!*classes)
        return fail(-EINVAL, "-netdev %.*s: no such type; there are:%s", n,
                    text, names);
    snprintf(what, sizeof(what), "-netdev %s", (*classes)->name);
    int r = opts_parse(&o, what, text + n + (text[n] == ','), NULL);
    if (r < 0)
        return r;
    r = (*classes)->open(l, &o, &nd);
    opts_free(&o);
    if (r < 0)
        return r;
    netdev_register(nd);
    return 0;
}

static int on_vlan(const struct list *l, int vlan, int *which)
{
    int n = 0;
    for (int i = 0; i < l->n; i++)
        if (l->item[i].vlan == vlan) {
            *which = i;
            n++;
        }
    return n;
}

/* Ties a NIC to a netdev. */
static int nic_netdev(struct item *nic, const char *id)
{
    struct text t = {.n = 0};
    put(&t, nic->text, false);
    put_key(&t, "netdev", id);
    free(nic->text);
    nic->text = strdup(t.s);
    return nic->text ? 0 : -ENOMEM;
}

/* A port of hub `vlan`, for a backend or (NULL) for a NIC. */
static int open_port(struct loop *l, int vlan, const char *back, char *id,
                     const struct netdev_class *const *classes)
{
    struct text t = {.n = 0};
    char num[16];
    snprintf(num, sizeof(num), "%d", vlan);
    new_id(id, 64);
    put(&t, "hubport", false);
    put_key(&t, "id", id);
    put_key(&t, "hubid", num);
    if (back)
        put_key(&t, "netdev", back);
    return open_text(l, t.s, classes);
}

static int open_vlan(struct loop *l, int vlan,
                     const struct netdev_class *const *classes)
{
    int net = 0, nic = 0, r = 0;
    char id[64];
    int nn = on_vlan(&nets, vlan, &net), nc = on_vlan(&nics, vlan, &nic);
    bool direct = nn == 1 && nc == 1;
    if (nn == 0)
        log_line("warning: -net nic: vlan %d has no backend, only NICs", vlan);
    if (nc == 0)
        log_line("warning: -net %s: vlan %d has no NIC", nets.item[net].text,
                 vlan);
    if (direct)
        r = nic_netdev(&nics.item[nic], nets.item[net].id);
    for (int i = 0; i < nets.n && r == 0; i++) {
        if (nets.item[i].vlan != vlan)
            continue;
        nets.item[i].vlan = -1;
        if (!direct)
            r = open_port(l, vlan, nets.item[i].id, id, classes);
    }
    for (int i = 0; i < nics.n && r == 0; i++) {
        if (nics.item[i].vlan != vlan)
            continue;
        nics.item[i].vlan = -1;
        if (!direct)
            r = open_port(l, vlan, NULL, id, classes);
        if (!direct && r == 0)
            r = nic_netdev(&nics.item[i], id);
    }
    return r;
}

static int open_captures(void)
{
    int r = 0;
    for (int i = 0; i < nets.n && r == 0; i++)
        if (nets.item[i].pcap)
            r = dump_attach(netdev_find(nets.item[i].id), nets.item[i].pcap,
                            65536);
    for (int i = 0; i < dumps.n && r == 0; i++)
        r = dump_object(dumps.item[i].text);
    return r;
}

int net_open(struct loop *l, const struct netdev_class *const *classes)
{
    for (int i = 0; i < nets.n; i++) {
        int r = open_text(l, nets.item[i].text, classes);
        if (r)
            return r;
    }
    int r = open_captures();
    for (int i = 0; i < nets.n && r == 0; i++)
        if (nets.item[i].vlan >= 0)
            r = open_vlan(l, nets.item[i].vlan, classes);
    for (int i = 0; i < nics.n && r == 0; i++)
        if (nics.item[i].vlan >= 0)
            r = open_vlan(l, nics.item[i].vlan, classes);
    return r;
}

const char *net_device(int i)
{
    return i < nics.n ? nics.item[i].text : NULL;
}

void net_check(void)
{
    for (struct netdev *nd = netdevs; nd; nd = nd->next)
        if (!nd->taken)
            log_line("warning: netdev %s has no NIC; -device "
                     "virtio-net-pci,netdev=%s",
                     nd->id, nd->id);
}

static void list_free(struct list *l)
{
    for (int i = 0; i < l->n; i++) {
        free(l->item[i].text);
        free(l->item[i].pcap);
    }
    l->n = 0;
}

void net_free(void)
{
    list_free(&nets);
    list_free(&nics);
    list_free(&dumps);
    serial = 0;
}
