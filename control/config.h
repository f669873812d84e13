/* SPDX-License-Identifier: MIT */
/* What the operator asked for, of the machine and of the process. */
#ifndef CONFIG_H
#define CONFIG_H

#include "machine/kvm/vm.h"

#define SERIALS_MAX 2

/* Texts are argv's. */
struct config {
    struct vm_config vm;
    struct boot boot;
    const char *name;
    const char *serial[SERIALS_MAX]; /* -serial, in order: COM1, COM2 */
    int nserial;
    const char *pidfile, *log; /* -D */
    bool daemonize;
    bool stopped;        /* -S */
    unsigned shutdown_s; /* from SIGTERM to the end of a guest that stays */
    char name_text[128];
    bool timestamps; /* in log lines */
    /* What pc_check() and pc_check_boot() look at. */
    bool kvm_named, net_boot;
    bool ram_said, cpus_said; /* by -m, by -smp */
    struct {
        char id[64], named[64]; /* the -object's; whom -machine names */
        char path[1024];
        bool alone; /* share=off was said */
        uint64_t size;
    } memory;
    bool stats;
    bool firecracker; /* control/firecracker.h */
};

#endif
