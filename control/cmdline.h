/* SPDX-License-Identifier: MIT */
/* The command line: one table of options, parsed into a configuration. */
#ifndef CMDLINE_H
#define CMDLINE_H

#include "machine/kvm/vm.h"

#define DEVICES_MAX 64
#define SERIALS_MAX 2

/* What the operator asked for. Texts are argv's. */
struct config {
    struct vm_config vm;
    struct boot boot;
    const char *name;
    const char *serial[SERIALS_MAX]; /* -serial, in order: COM1, COM2 */
    int nserial;
    const char *device[DEVICES_MAX]; /* -device, in order */
    int ndevice;
    bool stats;
};

/* Takes argv in over the defaults, which it sets first; network options go to
 * net_option(). 0; 1: done, help or the version is out on stdout; -EINVAL
 * (said): wrong use. Opens and creates nothing. */
int cmdline_parse(struct config *cfg, int argc, char **argv);

#endif
