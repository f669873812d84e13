/* SPDX-License-Identifier: MIT */
/* Base addresses: what of a function is on the machine's buses, and where.
 *
 * A BAR is on its bus exactly while the command register decodes its kind and
 * its address is usable. pci_bars_remap() looks at every function, because a
 * BAR that could not be mapped (it lay on top of another one) becomes mappable
 * when the other moves away. Two passes, first unmap and then map, so that two
 * BARs may swap places.
 *
 * Addresses a guest chooses are never trusted: the memory bus holds regions
 * only, RAM and the interrupt controllers are in front of it in KVM, so a BAR
 * put there is inert. */
#include "devices/pci/bus.h"

static bool pci_bar_decodes(const struct pci_fn *fn, unsigned i)
{
    const struct pci_bar *bar = &fn->bar[i];
    unsigned cmd = pci_get(fn, PCI_COMMAND, 2);
    if (bar->kind == PCI_BAR_NONE)
        return false;
    if (i == PCI_ROM_BAR && !(pci_get(fn, PCI_ROM, 1) & 1))
        return false;
    return cmd & (bar->kind == PCI_BAR_IO ? PCI_CMD_IO : PCI_CMD_MEM);
}

static uint64_t pci_bar_address(const struct pci_fn *fn, unsigned i)
{
    const struct pci_bar *bar = &fn->bar[i];
    uint64_t a = pci_get(fn, pci_bar_reg(i), 4);
    if (bar->kind == PCI_BAR_MEM64)
        a |= (uint64_t)pci_get(fn, pci_bar_reg(i) + 4, 4) << 32;
    return a & ~(bar->size - 1);
}

static void pci_kick_update(struct pci_fn *fn, struct pci_bar *bar,
                            struct pci_kick *k)
{
    bool want = bar->mapped && k->on;
    if (want == k->registered)
        return;
    if (!want) {
        fn->m->ops->kick_del(fn->m, &k->at);
        k->registered = false;
        return;
    }
    k->at = (struct kick){.fd = k->fd,
                          .pio = bar->kind == PCI_BAR_IO,
                          .addr = bar->region.base + k->off,
                          .width = k->width,
                          .match = k->match,
                          .data = k->data};
    /* Where it fails the write leaves to user space and the device signals
     * the eventfd itself: slower, and the same. */
    k->registered = !fn->m->ops->kick_add(fn->m, &k->at);
}

static int pci_map_update(struct pci_fn *fn, const struct pci_bar *bar,
                          struct pci_map *map, bool want)
{
    int err = 0;
    if (want || map->live)
        err = fn->m->ops->map(fn->m, bar->region.base + map->off,
                              want ? map->hva : NULL, map->size, map->readonly);
    map->live = want && !err;
    return err;
}

static void pci_bar_unmap(struct pci_fn *fn, struct pci_bar *bar)
{
    bar->mapped = false;
    for (unsigned k = 0; k < bar->nkick; k++)
        pci_kick_update(fn, bar, &bar->kick[k]);
    for (unsigned k = 0; k < bar->nmap; k++)
        pci_map_update(fn, bar, &bar->map[k], false);
    if (bar->region.read)
        bus_del(bar->kind == PCI_BAR_IO ? fn->m->pio : fn->m->mmio,
                &bar->region);
}

static void pci_bar_map(struct pci_fn *fn, struct pci_bar *bar, uint64_t addr)
{
    bool io = bar->kind == PCI_BAR_IO;
    if (!addr || (io && addr + bar->size > 0x10000))
        return;
    bar->region.base = addr;
    int err = bar->region.read
                  ? bus_add(io ? fn->m->pio : fn->m->mmio, &bar->region)
                  : pci_map_update(fn, bar, &bar->map[0], true);
    TRACE(PCI, "%02x.0 %s bar %d at %#llx size %#llx: %d", fn->slot, fn->name,
          (int)(bar - fn->bar), (unsigned long long)addr,
          (unsigned long long)bar->size, err);
    if (err)
        return;
    bar->mapped = true;
    for (unsigned k = 0; bar->region.read && k < bar->nmap; k++)
        pci_map_update(fn, bar, &bar->map[k], true);
    for (unsigned k = 0; k < bar->nkick; k++)
        pci_kick_update(fn, bar, &bar->kick[k]);
}

static void pci_each_bar(struct pci_bus *bus,
                         void (*f)(struct pci_fn *fn, unsigned i))
{
    for (unsigned s = 0; s < PCI_SLOTS; s++)
        for (unsigned i = 0; bus->fn[s] && i <= PCI_ROM_BAR; i++)
            f(bus->fn[s], i);
}

static void pci_unmap_stale(struct pci_fn *fn, unsigned i)
{
    struct pci_bar *bar = &fn->bar[i];
    if (bar->mapped &&
        (!pci_bar_decodes(fn, i) || pci_bar_address(fn, i) != bar->region.base))
        pci_bar_unmap(fn, bar);
}

static void pci_map_wanted(struct pci_fn *fn, unsigned i)
{
    struct pci_bar *bar = &fn->bar[i];
    if (!bar->mapped && pci_bar_decodes(fn, i))
        pci_bar_map(fn, bar, pci_bar_address(fn, i));
}

void pci_bars_remap(struct pci_bus *bus)
{
    pci_each_bar(bus, pci_unmap_stale);
    pci_each_bar(bus, pci_map_wanted);
}

void pci_remap(struct pci_bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    pci_bars_remap(bus);
    pthread_mutex_unlock(&bus->lock);
}

void pci_kick_set(struct pci_fn *fn, unsigned bar, unsigned k, bool on)
{
    if (!fn->bus)
        return;
    pthread_mutex_lock(&fn->bus->lock);
    fn->bar[bar].kick[k].on = on;
    pci_kick_update(fn, &fn->bar[bar], &fn->bar[bar].kick[k]);
    pthread_mutex_unlock(&fn->bus->lock);
}

void pci_kick_move(struct pci_fn *fn, unsigned bar, unsigned k, int fd)
{
    struct pci_kick *kick = &fn->bar[bar].kick[k];
    if (!fn->bus)
        return;
    pthread_mutex_lock(&fn->bus->lock);
    bool on = kick->on;
    kick->on = false;
    pci_kick_update(fn, &fn->bar[bar], kick);
    kick->fd = fd;
    kick->on = on;
    pci_kick_update(fn, &fn->bar[bar], kick);
    pthread_mutex_unlock(&fn->bus->lock);
}
