/* SPDX-License-Identifier: MIT */
/* What is asked of the machine on KVM. */
#ifndef VM_CONFIG_H
#define VM_CONFIG_H

#include "machine/boot/boot.h"
#include "machine/kvm/ram.h"
#include "machine/machine.h"
#include "machine/saved.h"

struct vm_config {
    uint64_t ram; /* bytes, page aligned */
    unsigned cpus;
    unsigned threads, package; /* CPUs of a core, of a package: powers of two
                                  where there are several */
    bool no_reboot;
    bool no_shutdown; /* a guest that has ended stays as it is */
    bool shared_ram;  /* for vhost-user */
    struct ram_config memory;
    const char *kvm; /* "/dev/kvm" */
    struct boot *boot;
    struct saved *saved; /* goes on from there; NULL: boots */
    struct loop *loop;   /* the main loop, the caller's; NULL: it is made */
    /* Optional. The vCPUs run, from here or again after a reset. On the main
     * loop's thread. */
    void (*runs)(struct machine *m);
    /* Optional. All is there, but a pause keeps them from the first start. */
    void (*waits)(struct machine *m);
};

#endif
