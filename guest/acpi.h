/* SPDX-License-Identifier: MIT */
/* The few ACPI tables a power switch needs. */
#ifndef GUEST_ACPI_H
#define GUEST_ACPI_H

#include "lib.h"

/* hint: the RSDP's address from the loader, or 0 to look for it. */
void acpi_init(u64 hint);

/* Usable CPUs in the MADT, 0 if there is none. */
unsigned acpi_cpus(void);

/* Both return only if the tables do not offer it or it had no effect. */
void acpi_poweroff(void);
void acpi_reset(void);

#endif
