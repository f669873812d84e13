/* SPDX-License-Identifier: MIT */
/* What is asked for, before anything is there: taken in, checked as a whole,
 * then opened. */
#ifndef PLAN_H
#define PLAN_H

#include "control/asked.h"

/* For main(), in this order, on its thread.
 *
 * Takes one of -netdev, -nic, -net, -tap, -drive, -blockdev, -hda to -hdd,
 * -device and -object in, as key=value text or as JSON. 0, or -EINVAL (said).
 */
int plan_take(const char *opt, const char *arg);
/* The same of who has its keys: `o` is taken over in each case. */
int plan_take_opts(const char *opt, struct opts *o);
/* A part of the board; `key` (NULL: none) is told it as an option. 0 or -errno
 * (said). */
int plan_board(const struct device_class *cls, const char *what,
               const char *key, const char *val);
/* Does a -device name this driver? */
bool plan_names(const char *driver);
/* Makes netdevs, blockdevs, captures and devices of it, each as far as it
 * touches nothing outside, and adds up what they need. 0; 1: help is out on
 * stdout; -errno (said). */
int plan_check(const struct plan_classes *c, struct needs *needs);
/* Opens them: blockdevs, netdevs, captures, devices, and last the board, whose
 * serial ports write to files. 0 or -errno (said). */
int plan_open(struct machine *m);
/* Ends netdevs, blockdevs and what was not opened. After devices_destroy: NICs
 * use netdevs, disks blockdevs. */
void plan_free(void);

#endif
