/* SPDX-License-Identifier: MIT */
/* The fake machine: see fake.h. */
#include "tests/unit/fake.h"

#include <errno.h>
#include <poll.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/pci/pci.h"
#include "host/helper.h"

#define GUARD 65536
#define FAKE_MAX 256

struct fake_irq {
    struct irq *irq; /* attached now, or NULL */
    bool msi;
    unsigned gsi;
    uint64_t addr;
    uint32_t data;
    unsigned count; /* arrived, not asked for yet */
};

struct fake {
    struct machine m;
    uint8_t *ram[RAM_REGIONS]; /* as allocated */
    struct fake_irq irq[FAKE_MAX];
    int nirq;
    struct kick kick[FAKE_MAX];
    int nkick;
    int kick_fails, kick_err;
    struct {
        uint64_t gpa, size;
        void *hva;
    } map[16];
    int requests, last_request;
    struct device *gone; /* they stay, see below */
    struct needs needs;
    struct fake *next;
};

/* Machines are never freed whole: their devices point to each other and would
 * count as leaks. */
static struct fake *all;
static uint64_t clock_ns = 1000000000, tick_ns;

/* The wall clock moves with the other one; the test says where it begins. */
static uint64_t wall_base;

uint64_t now_ns(void)
{
    if (tick_ns)
        clock_ns += tick_ns;
    return clock_ns;
}

uint64_t now_ticks(void)
{
    return now_ns();
}

uint64_t wall_ns(void)
{
    return wall_base + clock_ns;
}

void fake_set_wall(uint64_t utc_seconds)
{
    wall_base = utc_seconds * 1000000000 - clock_ns;
}

static struct fake *fake_of(struct machine *m)
{
    return container_of(m, struct fake, m);
}

/* ------------------------------------------------------------- interrupts */

static unsigned drain(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t n;
    if (fd < 0 || poll(&p, 1, 0) != 1 || read(fd, &n, 8) != 8)
        return 0;
    return (unsigned)n;
}

static struct fake_irq *irq_slot(struct fake *f, struct irq *irq)
{
    for (int i = 0; i < f->nirq; i++)
        if (f->irq[i].irq == irq)
            return &f->irq[i];
    if (f->nirq == FAKE_MAX) { /* forget the oldest that is gone */
        for (int i = 0; i < f->nirq; i++)
            if (!f->irq[i].irq)
                return &f->irq[i];
        abort();
    }
    return &f->irq[f->nirq++];
}

static void op_irq_detach(struct irq *irq)
{
    struct fake *f = fake_of(irq->m);
    for (int i = 0; i < f->nirq; i++) {
        if (f->irq[i].irq != irq)
            continue;
        f->irq[i].count += drain(irq->fd);
        f->irq[i].irq = NULL;
    }
    irq->attached = false;
}

static int op_irq_msi_attach(struct irq *irq, uint64_t addr, uint32_t data)
{
    op_irq_detach(irq);
    *irq_slot(fake_of(irq->m), irq) =
        (struct fake_irq){.irq = irq, .msi = true, .addr = addr, .data = data};
    irq->attached = true;
    return 0;
}

static int op_irq_intx(struct irq *irq, unsigned gsi)
{
    op_irq_detach(irq);
    *irq_slot(fake_of(irq->m), irq) =
        (struct fake_irq){.irq = irq, .msi = false, .gsi = gsi};
    irq->attached = true;
    irq->gsi = (int)gsi;
    return 0;
}

static void op_irq_free(struct irq *irq)
{
    op_irq_detach(irq);
}

static unsigned arrived(struct fake_irq *i)
{
    unsigned n = i->count + (i->irq ? drain(i->irq->fd) : 0);
    i->count = 0;
    return n;
}

unsigned fake_msis(struct machine *m, uint64_t addr, uint64_t data)
{
    struct fake *f = fake_of(m);
    unsigned n = 0;
    for (int i = 0; i < f->nirq; i++) {
        struct fake_irq *s = &f->irq[i];
        if (s->msi && s->addr == addr && (data == FAKE_ANY || s->data == data))
            n += arrived(s);
    }
    return n;
}

unsigned fake_irqs(struct machine *m, unsigned gsi)
{
    struct fake *f = fake_of(m);
    unsigned n = 0;
    for (int i = 0; i < f->nirq; i++)
        if (!f->irq[i].msi && f->irq[i].gsi == gsi)
            n += arrived(&f->irq[i]);
    return n;
}

bool fake_level(struct machine *m, unsigned gsi)
{
    struct fake *f = fake_of(m);
    for (int i = 0; i < f->nirq; i++) {
        struct fake_irq *s = &f->irq[i];
        if (!s->msi && s->irq && s->gsi == gsi && atomic_load(&s->irq->level))
            return true;
    }
    return false;
}

void fake_eoi(struct machine *m, unsigned gsi)
{
    struct fake *f = fake_of(m);
    uint64_t one = 1;
    for (int i = 0; i < f->nirq; i++) {
        struct fake_irq *s = &f->irq[i];
        if (s->msi || !s->irq || s->gsi != gsi || s->irq->resample.fd < 0)
            continue;
        REQUIRE(write(s->irq->resample.fd, &one, 8) == 8);
    }
    fake_run_loop(m);
}

/* ------------------------------------------------------------------ kicks */

/* As KVM's ioeventfds collide: same bus, address and length, and either one
 * takes every value or both the same. */
static bool kicks_collide(const struct kick *a, const struct kick *b)
{
    return a->pio == b->pio && a->addr == b->addr && a->width == b->width &&
           (!a->match || !b->match || a->data == b->data);
}

static int op_kick_add(struct machine *m, const struct kick *k)
{
    struct fake *f = fake_of(m);
    if (f->kick_fails > 0) {
        f->kick_fails--;
        return f->kick_err;
    }
    for (int i = 0; i < f->nkick; i++)
        if (kicks_collide(&f->kick[i], k))
            return -EEXIST;
    if (f->nkick == FAKE_MAX)
        return -ENOSPC;
    f->kick[f->nkick++] = *k;
    return 0;
}

static void op_kick_del(struct machine *m, const struct kick *k)
{
    struct fake *f = fake_of(m);
    for (int i = 0; i < f->nkick; i++) {
        if (f->kick[i].fd == k->fd && kicks_collide(&f->kick[i], k)) {
            f->kick[i] = f->kick[--f->nkick];
            return;
        }
    }
    FAIL("kick_del of a kick that was never added, at 0x%llx",
         (unsigned long long)k->addr);
}

bool fake_kick_write(struct machine *m, bool pio, uint64_t addr, unsigned width,
                     uint64_t val)
{
    struct fake *f = fake_of(m);
    uint64_t one = 1;
    uint64_t mask = width >= 8 ? ~0ull : (1ull << width * 8) - 1;
    for (int i = 0; i < f->nkick; i++) {
        const struct kick *k = &f->kick[i];
        if (k->pio != pio || k->addr != addr ||
            (k->width && k->width != width) ||
            (k->match && (k->data & mask) != (val & mask)))
            continue;
        REQUIRE(write(k->fd, &one, 8) == 8);
        return true;
    }
    return false;
}

int fake_kicks(struct machine *m)
{
    return fake_of(m)->nkick;
}

void fake_kick_fail(struct machine *m, int n, int err)
{
    fake_of(m)->kick_fails = n;
    fake_of(m)->kick_err = err;
}

void guest_write(struct machine *m, bool pio, uint64_t addr, unsigned width,
                 uint64_t val)
{
    if (!fake_kick_write(m, pio, addr, width, val))
        bus_write(pio ? m->pio : m->mmio, addr, width, val);
}

uint64_t guest_read(struct machine *m, bool pio, uint64_t addr, unsigned width)
{
    return bus_read(pio ? m->pio : m->mmio, addr, width);
}

/* --------------------------------------------------------- maps, requests */

static int op_map(struct machine *m, uint64_t addr, void *hva, uint64_t size,
                  bool readonly)
{
    struct fake *f = fake_of(m);
    int slot = -1;
    (void)readonly;
    for (int i = 0; i < (int)ARRAY_LEN(f->map); i++) {
        if (f->map[i].hva && f->map[i].gpa == addr)
            slot = i;
        if (!f->map[i].hva && hva && slot < 0)
            slot = i;
    }
    if (slot < 0)
        return hva ? -ENOSPC : 0;
    f->map[slot].gpa = addr;
    f->map[slot].hva = hva;
    f->map[slot].size = size;
    return 0;
}

void *fake_mapped(struct machine *m, uint64_t addr)
{
    struct fake *f = fake_of(m);
    for (int i = 0; i < (int)ARRAY_LEN(f->map); i++) {
        if (f->map[i].hva && addr - f->map[i].gpa < f->map[i].size)
            return (uint8_t *)f->map[i].hva + (addr - f->map[i].gpa);
    }
    return NULL;
}

static void op_request(struct machine *m, enum machine_stop why)
{
    fake_of(m)->requests++;
    fake_of(m)->last_request = (int)why;
}

int fake_requests(struct machine *m)
{
    return fake_of(m)->requests;
}

int fake_last_request(struct machine *m)
{
    return fake_of(m)->last_request;
}

static const struct machine_ops fake_ops = {
    .irq_msi_attach = op_irq_msi_attach,
    .irq_intx = op_irq_intx,
    .irq_detach = op_irq_detach,
    .irq_free = op_irq_free,
    .kick_add = op_kick_add,
    .kick_del = op_kick_del,
    .map = op_map,
    .request = op_request,
};

/* ---------------------------------------------------------------- machine */

static void add_ram(struct fake *f, uint64_t gpa_base, uint64_t size)
{
    struct ram *ram = &f->m.ram;
    uint8_t *p = aligned_alloc(4096, size + 2 * GUARD);
    if (!p)
        abort();
    memset(p, 0, size + 2 * GUARD);
    ASAN_POISON_MEMORY_REGION(p, GUARD);
    ASAN_POISON_MEMORY_REGION(p + GUARD + size, GUARD);
    f->ram[ram->n] = p;
    ram->region[ram->n] = (struct ram_region){
        .gpa = gpa_base, .size = size, .hva = p + GUARD, .offset = 0};
    ram->n++;
}

struct machine *fake_new2(uint64_t low, uint64_t high_gpa, uint64_t high)
{
    struct fake *f = calloc(1, sizeof(*f));
    if (!f)
        abort();
    f->m.ops = &fake_ops;
    f->m.ncpus = 1;
    f->m.ram.fd = -1;
    f->last_request = -1;
    add_ram(f, 0, low);
    if (high)
        add_ram(f, high_gpa, high);
    f->m.pio = bus_new("io");
    f->m.mmio = bus_new("memory");
    if (!f->m.pio || !f->m.mmio || loop_new(&f->m.loop) < 0)
        abort();
    f->next = all;
    all = f;
    return &f->m;
}

struct machine *fake_new(uint64_t ram)
{
    return fake_new2(ram, 0, 0);
}

struct machine *fake_pc(uint64_t ram)
{
    struct machine *m = fake_new(ram);
    REQUIRE_EQ(pci_bus_new(m), 0);
    return m;
}

int fake_device(struct machine *m, const struct device_class *cls,
                const char *what, const char *text)
{
    struct opts o;
    struct device *dev;
    int err = opts_parse(&o, what, text, NULL);
    if (!err)
        err = device_new(cls, &o, &fake_of(m)->needs, &dev);
    if (err)
        return err;
    err = helper_begin(geteuid(), getegid());
    if (!err)
        err = helper_watch(m->loop);
    if (!err)
        return device_create(m, dev);
    device_free(dev);
    return err;
}

void fake_free(struct machine *m)
{
    struct fake *f = fake_of(m);
    f->gone = m->devices;
    devices_destroy(m);
    helper_end();
    bus_free(m->pio);
    bus_free(m->mmio);
    loop_free(m->loop);
    for (int i = 0; i < m->ram.n; i++)
        free(f->ram[i]);
    m->ram.n = 0;
}

void fake_reset(struct machine *m)
{
    struct fake *f = fake_of(m);
    for (struct device *d = m->devices; d; d = d->next)
        d->reset(d);
    fake_run_loop(m);
    for (int i = 0; i < f->nirq;) {
        arrived(&f->irq[i]);
        if (f->irq[i].irq)
            i++;
        else
            f->irq[i] = f->irq[--f->nirq];
    }
    for (int i = 0; i < m->ram.n; i++)
        memset(m->ram.region[i].hva, 0, m->ram.region[i].size);
    f->requests = 0;
    f->last_request = -1;
    f->kick_fails = 0;
}

void *fake_ram(struct machine *m, uint64_t a, uint64_t len)
{
    void *p = ram_ptr(&m->ram, gpa(a), len);
    REQUIRE(p != NULL);
    return p;
}

int fake_run_loop(struct machine *m)
{
    int total = 0;
    for (int turns = 0; turns < 100000; turns++) {
        int n = loop_poll(m->loop, 0);
        if (n <= 0)
            return total;
        total += n;
    }
    FAIL("the loop does not come to rest");
    return total;
}

void fake_advance_ns(uint64_t ns)
{
    clock_ns += ns;
}

void fake_tick_ns(uint64_t ns)
{
    tick_ns = ns;
}

void fake_sleep_ns(struct machine *m, uint64_t ns)
{
    uint64_t end = clock_ns + ns;
    /* A thousand steps at most: fine enough for every timer in here, and some
     * time for other processes, whose answers come meanwhile. */
    uint64_t step = ns / 1000 ? ns / 1000 : 1;
    while (clock_ns < end) {
        clock_ns += step < end - clock_ns ? step : end - clock_ns;
        fake_run_loop(m);
    }
}
