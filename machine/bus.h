/* SPDX-License-Identifier: MIT */
/* Making and freeing buses; devices use only what machine.h shows. */
#ifndef BUS_H
#define BUS_H

#include "machine/machine.h"

int bus_new(struct bus **out, const char *name);
void bus_free(struct bus *b);
/* Accesses nobody claimed so far. */
uint64_t bus_unclaimed(const struct bus *b);

#endif
