/* SPDX-License-Identifier: MIT */
/* The guest's clocks stand still while it does.
 *
 * What KVM keeps goes on by the host's clock: the time stamp counter, kvmclock,
 * the PIT, which also collects ticks for later. So what they say is noted when
 * the processors have left the guest, and said to KVM again before they go
 * back. A guest with kvmclock is told as well, lest its watchdog takes the
 * pause for a lock-up (Documentation/virt/kvm/api.rst, KVM_KVMCLOCK_CTRL). A
 * local APIC's timer that came to its end meanwhile fires at once, which guests
 * make nothing of. What the devices count by is theirs (device_hold); the RTC
 * shows the time of day. A KVM that lacks one of these calls leaves that clock
 * to run on. */
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "machine/kvm/kvm.h"

static uint64_t clock_tsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}

/* Of a processor: what its counter is ahead of the host's (api.rst,
 * KVM_VCPU_TSC_CTRL), which needs no guess at how long a call takes.
 *
 * syscalls loop if control: ioctl(KVM_GET_DEVICE_ATTR|KVM_SET_DEVICE_ATTR) */
/* syscalls loop if restored: ioctl(KVM_GET_DEVICE_ATTR|KVM_SET_DEVICE_ATTR) */
static bool clock_tsc_offset(const struct vcpu *c, bool set, uint64_t *offset)
{
    struct kvm_device_attr a = {.group = KVM_VCPU_TSC_CTRL,
                                .attr = KVM_VCPU_TSC_OFFSET,
                                .addr = (uintptr_t)offset};
    return !ioctl(c->fd, set ? KVM_SET_DEVICE_ATTR : KVM_GET_DEVICE_ATTR, &a);
}

/* syscalls loop if control: ioctl(KVM_GET_CLOCK|KVM_GET_PIT2) */
/* syscalls loop if restored: ioctl(KVM_GET_CLOCK|KVM_GET_PIT2) */
void clock_stop(struct vm *vm)
{
    struct stopped *s = &vm->stopped;
    s->clock = s->pit = s->tsc = false;
    if (vm->fd < 0)
        return;
    s->clock = !ioctl(vm->fd, KVM_GET_CLOCK, &s->kvmclock);
    s->pit = !ioctl(vm->fd, KVM_GET_PIT2, &s->pit2);
    s->host_tsc = clock_tsc();
    s->tsc = true;
    for (unsigned i = 0; i < vm->m.ncpus && s->tsc; i++)
        s->tsc = clock_tsc_offset(&vm->vcpu[i], false, &s->offset[i]);
}

/* EINVAL of KVM_KVMCLOCK_CTRL: this one has no kvmclock.
 *
 * syscalls loop if control: ioctl(KVM_SET_CLOCK|KVM_SET_PIT2|
 * KVM_KVMCLOCK_CTRL) */
/* syscalls loop if restored: ioctl(KVM_SET_CLOCK|KVM_SET_PIT2|
 * KVM_KVMCLOCK_CTRL) */
void clock_go(struct vm *vm)
{
    struct stopped *s = &vm->stopped;
    uint64_t away = clock_tsc() - s->host_tsc;
    for (unsigned i = 0; i < vm->m.ncpus && s->tsc; i++) {
        s->offset[i] -= away;
        clock_tsc_offset(&vm->vcpu[i], true, &s->offset[i]);
    }
    if (s->clock) {
        s->kvmclock.flags = 0; /* as it was, not as the host's went on */
        ioctl(vm->fd, KVM_SET_CLOCK, &s->kvmclock);
        for (unsigned i = 0; i < vm->m.ncpus; i++)
            ioctl(vm->vcpu[i].fd, KVM_KVMCLOCK_CTRL, 0);
    }
    if (s->pit)
        ioctl(vm->fd, KVM_SET_PIT2, &s->pit2);
    s->clock = s->pit = s->tsc = false;
}
