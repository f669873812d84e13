/* SPDX-License-Identifier: MIT */
/* -device as QEMU's users write it: aliases and -global. */
#include "control/models.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -global's: of drivers that no -device makes, with what they are there. */
static const struct opts_quiet globals_quiet[] = {
    {"PIIX4_PM.disable_s3", "1 on", "the guest cannot sleep (S3)"},
    {"PIIX4_PM.disable_s4", "1 on", "the guest cannot hibernate (S4)"},
    {"ICH9-LPC.disable_s3", "1 on", "the guest cannot sleep (S3)"},
    {"ICH9-LPC.disable_s4", "1 on", "the guest cannot hibernate (S4)"},
    {"ICH9-LPC.noreboot", NULL, NULL}, /* of its watchdog */
    {"ICH9-LPC.acpi-pci-hotplug-with-bridge-support", NULL, NULL},
    {"PIIX4_PM.acpi-pci-hotplug-with-bridge-support", NULL, NULL},
    {"PIIX4_PM.acpi-root-pci-hotplug", NULL, NULL},
    {"kvm-pit.lost_tick_policy", "discard delay",
     "the timer's lost ticks are not made up"},
    {"mc146818rtc.lost_tick_policy", "discard slew",
     "the clock's lost ticks are not made up"},
    {"isa-debugcon.iobase", NULL, NULL},
    {0}};

#define GLOBALS_MAX 32
static struct {
    char *text; /* what the others point into */
    const char *driver, *key, *val;
} global[GLOBALS_MAX];
static int nglobals;

static const struct device_alias *models_alias(const struct device_class *cls,
                                               const char *name)
{
    const struct device_alias *a = cls->aliases;
    while (a && a->name && strcmp(a->name, name))
        a++;
    return a && a->name ? a : NULL;
}

/* Does a -global for `driver` hold for a model? */
static bool models_holds_for(const char *driver, const struct device_class *cls)
{
    return !strcmp(cls->name, driver) || models_alias(cls, driver) ||
           (cls->kinds && word_among(driver, cls->kinds));
}

static bool models_known_driver(const struct device_class *const *known,
                                const char *driver)
{
    while (*known && !models_holds_for(driver, *known))
        known++;
    return *known != NULL;
}

/* DRIVER.KEY=VALUE, in pieces. */
static int models_keep(const struct device_class *const *known, const char *arg)
{
    char *text = strdup(arg), *dot = text ? strchr(text, '.') : NULL;
    char *eq = dot ? strchr(dot, '=') : NULL;
    int err = 0;
    if (!text)
        return fail(-ENOMEM, "-global: out of memory");
    if (!eq)
        err = fail(-EINVAL, "-global %s: write MODEL.KEY=VALUE", arg);
    else
        *dot = *eq = '\0';
    if (!err && !models_known_driver(known, text))
        err = fail(-EINVAL, "-global %s: there is no %s to be set", arg, text);
    if (!err && nglobals == GLOBALS_MAX)
        err = fail(-EINVAL, "-global: at most %d", GLOBALS_MAX);
    if (err) {
        free(text);
        return err;
    }
    global[nglobals].text = text;
    global[nglobals].driver = text;
    global[nglobals].key = dot + 1;
    global[nglobals++].val = eq + 1;
    return 0;
}

int models_global(const struct device_class *const *known, const char *arg)
{
    struct opts o;
    int err = opts_parse(&o, "-global", arg, NULL);
    if (err)
        return err;
    const struct opts_quiet *row = NULL;
    char what[80];
    if (o.n == 1)
        row = opts_quiet_row(globals_quiet, o.kv[0].key);
    if (row) {
        snprintf(what, sizeof(what), "-global: %s", row->key);
        err = opts_quiet_value(row, what, o.kv[0].val);
    }
    opts_free(&o);
    return row ? err : models_keep(known, arg);
}

void models_free(void)
{
    while (nglobals)
        free(global[--nglobals].text);
}

static void models_set_driver(struct opts *o, const char *model)
{
    for (int i = 0; i < o->n; i++)
        if (!strcmp(o->kv[i].key, "driver"))
            o->kv[i].val = model;
}

int models_adjust(const struct device_class *const *known, struct opts *o)
{
    const char *name = opts_str(o, "driver", "");
    const struct device_alias *a = NULL;
    int err = 0;
    while (*known && strcmp((*known)->name, name) &&
           !(a = models_alias(*known, name)))
        known++;
    if (!*known)
        return 0;
    for (int i = 0; !err && a && i < 2 && a->key[i]; i++)
        err = opts_default(o, a->key[i], a->val[i]);
    models_set_driver(o, (*known)->name);
    for (int i = nglobals; !err && i-- > 0;)
        if (models_holds_for(global[i].driver, *known))
            err = opts_default(o, global[i].key, global[i].val);
    return err;
}

void models_help(const struct device_class *const *known)
{
    for (int i = 0; known[i]; i++)
        printf("name \"%s\", bus PCI\n", known[i]->name);
    for (; *known; known++)
        for (const struct device_alias *a = (*known)->aliases; a && a->name;
             a++)
            printf("name \"%s\", bus PCI, alias of \"%s\"\n", a->name,
                   (*known)->name);
}
