/* SPDX-License-Identifier: MIT */
/* vCPU threads: run the guest, carry register accesses to the buses, park when
 * the main thread wants the machine to hold still.
 *
 * Pausing. vcpus_pause sets vm->pause, makes each KVM_RUN return
 * (immediate_exit for one about to start, a signal for one inside) and waits
 * until every thread has counted itself as parked; meanwhile it does what they
 * call the loop for (a device's register may wait for that). Parked threads
 * sleep on resume_cond, touch nothing, and look up their fd and run page again
 * when they wake, since a reset gives them new ones. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine/kvm/kvm.h"

/* ------------------------------------------------------------ open, enter */

/* What firmware leaves behind: memory is write-back by default (MTRR enabled,
 * type 6), fast strings on, on every CPU alike. A KVM that does not know them
 * is no worse. */
static void vcpu_set_firmware_msrs(struct vcpu *c)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry[2];
    } msrs = {.head.nmsrs = 2,
              .entry = {{.index = 0x2ff, .data = 0x806},
                        {.index = 0x1a0, .data = 1}}};
    if (ioctl(c->fd, KVM_SET_MSRS, &msrs) < 0)
        TRACE(VM, "vcpu%u: KVM_SET_MSRS: %s", c->id, strerror(errno));
}

/* syscalls loop: ioctl(KVM_CREATE_VCPU|KVM_SET_MSRS) */
int vcpu_open(struct vm *vm, struct vcpu *c)
{
    c->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)c->id);
    if (c->fd < 0)
        return -errno;
    c->run =
        mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
    if (c->run == MAP_FAILED) {
        c->run = NULL;
        return -errno;
    }
    int err = cpuid_set(vm, c);
    if (!err)
        vcpu_set_firmware_msrs(c);
    return err;
}

void vcpu_close(struct vcpu *c)
{
    if (c->run)
        munmap(c->run, c->vm->run_size);
    if (c->vm && c->fd >= 0)
        close(c->fd);
    c->run = NULL;
    c->fd = -1;
}

/* Segments of 32- and 64-bit entries: flat, as boot.rst asks for. */
static struct kvm_segment vcpu_flat(uint16_t selector, bool code, bool lng)
{
    return (struct kvm_segment){.selector = selector,
                                .limit = 0xffffffff,
                                .type = code ? 0xb : 0x3,
                                .present = 1,
                                .s = 1,
                                .db = !lng,
                                .l = lng,
                                .g = 1};
}

static void vcpu_enter_protected(struct kvm_sregs *s,
                                 const struct boot_entry *e)
{
    bool lng = e->bits == 64;
    s->cs = vcpu_flat(e->cs, true, lng);
    s->ds = s->es = s->fs = s->gs = s->ss = vcpu_flat(e->ds, false, false);
    s->gdt.base = e->gdt;
    s->gdt.limit = (uint16_t)e->gdt_limit;
    s->cr0 = 0x31; /* PE, ET, NE */
    if (lng) {
        s->cr0 |= 0x80000000u;
        s->cr3 = e->cr3;
        s->cr4 = 0x20;   /* PAE */
        s->efer = 0x500; /* LME, LMA */
    }
}

static void vcpu_real_segment(struct kvm_segment *s, uint16_t selector)
{
    s->selector = selector;
    s->base = (uint64_t)selector << 4;
}

static void vcpu_enter_real(struct kvm_sregs *s, const struct boot_entry *e)
{
    vcpu_real_segment(&s->cs, e->cs);
    vcpu_real_segment(&s->ds, e->ds);
    vcpu_real_segment(&s->es, e->ds);
    vcpu_real_segment(&s->fs, e->ds);
    vcpu_real_segment(&s->gs, e->ds);
    vcpu_real_segment(&s->ss, e->ss);
}

/* syscalls loop: ioctl(KVM_GET_SREGS|KVM_SET_SREGS|KVM_SET_REGS) */
int vcpu_enter(struct vcpu *c, const struct boot_entry *e)
{
    struct kvm_sregs s;
    struct kvm_regs r = {.rflags = 2,
                         .rip = e->rip,
                         .rsp = e->rsp,
                         .rax = e->rax,
                         .rbx = e->rbx,
                         .rsi = e->rsi};
    if (ioctl(c->fd, KVM_GET_SREGS, &s) < 0)
        return -errno;
    if (e->bits == 16)
        vcpu_enter_real(&s, e);
    else
        vcpu_enter_protected(&s, e);
    if (ioctl(c->fd, KVM_SET_SREGS, &s) < 0 ||
        ioctl(c->fd, KVM_SET_REGS, &r) < 0)
        return -errno;
    return 0;
}

/* ------------------------------------------------------------------ exits */

/* What KVM hands over, 1, 2, 4 or 8 bytes. A copy of so many to or from a local
 * would have each exit guard its stack. */
union vcpu_data {
    uint8_t b;
    uint16_t w;
    uint32_t d;
    uint64_t q;
} __attribute__((packed));

static uint64_t vcpu_load(const void *from, unsigned width)
{
    const union vcpu_data *p = from;
    if (width == 4)
        return p->d;
    if (width == 2)
        return p->w;
    return width == 1 ? p->b : p->q;
}

static void vcpu_store(void *to, unsigned width, uint64_t val)
{
    union vcpu_data *p = to;
    if (width == 4)
        p->d = (uint32_t)val;
    else if (width == 2)
        p->w = (uint16_t)val;
    else if (width == 1)
        p->b = (uint8_t)val;
    else
        p->q = val;
}

/* String instructions arrive as several accesses in one exit. */
static void vcpu_exit_io(struct vcpu *c)
{
    struct kvm_run *run = c->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    struct bus *bus = c->vm->m.pio;
    unsigned width = run->io.size;
    for (uint32_t i = 0; i < run->io.count; i++, data += width) {
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            bus_write(bus, run->io.port, width, vcpu_load(data, width));
        } else {
            vcpu_store(data, width, bus_read(bus, run->io.port, width));
        }
    }
}

/* KVM splits at page borders, so 1 to 8 bytes; odd sizes (3, 5, 6, 7) only
 * where an access straddles two pages. */
static void vcpu_exit_mmio(struct vcpu *c)
{
    struct kvm_run *run = c->run;
    struct bus *bus = c->vm->m.mmio;
    uint64_t addr = run->mmio.phys_addr;
    unsigned left = run->mmio.len <= 8 ? run->mmio.len : 8, at = 0;
    while (left) {
        unsigned width = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        if (run->mmio.is_write) {
            bus_write(bus, addr + at, width,
                      vcpu_load(run->mmio.data + at, width));
        } else {
            vcpu_store(run->mmio.data + at, width,
                       bus_read(bus, addr + at, width));
        }
        at += width;
        left -= width;
    }
}

static void vcpu_stop(struct vcpu *c, enum machine_stop why)
{
    kvm_machine_ops.request(&c->vm->m, why);
}

/* A triple fault restarts a PC, and some kernels restart one that way: the
 * whole report the first time, later a line a second at most. With -no-reboot
 * it is a crash to look at. */
static void vcpu_exit_shutdown(struct vcpu *c)
{
    static const char restarting[] = "triple fault: restarting the guest";
    struct vm *vm = c->vm;
    bool first = !vm->triple.when;
    if (vm->cfg.no_reboot) {
        crash_report(c, "triple fault: the guest took an exception it could "
                        "not handle, twice over");
        vcpu_stop(c, STOP_CRASH);
        return;
    }
    fault_say(&vm->triple, "vCPU %u: %s", c->id, restarting);
    if (first)
        crash_report(c, NULL);
    vcpu_stop(c, STOP_RESET);
}

static void vcpu_exit_internal(struct vcpu *c)
{
    if (c->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
        crash_report(c, "KVM cannot emulate the instruction at RIP: this "
                        "/dev/kvm interprets guest code and lacks it, or the "
                        "guest runs code in device memory");
    else
        crash_report(c, "KVM internal error: it met a state of the guest it "
                        "cannot continue from");
    vcpu_stop(c, STOP_FAULT);
}

static void vcpu_exit_fail_entry(struct vcpu *c)
{
    log_line(
        "vCPU %u: the CPU refused the guest's state, hardware reason "
        "%#llx",
        c->id,
        (unsigned long long)c->run->fail_entry.hardware_entry_failure_reason);
    crash_report(c, "KVM_EXIT_FAIL_ENTRY");
    vcpu_stop(c, STOP_FAULT);
}

static void vcpu_count(struct vcpu *c, unsigned reason)
{
    const struct kvm_run *run = c->run;
    if (reason == KVM_EXIT_IO && run->io.direction == KVM_EXIT_IO_OUT)
        reason = EXIT_IO_OUT;
    else if (reason == KVM_EXIT_MMIO && run->mmio.is_write)
        reason = EXIT_MMIO_WRITE;
    _Atomic uint64_t *n = &c->exits[reason < ARRAY_LEN(c->exits) ? reason : 0];
    uint64_t before = atomic_load_explicit(n, memory_order_relaxed);
    atomic_store_explicit(n, before + 1, memory_order_relaxed);
}

static void vcpu_handle_exit(struct vcpu *c)
{
    unsigned reason = c->run->exit_reason;
    vcpu_count(c, reason);
    switch (reason) {
    case KVM_EXIT_IO:
        vcpu_exit_io(c);
        break;
    case KVM_EXIT_MMIO:
        vcpu_exit_mmio(c);
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        break;
    case KVM_EXIT_SHUTDOWN:
        vcpu_exit_shutdown(c);
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        vcpu_stop(c, c->run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN
                         ? STOP_POWEROFF
                         : STOP_RESET);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        vcpu_exit_internal(c);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        vcpu_exit_fail_entry(c);
        break;
    default:
        log_line("vCPU %u: KVM exit reason %u is not known here", c->id,
                 reason);
        crash_report(c, "unknown KVM exit");
        vcpu_stop(c, STOP_FAULT);
    }
}

/* ----------------------------------------------------------------- thread */

/* Waits while the machine is paused. False: the thread ends. */
static bool vcpu_park(struct vcpu *c)
{
    struct vm *vm = c->vm;
    pthread_mutex_lock(&vm->lock);
    vm->parked++;
    loop_nudge(vm->m.loop);
    while (atomic_load(&vm->pause) && !vm->quit)
        pthread_cond_wait(&vm->resume_cond, &vm->lock);
    vm->parked--;
    bool go_on = !vm->quit;
    pthread_mutex_unlock(&vm->lock);
    return go_on;
}

static void vcpu_say_fault(const struct vcpu *c, int err)
{
    const char *image = c->vm->cfg.memory.image;
    if (err == EFAULT && image)
        log_line("vCPU %u: guest memory: %s was cut short, or cannot be read",
                 c->id, image);
    else
        log_line("vCPU %u: KVM_RUN: %s", c->id, strerror(err));
}

/* An access that came out is finished by the next KVM_RUN only: before a park
 * one that does no more than this, lest half of an instruction is what is saved
 * of the guest (api.rst, KVM_RUN).
 *
 * syscalls vcpu: ioctl(KVM_RUN) */
static void vcpu_thread(void *arg)
{
    struct vcpu *c = arg;
    struct vm *vm = c->vm;
    bool whole = true;
    for (;;) {
        if (atomic_load_explicit(&vm->pause, memory_order_relaxed)) {
            if (whole && !vcpu_park(c))
                return;
            if (!whole)
                __atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        }
        int err = ioctl(c->fd, KVM_RUN, 0) < 0 ? errno : 0;
        whole = err;
        if (!err) {
            vcpu_handle_exit(c);
        } else if (err == EINTR || err == EAGAIN) {
            vcpu_count(c, KVM_EXIT_INTR);
        } else {
            vcpu_say_fault(c, err);
            vcpu_stop(c, STOP_FAULT);
        }
    }
}

static void vcpu_on_wake(int sig)
{
    (void)sig; /* its arrival makes KVM_RUN return */
}

int vcpu_start(struct vm *vm, unsigned id)
{
    struct sigaction sa = {.sa_handler = vcpu_on_wake};
    struct vcpu *c = &vm->vcpu[id];
    sigaction(WAKE_SIGNAL, &sa, NULL);
    c->vm = vm;
    c->id = id;
    c->fd = -1;
    c->thread =
        (struct thread){.kind = THREAD_VCPU, .run = vcpu_thread, .arg = c};
    snprintf(c->thread.name, sizeof(c->thread.name), "vcpu%u", id);
    return thread_start(&c->thread);
}

struct vcpus_wait {
    struct vm *vm;
    unsigned n;
};

static bool vcpu_all_parked(void *arg)
{
    const struct vcpus_wait *w = arg;
    pthread_mutex_lock(&w->vm->lock);
    bool all = w->vm->parked >= w->n;
    pthread_mutex_unlock(&w->vm->lock);
    return all;
}

void vcpus_pause(struct vm *vm)
{
    struct vcpus_wait w = {vm, 0};
    atomic_store(&vm->pause, true);
    for (unsigned i = 0; i < vm->m.ncpus; i++) {
        if (!vm->vcpu[i].thread.runs)
            continue;
        w.n++;
        if (vm->vcpu[i].run) /* NULL: between two VMs, and parked */
            __atomic_store_n(&vm->vcpu[i].run->immediate_exit, 1,
                             __ATOMIC_SEQ_CST);
        thread_wake(&vm->vcpu[i].thread);
    }
    loop_serve(vm->m.loop, vcpu_all_parked, &w);
}

void vcpus_resume(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    for (unsigned i = 0; i < vm->m.ncpus; i++)
        vm->vcpu[i].run->immediate_exit = 0;
    atomic_store(&vm->pause, false);
    pthread_cond_broadcast(&vm->resume_cond);
    pthread_mutex_unlock(&vm->lock);
}

void vcpus_join(struct vm *vm)
{
    bool any = false;
    for (unsigned i = 0; i < vm->m.ncpus; i++)
        any |= vm->vcpu[i].thread.runs;
    if (!any)
        return;
    vcpus_pause(vm);
    pthread_mutex_lock(&vm->lock);
    vm->quit = true;
    pthread_cond_broadcast(&vm->resume_cond);
    pthread_mutex_unlock(&vm->lock);
    for (unsigned i = 0; i < vm->m.ncpus; i++)
        thread_join(&vm->vcpu[i].thread);
}

static uint64_t vcpu_turns(const struct vcpu *c)
{
    uint64_t turns = 0;
    for (size_t i = 0; i < ARRAY_LEN(c->exits); i++)
        turns += atomic_load_explicit(&c->exits[i], memory_order_relaxed);
    return turns;
}

/* A signal that finds its thread outside of KVM_RUN does nothing there, but
 * that thread was out, and is counted; one that was on its way in is asked
 * again. */
bool vcpus_answer(struct vm *vm)
{
    bool all = true;
    if (atomic_load(&vm->pause)) /* vcpus_pause has waited for each */
        return true;
    for (unsigned i = 0; i < vm->m.ncpus; i++)
        if (vcpu_turns(&vm->vcpu[i]) == vm->vcpu[i].answered) {
            thread_wake(&vm->vcpu[i].thread);
            all = false;
        }
    for (unsigned i = 0; all && i < vm->m.ncpus; i++)
        vm->vcpu[i].answered = vcpu_turns(&vm->vcpu[i]);
    return all;
}
