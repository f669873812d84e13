/* SPDX-License-Identifier: MIT */
/* What a vCPU's exit costs from KVM_RUN's return to the next KVM_RUN: the
 * vCPU's own thread function, with a KVM that answers from here. */
/* NOLINTNEXTLINE(bugprone-suspicious-include): vcpu_thread is static */
#include "machine/kvm/vcpu.c"

#include <stdlib.h>

#include "tests/cost/cost.h"
#include "tests/unit/fake.h"

#define PORT 0x510
#define ADDR 0xfe000000
#define RUNS 16 /* a turn of the thread's function */

struct plan {
    unsigned reason;
    bool write;
    uint64_t addr;
};

static struct plan plan;
static unsigned left;
static struct vm *vm;

int __wrap_ioctl(int fd, int request, ...);

/* KVM_RUN: the exit that was asked for, or the end. */
int __wrap_ioctl(int fd, int request, ...)
{
    struct vcpu *c = &vm->vcpu[0];
    (void)fd;
    if (left != RUNS)
        cost_off();
    if (request != KVM_RUN)
        FAIL("an ioctl that is not KVM_RUN");
    if (!left) {
        vm->quit = true;
        atomic_store(&vm->pause, true);
        errno = EINTR;
        return -1;
    }
    left--;
    c->run->exit_reason = plan.reason;
    if (plan.reason == KVM_EXIT_IO) {
        c->run->io.direction = plan.write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
        c->run->io.port = (uint16_t)plan.addr;
        c->run->io.size = 4;
        c->run->io.count = 1;
        c->run->io.data_offset = 2048;
    } else {
        c->run->mmio.phys_addr = plan.addr;
        c->run->mmio.is_write = plan.write;
        c->run->mmio.len = 4;
    }
    cost_on();
    return 0;
}

/* What vcpu.c needs for exits that are not measured. */
static void never(struct machine *m, enum machine_stop why)
{
    (void)m;
    FAIL("a vCPU asks to stop (%d)", (int)why);
}

const struct machine_ops kvm_machine_ops = {.request = never};

void crash_report(struct vcpu *c, const char *what)
{
    (void)c;
    FAIL("crash: %s", what ? what : "?");
}

static void run_thread(void *arg)
{
    (void)arg;
    vm->quit = false;
    atomic_store(&vm->pause, false);
    left = RUNS;
    vcpu_thread(&vm->vcpu[0]);
}

static uint64_t nop_read(void *owner, uint64_t off, unsigned width)
{
    (void)owner;
    (void)off;
    (void)width;
    return 0;
}

static void nop_write(void *owner, uint64_t off, unsigned width, uint64_t val)
{
    (void)owner;
    (void)off;
    (void)width;
    (void)val;
}

void cost_exit(void)
{
    static const struct {
        const char *name;
        struct plan plan;
    } rows[] = {
        {"exit, port read", {KVM_EXIT_IO, false, PORT}},
        {"exit, port write", {KVM_EXIT_IO, true, PORT}},
        {"exit, memory read", {KVM_EXIT_MMIO, false, ADDR}},
        {"exit, memory write", {KVM_EXIT_MMIO, true, ADDR}},
    };
    static struct region port = {PORT, 4, nop_read, nop_write, NULL, "port"};
    static struct region mem = {ADDR, 4, nop_read, nop_write, NULL, "memory"};
    vm = calloc(1, sizeof(*vm));
    REQUIRE(vm != NULL);
    REQUIRE_EQ(loop_new(&vm->m.loop), 0);
    vm->m.pio = bus_new("io");
    vm->m.mmio = bus_new("memory");
    REQUIRE_EQ(bus_add(vm->m.pio, &port), 0);
    REQUIRE_EQ(bus_add(vm->m.mmio, &mem), 0);
    pthread_mutex_init(&vm->lock, NULL);
    vm->vcpu[0].vm = vm;
    vm->vcpu[0].run = aligned_alloc(4096, 4096);
    REQUIRE(vm->vcpu[0].run != NULL);
    memset(vm->vcpu[0].run, 0, 4096);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        plan = rows[i].plan;
        cost_row(rows[i].name, RUNS, run_thread, NULL);
    }
}
