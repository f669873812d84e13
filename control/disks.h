/* SPDX-License-Identifier: MIT */
/* The plan inside: -drive, -blockdev and -hda become blockdevs and disks. */
#ifndef DISKS_H
#define DISKS_H

#include "control/asked.h"

/* Turns one of them (`o` is taken over) into a row of `backs` and, where it
 * means a disk, too, one of `disks`. 0; 1: help is out; -EINVAL (said). */
int disks_take(const struct plan_classes *c, const char *opt, struct opts *o,
               struct asked_list *backs, struct asked_list *disks);
/* Once all are there: each raw node and the file below it are one. 0 or -errno
 * (said). */
int disks_tie(const struct plan_classes *c, struct asked_list *backs);

#endif
