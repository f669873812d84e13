/* SPDX-License-Identifier: MIT */
/* What both NIC models share: options, counters, checksums. */
#include "devices/nic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/pci/pci.h"

void nic_stats_add(struct nic_stats *sum, const struct nic_stats *s)
{
#define X(name, what)                                                          \
    nic_count(sum, name, atomic_load_explicit(&s->name, memory_order_relaxed));
    NIC_COUNTERS(X)
#undef X
}

void nic_stats_print(const struct nic_stats *s, const char *id, int fd)
{
    static const struct {
        const char *name;
        size_t at;
    } row[] = {
#define X(field, what) {#field, offsetof(struct nic_stats, field)},
        NIC_COUNTERS(X)
#undef X
    };
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        const _Atomic uint64_t *n = (const void *)((const char *)s + row[i].at);
        uint64_t v = atomic_load_explicit(n, memory_order_relaxed);
        if (v)
            dprintf(fd, "%s.%s %llu\n", id, row[i].name, (unsigned long long)v);
    }
}

/* FNV-1a: a MAC from the machine's name and the NIC's number, so that it stays
 * the same from run to run and differs between machines with names. */
static void default_mac(uint8_t mac[6], const char *name, unsigned number)
{
    uint32_t h = 2166136261u;
    for (const char *p = name; *p; p++)
        h = (h ^ (uint8_t)*p) * 16777619u;
    h = (h ^ number) * 16777619u;
    const uint8_t out[6] = {0x52,
                            0x54,
                            0x00,
                            (uint8_t)(h >> 16),
                            (uint8_t)(h >> 8),
                            (uint8_t)(h + number)};
    memcpy(mac, out, 6);
}

static int take_netdev(struct nic *nic, const char *what, const char *id)
{
    if (!id)
        return 0;
    struct netdev *nd = netdev_find(id);
    if (!nd)
        return fail(-ENOENT, "%s: netdev=%s: there is no -netdev with that id",
                    what, id);
    if (nd->taken)
        return fail(-EBUSY, "%s: netdev=%s: another NIC uses it", what, id);
    nd->taken = true;
    nic->nd = nd;
    return 0;
}

int nic_options(struct nic *nic, struct machine *m, struct opts *o,
                const char *model)
{
    char def[32];
    unsigned number = m->nics++;
    snprintf(def, sizeof(def), "%s.%u", model, number);
    nic->id = strdup(opts_str(o, "id", def));
    if (!nic->id)
        return fail(-ENOMEM, "%s: out of memory", o->what);
    default_mac(nic->mac, m->name ? m->name : "", number);
    nic->romfile = opts_str(o, "romfile", NULL);
    if (nic->romfile)
        nic->romfile = *nic->romfile ? strdup(nic->romfile) : NULL;
    int err = opts_mac(o, "mac", nic->mac);
    if (!err)
        err = pci_options(o, &nic->slot);
    const char *netdev = opts_str(o, "netdev", NULL);
    if (!err && !netdev)
        log_line("warning: %s: no netdev=: a NIC without a cable", nic->id);
    if (!err)
        err = take_netdev(nic, o->what, netdev);
    return err;
}

void nic_free(struct nic *nic)
{
    free((void *)(uintptr_t)nic->id);
    free((void *)(uintptr_t)nic->romfile);
    nic->id = nic->romfile = NULL;
}
