/* SPDX-License-Identifier: MIT */
/* What KVM itself remembers of a guest: processors, interrupt controllers,
 * timers, clocks. */
#ifndef KVM_STATE_H
#define KVM_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvm_fds {
    int kvm, vm; /* /dev/kvm, the VM */
    const int *cpu;
    unsigned ncpus;
    /* Optional, for saving. What the guest's clocks stand at, which go on in
     * KVM: struct kvm_clock_data; struct kvm_pit_state2; a time stamp a CPU. */
    const void *clock, *pit;
    const uint64_t *tsc;
    /* For loading: kvmclock is set forward by the time since it was saved. */
    bool realtime;
};

/* Every vCPU is stopped, and was run once more with immediate_exit, so that no
 * access is half done; devices are held. *out is the caller's to free: records
 * as base/state.h writes them. 0 or -errno (said). */
int kvm_state_save(const struct kvm_fds *f, uint8_t **out, size_t *len);
/* Into a VM that was just made, with its memory, chips, PIT, vCPUs and their
 * CPUID; before its devices get their state, which raises lines again. Bytes
 * from anywhere; what they say of a processor KVM checks. 0 or -errno (said):
 * the VM is of no use then. */
int kvm_state_load(const struct kvm_fds *f, const void *p, size_t len);

#endif
