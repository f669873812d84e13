/* SPDX-License-Identifier: MIT */
/* A machine on KVM as parts of a state file, and from there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "machine/boot/boot.h"
#include "machine/kvm/kvm.h"
#include "machine/kvm/state.h"

static struct kvm_fds keep_fds(const struct vm *vm, int cpu[CPUS_MAX])
{
    for (unsigned i = 0; i < vm->m.ncpus; i++)
        cpu[i] = vm->vcpu[i].fd;
    return (struct kvm_fds){
        .kvm = vm->kvm, .vm = vm->fd, .cpu = cpu, .ncpus = vm->m.ncpus};
}

/* ------------------------------------------------------------------ saving */

int vm_can_save(struct machine *m)
{
    const struct vm *vm = vm_of(m);
    if (!m->started || vm->loading || vm->fd < 0 || atomic_load(&vm->why) >= 0)
        return fail(-EBUSY, "the guest is just being started");
    return saved_can(m);
}

void vm_outline(struct machine *m, struct parts *out)
{
    struct vm *vm = vm_of(m);
    const struct boot *b = vm->cfg.boot;
    struct saved s = {
        .cpus = vm->cfg.cpus,
        .threads = vm->cfg.threads,
        .package = vm->cfg.package,
        .ram = vm->cfg.ram,
        .rom = boot_rom_size(b),
        .bios = b->bios != NULL,
        .guest = !vm->cfg.saved ? !b->kernel && !b->rom && !b->bios
                                : vm->cfg.saved->guest,
    };
    saved_put(&s, out);
}

static int keep_put_kvm(struct vm *vm, struct parts *out)
{
    int cpu[CPUS_MAX];
    const struct stopped *s = &vm->stopped;
    uint64_t tsc[CPUS_MAX];
    struct kvm_fds f = keep_fds(vm, cpu);
    uint8_t *p;
    size_t len;
    for (unsigned i = 0; i < vm->m.ncpus; i++)
        tsc[i] = s->host_tsc + s->offset[i];
    f.tsc = s->tsc ? tsc : NULL;
    f.clock = s->clock ? &s->kvmclock : NULL;
    f.pit = s->pit ? &s->pit2 : NULL;
    int err = kvm_state_save(&f, &p, &len);
    if (err)
        return err;
    parts_put(out, "kvm", p, len);
    free(p);
    return 0;
}

int vm_save(struct machine *m, struct parts *out)
{
    struct vm *vm = vm_of(m);
    vm_outline(m, out);
    int err = cpuid_save(vm, out);
    if (!err)
        err = keep_put_kvm(vm, out);
    return err ? err : saved_put_devices(m, out);
}

/* ----------------------------------------------------------------- loading */

/* Where a guest still runs elsewhere nobody waits for what is made now. */
int keep_open(struct vm *vm)
{
    const struct saved *s = vm->cfg.saved;
    int err = boot_rom_again(&vm->m, vm->cfg.boot, s->rom, s->bios);
    return !err && s->come ? kvm_open_vm(vm) : err;
}

/* Before the loop is confined: no list has what it calls. */
int keep_load(struct vm *vm)
{
    const struct saved *s = vm->cfg.saved;
    int cpu[CPUS_MAX];
    struct part part;
    int err = saved_part(s, "cpuid", &part);
    if (!err)
        err = cpuid_check(vm, &part);
    if (!err && !s->come)
        err = kvm_open_vm(vm);
    if (!err)
        err = saved_part(s, "kvm", &part);
    if (err)
        return err;
    struct kvm_fds f = keep_fds(vm, cpu);
    f.realtime = s->realtime;
    return kvm_state_load(&f, part.p, part.len);
}
