/* SPDX-License-Identifier: MIT */
/* The command line: one table of options, parsed into a configuration. */
#ifndef CMDLINE_H
#define CMDLINE_H

#include "machine/kvm/vm.h"

#define SERIALS_MAX 2

/* What the operator asked for. Texts are argv's. */
struct config {
    struct vm_config vm;
    struct boot boot;
    const char *name;
    const char *serial[SERIALS_MAX]; /* -serial, in order: COM1, COM2 */
    int nserial;
    const char *pidfile, *log; /* -D */
    char name_text[128];
    bool timestamps; /* in log lines */
    /* What pc_check() looks at. */
    bool kvm_named, disk_boot, boot_timeout;
    struct {
        char id[64], named[64]; /* the -object's; whom -machine names */
        uint64_t size;
    } memory;
    bool stats;
};

/* Takes argv in over the defaults, which it sets first; devices and backends
 * go to plan_take(). `known` is what -device can name, NULL-terminated. 0; 1:
 * done, help or the version is out on stdout; -EINVAL (said): wrong use. Opens
 * and creates nothing. */
int cmdline_parse(struct config *cfg, const struct device_class *const *known,
                  int argc, char **argv);

#endif
