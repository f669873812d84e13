/* SPDX-License-Identifier: MIT */
/* A whole machine as parts of a state file, and from there.
 *
 * Theory of operation. At rest a machine is its memory, what KVM keeps
 * (state.c) and what each device remembers (its STATE rows). Each of them is a
 * part of the file:
 *
 *     machine            how much memory, how many CPUs: saved_fields
 *     cpuid              what CPU 0 was told it is
 *     kvm                processors, interrupt controllers, clocks
 *     device.N.CLASS     one for each device, in the order they were made
 *     of.WHAT            of the device before: what only a process that takes
 *                        the machine over has a use for
 *
 * What is opened on the host (files, interfaces, sockets) is in none of them:
 * who starts a machine from there says what it has by the same options as for
 * any other, and here both are compared. Nothing of a device is loaded before
 * KVM has its state, as interrupt lines are raised again by it; and nothing of
 * KVM's before there is memory. */
#include "machine/saved.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/state.h"
#include "machine/platform.h"

#define SAVED(kind, key, member, ...)                                          \
    FIELD_AS(STATE, kind, key, struct saved, member, __VA_ARGS__)
const struct field saved_fields[] = {
    SAVED(NUMBER, "ram", ram),
    SAVED(NUMBER, "cpus", cpus, .min = 1, .max = CPUS_MAX),
    SAVED(NUMBER, "threads", threads, .min = 1, .max = CPUS_MAX),
    SAVED(NUMBER, "package", package, .min = 1, .max = CPUS_MAX),
    SAVED(NUMBER, "rom", rom),
    SAVED(FLAG, "bios", bios),
    SAVED(FLAG, "guest", guest),
    {.name = ""},
};

static void saved_device_name(const struct device *d, unsigned i,
                              char name[PART_NAME_MAX + 1])
{
    snprintf(name, PART_NAME_MAX + 1, "device.%u.%s", i, d->cls->name);
}

/* ------------------------------------------------------------------ saving */

void saved_put(const struct saved *s, struct parts *out)
{
    uint8_t room[1024];
    size_t n = state_save(saved_fields, s, room, sizeof(room));
    parts_put(out, "machine", room, n);
}

static int saved_put_device(struct device *d, unsigned i, struct parts *out)
{
    char name[PART_NAME_MAX + 1];
    size_t len = device_save(d, NULL, 0);
    uint8_t *p = malloc(len + 1); /* some remember nothing */
    if (!p)
        return fail(-ENOMEM, "%s: out of memory", d->id);
    device_save(d, p, len);
    saved_device_name(d, i, name);
    parts_put(out, name, p, len);
    free(p);
    return d->m->leaving && d->cls->leave ? d->cls->leave(d, out) : 0;
}

int saved_put_devices(struct machine *m, struct parts *out)
{
    unsigned i = 0;
    int err = 0;
    for (struct device *d = m->devices; d && !err; d = d->next)
        err = saved_put_device(d, i++, out);
    return err;
}

int saved_can(const struct machine *m)
{
    for (const struct device *d = m->devices; d; d = d->next)
        if (!d->cls || d->cls->stays)
            return fail(-EOPNOTSUPP, "%s cannot be saved: %s", d->id,
                        d->cls ? d->cls->stays : "it has no state");
    return 0;
}

/* ----------------------------------------------------------------- loading */

static bool saved_is_power(uint32_t n)
{
    return !(n & (n - 1));
}

/* The rows' bounds, and what spans them. */
int saved_open(struct saved *s, const char *path)
{
    struct part part;
    if (!parts_find(s->p, s->len, "machine", &part))
        return fail(-EINVAL, "%s: has no part machine", path);
    int err = state_load(saved_fields, s, path, part.p, part.len);
    if (err)
        return err;
    if (s->ram % 4096 || s->ram < 8u << 20 || s->ram > 1ull << 40)
        return fail(-EINVAL, "%s: ram: %llu bytes", path,
                    (unsigned long long)s->ram);
    if (s->package > s->cpus || s->threads > s->package ||
        s->cpus % s->package || s->package % s->threads ||
        !saved_is_power(s->threads))
        return fail(-EINVAL, "%s: cpus: %u CPUs, %u a package, %u threads",
                    path, s->cpus, s->package, s->threads);
    return 0;
}

int saved_part(const struct saved *s, const char *name, struct part *part)
{
    return parts_find(s->p, s->len, name, part)
               ? 0
               : fail(-EINVAL, "the saved state has no part %s", name);
}

/* Are the devices those that were saved? */
static int saved_compare(const struct machine *m, const struct saved *s)
{
    char name[PART_NAME_MAX + 1];
    struct part part;
    size_t at = 0;
    const struct device *d = m->devices;
    for (unsigned i = 0;;) {
        bool more = parts_next(s->p, s->len, &at, &part);
        if (more && strncmp(part.name, "device.", 7) != 0)
            continue;
        if (!more && !d)
            return 0;
        if (d)
            saved_device_name(d, i++, name);
        if (d && more && !strcmp(part.name, name)) {
            d = d->next;
            continue;
        }
        return fail(-EINVAL,
                    "the saved machine has other devices: there %s%s, here "
                    "%s; say the options that it was started with",
                    more ? part.name : "no ", more ? "" : name,
                    d ? name : "none such");
    }
}

int saved_load_devices(struct machine *m, const struct saved *s)
{
    struct part part;
    struct device *d = NULL;
    size_t at = 0;
    int err = saved_compare(m, s);
    while (!err && parts_next(s->p, s->len, &at, &part))
        if (!strncmp(part.name, "device.", 7)) {
            d = d ? d->next : m->devices;
            err = device_load(d, part.p, part.len);
        } else if (d && d->cls->arrive && !strncmp(part.name, "of.", 3)) {
            err = d->cls->arrive(d, &part);
        }
    return err;
}
