/* SPDX-License-Identifier: MIT */
/* What the rest of the VMM asks of the PC's old devices. */
#ifndef LEGACY_H
#define LEGACY_H

#include "machine/machine.h"

/* Presses the power button (SIGTERM). False: no guest listens (there is no
 * acpi-pm, or PWRBTN_EN is off), the caller must end the run itself. Any
 * thread. */
bool acpi_power_button(struct machine *m);

#endif
