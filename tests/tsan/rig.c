/* SPDX-License-Identifier: MIT */
/* The machine of real threads: see rig.h.
 *
 * What KVM does under a lock of its own (interrupts, doorbells) is done under
 * one here. A machine reset happens on the main loop with every vCPU outside of
 * the guest, as machine/kvm/vm.c has it: the gate is a readers' lock, and vCPUs
 * are the readers. */
#include "tests/tsan/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/block.h"
#include "devices/pc/pc.h"
#include "devices/pci/pci.h"
#include "host/console.h"
#include "host/helper.h"

#define KICKS_MAX 256
#define LINES_MAX 8
#define THREADS_MAX 32
#define GUESTS_MAX 2

struct rig rig;
static pthread_mutex_t ops_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kick kicks[KICKS_MAX];
static int nkicks;
static struct irq *lines[LINES_MAX];
static int nlines;
static pthread_rwlock_t gate;
static void take_nothing(struct tally *t, const struct count *c)
{
    (void)t, (void)c;
}
static struct tally nobody = {take_nothing};

void rig_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    _exit(1);
}

/* ------------------------------------------------------------- randomness */

uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13; /* xorshift64 */
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

uint32_t rnd(struct vcpu *c, uint32_t n)
{
    return (uint32_t)((next_random(&c->random) >> 32) * n >> 32);
}

uint64_t seed_for(unsigned thread)
{
    uint64_t s = rig.seed + 0x9e3779b97f4a7c15ull * (thread + 1);
    return s ? s : 1;
}

/* -------------------------------------------------------- machine.h's ops */

static int op_msi_attach(struct irq *irq, uint64_t addr, uint32_t data)
{
    (void)addr, (void)data;
    pthread_mutex_lock(&ops_lock);
    irq->attached = true;
    pthread_mutex_unlock(&ops_lock);
    return 0;
}

static int op_intx(struct irq *irq, unsigned gsi)
{
    pthread_mutex_lock(&ops_lock);
    irq->gsi = (int)gsi;
    irq->attached = true;
    if (nlines < LINES_MAX)
        lines[nlines++] = irq;
    pthread_mutex_unlock(&ops_lock);
    return 0;
}

static void op_detach(struct irq *irq)
{
    pthread_mutex_lock(&ops_lock);
    irq->attached = false;
    pthread_mutex_unlock(&ops_lock);
}

static void op_free(struct irq *irq)
{
    pthread_mutex_lock(&ops_lock);
    for (int i = 0; i < nlines; i++)
        if (lines[i] == irq)
            lines[i] = lines[--nlines];
    pthread_mutex_unlock(&ops_lock);
}

static int op_kick_add(struct machine *m, const struct kick *k)
{
    int err = -ENOSPC;
    (void)m;
    pthread_mutex_lock(&ops_lock);
    if (nkicks < KICKS_MAX) {
        kicks[nkicks++] = *k;
        err = 0;
    }
    pthread_mutex_unlock(&ops_lock);
    return err;
}

static void op_kick_del(struct machine *m, const struct kick *k)
{
    int i = 0;
    (void)m;
    pthread_mutex_lock(&ops_lock);
    while (i < nkicks && (kicks[i].fd != k->fd || kicks[i].addr != k->addr ||
                          kicks[i].pio != k->pio))
        i++;
    if (i == nkicks)
        rig_fail("kick_del of a doorbell that was never added");
    kicks[i] = kicks[--nkicks];
    pthread_mutex_unlock(&ops_lock);
}

static int op_map(struct machine *m, uint64_t gpa, void *hva, uint64_t size,
                  bool readonly)
{
    (void)m, (void)gpa, (void)hva, (void)size, (void)readonly;
    return 0;
}

static void op_request(struct machine *m, enum machine_stop why)
{
    (void)m, (void)why;
}

static const struct machine_ops ops = {
    .irq_msi_attach = op_msi_attach,
    .irq_intx = op_intx,
    .irq_detach = op_detach,
    .irq_free = op_free,
    .kick_add = op_kick_add,
    .kick_del = op_kick_del,
    .map = op_map,
    .request = op_request,
};

/* --------------------------------------------------------------- accesses */

static bool ring_bell(uint64_t addr)
{
    bool found = false;
    pthread_mutex_lock(&ops_lock);
    for (int i = 0; i < nkicks && !found; i++)
        if (!kicks[i].pio && kicks[i].addr == addr) {
            event_signal(kicks[i].fd);
            found = true;
        }
    pthread_mutex_unlock(&ops_lock);
    return found;
}

void wr(uint64_t addr, unsigned width, uint64_t val)
{
    if (!ring_bell(addr))
        bus_write(rig.m.mmio, addr, width, val);
}

uint64_t rd(uint64_t addr, unsigned width)
{
    return bus_read(rig.m.mmio, addr, width);
}

uint64_t bar_at(unsigned slot, unsigned bar)
{
    return rd(cfg_at(slot, PCI_BAR0 + 4 * bar), 4) & ~15ull;
}

unsigned cap_at(unsigned slot, uint8_t id)
{
    unsigned at = (unsigned)rd(cfg_at(slot, PCI_CAP_PTR), 1);
    while (at && rd(cfg_at(slot, at), 1) != id)
        at = (unsigned)rd(cfg_at(slot, at + 1), 1);
    return at;
}

/* ------------------------------------------------------------------ vCPUs */

static _Atomic bool parking;

bool vcpu_sleep(struct vcpu *c, unsigned us)
{
    pthread_rwlock_unlock(&gate);
    if (atomic_load(&parking))
        loop_nudge(rig.m.loop);
    if (us)
        usleep(us);
    while (atomic_load(&parking))
        usleep(10);
    pthread_rwlock_rdlock(&gate);
    return !atomic_load(&rig.stop) && c->epoch == atomic_load(&rig.epoch);
}

bool vcpu_step(struct vcpu *c)
{
    return vcpu_sleep(c, 0);
}

static void *driver_thread(void *arg)
{
    struct vcpu *c = arg;
    pthread_rwlock_rdlock(&gate);
    while (!atomic_load(&rig.stop)) {
        c->epoch = atomic_load(&rig.epoch);
        wr(cfg_at(c->slot, PCI_COMMAND), 2, 7);
        c->guest->driver(c);
        vcpu_step(c);
    }
    pthread_rwlock_unlock(&gate);
    return NULL;
}

static void *rude_thread(void *arg)
{
    struct vcpu *c = arg;
    pthread_rwlock_rdlock(&gate);
    while (!atomic_load(&rig.stop)) {
        if (c->guest->cls && rnd(c, 2))
            rude_pci(c);
        else
            c->guest->rude(c);
        vcpu_sleep(c, rnd(c, 300));
    }
    pthread_rwlock_unlock(&gate);
    return NULL;
}

/* Somewhere else for a moment: on nothing, RAM, another BAR, the end. */
static void move_bar(struct vcpu *c)
{
    static const uint32_t to[] = {0, 0xfee00000, 0x100000, 0xe8000000,
                                  0xfffff000};
    uint64_t at = cfg_at(c->slot, PCI_BAR0 + 4 * rnd(c, 6));
    uint32_t was = (uint32_t)rd(at, 4);
    wr(at, 4, rnd(c, 3) ? to[rnd(c, 5)] : (uint32_t)bar_at(3 - c->slot, 0));
    usleep(rnd(c, 100));
    wr(at, 4, was);
}

static void touch_msix(struct vcpu *c)
{
    unsigned cap = cap_at(c->slot, PCI_CAP_MSIX);
    uint64_t table = bar_at(c->slot, 1);
    if (!cap)
        return;
    switch (rnd(c, 5)) {
    case 0:
        wr(table + 16 * rnd(c, 12) + 12, 4, rnd(c, 2));
        break;
    case 1:
        wr(table + 16 * rnd(c, 12) + 4 * rnd(c, 3), 4, rnd(c, 1 << 30));
        break;
    case 2:
        wr(table + 16 * rnd(c, 12) + 8 * rnd(c, 2), 8, rnd(c, 1 << 30));
        break;
    case 3:
        rd(table + 0x800, 8);
        rd(table + 16 * rnd(c, 12), 8);
        break;
    default:
        wr(cfg_at(c->slot, cap + 3), 1, rnd(c, 4) << 6);
        break;
    }
}

void rude_pci(struct vcpu *c)
{
    static const uint16_t commands[] = {7, 3, 5, 0x407, 0x403};
    switch (rnd(c, 6)) {
    case 0:
        move_bar(c);
        break;
    case 1:
        wr(cfg_at(c->slot, PCI_COMMAND), 2, commands[rnd(c, 5)]);
        usleep(rnd(c, 100));
        wr(cfg_at(c->slot, PCI_COMMAND), 2, 7);
        break;
    case 2: /* the end of an interrupt */
        pthread_mutex_lock(&ops_lock);
        for (int i = 0; i < nlines; i++)
            event_signal(lines[i]->resample.fd);
        pthread_mutex_unlock(&ops_lock);
        break;
    case 3:
        for (unsigned off = 0; off < 256; off += 4)
            rd(cfg_at(c->slot, off), 4);
        break;
    default:
        touch_msix(c);
        break;
    }
}

/* -------------------------------------------------------------- the world */

/* What comes from outside, on the main loop: cables, counters, resets. */
static struct timer world;
static uint64_t world_random;

static bool all_parked(void *arg)
{
    (void)arg;
    return !pthread_rwlock_trywrlock(&gate);
}

/* A vCPU inside may be waiting for the loop. */
static void park(void)
{
    atomic_store(&parking, true);
    loop_serve(rig.m.loop, all_parked, NULL);
    atomic_store(&parking, false);
}

static void reset_machine(void)
{
    park();
    for (struct device *d = rig.m.devices; d; d = d->next)
        d->reset(d);
    atomic_fetch_add(&rig.epoch, 1);
    atomic_fetch_add(&rig.resets, 1);
    pthread_rwlock_unlock(&gate);
}

/* As a snapshot does it: all at rest, saved; sometimes loaded again. */
static void rest_machine(void)
{
    static uint8_t saved[1 << 18];
    bool load = next_random(&world_random) >> 40 & 1;
    park();
    for (struct device *d = rig.m.devices; d; d = d->next)
        device_hold(d);
    for (struct device *d = rig.m.devices; d; d = d->next) {
        size_t n = device_save(d, saved, sizeof(saved));
        if (n > sizeof(saved) || (n && load && device_load(d, saved, n)))
            rig_fail("%s does not take back what it remembers", d->id);
    }
    for (struct device *d = rig.m.devices; d; d = d->next)
        device_resume(d);
    pthread_rwlock_unlock(&gate);
}

static void world_turns(struct timer *t)
{
    struct netdev *nd = netdevs; /* none on the bare board */
    switch (next_random(&world_random) >> 32 & 7) {
    case 0:
        reset_machine();
        break;
    case 1:
        netdev_toggle_cables();
        netdev_toggle_cables();
        break;
    case 2:
    case 3:
        rest_machine();
        break;
    case 4:
        for (struct device *d = rig.m.devices; d; d = d->next)
            device_stats(d, &nobody);
        break;
    default:
        if (rig.sc->flags & SC_BOARD)
            acpi_power_button(&rig.m);
        else if (rig.sc->flags & SC_DISK)
            vblk_resize((uint32_t)(next_random(&world_random) >> 40));
        else if (!(rig.sc->flags & SC_STREAM))
            netdev_set_link(nd, !nd->link_up);
        break;
    }
    timer_arm(t, now_ns() + (next_random(&world_random) >> 40) % 20000000);
}

/* -------------------------------------------------------------- a scenario */

static void make_machine(void)
{
    struct machine *m = &rig.m;
    uint8_t *ram = mmap(NULL, RIG_RAM, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_rwlockattr_t attr;
    if (ram == MAP_FAILED)
        rig_fail("mmap: %s", strerror(errno));
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr,
                                  PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&gate, &attr);
    m->ops = &ops;
    m->ram.fd = -1;
    m->ram.n = 1;
    m->ram.region[0] = (struct ram_region){.size = RIG_RAM, .hva = ram};
    m->ncpus = 2;
    m->pio = bus_new("pio");
    m->mmio = bus_new("mmio");
    if (!m->pio || !m->mmio || loop_new(&m->loop) || pci_bus_new(m))
        rig_fail("no machine");
}

void rig_device(const struct device_class *cls, const char *options)
{
    struct needs needs = {0};
    struct device *dev;
    struct opts o;
    if (opts_parse(&o, cls->name, options, NULL) ||
        device_new(cls, &o, &needs, &dev) ||
        helper_begin(geteuid(), getegid()) || device_create(&rig.m, dev))
        rig_fail("%s: %s", cls->name, options);
}

static void make_nics(void)
{
    const struct scenario *sc = rig.sc;
    wires_make();
    for (int i = 0; i < GUESTS_MAX && sc->nic[i].guest; i++) {
        const struct guest *g = sc->nic[i].guest;
        if (g->make)
            g->make(sc->nic[i].options);
        else
            rig_device(g->cls, sc->nic[i].options);
    }
}

static void *loop_thread(void *arg)
{
    (void)arg;
    loop_run(rig.m.loop);
    return NULL;
}

static pthread_t threads[THREADS_MAX];
static int nthreads;

void rig_start(void *(*run)(void *arg), void *arg)
{
    if (nthreads == THREADS_MAX ||
        pthread_create(&threads[nthreads++], NULL, run, arg))
        rig_fail("pthread_create");
}

static void start_guests(void)
{
    static struct vcpu vcpu[2 * GUESTS_MAX];
    for (unsigned i = 0; i < 2 * GUESTS_MAX; i++) {
        const struct guest *g = rig.sc->nic[i / 2].guest;
        vcpu[i] =
            (struct vcpu){.guest = g, .slot = 1 + i / 2, .random = seed_for(i)};
        if (g)
            rig_start(i & 1 ? rude_thread : driver_thread, &vcpu[i]);
    }
}

void rig_run(const struct scenario *sc, uint64_t seed, uint64_t ns)
{
    pthread_t loop;
    rig.sc = sc;
    rig.seed = seed;
    world_random = seed_for(99);
    make_machine();
    make_nics();
    console_begin_all();
    timer_init(&world, rig.m.loop, world_turns);
    timer_arm(&world, 1);
    if (pthread_create(&loop, NULL, loop_thread, NULL))
        rig_fail("pthread_create");
    start_guests();
    peers_start();
    usleep((useconds_t)(ns / 1000));
    atomic_store(&rig.stop, true);
    while (nthreads)
        pthread_join(threads[--nthreads], NULL);
    /* As main() ends: the loop, then NICs with their threads, then wires. */
    loop_stop(rig.m.loop, 0);
    pthread_join(loop, NULL);
    timer_cancel(&world);
    console_flush_all();
    devices_destroy(&rig.m);
    netdev_close_all();
    blockdev_close_all();
    helper_end();
    loop_free(rig.m.loop);
    bus_free(rig.m.pio);
    bus_free(rig.m.mmio);
}
