/* SPDX-License-Identifier: MIT */
/* What both NIC models share: counters, MAC addresses, their netdev. */
#include "devices/nic.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void nic_stats_add(struct nic_stats *sum, const struct nic_stats *s)
{
#define X(name, what)                                                          \
    nic_count(sum, name, atomic_load_explicit(&s->name, memory_order_relaxed));
    NIC_COUNTERS(X)
#undef X
}

const struct field nic_counters[] = {
#define X(field, what) COUNT(#field, struct nic_stats, field, what),
    NIC_COUNTERS(X)
#undef X
        {.name = ""},
};

/* FNV-1a: a MAC from the machine's name and the NIC's number, so that it stays
 * the same from run to run and differs between machines with names. */
static void nic_default_mac(uint8_t mac[6], const char *name, unsigned number)
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

static int nic_take_netdev(struct nic *nic, const char *what)
{
    struct netdev *nd = netdev_find(nic->netdev);
    if (!nd)
        return fail(-EINVAL, "%s: netdev=%s: there is no -netdev with that id",
                    what, nic->netdev);
    if (nd->taken)
        return fail(-EINVAL, "%s: netdev=%s: another NIC uses it", what,
                    nic->netdev);
    nd->taken = true;
    nic->nd = nd;
    return 0;
}

const struct field nic_fields[] = {
    FIELD(TEXT, "netdev", struct nic, netdev, .arg = "ID",
          .help = "the backend"),
    FIELD(MAC, "mac", struct nic, mac,
          .help = "its address (made of the VM's name)"),
    FIELDS_OF(pci_fields, "", struct nic, pci),
    {.name = ""},
};

int nic_check(struct nic *nic, struct device *dev, struct needs *needs,
              const char *model)
{
    static const uint8_t none[6];
    const char *what = dev->opts.what;
    unsigned number = needs->nics++;
    snprintf(nic->default_id, sizeof(nic->default_id), "%s.%u", model, number);
    if (!opts_str(&dev->opts, "id", NULL))
        dev->id = nic->default_id;
    nic->id = dev->id;
    if (!memcmp(nic->mac, none, 6))
        nic_default_mac(nic->mac, needs->name ? needs->name : "", number);
    int err = pci_check(&nic->pci, what, needs);
    if (!err && nic->netdev)
        err = nic_take_netdev(nic, what);
    return err;
}
