/* SPDX-License-Identifier: MIT */
/* The machine's life: made, started, reset, ended. All of it on the main
 * thread, which is also the main loop's, but for reading the kernel.
 *
 * A reset is a new VM under the same devices: vCPUs are parked, every device
 * goes back to power-on, the VM's file descriptor is closed and a fresh one
 * opened (kvm.c tells it the memory, routes, irqfds and ioeventfds again), the
 * kernel is loaded anew. So no state of KVM's can survive by being forgotten:
 * interrupt controllers, timers, pending events, paravirtual clocks. */
#include "machine/kvm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine/boot/image.h"
#include "machine/kvm/kvm.h"
#include "machine/kvm/uffd.h"

/* --------------------------------------------------------- reset, the end */

/* A kernel is read as fast as its file comes, which may be never (a pipe, a
 * hung mount). So the worker does it, and the loop goes on: signals, keys and
 * clients are served meanwhile, at the start and at each reset. */
static void vm_load(void *arg)
{
    struct vm *vm = arg;
    log_catch(vm->load_why, sizeof(vm->load_why));
    vm->load_err = boot_load(&vm->m, vm->cfg.boot, &vm->entry);
    log_catch(NULL, 0);
    atomic_store(&vm->loaded, true);
    event_signal(vm->request.fd);
    if (!vm->load_err)
        cpuid_ask(vm);
}

static void vm_load_begin(struct vm *vm)
{
    machine_hold(&vm->m);
    vm->loading = true;
    worker_do(&vm->worker, vm_load, vm);
    kvm_make_next(vm);
}

/* Makes a VM, and puts the boot CPU at the kernel's entry. After the kernel is
 * loaded, because what the loader maps (the ROM) is then among the memory that
 * a fresh VM gets first, which is cheap (kvm_open_vm). */
static int vm_open_guest(struct vm *vm)
{
    int err = kvm_open_vm(vm);
    if (err)
        return err;
    err = vcpu_enter(&vm->vcpu[0], &vm->entry);
    if (err)
        return fail(err, "%s: setting the boot CPU's registers: %s",
                    vm->cfg.kvm, strerror(-err));
    return 0;
}

static void vm_load_end(struct vm *vm)
{
    vm->loading = false;
    atomic_store(&vm->loaded, false);
    int err = vm->load_err;
    if (err && *vm->load_why) /* who waits for the start hears it here */
        fail(err, "%s", vm->load_why);
    if (!err)
        err = vm_open_guest(vm);
    if (!err) {
        machine_release(&vm->m);
        if (vm->m.paused && !vm->first && vm->cfg.waits)
            vm->cfg.waits(&vm->m);
        return;
    }
    vm->start_err = vm->started ? 0 : err;
    loop_stop(vm->m.loop, STOP_FAULT);
}

#define LOAD_END_NS 200000000

/* Is nobody loading any more? A loader that is stuck in its file stays there
 * until the process ends, and so must what it may touch. */
static bool vm_load_over(struct vm *vm)
{
    if (!vm->loading)
        return true;
    image_give_up();
    vm->loading = !worker_wait(&vm->worker, LOAD_END_NS);
    return !vm->loading;
}

/* The last of what the guest had to wait for is there. */
static void vm_start(struct machine *m)
{
    struct vm *vm = vm_of(m);
    vm->started = now_ns();
    if (!vm->first)
        vm->first = vm->started;
    TRACE(VM, "running %u vCPUs", m->ncpus);
    vcpus_resume(vm);
    if (vm->cfg.runs)
        vm->cfg.runs(m);
}

void vm_park(struct machine *m)
{
    struct vm *vm = vm_of(m);
    vcpus_pause(vm);
    clock_stop(vm);
}

/* The processors go on by vm_start, when nothing else holds them. */
void vm_unpark(struct machine *m)
{
    clock_go(vm_of(m));
}

#define QUICK_NS 1000000000ull /* a run shorter than this was for nothing */
#define QUICK_FREE 128         /* so many of them in a row are let pass */

static void vm_reset_devices(struct vm *vm)
{
    for (struct device *d = vm->m.devices; d; d = d->next)
        if (d->reset)
            d->reset(d);
}

static void vm_restart(struct vm *vm)
{
    vm_reset_devices(vm);
    kvm_close_vm(vm);
    vm->resets++;
    vm->m.over = false;
    TRACE(VM, "reset %llu", (unsigned long long)vm->resets);
    atomic_store(&vm->why, -1);
    vm_load_begin(vm);
}

static void vm_restart_due(struct timer *t)
{
    vm_restart(container_of(t, struct vm, restart));
}

/* A guest that does nothing but reset itself shall not cost a processor: once
 * it has done so often enough, each start waits. The devices are reset before
 * (so SIGTERM finds no guest that listens), and whatever else is asked for
 * meanwhile is done. */
static bool vm_restart_waits(struct vm *vm)
{
    if (now_ns() - vm->started >= QUICK_NS)
        vm->quick = 0;
    else if (vm->quick < QUICK_FREE)
        vm->quick++;
    if (vm->quick < QUICK_FREE)
        return false;
    fault_note(&vm->looping,
               "the guest does nothing but restart (%u times within a second "
               "of its start); each start now waits a second",
               QUICK_FREE);
    vm_reset_devices(vm);
    atomic_store(&vm->why, -1);
    timer_arm(&vm->restart, now_ns() + QUICK_NS);
    return true;
}

/* -no-shutdown: who drives this VMM wants to see how it ended. */
static void vm_stay(struct vm *vm, int why)
{
    atomic_store(&vm->why, -1);
    vm->m.over = true;
    vm->m.why = why;
    machine_pause(&vm->m);
}

static void vm_end_by(struct vm *vm, int why, bool asked)
{
    bool quit = asked && why == STOP_POWEROFF;
    bool stays = vm->cfg.no_shutdown && !quit && why != STOP_FAULT;
    if (why == STOP_PANIC)
        machine_tell(&vm->m, NEWS_PANICKED, stays, why);
    if (why != STOP_PANIC || !stays)
        machine_tell(&vm->m, NEWS_END, asked, why);
    if (stays)
        vm_stay(vm, why);
    else
        loop_stop(vm->m.loop, why);
}

static void vm_on_request(struct event *ev, uint32_t got)
{
    (void)got;
    struct vm *vm = container_of(ev, struct vm, request);
    uint64_t n;
    if (read(ev->fd, &n, sizeof(n)) < 0)
        return;
    if (atomic_load(&vm->loaded))
        vm_load_end(vm);
    int why = atomic_load(&vm->why);
    bool asked = vm->m.asked;
    if (why < 0)
        return;
    vm->m.asked = false;
    vcpus_pause(vm);
    if (why != STOP_RESET || vm->cfg.no_reboot) {
        vm_end_by(vm, why, asked);
    } else if (vm->loading) { /* it is being reset */
        atomic_store(&vm->why, -1);
    } else {
        machine_tell(&vm->m, NEWS_RESET, asked, why);
        if (!vm_restart_waits(vm))
            vm_restart(vm);
    }
}

bool vm_answers(struct machine *m)
{
    return vcpus_answer(vm_of(m));
}

/* The loop ends with the vCPUs parked: none can be waiting for it. */
void vm_quit(struct machine *m, int status)
{
    vcpus_pause(vm_of(m));
    machine_tell(m, NEWS_END, true, status);
    loop_stop(m->loop, status);
}

/* One that has been made says its number first thing; libvirt gives a machine
 * up that does not know it.
 *
 * syscalls loop if control: sched_yield, where who asks is that quick */
int vm_cpu_thread(const struct machine *m, unsigned cpu)
{
    const struct thread *t = &((const struct vm *)m)->vcpu[cpu].thread;
    while (t->runs && !atomic_load(&t->tid))
        sched_yield();
    return atomic_load(&t->tid);
}

/* ------------------------------------------------------------------- life */

static int vm_open_kvm(struct vm *vm)
{
    const char *path = vm->cfg.kvm;
    vm->kvm = open(path, O_RDWR | O_CLOEXEC);
    if (vm->kvm < 0 && (errno == EACCES || errno == EPERM))
        return fail(-errno,
                    "%s: %s; run as root or join the group that owns it "
                    "(usually kvm)",
                    path, strerror(errno));
    if (vm->kvm < 0)
        return fail(-errno,
                    "%s: %s; is virtualization enabled in the firmware and "
                    "the module kvm_intel or kvm_amd loaded?",
                    path, strerror(errno));
    int version = ioctl(vm->kvm, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return fail(-ENODEV, "%s: is not KVM (API version %d, needed is %d)",
                    path, version, KVM_API_VERSION);
    int size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < 0)
        return fail(-errno, "%s: KVM_GET_VCPU_MMAP_SIZE: %s", path,
                    strerror(errno));
    vm->run_size = (size_t)size;
    return 0;
}

static int vm_make_world(struct vm *vm)
{
    struct machine *m = &vm->m;
    m->loop = vm->cfg.loop;
    int err = m->loop ? 0 : loop_new(&m->loop);
    if (err)
        return fail(err, "event loop: %s", strerror(-err));
    m->pio = bus_new("pio");
    m->mmio = bus_new("mmio");
    vm->request = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                 .want = EPOLLIN,
                                 .ready = vm_on_request};
    if (vm->request.fd < 0)
        return fail(-errno, "eventfd: %s", strerror(errno));
    if (!m->pio || !m->mmio)
        return fail(-ENOMEM, "out of memory");
    timer_init(&vm->restart, m->loop, vm_restart_due);
    timer_init(&vm->settle, m->loop, kvm_settle);
    return loop_add(m->loop, &vm->request);
}

static int vm_make_ram(struct vm *vm)
{
    const struct ram_config *c = &vm->cfg.memory;
    int err = ram_make(&vm->m.ram, vm->cfg.ram, c, &vm->ram_map,
                       &vm->ram_map_size, &vm->m.pinned);
    if (err || !c->server)
        return err;
    vm->uffd = uffd_hand_over(&vm->m.ram, c->peer, c->server);
    return vm->uffd < 0 ? vm->uffd : 0;
}

int vm_new(struct machine **out, const struct vm_config *cfg)
{
    struct vm *vm = calloc(1, sizeof(*vm));
    int err;
    if (!vm)
        return fail(-ENOMEM, "out of memory");
    vm->cfg = *cfg;
    vm->cfg.memory.shared |= cfg->shared_ram;
    /* The bundled guest touches a hundred pages or so; a Linux takes it all. */
    vm->cfg.memory.sparse = !cfg->boot->kernel && !cfg->boot->rom;
    vm->kvm = vm->fd = vm->next = vm->request.fd = vm->m.ram.fd = vm->uffd = -1;
    vm->m.ops = &kvm_machine_ops;
    vm->m.ncpus = cfg->cpus;
    atomic_store(&vm->why, -1);
    atomic_store(&vm->pause, true);
    pthread_mutex_init(&vm->lock, NULL);
    pthread_mutex_init(&vm->irq_lock, NULL);
    pthread_cond_init(&vm->resume_cond, NULL);
    err = vm_open_kvm(vm);
    if (!err)
        err = vm_make_ram(vm);
    if (!err)
        err = vm_make_world(vm);
    if (err) {
        vm_free(&vm->m);
        return err;
    }
    *out = &vm->m;
    return 0;
}

/* All threads there will ever be, the vCPUs' parked until there is a VM. */
static int vm_start_threads(struct vm *vm)
{
    int err = worker_start(&vm->worker, "worker");
    for (unsigned i = 0; !err && i < vm->m.ncpus; i++)
        err = vcpu_start(vm, i);
    return err;
}

/* From where it was saved. What a device is loaded with may be its loop's to
 * take; KVM's state is set while no list of system calls is in force. */
static int vm_go_on(struct vm *vm)
{
    struct saved *s = vm->cfg.saved;
    thread_uses(USE_RESTORED);
    int err = keep_open(vm);
    if (!err && s->come)
        err = s->come(s);
    if (!err)
        err = keep_load(vm);
    if (!err)
        err = threads_begin();
    if (err)
        return err;
    machine_pause(&vm->m);
    kvm_gather(vm);
    err = saved_load_devices(&vm->m, s);
    if (!err)
        err = kvm_gathered(vm);
    if (!err && s->take)
        err = s->take(&vm->m);
    free(s->p);
    s->p = NULL;
    vm->m.started = !err; /* somewhere else */
    if (!err && !s->paused)
        machine_resume(&vm->m);
    else if (!err && vm->cfg.waits)
        vm->cfg.waits(&vm->m);
    return err;
}

static int vm_boot(struct vm *vm)
{
    int err = threads_begin();
    if (!err)
        vm_load_begin(vm);
    return err;
}

int vm_run(struct machine *m)
{
    struct vm *vm = vm_of(m);
    m->start = vm_start;
    int err = vm_start_threads(vm);
    if (!err)
        err = vm->cfg.saved ? vm_go_on(vm) : vm_boot(vm);
    int why = err ? err : loop_run(m->loop);
    vcpus_join(vm);
    vm_load_over(vm);
    return vm->start_err ? vm->start_err : why;
}

void vm_work(struct machine *m, void (*job)(void *arg), void *arg)
{
    worker_do(&vm_of(m)->worker, job, arg);
}

void vm_free(struct machine *m)
{
    struct vm *vm = vm_of(m);
    devices_destroy(m);
    if (!vm_load_over(vm))
        return;
    if (vm->worker.thread.runs)
        worker_end(&vm->worker);
    boot_close(vm->cfg.boot);
    kvm_close_vm(vm);
    cpuid_forget(vm);
    bus_free(m->pio);
    bus_free(m->mmio);
    loop_del(&vm->request);
    timer_cancel(&vm->restart);
    timer_cancel(&vm->settle);
    if (!vm->cfg.loop)
        loop_free(m->loop);
    if (vm->request.fd >= 0)
        close(vm->request.fd);
    if (vm->next >= 0)
        close(vm->next);
    if (vm->kvm >= 0)
        close(vm->kvm);
    if (vm->ram_map)
        munmap(vm->ram_map, vm->ram_map_size);
    if (vm->uffd >= 0)
        close(vm->uffd);
    if (m->ram.fd >= 0)
        close(m->ram.fd);
    free(vm);
}

static const struct {
    unsigned reason;
    const char *name, *help;
} exit_names[] = {
    {KVM_EXIT_IO, "exit_io_in", "exits: a port read that is answered here"},
    {EXIT_IO_OUT, "exit_io_out", "exits: a port written to"},
    {KVM_EXIT_MMIO, "exit_mmio_read", "exits: an address read"},
    {EXIT_MMIO_WRITE, "exit_mmio_write", "exits: an address written to"},
    {KVM_EXIT_INTR, "exit_intr", "exits: a signal"},
    {KVM_EXIT_SHUTDOWN, "exit_shutdown", "exits: a triple fault"},
    {KVM_EXIT_HLT, "exit_hlt", "exits: HLT"},
};

static const struct field vm_counters[] = {
    COUNT("resets", struct vm, resets, "times the guest was started again"),
    COUNT("triple_faults", struct vm, triple, "triple faults of the guest"),
    COUNT("slow_restarts", struct vm, looping,
          "starts that waited, of a guest that does nothing but restart"),
    {.help = NULL},
};

static void vm_stats_of_cpu(const struct vcpu *c, struct tally *t)
{
    char id[16];
    snprintf(id, sizeof(id), "vcpu%u", c->id);
    for (unsigned i = 0; i < ARRAY_LEN(exit_names); i++)
        tally_add(t, id, exit_names[i].name, exit_names[i].help,
                  c->exits[exit_names[i].reason]);
}

void vm_stats(struct machine *m, struct tally *t)
{
    struct vm *vm = vm_of(m);
    tally_level(t, "vm", "uptime_ms", "since the guest first started",
                vm->first ? (now_ns() - vm->first) / 1000000 : 0);
    for (unsigned c = 0; c < m->ncpus; c++)
        vm_stats_of_cpu(&vm->vcpu[c], t);
    fields_count(vm_counters, vm, "vm", t);
    tally_add(t, "vm", "unclaimed_pio", "accesses to ports that nobody answers",
              bus_unclaimed(m->pio));
    tally_add(t, "vm", "unclaimed_mmio", "and to addresses",
              bus_unclaimed(m->mmio));
    for (struct device *d = m->devices; d; d = d->next)
        device_stats(d, t);
}
