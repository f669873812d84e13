/* SPDX-License-Identifier: MIT */
/* The PC's old devices: what vmm.c's wiring table lists, and the few things the
 * rest of the VMM asks of them. */
#ifndef LEGACY_H
#define LEGACY_H

#include "machine/machine.h"

extern const struct device_class serial_class, rtc_class, i8042_class,
    acpi_pm_class, pvpanic_class;

/* Presses the power button (SIGTERM). False: no guest listens (there is no
 * acpi-pm, or PWRBTN_EN is off), the caller must end the run itself. Any
 * thread. */
bool acpi_power_button(struct machine *m);

#endif
