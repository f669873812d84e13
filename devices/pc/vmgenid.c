/* SPDX-License-Identifier: MIT */
/* The generation ID of the machine: 16 bytes in its memory that are others when
 * it goes on from a state in which another one may have gone on, too ("Virtual
 * Machine Generation ID", Microsoft 2018). Guests then seed their random
 * numbers anew.
 *
 * It lies in the EBDA, where the guest finds it by an ACPI device; a
 * general-purpose event tells of a new one. Until the guest listens the event
 * waits, and no guest reads the ID before. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "devices/pc/pc.h"
#include "machine/platform.h"

struct vmgenid {
    struct device dev;
    const char *asked; /* guid=, NULL: a random one each time */
    uint8_t guid[16];  /* as it lies in memory */
};

static struct vmgenid *vmgenid_of(struct device *dev)
{
    return container_of(dev, struct vmgenid, dev);
}

/* Its first three numbers are little-endian in memory. 0 or -EINVAL (said). */
static int vmgenid_parse(const char *what, const char *text, uint8_t guid[16])
{
    static const uint8_t place[16] = {3, 2, 1,  0,  5,  4,  7,  6,
                                      8, 9, 10, 11, 12, 13, 14, 15};
    uint8_t uuid[16];
    int err = parse_uuid(what, text, uuid);
    for (int i = 0; !err && i < 16; i++)
        guid[i] = uuid[place[i]];
    return err;
}

static void vmgenid_write(struct vmgenid *g)
{
    uint8_t *at = ram_ptr(&g->dev.m->ram, gpa(VMGENID_AT), sizeof(g->guid));
    if (at)
        memcpy(at, g->guid, sizeof(g->guid));
}

/* syscalls loop: getrandom, when a machine goes on from a saved state */
static int vmgenid_choose(struct vmgenid *g, const char *text)
{
    if (text && strcmp(text, "auto") != 0)
        return vmgenid_parse("guid", text, g->guid);
    ssize_t n = getrandom(g->guid, sizeof(g->guid), GRND_NONBLOCK);
    return n == (ssize_t)sizeof(g->guid) ? 0 : -EAGAIN;
}

static int vmgenid_renew(struct vmgenid *g, const char *text)
{
    int err = vmgenid_choose(g, text);
    if (err)
        return err == -EINVAL
                   ? err
                   : fail(err, "%s: the host has no random numbers yet",
                          g->dev.id);
    vmgenid_write(g);
    acpi_event(g->dev.m, GPE_VMGENID);
    return 0;
}

struct vmgenid_told {
    const char *guid;
};
static const struct field vmgenid_told_fields[] = {
    FIELD(TEXT, "guid", struct vmgenid_told, guid, .arg = "UUID",
          .help = "the new ID (random)"),
    {.name = ""},
};

static int vmgenid_new(void *thing, const void *told, struct text *out)
{
    const struct vmgenid_told *t = told;
    (void)out;
    return vmgenid_renew(vmgenid_of(thing), t->guid);
}

static const struct verb vmgenid_verbs[] = {
    {"new-generation", "the guest is told that it may not be the only one",
     vmgenid_told_fields, sizeof(struct vmgenid_told), vmgenid_new},
    {.name = NULL},
};

/* A guest that starts anew finds it where it was. */
static void vmgenid_reset(struct device *dev)
{
    vmgenid_write(vmgenid_of(dev));
}

/* What this machine began with is not what the guest has seen. */
static int vmgenid_loaded(struct device *dev)
{
    vmgenid_write(vmgenid_of(dev));
    return 0;
}

static void vmgenid_resume(struct device *dev)
{
    if (dev->fresh)
        vmgenid_renew(vmgenid_of(dev), vmgenid_of(dev)->asked);
}

static int vmgenid_check(struct device *dev, struct needs *needs)
{
    struct vmgenid *g = vmgenid_of(dev);
    char what[96];
    (void)needs;
    if (!g->asked || !strcmp(g->asked, "auto"))
        return 0;
    snprintf(what, sizeof(what), "%s: guid", dev->opts.what);
    return vmgenid_parse(what, g->asked, g->guid);
}

static int vmgenid_create(struct machine *m, struct device *dev)
{
    struct vmgenid *g = vmgenid_of(dev);
    for (const struct device *other = m->devices; other; other = other->next)
        if (other->cls == dev->cls)
            return fail(-EEXIST, "%s: there is one already", dev->id);
    dev->reset = vmgenid_reset;
    dev->resume = vmgenid_resume;
    vmgenid_choose(g, g->asked); /* without random numbers: zeros, for now */
    vmgenid_write(g);
    device_register(m, dev);
    return 0;
}

static const struct field vmgenid_fields[] = {
    FIELDS_OF(device_fields, "", struct vmgenid, dev),
    FIELD(TEXT, "guid", struct vmgenid, asked, .arg = "UUID",
          .help = "the ID, or auto: a random one at each start (auto)"),
    FIELD_BYTES(STATE | KEPT, "id", struct vmgenid, guid),
    {.name = ""},
};

const struct device_class vmgenid_class = {
    .name = "vmgenid",
    .help = "the machine's generation ID; there is always one",
    .fields = vmgenid_fields,
    .size = sizeof(struct vmgenid),
    .check = vmgenid_check,
    .create = vmgenid_create,
    .loaded = vmgenid_loaded,
    .verbs = vmgenid_verbs,
};
