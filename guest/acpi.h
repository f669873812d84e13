/* SPDX-License-Identifier: MIT */
/* The few ACPI tables a power switch needs. */
#ifndef GUEST_ACPI_H
#define GUEST_ACPI_H

#include "lib.h"

/* hint: the RSDP's address from the loader, or 0 to look for it. */
void acpi_init(u64 hint);

/* Usable CPUs in the MADT, 0 if there is none. */
unsigned acpi_cpus(void);

/* False if the tables do not offer it; true if it was asked for, and will take
 * effect in a moment. */
bool acpi_poweroff(void);
bool acpi_reset(void);

#endif
