/* SPDX-License-Identifier: MIT */
/* -device as QEMU's users write it: aliases, keys without effect, -global. */
#ifndef MODELS_H
#define MODELS_H

#include "machine/machine.h"

/* -global DRIVER.KEY=VALUE: a default for each -device of that model, or
 * nothing to do. 0 or -EINVAL (said). */
int models_global(const char *arg);

/* Before a -device's keys are read: an alias becomes the model and the keys it
 * stands for, -global's come first, and keys that need nothing go. `driver` is
 * the key of the model. 0 or -EINVAL (said). */
int models_adjust(struct opts *o);

/* The aliases and the keys that need nothing, for -device help (`model` NULL)
 * and -device MODEL,help. On stdout. */
void models_help(const struct device_class *const *models, const char *model);

/* Forgets what models_global took. */
void models_free(void);

#endif
