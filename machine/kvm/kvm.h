/* SPDX-License-Identifier: MIT */
/* Inside of the KVM machine, shared by its files. */
#ifndef KVM_H
#define KVM_H

#include <linux/kvm.h>
#include <pthread.h>

#include "base/parts.h"
#include "base/worker.h"
#include "machine/platform.h"
#include "machine/kvm/config.h"

#define KICKS_MAX 256
#define MAPS_MAX 128
#define MSI_MAX 512
#define LINES_MAX 96
#define GSI_MSI_BASE 24

/* What is counted beside KVM's own reasons to exit, which are below. */
enum { EXIT_IO_OUT = 62, EXIT_MMIO_WRITE, EXITS };

struct vm;

struct vcpu {
    struct vm *vm;
    unsigned id;
    int fd;
    struct kvm_run *run;
    struct thread thread;
    /* exits by reason; written by the vCPU's thread alone */
    _Atomic uint64_t exits[EXITS];
    uint64_t answered; /* their sum, when all had come out last; vcpus_answer */
};

/* What the guest's clocks said when it was paused; clock.c. */
struct stopped {
    bool clock, pit, tsc; /* noted */
    struct kvm_clock_data kvmclock;
    struct kvm_pit_state2 pit2;
    uint64_t host_tsc, offset[CPUS_MAX];
};

struct vm {
    struct machine m; /* first: a machine is all that others see */
    struct vm_config cfg;
    int kvm, fd; /* /dev/kvm, the VM */
    int next;    /* the VM that kvm_open_vm will take, or -1 */
    size_t run_size;
    void *ram_map;
    size_t ram_map_size;
    int uffd; /* its pages are served by it, or -1 */

    struct vcpu vcpu[CPUS_MAX];
    /* Pausing: a vCPU that sees `pause` parks itself; see vcpu.c. */
    pthread_mutex_t lock;
    pthread_cond_t resume_cond;
    _Atomic bool pause;
    bool quit;
    unsigned parked;
    struct boot_entry entry;

    struct event request;
    _Atomic int why; /* -1: nothing asked */

    /* What KVM has been told, to tell it again after a reset. irq_lock. */
    pthread_mutex_t irq_lock;
    struct kick kick[KICKS_MAX];
    unsigned nkick;
    struct irq *line[LINES_MAX];
    unsigned nline;
    struct {
        struct irq *irq;
        uint64_t addr;
        uint32_t data;
    } msi[MSI_MAX]; /* index + GSI_MSI_BASE is the GSI */
    unsigned nmsi;
    struct {
        uint64_t gpa, size;
        void *hva;
        bool readonly;
    } map[MAPS_MAX]; /* slot number = index + RAM_REGIONS */
    uint64_t resets;
    struct worker worker; /* reads the kernel while the loop runs; vm.c */
    bool loading;
    _Atomic bool loaded;
    int load_err, start_err;
    char load_why[512]; /* of load_err */
    struct fault triple, looping;
    struct timer restart; /* a reset that waits; see vm.c */
    uint64_t started;     /* ns, by the last start or reset */
    uint64_t first;       /* the same, by the first start; 0: not yet */
    unsigned quick;       /* resets in a row that came soon after it */
    struct stopped stopped;
    struct kvm_cpuid2 *supported; /* by KVM; cpuid.c, while VMs are made */
    bool gathers;                 /* interrupts are only noted: kvm_gather */
    struct timer settle; /* kvm.c: what can wait until the guest runs, and
                            takes the worker's time */
};

static inline struct vm *vm_of(struct machine *m)
{
    return (struct vm *)m;
}

/* kvm.c: the VM's file descriptor and everything registered on it. kvm_open_vm
 * makes a fresh VM and registers what is already known; kvm_close_vm ends it.
 */
int kvm_open_vm(struct vm *vm);
void kvm_make_next(struct vm *vm); /* what of it can be done before */
void kvm_close_vm(struct vm *vm);
/* Message-signalled interrupts that are attached between the two go to KVM
 * together, by the latter: each change of routes waits for a grace period. With
 * no vCPU running. 0 or -errno (said). */
void kvm_gather(struct vm *vm);
int kvm_gathered(struct vm *vm);
void kvm_settle(struct timer *t); /* fires some time after kvm_open_vm */
extern const struct machine_ops kvm_machine_ops;

/* vm.c */
void vm_park(struct machine *m);
void vm_unpark(struct machine *m);
int vm_cpu_thread(const struct machine *m, unsigned cpu);
void vm_stats(struct machine *m, struct tally *t);
void vm_work(struct machine *m, void (*job)(void *arg), void *arg);

/* vcpu.c */
int vcpu_open(struct vm *vm, struct vcpu *c);
void vcpu_close(struct vcpu *c);
int vcpu_start(struct vm *vm, unsigned id); /* its thread, which parks */
int vcpu_enter(struct vcpu *c, const struct boot_entry *e); /* registers */
void vcpus_pause(struct vm *vm); /* returns when all are parked */
void vcpus_resume(struct vm *vm);
void vcpus_join(struct vm *vm);
bool vcpus_answer(struct vm *vm);

/* clock.c: with the processors parked. A VM that is closed has no clocks. */
void clock_stop(struct vm *vm);
void clock_go(struct vm *vm);

/* cpuid.c: told to a vCPU; saved; is what was saved the same here? 0 or -errno,
 * the latter two said. */
int cpuid_ask(struct vm *vm); /* ahead of time; supported */
int cpuid_set(struct vm *vm, struct vcpu *c);
int cpuid_save(struct vm *vm, struct parts *out);
int cpuid_check(struct vm *vm, const struct part *saved);
void cpuid_forget(struct vm *vm); /* what is kept from one to the next */

/* keep.c: the machine's ops; KVM as it was saved, 0 or -errno (said). */
int vm_can_save(struct machine *m);
int vm_save(struct machine *m, struct parts *out);
void vm_outline(struct machine *m, struct parts *out);
int keep_open(struct vm *vm);
int keep_load(struct vm *vm);

/* crash.c: what stopped the guest, in words (NULL: said) and registers. */
void crash_report(struct vcpu *c, const char *what);

#endif
