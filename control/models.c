/* SPDX-License-Identifier: MIT */
/* -device as QEMU's users write it: aliases, keys without effect, -global. */
#include "control/models.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Other names of models, and the keys that the name alone says. */
static const struct alias {
    const char *name, *model, *key[2], *val[2];
} aliases[] = {
    {"virtio-net", "virtio-net-pci", {0}, {0}},
    {"virtio", "virtio-net-pci", {0}, {0}},
    {"virtio-net-pci-non-transitional",
     "virtio-net-pci",
     {"disable-legacy", "disable-modern"},
     {"on", "off"}},
    {"virtio-net-pci-transitional",
     "virtio-net-pci",
     {"disable-legacy", "disable-modern"},
     {"off", "off"}},
    {"e1000-82540em", "e1000", {0}, {0}},
};

/* Keys of QEMU's that need nothing with these values: of every model, then of
 * one. */
static const struct opts_quiet pci_keys[] = {
    {"acpi-index", "0", "the guest's interfaces are not named by ACPI"},
    {"failover_pair_id", "-", "no NIC stands in for another"},
    {"romsize", "-1 4294967295", "a ROM is as large as its file"},
    {"x-pcie-extcap-init", NULL, NULL}, /* the bus is conventional PCI */
    {"x-pcie-lnksta-dllla", NULL, NULL},
    {0}};
static const struct opts_quiet virtio_net_keys[] = {
    {"aer", "off", "the bus is conventional PCI, without error reports"},
    {"any_layout", NULL, NULL}, /* is part of virtio 1 */
    {"failover", "off", "no NIC stands in for another"},
    {"gso", NULL, NULL}, /* host_tso4= and so on say it */
    {"guest_rsc_ext", "off", "segments are not put together for Windows"},
    {"migrate-extra", NULL, NULL},
    {"notify_on_empty", NULL, NULL}, /* of drivers before event_idx */
    {"rsc_interval", NULL, NULL},
    {"tx", "bh", "there is no timer that holds frames back"},
    {"use-disabled-flag", NULL, NULL},
    {"use-started", NULL, NULL},
    {"virtio-pci-bus-master-bug-migration", NULL, NULL},
    {"x-ats-page-aligned", NULL, NULL},
    {"x-disable-legacy-check", NULL, NULL},
    {"x-disable-pcie", NULL, NULL},
    {"x-mtu-bypass-backend", NULL, NULL},
    {"x-pcie-deverr-init", NULL, NULL},
    {"x-pcie-flr-init", NULL, NULL},
    {"x-pcie-lnkctl-init", NULL, NULL},
    {"x-pcie-pm-init", NULL, NULL},
    {"x-txburst", NULL, NULL},
    {"x-txtimer", NULL, NULL},
    {0}};
static const struct opts_quiet e1000_keys[] = {
    {"autonegotiation", "on", "the PHY always negotiates"},
    {"extra_mac_registers", "on", "every register is there"},
    {"init-vet", "on", "VET starts as the data sheet says"},
    {"migrate_tso_props", NULL, NULL},
    {0}};
static const struct opts_quiet vfio_keys[] = {
    {"display", "off auto", "there are no graphics"},
    {"enable-migration", "off auto", "nothing migrates"},
    {"x-vga", "off", "there are no graphics"},
    {"x-no-mmap", "off", "BARs are always mapped"},
    {0}};

static const struct {
    const char *model;
    const struct opts_quiet *keys;
} quiet[] = {{"virtio-net-pci", virtio_net_keys},
             {"e1000", e1000_keys},
             {"vfio-pci", vfio_keys}};

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
    {"mc146818rtc.lost_tick_policy", "discard",
     "the clock's lost ticks are not made up"},
    {"isa-debugcon.iobase", NULL, NULL},
    {0}};

#define GLOBALS_MAX 32
static struct {
    char *text; /* what the others point into */
    const char *driver, *key, *val;
} global[GLOBALS_MAX];
static int nglobals;

static const struct alias *models_find_alias(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
        if (!strcmp(aliases[i].name, name))
            return &aliases[i];
    return NULL;
}

static const struct opts_quiet *models_keys(const char *model)
{
    for (size_t i = 0; i < ARRAY_LEN(quiet); i++)
        if (!strcmp(quiet[i].model, model))
            return quiet[i].keys;
    return NULL;
}

/* Does a -global for `driver` hold for `model`? virtio-pci is QEMU's parent of
 * every virtio device. */
static bool models_holds_for(const char *driver, const char *model)
{
    const struct alias *a = models_find_alias(driver);
    if (!strcmp(driver, "virtio-pci") || !strcmp(driver, "virtio-net-device"))
        return !strcmp(model, "virtio-net-pci");
    return !strcmp(a ? a->model : driver, model);
}

static bool models_known_driver(const char *driver)
{
    for (size_t i = 0; i < ARRAY_LEN(quiet); i++)
        if (models_holds_for(driver, quiet[i].model))
            return true;
    return false;
}

/* DRIVER.KEY=VALUE, in pieces. */
static int models_keep(const char *arg)
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
    if (!err && !models_known_driver(text))
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

int models_global(const char *arg)
{
    struct opts o;
    int err = opts_parse(&o, "-global", arg, NULL);
    if (err)
        return err;
    err = opts_quiet(&o, globals_quiet);
    bool told = o.n;
    opts_free(&o);
    return err || !told ? err : models_keep(arg);
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

int models_adjust(struct opts *o)
{
    const char *model = opts_str(o, "driver", "");
    const struct alias *a = models_find_alias(model);
    int err = 0;
    for (int i = 0; !err && a && i < 2 && a->key[i]; i++)
        err = opts_default(o, a->key[i], a->val[i]);
    if (a)
        models_set_driver(o, model = a->model);
    for (int i = nglobals; !err && i-- > 0;)
        if (models_holds_for(global[i].driver, model))
            err = opts_default(o, global[i].key, global[i].val);
    const struct opts_quiet *keys = models_keys(model);
    if (err || !keys)
        return err;
    snprintf(o->what, sizeof(o->what), "-device %s", model);
    err = opts_quiet(o, pci_keys);
    return err ? err : opts_quiet(o, keys);
}

static void models_print_keys(const struct opts_quiet *r, int *column)
{
    for (; r->key; r++) {
        int width = (int)(strlen(r->key) + (r->ok ? strlen(r->ok) : 0)) + 3;
        if (*column + width > 76)
            *column = printf("\n   ");
        *column += printf(" %s=%s", r->key, r->ok ? r->ok : "");
    }
}

void models_help(const struct device_class *const *models, const char *model)
{
    int column = 0;
    if (model && models_keys(model)) {
        printf("  taken, as there is nothing to do:\n   ");
        models_print_keys(pci_keys, &column);
        models_print_keys(models_keys(model), &column);
        putchar('\n');
        return;
    }
    for (; *models; models++)
        printf("name \"%s\", bus PCI\n", (*models)->name);
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
        printf("name \"%s\", bus PCI, alias of \"%s\"\n", aliases[i].name,
               aliases[i].model);
}
