/* SPDX-License-Identifier: MIT */
/* What the rest of the VMM asks of the PC's old devices. */
#ifndef PC_H
#define PC_H

#include "machine/machine.h"

/* Presses the power button (SIGTERM). False: no guest listens (there is no
 * acpi-pm, or PWRBTN_EN is off), the caller must end the run itself. Any
 * thread. */
bool acpi_power_button(struct machine *m);
/* General-purpose event n (0 to 7) of the ACPI tables has come: a guest that
 * enables it hears of it, now or then. Any thread. */
void acpi_event(struct machine *m, unsigned n);

#endif
