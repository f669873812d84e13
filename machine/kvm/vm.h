/* SPDX-License-Identifier: MIT */
/* The machine on KVM: made from a configuration, run to its end. */
#ifndef VM_H
#define VM_H

#include "machine/kvm/config.h"

/* Opens KVM and makes RAM, buses and the main loop. Devices are created on
 * *out afterwards. 0 or -errno (said). Main thread. */
int vm_new(struct machine **out, const struct vm_config *cfg);

/* Loads the kernel, starts the vCPUs and runs the main loop on this thread
 * until the guest or the operator ends it. An enum machine_stop, or -errno
 * (said) when it could not start. */
int vm_run(struct machine *m);

/* Ends vm_run from a handler on the main loop; it gives `status`, an enum
 * machine_stop or what else the process ends with. */
void vm_quit(struct machine *m, int status);

/* Has each vCPU come out of its guest since this was last true? One that has
 * not is made to: it is for who asks again in a moment. Those of a machine that
 * is paused are out. On the main loop's thread. */
bool vm_answers(struct machine *m);

/* Destroys devices, KVM and memory. */
void vm_free(struct machine *m);

#endif
