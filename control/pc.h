/* SPDX-License-Identifier: MIT */
/* QEMU's options that describe the PC, each a list of keys: -m, -smp, -machine,
 * -cpu and the like. */
#ifndef CONTROL_PC_H
#define CONTROL_PC_H

#include "control/config.h"

/* Takes one of them in, by its first name; as -object, guest memory by another
 * name. 0; 1: help is out on stdout; -EINVAL (said). What is neither done nor
 * without meaning here is refused. */
int pc_take(struct config *c, const char *opt, const char *arg);

/* After the last option: do they fit together? 0 or -EINVAL (said). */
int pc_check(const struct config *c);
/* Once memory is known, also that of a saved machine: has a backend its size? 0
 * or -EINVAL (said). */
int pc_check_memory(const struct config *c);
/* With so many disks: does the BIOS boot, or a kernel? Sets boot.rom. 0 or
 * -EINVAL (said). */
int pc_check_boot(struct config *c, unsigned disks);

#endif
