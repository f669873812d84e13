/* SPDX-License-Identifier: MIT */
/* What is asked for, before anything is there.
 *
 * Theory of operation. Options come in as text or JSON, are parsed once, and
 * kept in order (plan_take). plan_check makes an object of each: it is filled
 * from its class's table of fields, looked at together with the others (names,
 * ids, slots), and touches nothing outside this process. Only when all of them
 * are right plan_open lets them do what they do to the world. So a wrong last
 * word of a command line truncates no file, makes no interface and runs no
 * script. */
#include "control/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "control/asked.h"
#include "control/disks.h"
#include "control/models.h"
#include "control/replace.h"
#include "host/chardev.h"

/* How each option is parsed: what a first word without "=" is the value of; or
 * all of it is the value of `file`. */
static const struct form {
    const char *opt, *first, *file, *index;
} forms[] = {
    {.opt = "-netdev", .first = "type"},
    {.opt = "-nic", .first = "type"},
    {.opt = "-net", .first = "type"},
    {.opt = "-tap", .first = "ifname"},
    {.opt = "-object", .first = "qom-type"},
    {.opt = "-device", .first = "driver"},
    {.opt = "-blockdev", .first = "driver"},
    {.opt = "-drive"},
    {.opt = "-hda", .file = "file", .index = "0"},
    {.opt = "-hdb", .file = "file", .index = "1"},
    {.opt = "-hdc", .file = "file", .index = "2"},
    {.opt = "-hdd", .file = "file", .index = "3"},
};

/* As it came. */
static struct {
    const struct form *form;
    struct opts o;
} * came[PLAN_MAX];
static int ncame;

static struct asked_list nets, nics, backs, devices, disks, boards;
static struct dump *dumps[PLAN_MAX];
static int ndumps;
static struct object *made; /* by -object, for devices */

/* One more of an option, empty; NULL (said): too many. */
static struct opts *plan_add(const char *opt, const struct form **form)
{
    size_t i = 0;
    while (strcmp(forms[i].opt, opt))
        i++;
    if (ncame == PLAN_MAX) {
        fail(-EINVAL, "%s: at most %d such options", opt, PLAN_MAX);
        return NULL;
    }
    came[ncame] = calloc(1, sizeof(*came[0]));
    if (!came[ncame]) {
        fail(-ENOMEM, "%s: out of memory", opt);
        return NULL;
    }
    *form = came[ncame]->form = &forms[i];
    return &came[ncame++]->o;
}

int plan_take_opts(const char *opt, struct opts *o)
{
    const struct form *form;
    struct opts *to = plan_add(opt, &form);
    if (!to) {
        opts_free(o);
        return -EINVAL;
    }
    *to = opts_taken(o);
    return 0;
}

int plan_take(const char *opt, const char *arg)
{
    const struct form *form;
    struct opts *o = plan_add(opt, &form);
    if (!o)
        return -EINVAL;
    if (form->file) {
        opts_init(o, opt);
        int err = opts_add(o, form->file, arg);
        return err ? err : opts_add(o, "index", form->index);
    }
    if (!json_looks_like(arg))
        return opts_parse(o, opt, arg, form->first);
    opts_init(o, opt);
    return json_opts(o, arg, strlen(arg));
}

int plan_board(const struct device_class *cls, const char *what,
               const char *key, const char *val)
{
    struct asked *a = asked_add(&boards);
    if (!a)
        return -EINVAL;
    a->dev = cls;
    opts_init(&a->o, what);
    return key ? opts_add(&a->o, key, val) : 0;
}

bool plan_names(const char *driver)
{
    for (int i = 0; i < ncame; i++)
        if (!strcmp(came[i]->form->opt, "-device") &&
            !strcmp(opts_str(&came[i]->o, "driver", ""), driver))
            return true;
    return false;
}

/* ---------------------------------------------------------------- checking */

static int plan_take_device(const struct plan_classes *c, struct opts *o)
{
    const struct device_class *cls = plan_model(c, o, "-device ", false);
    if (!cls)
        return -EINVAL;
    if (opts_str(o, "help", NULL)) {
        printf("%s: %s\n", cls->name, cls->help);
        fields_help(cls->fields);
        return 1;
    }
    struct asked *a = asked_add(&devices);
    if (!a)
        return -EINVAL;
    const char *id = opts_str(o, "id", NULL);
    snprintf(o->what, sizeof(o->what), "-device %s%s%s", cls->name,
             id ? ",id=" : "", id ? id : "");
    a->dev = cls;
    a->o = opts_taken(o);
    return 0;
}

static int plan_new_dump(struct opts *o)
{
    if (ndumps == PLAN_MAX) {
        opts_free(o);
        return fail(-EINVAL, "%s: at most %d captures", o->what, PLAN_MAX);
    }
    int err = dump_new(o, &dumps[ndumps]);
    ndumps += !err;
    return err;
}

/* One that a device can name; NULL: no class of devices knows the type. */
static const struct object_class *plan_object(const struct plan_classes *c,
                                              const char *type)
{
    for (int i = 0; c->devices[i]; i++) {
        const struct object_class *cls = c->devices[i]->object;
        if (cls && word_among(type, cls->types))
            return cls;
    }
    return NULL;
}

static int plan_take_object(const struct plan_classes *c, struct opts *o)
{
    const char *type = opts_str(o, "qom-type", "");
    bool dump = !strcmp(type, "filter-dump");
    const struct object_class *cls = dump ? NULL : plan_object(c, type);
    if (!dump && !cls)
        return fail(-EINVAL,
                    "-object %s: there is none of that type; -object "
                    "help lists them",
                    type);
    if (opts_str(o, "help", NULL)) {
        printf("-object %s: %s\n", type,
               dump ? "a netdev's frames, to a pcap file" : cls->help);
        fields_help(dump ? dump_fields : cls->fields);
        return 1;
    }
    snprintf(o->what, sizeof(o->what), "-object %s", type);
    if (cls)
        return object_new(cls, o, &made);
    opts_move(NULL, o, "qom-type", NULL);
    return plan_new_dump(o);
}

static int plan_pcap_of(const struct netdev *nd)
{
    struct opts o;
    opts_init(&o, nd->opts.what);
    int err = opts_add(&o, "netdev", nd->id);
    if (!err)
        err = opts_add(&o, "file", nd->pcap);
    return err ? err : plan_new_dump(&o);
}

static int plan_check_netdevs(struct needs *needs)
{
    int err = 0;
    for (int i = 0; i < nets.n && !err; i++) {
        struct asked *a = nets.at[i];
        needs->shared_ram |= a->net->vhost == VHOST_USER;
        err = netdev_new(a->net, &a->o, &a->netdev);
    }
    for (int i = 0; i < nets.n && !err; i++)
        if (nets.at[i]->netdev->pcap)
            err = plan_pcap_of(nets.at[i]->netdev);
    return err;
}

static int plan_check_blockdevs(const struct plan_classes *c)
{
    struct blockdev *b;
    int err = disks_tie(c, &backs);
    if (!err)
        err = replace_disks(&backs);
    for (int i = 0; i < backs.n && !err; i++)
        if (backs.at[i]->block)
            err = blockdev_new(backs.at[i]->block, &backs.at[i]->o, &b);
    return err;
}

static bool plan_id_taken(const struct asked_list *l, int upto, const char *id)
{
    for (int i = 0; i < upto; i++)
        if (!strcmp(l->at[i]->device->id, id))
            return true;
    return false;
}

/* A disk on what is served by another process is that process's, too. */
static const struct device_class *plan_disk(const struct plan_classes *c,
                                            const struct asked *a)
{
    const char *drive = opts_str(&a->o, "drive", NULL);
    const struct blockdev *b = drive ? blockdev_find(drive) : NULL;
    return b && b->serve && fields_find(a->dev->fields, "drive") ? c->served
                                                                 : a->dev;
}

static int plan_check_devices(const struct plan_classes *c,
                              struct asked_list *l, struct needs *needs)
{
    int err = 0;
    for (int i = 0; i < l->n && !err; i++) {
        struct asked *a = l->at[i];
        a->dev = plan_disk(c, a);
        err = device_new(a->dev, &a->o, needs, &a->device);
        /* One that was given no name goes by its model's, as others may. */
        bool named = !err && a->device->id != a->device->cls->name;
        if (named && l != &boards &&
            (plan_id_taken(l, i, a->device->id) ||
             (l == &devices && plan_id_taken(&nics, nics.n, a->device->id))))
            err = fail(-EINVAL, "%s: id=%s: used twice", a->device->opts.what,
                       a->device->id);
    }
    return err;
}

static bool plan_is_disk(const char *opt)
{
    return !strcmp(opt, "-drive") || !strcmp(opt, "-blockdev") ||
           !strncmp(opt, "-hd", 3);
}

/* Those of one option, in their order. */
static int plan_sort_out(const struct plan_classes *c, bool objects)
{
    int err = 0;
    for (int i = 0; i < ncame && !err; i++) {
        struct opts *o = &came[i]->o;
        const char *opt = came[i]->form->opt;
        if (!strcmp(opt, "-object") != objects)
            continue;
        if (objects)
            err = plan_take_object(c, o);
        else if (!strcmp(opt, "-device"))
            err = plan_take_device(c, o);
        else if (plan_is_disk(opt))
            err = disks_take(c, opt, o, &backs, &disks);
        else
            err = asked_net(c, opt, o, &nets, &nics);
    }
    return err;
}

/* A NIC without a cable, a cable without a NIC, a disk nobody has. */
static void plan_warn_of_loose_ends(void)
{
    for (int i = 0; i < nics.n + devices.n; i++) {
        struct device *dev =
            (i < nics.n ? nics.at[i] : devices.at[i - nics.n])->device;
        if (fields_find(dev->cls->fields, "netdev") &&
            !opts_str(&dev->opts, "netdev", NULL))
            log_line("warning: %s: no netdev=: a NIC without a cable", dev->id);
    }
    for (const struct netdev *nd = netdevs; nd; nd = nd->next)
        if (!nd->taken)
            log_line("warning: netdev %s has no NIC; -device "
                     "virtio-net-pci,netdev=%s",
                     nd->id, nd->id);
    for (const struct object *o = made; o; o = o->next)
        if (!o->taken)
            log_line("warning: %s: no device names %s", o->opts.what, o->id);
    for (const struct blockdev *b = blockdevs; b; b = b->next)
        if (!b->taken)
            log_line("warning: disk %s has no device; -device "
                     "virtio-blk-pci,drive=%s",
                     b->id, b->id);
}

int plan_check(const struct plan_classes *c, struct needs *needs)
{
    int err = plan_sort_out(c, false);
    if (!err)
        err = asked_vlans(c, &nets, &nics);
    if (!err)
        err = replace_devices(c, &nets, &nics, &devices);
    if (!err)
        err = plan_check_netdevs(needs);
    if (!err)
        err = plan_check_blockdevs(c);
    if (!err)
        err = plan_sort_out(c, true);
    needs->objects = made;
    if (!err)
        err = plan_check_devices(c, &nics, needs);
    if (!err)
        err = plan_check_devices(c, &devices, needs);
    if (!err)
        err = plan_check_devices(c, &disks, needs);
    if (!err)
        err = plan_check_devices(c, &boards, needs);
    if (!err)
        plan_warn_of_loose_ends();
    return err;
}

/* ----------------------------------------------------------------- opening */

static int plan_create(struct machine *m, struct asked_list *l)
{
    int err = 0;
    for (int i = 0; i < l->n && !err; i++) {
        struct device *dev = l->at[i]->device;
        l->at[i]->device = NULL; /* the machine's now */
        err = device_create(m, dev);
    }
    return err;
}

int plan_open(struct machine *m)
{
    int err = 0;
    for (struct blockdev *b = blockdevs; b && !err; b = b->next)
        err = b->cls->open(b, m->loop);
    for (struct netdev *nd = netdevs; nd && !err; nd = nd->next)
        err = nd->cls->open(nd, m->loop);
    for (int i = 0; i < ndumps && !err; i++) {
        struct dump *d = dumps[i];
        err = dump_open(d);
        if (!err)
            dumps[i] = NULL; /* its netdev's now */
    }
    if (!err)
        err = plan_create(m, &nics);
    if (!err)
        err = plan_create(m, &devices);
    if (!err)
        err = plan_create(m, &disks);
    return err ? err : plan_create(m, &boards);
}

void plan_free(void)
{
    netdev_close_all();
    blockdev_close_all();
    for (int i = 0; i < ncame; i++) {
        opts_free(&came[i]->o);
        free(came[i]);
    }
    for (int i = 0; i < ndumps; i++)
        if (dumps[i])
            dump_free(dumps[i]);
    ncame = ndumps = 0;
    asked_free(&nets);
    asked_free(&nics);
    asked_free(&backs);
    asked_free(&devices);
    asked_free(&disks);
    asked_free(&boards);
    chardev_release_all();
    objects_free(&made);
    replace_forget();
}
