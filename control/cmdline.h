/* SPDX-License-Identifier: MIT */
/* The command line: one table of options, parsed into a configuration. */
#ifndef CMDLINE_H
#define CMDLINE_H

#include "control/config.h"
#include "control/plan.h"

/* Takes argv in over the defaults, which it sets first; devices and backends
 * go to plan_take(). `known` is what they can name. 0; 1: done, help or the
 * version is out on stdout; -EINVAL (said): wrong use. Opens and creates
 * nothing. */
int cmdline_parse(struct config *cfg, const struct plan_classes *known,
                  int argc, char **argv);

#endif
