/* SPDX-License-Identifier: MIT */
/* CPUID: what KVM supports, with the topology of this machine filled in. The
 * APIC ID is the vCPU's number (as the MADT says); its low bits number the
 * thread in its core, the next ones the core in its package, which is why
 * threads, and CPUs of a package among several, are powers of two. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "machine/kvm/kvm.h"

#define ENTRIES_MAX 256

/* Bits needed to number n cores. */
static unsigned cpuid_bits_for(unsigned n)
{
    unsigned bits = 0;
    while (1u << bits < n)
        bits++;
    return bits;
}

static void cpuid_leaf_1(struct kvm_cpuid_entry2 *e, const struct vcpu *c,
                         unsigned n)
{
    e->ebx = (e->ebx & 0xff00) | c->id << 24 | (1u << cpuid_bits_for(n)) << 16;
    e->ecx |= 1u << 31 | 1u << 21; /* hypervisor, x2APIC */
    e->ecx &= ~(1u << 5);          /* VMX: a guest's guests are not saved */
    if (ioctl(c->vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
        e->ecx |= 1u << 24;
    e->edx &= ~(1u << 28);
    if (n > 1)
        e->edx |= 1u << 28; /* HTT: EBX[23:16] holds */
}

/* Leaf 4 (Intel) and 8000001D (AMD): L3 is the package's, L1 and L2 are their
 * core's. */
static void cpuid_cache_leaf(struct kvm_cpuid_entry2 *e, unsigned n,
                             unsigned threads, bool intel)
{
    unsigned level = e->eax >> 5 & 7;
    e->eax &= intel ? 0x3fff : 0xfc003fff;
    e->eax |= ((level >= 3 ? n : threads) - 1) << 14;
    if (intel && e->eax & 0x1f)
        e->eax |= ((1u << cpuid_bits_for(n / threads)) - 1) << 26;
}

/* Leaves B and 1F: level 0 threads, level 1 cores. */
static void cpuid_topology_leaf(struct kvm_cpuid_entry2 *e,
                                const struct vcpu *c, unsigned n,
                                unsigned threads)
{
    unsigned count = e->index == 0 ? threads : e->index == 1 ? n : 0;
    e->eax = count ? cpuid_bits_for(count) : 0;
    e->ebx = count;
    e->ecx = e->index | (e->index < 2 ? (e->index + 1) << 8 : 0);
    e->edx = c->id;
}

/* n CPUs in a package. */
static void cpuid_adjust(struct kvm_cpuid_entry2 *e, const struct vcpu *c,
                         unsigned n, unsigned threads)
{
    switch (e->function) {
    case 1:
        cpuid_leaf_1(e, c, n);
        break;
    case 4:
        cpuid_cache_leaf(e, n, threads, true);
        break;
    case 0xb:
    case 0x1f:
        cpuid_topology_leaf(e, c, n, threads);
        break;
    case 0x80000001:
        e->ecx = n > 1 ? e->ecx | 2 : e->ecx & ~2u; /* CmpLegacy */
        e->ecx &= ~4u;                              /* SVM, as VMX */
        break;
    case 0x80000008:
        e->ecx = (e->ecx & ~0xf0ffu) | (n - 1) | cpuid_bits_for(n) << 12;
        break;
    case 0x8000001d:
        cpuid_cache_leaf(e, n, threads, false);
        break;
    case 0x8000001e:
        e->eax = c->id;
        e->ebx = c->id % n / threads | (threads - 1) << 8; /* core, threads */
        e->ecx = c->id / n; /* node: the package */
        break;
    }
}

/* Leaf B needs its subleaf 1; KVM reports only those the host has. */
static void cpuid_ensure_subleaf(struct kvm_cpuid2 *cpuid, uint32_t function)
{
    const struct kvm_cpuid_entry2 *first = NULL;
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        if (cpuid->entries[i].function != function)
            continue;
        first = &cpuid->entries[i];
        if (first->index == 1)
            return;
    }
    if (!first || cpuid->nent == ENTRIES_MAX)
        return;
    struct kvm_cpuid_entry2 *e = &cpuid->entries[cpuid->nent++];
    *e = *first;
    e->index = 1;
}

static struct kvm_cpuid2 *cpuid_new(uint32_t entries)
{
    return calloc(1, sizeof(struct kvm_cpuid2) +
                         entries * sizeof(struct kvm_cpuid_entry2));
}

/* KVM looks at each leaf of the host's, which takes it 0.4 ms where that is a
 * guest itself: so it is asked once for all vCPUs, and by the worker while the
 * loop makes the VM. -errno.
 *
 * syscalls loop worker: ioctl(KVM_GET_SUPPORTED_CPUID) */
int cpuid_ask(struct vm *vm)
{
    struct kvm_cpuid2 *cpuid = cpuid_new(ENTRIES_MAX);
    if (!cpuid)
        return -ENOMEM;
    cpuid->nent = ENTRIES_MAX;
    if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, cpuid) < 0) {
        int err = -errno;
        free(cpuid);
        return err;
    }
    cpuid_ensure_subleaf(cpuid, 0xb);
    vm->supported = cpuid;
    return 0;
}

/* NULL and errno. */
static const struct kvm_cpuid2 *cpuid_supported(struct vm *vm)
{
    if (!vm->supported)
        errno = -cpuid_ask(vm);
    return vm->supported;
}

void cpuid_forget(struct vm *vm)
{
    free(vm->supported);
    vm->supported = NULL;
}

/* What vCPU `c` is told; the caller's to free. NULL and errno.
 *
 * syscalls loop: ioctl(KVM_CHECK_EXTENSION) */
static struct kvm_cpuid2 *cpuid_make(struct vm *vm, const struct vcpu *c)
{
    const struct kvm_cpuid2 *from = cpuid_supported(vm);
    struct kvm_cpuid2 *cpuid = from ? cpuid_new(from->nent) : NULL;
    if (!cpuid)
        return NULL;
    memcpy(cpuid, from, sizeof(*from) + from->nent * sizeof(from->entries[0]));
    for (uint32_t i = 0; i < cpuid->nent; i++)
        cpuid_adjust(&cpuid->entries[i], c, vm->cfg.package, vm->cfg.threads);
    return cpuid;
}

/* syscalls loop: ioctl(KVM_SET_CPUID2) */
int cpuid_set(struct vm *vm, struct vcpu *c)
{
    struct kvm_cpuid2 *cpuid = cpuid_make(vm, c);
    if (!cpuid)
        return -errno;
    int err = ioctl(c->fd, KVM_SET_CPUID2, cpuid) < 0 ? -errno : 0;
    free(cpuid);
    return err;
}

/* ------------------------------------------------------------------- saved */

int cpuid_save(struct vm *vm, struct parts *out)
{
    struct kvm_cpuid2 *cpuid = cpuid_make(vm, &vm->vcpu[0]);
    if (!cpuid)
        return fail(-errno, "CPUID: %s", strerror(errno));
    parts_put(out, "cpuid", cpuid->entries,
              cpuid->nent * sizeof(cpuid->entries[0]));
    free(cpuid);
    cpuid_forget(vm);
    return 0;
}

static const struct kvm_cpuid_entry2 *
cpuid_find(const struct kvm_cpuid2 *cpuid, const struct kvm_cpuid_entry2 *like)
{
    for (uint32_t i = 0; i < cpuid->nent; i++)
        if (cpuid->entries[i].function == like->function &&
            cpuid->entries[i].index == like->index)
            return &cpuid->entries[i];
    return NULL;
}

/* Of one leaf, what is saved and what is here. */
static int cpuid_compare(const struct kvm_cpuid_entry2 *e,
                         const struct kvm_cpuid_entry2 *here)
{
    const uint32_t was[] = {e->eax, e->ebx, e->ecx, e->edx};
    const uint32_t is[] = {here->eax, here->ebx, here->ecx, here->edx};
    for (int i = 0; i < 4; i++)
        if (was[i] != is[i])
            return fail(-EINVAL,
                        "the saved guest's CPU is another: CPUID leaf 0x%x.%u "
                        "E%cX is 0x%08x, here 0x%08x",
                        e->function, e->index, "ABCD"[i], was[i], is[i]);
    return 0;
}

static int cpuid_check_all(const struct kvm_cpuid2 *cpuid,
                           const struct part *saved)
{
    struct kvm_cpuid_entry2 e;
    uint32_t n = saved->len / sizeof(e);
    int err = 0;
    for (uint32_t i = 0; i < n && !err; i++) {
        memcpy(&e, saved->p + i * sizeof(e), sizeof(e));
        const struct kvm_cpuid_entry2 *here = cpuid_find(cpuid, &e);
        static const struct kvm_cpuid_entry2 none;
        err = cpuid_compare(&e, here ? here : &none);
    }
    if (!err && n != cpuid->nent)
        err = fail(-EINVAL,
                   "the saved guest's CPU is another: %u CPUID leaves, here %u",
                   n, cpuid->nent);
    return err;
}

int cpuid_check(struct vm *vm, const struct part *saved)
{
    struct kvm_cpuid2 *cpuid = cpuid_make(vm, &vm->vcpu[0]);
    if (!cpuid)
        return fail(-errno, "CPUID: %s", strerror(errno));
    int err = cpuid_check_all(cpuid, saved);
    free(cpuid);
    return err;
}
