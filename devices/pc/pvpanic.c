/* SPDX-License-Identifier: MIT */
/* pvpanic: one port through which a guest says that it panicked (QEMU,
 * docs/specs/pvpanic). Linux finds it by the DSDT's QEMU0001. */
#include "machine/machine.h"

#include <errno.h>
#include <stdlib.h>

#include "machine/platform.h"

enum { PANICKED = 1 << 0, CRASH_LOADED = 1 << 1 };

struct pvpanic {
    struct device dev;
    struct region port;
    struct fault panicked, loaded;
};

static uint64_t pvpanic_read(void *owner, uint64_t off, unsigned width)
{
    (void)owner, (void)off, (void)width;
    return PANICKED | CRASH_LOADED; /* events understood */
}

static void pvpanic_write(void *owner, uint64_t off, unsigned width,
                          uint64_t val)
{
    struct pvpanic *p = owner;
    struct machine *m = p->dev.m;
    (void)off, (void)width;
    if (val & PANICKED) {
        fault_note(&p->panicked, "the guest panicked (exit code %d)",
                   STOP_PANIC);
        m->ops->request(m, STOP_PANIC);
    } else if (val & CRASH_LOADED) { /* kdump takes over: the guest goes on */
        fault_note(&p->loaded, "guest panicked; its crash kernel runs");
    }
}

static void pvpanic_reset(struct device *dev)
{
    (void)dev; /* no state */
}

static int pvpanic_create(struct machine *m, struct device *dev)
{
    struct pvpanic *p = container_of(dev, struct pvpanic, dev);
    int err;
    p->dev.reset = pvpanic_reset;
    p->port = (struct region){.base = PORT_PVPANIC,
                              .len = 1,
                              .read = pvpanic_read,
                              .write = pvpanic_write,
                              .owner = p,
                              .name = "pvpanic"};
    err = bus_add(m->pio, &p->port);
    if (err)
        return fail(err, "pvpanic: port 0x%x is taken", PORT_PVPANIC);
    device_register(m, &p->dev);
    return 0;
}

static const struct field pvpanic_fields[] = {
    COUNT("panics", struct pvpanic, panicked, "panics the guest told of"),
    COUNT("crash_kernels", struct pvpanic, loaded,
          "of them with a crash kernel to follow"),
    {.name = ""},
};

const struct device_class pvpanic_class = {
    .name = "pvpanic",
    .help = "part of every machine",
    .fields = pvpanic_fields,
    .size = sizeof(struct pvpanic),
    .create = pvpanic_create,
};
