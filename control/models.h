/* SPDX-License-Identifier: MIT */
/* -device as QEMU's users write it: aliases and -global. */
#ifndef MODELS_H
#define MODELS_H

#include "machine/machine.h"

/* `known` is what -device can name, NULL-terminated.
 *
 * -global DRIVER.KEY=VALUE: a default for each -device of that model, or
 * nothing to do. 0 or -EINVAL (said). */
int models_global(const struct device_class *const *known, const char *arg);

/* Before a -device's keys are read: an alias becomes the model and the keys it
 * stands for, and -global's come first. `driver` is the key of the model. 0 or
 * -EINVAL (said). */
int models_adjust(const struct device_class *const *known, struct opts *o);

/* The models and their aliases, on stdout. */
void models_help(const struct device_class *const *known);

/* Forgets what models_global took. */
void models_free(void);

#endif
