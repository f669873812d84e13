/* SPDX-License-Identifier: MIT */
/* QEMU's options that describe the PC, each a list of keys: -m, -smp, -machine,
 * -cpu and the like. */
#ifndef CONTROL_PC_H
#define CONTROL_PC_H

#include "control/config.h"

/* Each takes an option's text in: 0; 1: help is out on stdout; -EINVAL (said).
 * What is neither done nor without meaning here is refused. */
int pc_memory(struct config *c, const char *arg);
int pc_smp(struct config *c, const char *arg);
int pc_machine(struct config *c, const char *arg);
int pc_accel(struct config *c, const char *arg);
int pc_cpu(struct config *c, const char *arg);
int pc_boot(struct config *c, const char *arg);
int pc_rtc(struct config *c, const char *arg);
int pc_name(struct config *c, const char *arg);
int pc_uuid(struct config *c, const char *arg);
int pc_smbios(struct config *c, const char *arg);
int pc_msg(struct config *c, const char *arg);
int pc_overcommit(struct config *c, const char *arg);
int pc_action(struct config *c, const char *arg);
int pc_numa(struct config *c, const char *arg);
/* -object memory-backend-…: guest memory by another name. */
int pc_memory_backend(struct config *c, const char *arg);

/* After the last option: do they fit together? 0 or -EINVAL (said). */
int pc_check(const struct config *c);

#endif
