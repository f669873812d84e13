/* SPDX-License-Identifier: MIT */
/* What a register access costs from bus_read or bus_write on: the search on a
 * PC's buses, and registers that drivers touch often. */
#include "devices/list.h"
#include "tests/cost/cost.h"
#include "tests/unit/fakevirtio.h"

static struct machine *m;

struct access {
    const char *name;
    bool pio, write;
    uint64_t addr;
    unsigned width;
    uint32_t val;
};

static void access_work(void *arg)
{
    const struct access *a = arg;
    struct bus *bus = a->pio ? m->pio : m->mmio;
    cost_on();
    if (a->write)
        bus_write(bus, a->addr, a->width, a->val);
    else
        bus_read(bus, a->addr, a->width);
    cost_off();
}

#define R(name, pio, addr, width)                                              \
    {                                                                          \
        name, pio, false, addr, width, 0                                       \
    }
#define W(name, pio, addr, width, val)                                         \
    {                                                                          \
        name, pio, true, addr, width, val                                      \
    }

void cost_bus(void)
{
    static struct vd d;
    m = vd_up(&d, false, 0);
    REQUIRE_EQ(fake_device(m, &acpi_pm_class, "acpi", ""), 0);
    uint64_t mask = drv_msix_table(m, d.slot) + 16 + 12;
    struct access rows[] = {
        R("bus, port nobody has, read", true, 0x5000, 1),
        W("bus, port nobody has, write", true, 0x5000, 1, 0),
        R("bus, memory nobody has, read", false, 0xd0000000, 4),
        W("bus, memory nobody has, write", false, 0xd0000000, 4, 0),
        W("PCI, configuration address write", true, 0xcf8, 4,
          0x80000000u | d.slot << 11),
        R("PCI, configuration data read", true, 0xcfc, 4),
        R("MSI-X, mask bit read", false, mask, 4),
        R("virtio, device status read", false, d.common + C_STATUS, 1),
        R("virtio, queue size read", false, d.common + C_QUEUE_SIZE, 2),
        R("virtio, ISR read", false, d.isr, 1),
        W("virtio, device reset", false, d.common + C_STATUS, 1, 0),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cost_row(rows[i].name, 1, access_work, &rows[i]);
    vd_free(&d);
}
