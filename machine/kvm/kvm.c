/* SPDX-License-Identifier: MIT */
/* The VM's file descriptor: memory slots, interrupt routes, irqfds and
 * ioeventfds, and telling them all again to a fresh VM after a reset. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "machine/kvm/kvm.h"

static int kvm_ioctl(int fd, unsigned long req, void *arg)
{
    return ioctl(fd, req, arg) < 0 ? -errno : 0;
}

/* ----------------------------------------------------------------- memory */

/* syscalls loop: ioctl(KVM_SET_USER_MEMORY_REGION) */
/* syscalls vcpu: ioctl(KVM_SET_USER_MEMORY_REGION), a guest that moves a ROM or
 * an assigned device's memory, as only the lab's do */
static int kvm_set_slot(struct vm *vm, unsigned slot, uint64_t at, void *hva,
                        uint64_t size, bool readonly)
{
    struct kvm_userspace_memory_region r = {
        .slot = slot,
        .flags = readonly && size ? KVM_MEM_READONLY : 0,
        .guest_phys_addr = at,
        .memory_size = size,
        .userspace_addr = (uint64_t)(uintptr_t)hva,
    };
    return kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r);
}

static int kvm_map(struct machine *m, uint64_t at, void *hva, uint64_t size,
                   bool readonly)
{
    struct vm *vm = vm_of(m);
    int slot = -1, err;
    pthread_mutex_lock(&vm->irq_lock);
    for (int i = 0; i < MAPS_MAX && slot < 0; i++)
        if (hva ? !vm->map[i].hva : vm->map[i].hva && vm->map[i].gpa == at)
            slot = i;
    if (slot < 0) {
        err = -ENOSPC;
        goto out;
    }
    /* Without a VM yet it is only noted; kvm_map_all tells the next one. */
    err = vm->fd < 0 ? 0
                     : kvm_set_slot(vm, (unsigned)slot + RAM_REGIONS, at,
                                    hva ? hva : vm->map[slot].hva,
                                    hva ? size : 0, readonly);
    if (err)
        goto out;
    vm->map[slot].gpa = at;
    vm->map[slot].size = size;
    vm->map[slot].hva = hva;
    vm->map[slot].readonly = readonly;
out:
    pthread_mutex_unlock(&vm->irq_lock);
    return err;
}

static int kvm_map_all(struct vm *vm)
{
    int err = 0;
    for (int i = 0; !err && i < vm->m.ram.n; i++) {
        const struct ram_region *r = &vm->m.ram.region[i];
        err = kvm_set_slot(vm, (unsigned)i, r->gpa, r->hva, r->size, false);
    }
    for (unsigned i = 0; !err && i < MAPS_MAX; i++)
        if (vm->map[i].hva)
            err = kvm_set_slot(vm, i + RAM_REGIONS, vm->map[i].gpa,
                               vm->map[i].hva, vm->map[i].size,
                               vm->map[i].readonly);
    return err;
}

/* ------------------------------------------------------------- interrupts */

#define ROUTES_MAX (16 * 2 + 8 + MSI_MAX)

static void kvm_add_pin(struct kvm_irq_routing *r, unsigned gsi, unsigned chip,
                        unsigned pin)
{
    r->entries[r->nr++] = (struct kvm_irq_routing_entry){
        .gsi = gsi,
        .type = KVM_IRQ_ROUTING_IRQCHIP,
        .u.irqchip = {.irqchip = chip, .pin = pin}};
}

/* The pins of a PC: IRQ n on 8259 and IOAPIC alike, but the timer (IRQ 0) is
 * on the IOAPIC's pin 2, as the MADT says (ACPI 6.4 §5.2.12.5). */
static void kvm_add_pins(struct kvm_irq_routing *r)
{
    for (unsigned i = 0; i < 24; i++) {
        if (i < 16 && i != 2)
            kvm_add_pin(r, i,
                        i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
                        i & 7);
        if (i != 2)
            kvm_add_pin(r, i, KVM_IRQCHIP_IOAPIC, i ? i : 2);
    }
}

/* KVM_SET_GSI_ROUTING replaces the whole table. Under irq_lock; not from the
 * heap, as a vCPU may ask for no memory.
 *
 * syscalls loop vcpu: ioctl(KVM_SET_GSI_ROUTING) */
static int kvm_set_routes(struct vm *vm)
{
    static union {
        struct kvm_irq_routing r;
        uint8_t room[sizeof(struct kvm_irq_routing) +
                     ROUTES_MAX * sizeof(struct kvm_irq_routing_entry)];
    } table;
    struct kvm_irq_routing *r = &table.r;
    r->nr = 0;
    kvm_add_pins(r);
    for (unsigned i = 0; i < vm->nmsi; i++) {
        if (!vm->msi[i].irq || !vm->msi[i].addr)
            continue;
        r->entries[r->nr++] = (struct kvm_irq_routing_entry){
            .gsi = GSI_MSI_BASE + i,
            .type = KVM_IRQ_ROUTING_MSI,
            .u.msi = {.address_lo = (uint32_t)vm->msi[i].addr,
                      .address_hi = (uint32_t)(vm->msi[i].addr >> 32),
                      .data = vm->msi[i].data}};
    }
    return kvm_ioctl(vm->fd, KVM_SET_GSI_ROUTING, r);
}

static int kvm_msi_slot(struct vm *vm, struct irq *irq)
{
    if (irq->gsi >= 0)
        return irq->gsi - GSI_MSI_BASE;
    unsigned i = 0;
    while (i < vm->nmsi && vm->msi[i].irq)
        i++;
    if (i == MSI_MAX)
        return -ENOSPC;
    if (i == vm->nmsi)
        vm->nmsi++;
    vm->msi[i].irq = irq;
    vm->msi[i].addr = 0;
    irq->gsi = (int)i + GSI_MSI_BASE;
    return (int)i;
}

/* syscalls loop vcpu: ioctl(KVM_IRQFD) */
static int kvm_set_irqfd(struct vm *vm, const struct irq *irq, unsigned flags)
{
    struct kvm_irqfd f = {
        .fd = (uint32_t)irq->fd, .gsi = (uint32_t)irq->gsi, .flags = flags};
    if (irq->resample.fd >= 0 && !(flags & KVM_IRQFD_FLAG_DEASSIGN)) {
        f.flags |= KVM_IRQFD_FLAG_RESAMPLE;
        f.resamplefd = (uint32_t)irq->resample.fd;
    }
    return kvm_ioctl(vm->fd, KVM_IRQFD, &f);
}

/* The route first, then the irqfd: the other way round a pulse in between
 * would go to the old route. */
static int kvm_irq_msi_attach(struct irq *irq, uint64_t addr, uint32_t data)
{
    struct vm *vm = vm_of(irq->m);
    int err = 0;
    pthread_mutex_lock(&vm->irq_lock);
    int i = kvm_msi_slot(vm, irq);
    if (i < 0) {
        err = i;
        goto out;
    }
    if (vm->msi[i].addr != addr || vm->msi[i].data != data) {
        vm->msi[i].addr = addr;
        vm->msi[i].data = data;
        err = vm->gathers ? 0 : kvm_set_routes(vm);
    }
    if (!err && !vm->gathers)
        err = kvm_set_irqfd(vm, irq, 0);
    irq->attached = !err;
out:
    pthread_mutex_unlock(&vm->irq_lock);
    return err;
}

static void kvm_irq_detach(struct irq *irq)
{
    struct vm *vm = vm_of(irq->m);
    pthread_mutex_lock(&vm->irq_lock);
    kvm_set_irqfd(vm, irq, KVM_IRQFD_FLAG_DEASSIGN);
    irq->attached = false;
    pthread_mutex_unlock(&vm->irq_lock);
}

void kvm_gather(struct vm *vm)
{
    vm->gathers = true;
}

int kvm_gathered(struct vm *vm)
{
    pthread_mutex_lock(&vm->irq_lock);
    vm->gathers = false;
    int err = kvm_set_routes(vm);
    for (unsigned i = 0; i < vm->nmsi && !err; i++)
        if (vm->msi[i].irq && vm->msi[i].irq->attached)
            err = kvm_set_irqfd(vm, vm->msi[i].irq, 0);
    pthread_mutex_unlock(&vm->irq_lock);
    return err ? fail(err, "%s: interrupts: %s", vm->cfg.kvm, strerror(-err))
               : 0;
}

static int kvm_irq_intx(struct irq *irq, unsigned gsi)
{
    struct vm *vm = vm_of(irq->m);
    int err = -ENOSPC;
    pthread_mutex_lock(&vm->irq_lock);
    irq->gsi = (int)gsi;
    if (vm->nline < LINES_MAX) {
        vm->line[vm->nline++] = irq;
        err = vm->fd < 0 ? 0 : kvm_set_irqfd(vm, irq, 0);
        irq->attached = vm->fd >= 0 && !err;
    }
    pthread_mutex_unlock(&vm->irq_lock);
    return err;
}

static void kvm_irq_free(struct irq *irq)
{
    struct vm *vm = vm_of(irq->m);
    pthread_mutex_lock(&vm->irq_lock);
    for (unsigned i = 0; i < vm->nmsi; i++)
        if (vm->msi[i].irq == irq)
            vm->msi[i].irq = NULL;
    for (unsigned i = 0; i < vm->nline; i++)
        if (vm->line[i] == irq)
            vm->line[i] = vm->line[--vm->nline];
    pthread_mutex_unlock(&vm->irq_lock);
}

/* ELCR: the PCI lines are level-triggered; guests that use the 8259 rely on
 * firmware having said so.
 *
 * syscalls loop: ioctl(KVM_GET_IRQCHIP|KVM_SET_IRQCHIP) */
static int kvm_set_elcr(struct vm *vm)
{
    struct kvm_irqchip chip;
    static const unsigned level[] = {5, 9, 10, 11, 14};
    int err = 0;
    for (unsigned c = 0; !err && c < 2; c++) {
        memset(&chip, 0, sizeof(chip));
        chip.chip_id = c ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER;
        err = kvm_ioctl(vm->fd, KVM_GET_IRQCHIP, &chip);
        if (err)
            break;
        chip.chip.pic.elcr = 0;
        for (unsigned i = 0; i < ARRAY_LEN(level); i++)
            if (level[i] / 8 == c)
                chip.chip.pic.elcr |= (uint8_t)(1 << level[i] % 8);
        err = kvm_ioctl(vm->fd, KVM_SET_IRQCHIP, &chip);
    }
    return err;
}

/* ------------------------------------------------------------------ kicks */

/* syscalls loop vcpu: ioctl(KVM_IOEVENTFD) */
static int kvm_set_ioeventfd(struct vm *vm, const struct kick *k, bool on)
{
    struct kvm_ioeventfd e = {
        .datamatch = k->data,
        .addr = k->addr,
        .len = k->width,
        .fd = k->fd,
        .flags = (k->pio ? KVM_IOEVENTFD_FLAG_PIO : 0u) |
                 (k->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0u) |
                 (on ? 0u : KVM_IOEVENTFD_FLAG_DEASSIGN),
    };
    return kvm_ioctl(vm->fd, KVM_IOEVENTFD, &e);
}

static int kvm_kick_add(struct machine *m, const struct kick *k)
{
    struct vm *vm = vm_of(m);
    int err = -ENOSPC;
    pthread_mutex_lock(&vm->irq_lock);
    if (vm->nkick < KICKS_MAX)
        err = vm->fd < 0 ? 0 : kvm_set_ioeventfd(vm, k, true);
    if (!err)
        vm->kick[vm->nkick++] = *k;
    pthread_mutex_unlock(&vm->irq_lock);
    return err;
}

static void kvm_kick_del(struct machine *m, const struct kick *k)
{
    struct vm *vm = vm_of(m);
    pthread_mutex_lock(&vm->irq_lock);
    if (vm->fd >= 0)
        kvm_set_ioeventfd(vm, k, false);
    for (unsigned i = 0; i < vm->nkick; i++)
        if (vm->kick[i].addr == k->addr && vm->kick[i].fd == k->fd &&
            vm->kick[i].data == k->data) {
            vm->kick[i] = vm->kick[--vm->nkick];
            break;
        }
    pthread_mutex_unlock(&vm->irq_lock);
}

/* ----------------------------------------------------------- open, close */

static int kvm_restore_registrations(struct vm *vm)
{
    int err = 0;
    for (unsigned i = 0; !err && i < vm->nkick; i++)
        err = kvm_set_ioeventfd(vm, &vm->kick[i], true);
    for (unsigned i = 0; !err && i < vm->nline; i++) {
        err = kvm_set_irqfd(vm, vm->line[i], 0);
        vm->line[i]->attached = !err;
    }
    return err;
}

/* Order as KVM wants it (api.rst): TSS and identity map, irqchip, PIT, then
 * vCPUs.
 *
 * syscalls loop: ioctl(KVM_SET_IDENTITY_MAP_ADDR|KVM_SET_TSS_ADDR|
 * KVM_CREATE_IRQCHIP|KVM_CREATE_PIT2) */
static int kvm_make_chips(struct vm *vm)
{
    uint64_t identity = KVM_IDENTITY_BASE;
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    int err = kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    if (!err && ioctl(vm->fd, KVM_SET_TSS_ADDR, KVM_TSS_BASE) < 0)
        err = -errno;
    if (!err && ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
        err = -errno;
    if (!err)
        err = kvm_ioctl(vm->fd, KVM_CREATE_PIT2, &pit);
    if (!err)
        err = kvm_set_elcr(vm);
    return err;
}

/* No re-injection of missed PIT ticks: guests have better clocks, and it keeps
 * AVIC off (APICV_INHIBIT_REASON_PIT_REINJ). KVM waits there for two SRCU grace
 * periods, one behind the other (kvm_pit_set_reinject), and the second is a
 * slow one, since SRCU calls itself idle only a while after the first
 * (srcu_might_be_idle): 14 ms measured. All that time it holds the PIT's lock,
 * which a vCPU wants that comes to another CPU (__kvm_migrate_pit_timer), as
 * each does that runs for the first time. So it is done when the guest has
 * long started, and by the worker. Without it all works as well. */
#define SETTLE_AFTER_NS 1000000000ull

/* syscalls worker: ioctl(KVM_REINJECT_CONTROL) */
static void kvm_stop_pit_reinjection(void *arg)
{
    struct vm *vm = arg;
    struct kvm_reinject_control reinject = {.pit_reinject = 0};
    ioctl(vm->fd, KVM_REINJECT_CONTROL, &reinject);
}

void kvm_settle(struct timer *t)
{
    struct vm *vm = container_of(t, struct vm, settle);
    worker_do(&vm->worker, kvm_stop_pit_reinjection, vm);
}

/* syscalls loop: ioctl(KVM_CREATE_VM) */
void kvm_make_next(struct vm *vm)
{
    if (vm->next < 0)
        vm->next = ioctl(vm->kvm, KVM_CREATE_VM, 0);
}

int kvm_open_vm(struct vm *vm)
{
    int err;
    kvm_make_next(vm);
    vm->fd = vm->next;
    vm->next = -1;
    if (vm->fd < 0)
        return fail(-errno,
                    "%s: KVM_CREATE_VM: %s; is another hypervisor using the "
                    "CPU's virtualization?",
                    vm->cfg.kvm, strerror(errno));
    pthread_mutex_lock(&vm->irq_lock);
    /* Memory first: a slot waits for an SRCU grace period, and that one is
     * expedited unless the chips' registrations on KVM's I/O bus are queued
     * before it (7 ms instead of 0.1 measured). */
    err = kvm_map_all(vm);
    if (!err)
        err = kvm_make_chips(vm);
    if (!err)
        err = kvm_set_routes(vm);
    if (!err)
        err = kvm_restore_registrations(vm);
    pthread_mutex_unlock(&vm->irq_lock);
    if (err)
        return fail(err, "%s: setting up the VM: %s", vm->cfg.kvm,
                    strerror(-err));
    timer_arm(&vm->settle, now_ns() + SETTLE_AFTER_NS);
    worker_wait(&vm->worker, 0); /* cpuid_ask */
    for (unsigned i = 0; i < vm->m.ncpus && !err; i++) {
        err = vcpu_open(vm, &vm->vcpu[i]);
        if (err)
            fail(err, "%s: vCPU %u of %u: %s", vm->cfg.kvm, i, vm->m.ncpus,
                 strerror(-err));
    }
    cpuid_forget(vm);
    return err;
}

/* syscalls loop: close */
void kvm_close_vm(struct vm *vm)
{
    timer_cancel(&vm->settle);
    if (vm->worker.thread.runs)
        worker_wait(&vm->worker, 0);
    for (unsigned i = 0; i < vm->m.ncpus; i++)
        vcpu_close(&vm->vcpu[i]);
    vm->stopped.clock = vm->stopped.pit = vm->stopped.tsc = false;
    for (unsigned i = 0; i < vm->nline; i++)
        vm->line[i]->attached = false;
    if (vm->fd >= 0)
        close(vm->fd);
    vm->fd = -1;
}

static void kvm_request(struct machine *m, enum machine_stop why)
{
    struct vm *vm = vm_of(m);
    int none = -1;
    /* The first word counts: a guest that powers off and then resets has
     * powered off. */
    if (!atomic_compare_exchange_strong(&vm->why, &none, (int)why))
        return;
    atomic_store(&vm->pause, true);
    event_signal(vm->request.fd);
}

const struct machine_ops kvm_machine_ops = {
    .irq_msi_attach = kvm_irq_msi_attach,
    .irq_intx = kvm_irq_intx,
    .irq_detach = kvm_irq_detach,
    .irq_free = kvm_irq_free,
    .kick_add = kvm_kick_add,
    .kick_del = kvm_kick_del,
    .map = kvm_map,
    .request = kvm_request,
    .park = vm_park,
    .unpark = vm_unpark,
    .can_save = vm_can_save,
    .save = vm_save,
    .outline = vm_outline,
    .work = vm_work,
    .cpu_thread = vm_cpu_thread,
    .stats = vm_stats,
};
