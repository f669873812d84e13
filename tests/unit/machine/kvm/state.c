/* SPDX-License-Identifier: MIT */
/* What KVM remembers of a guest: saved from one VM, loaded into another, where
 * the guest goes on. On this machine's own KVM. */
#include "machine/kvm/state.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/unit/fakesys.h"
#include "tests/unit/test.h"

#define RAM 0x10000
#define CODE 0x1000
#define COUNT 0x2000

/* Counts in memory, and tells each count at port 80h. */
static const uint8_t code[] = {
    0xff, 0x06, 0x00, 0x20, /* inc word [2000h] */
    0xa1, 0x00, 0x20,       /* mov ax, [2000h] */
    0xe7, 0x80,             /* out 80h, ax */
    0xeb, 0xf5,             /* jmp there */
};

struct guest {
    int kvm, vm, cpu;
    uint8_t *ram;
    struct kvm_run *run;
    size_t run_size;
    struct kvm_fds fds;
};

static void guest_cpuid(const struct guest *g, int cpu)
{
    struct kvm_cpuid2 *cpuid =
        calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
    REQUIRE(cpuid != NULL);
    cpuid->nent = 256;
    REQUIRE_EQ(ioctl(g->kvm, KVM_GET_SUPPORTED_CPUID, cpuid), 0);
    for (uint32_t i = 0; i < cpuid->nent; i++)
        if (cpuid->entries[i].function == 1)
            cpuid->entries[i].ecx |= 1u << 24; /* TSC deadline */
    REQUIRE_EQ(ioctl(cpu, KVM_SET_CPUID2, cpuid), 0);
    free(cpuid);
}

/* A VM as one is at a start: everything there, nothing in it. */
static void guest_new(struct guest *g)
{
    uint64_t identity = 0xfeffc000;
    struct kvm_pit_config pit = {.flags = 0};
    g->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (g->kvm < 0)
        SKIP("no /dev/kvm");
    g->vm = ioctl(g->kvm, KVM_CREATE_VM, 0);
    g->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region r = {
        .memory_size = RAM, .userspace_addr = (uintptr_t)g->ram};
    REQUIRE_EQ(ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
    REQUIRE_EQ(ioctl(g->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity), 0);
    REQUIRE_EQ(ioctl(g->vm, KVM_SET_TSS_ADDR, 0xfeffd000), 0);
    REQUIRE_EQ(ioctl(g->vm, KVM_CREATE_IRQCHIP, 0), 0);
    REQUIRE_EQ(ioctl(g->vm, KVM_CREATE_PIT2, &pit), 0);
    g->cpu = ioctl(g->vm, KVM_CREATE_VCPU, 0);
    REQUIRE(g->cpu >= 0);
    guest_cpuid(g, g->cpu);
    g->run_size = (size_t)ioctl(g->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    g->run =
        mmap(NULL, g->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, g->cpu, 0);
    REQUIRE(g->run != MAP_FAILED);
    g->fds = (struct kvm_fds){
        .kvm = g->kvm, .vm = g->vm, .cpu = &g->cpu, .ncpus = 1};
}

static void guest_free(struct guest *g)
{
    munmap(g->run, g->run_size);
    munmap(g->ram, RAM);
    close(g->cpu);
    close(g->vm);
    close(g->kvm);
}

static void guest_start(struct guest *g)
{
    struct kvm_sregs s;
    struct kvm_regs r = {.rip = CODE, .rflags = 2, .rbx = 0x1234};
    memcpy(g->ram + CODE, code, sizeof(code));
    REQUIRE_EQ(ioctl(g->cpu, KVM_GET_SREGS, &s), 0);
    s.cs.base = s.cs.selector = 0;
    REQUIRE_EQ(ioctl(g->cpu, KVM_SET_SREGS, &s), 0);
    REQUIRE_EQ(ioctl(g->cpu, KVM_SET_REGS, &r), 0);
}

/* The next count that it tells. */
static unsigned guest_count(struct guest *g)
{
    uint16_t ax = 0;
    REQUIRE_EQ(ioctl(g->cpu, KVM_RUN, 0), 0);
    REQUIRE_EQ(g->run->exit_reason, KVM_EXIT_IO);
    CHECK_EQ(g->run->io.port, 0x80);
    memcpy(&ax, (uint8_t *)g->run + g->run->io.data_offset, 2);
    return ax;
}

/* An access that is half done is finished. */
static void guest_stop(struct guest *g)
{
    g->run->immediate_exit = 1;
    CHECK(ioctl(g->cpu, KVM_RUN, 0) < 0 && errno == EINTR);
    g->run->immediate_exit = 0;
}

/* A guest that has counted to five, saved. */
static uint8_t *counted(struct guest *g, size_t *len)
{
    uint8_t *p;
    guest_new(g);
    guest_start(g);
    for (unsigned i = 1; i <= 5; i++)
        CHECK_EQ(guest_count(g), i);
    guest_stop(g);
    REQUIRE_EQ(kvm_state_save(&g->fds, &p, len), 0);
    return p;
}

TEST(kvm_state_guest_goes_on_in_another_vm)
{
    struct guest one, two;
    size_t len, again;
    uint8_t *p = counted(&one, &len), *q;
    struct kvm_regs r;
    guest_new(&two);
    memcpy(two.ram, one.ram, RAM);
    guest_free(&one);
    REQUIRE_EQ(kvm_state_load(&two.fds, p, len), 0);
    REQUIRE_EQ(ioctl(two.cpu, KVM_GET_REGS, &r), 0);
    CHECK_EQ(r.rbx, 0x1234);
    CHECK_EQ(guest_count(&two), 6);
    CHECK_EQ(guest_count(&two), 7);
    guest_stop(&two);
    REQUIRE_EQ(kvm_state_save(&two.fds, &q, &again), 0);
    CHECK_EQ(again, len);
    free(p);
    free(q);
    guest_free(&two);
}

/* Chips, local APIC, debug and vector registers and MSRs as they were. */
TEST(kvm_state_chips_apic_msrs_and_vectors_are_the_same_again)
{
    struct guest one, two;
    size_t len;
    uint8_t *p;
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC}, chip2 = chip;
    struct kvm_lapic_state apic, apic2;
    struct kvm_debugregs dr = {.dr7 = 0x400}, dr2;
    struct kvm_xsave xsave = {0}, xsave2;
    struct kvm_xcrs xcrs = {.nr_xcrs = 1};
    union {
        struct kvm_msrs m;
        uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } pat = {.m.nmsrs = 1};
    guest_new(&one);
    guest_start(&one);
    REQUIRE_EQ(ioctl(one.vm, KVM_GET_IRQCHIP, &chip), 0);
    chip.chip.ioapic.redirtbl[5].bits = 0x10031; /* masked, vector 31h */
    REQUIRE_EQ(ioctl(one.vm, KVM_SET_IRQCHIP, &chip), 0);
    REQUIRE_EQ(ioctl(one.cpu, KVM_GET_LAPIC, &apic), 0);
    apic.regs[0x80] = 0x20; /* TPR */
    REQUIRE_EQ(ioctl(one.cpu, KVM_SET_LAPIC, &apic), 0);
    dr.db[0] = 0x1234;
    REQUIRE_EQ(ioctl(one.cpu, KVM_SET_DEBUGREGS, &dr), 0);
    xcrs.xcrs[0].value = 3;
    memset((uint8_t *)xsave.region + 160, 0x5a, 256); /* XMM0 to 15 */
    xsave.region[512 / 4] = 2;                        /* in use */
    bool avx = false;
    if (ioctl(one.vm, KVM_CHECK_EXTENSION, KVM_CAP_XCRS) > 0) {
        xcrs.xcrs[0].value = 7;
        avx = !ioctl(one.cpu, KVM_SET_XCRS, &xcrs);
    }
    if (avx) {
        memset((uint8_t *)xsave.region + 576, 0xa5, 256); /* upper halves */
        xsave.region[512 / 4] = 6;
    }
    REQUIRE_EQ(ioctl(one.cpu, KVM_SET_XSAVE, &xsave), 0);
    pat.m.entries[0].index = 0x277;
    pat.m.entries[0].data = 0x0007040100070401ull;
    REQUIRE_EQ(ioctl(one.cpu, KVM_SET_MSRS, &pat), 1);
    REQUIRE_EQ(kvm_state_save(&one.fds, &p, &len), 0);
    guest_free(&one);
    guest_new(&two);
    REQUIRE_EQ(kvm_state_load(&two.fds, p, len), 0);
    REQUIRE_EQ(ioctl(two.vm, KVM_GET_IRQCHIP, &chip2), 0);
    CHECK_EQ(chip2.chip.ioapic.redirtbl[5].bits, 0x10031);
    REQUIRE_EQ(ioctl(two.cpu, KVM_GET_LAPIC, &apic2), 0);
    CHECK_EQ(apic2.regs[0x80], 0x20);
    REQUIRE_EQ(ioctl(two.cpu, KVM_GET_DEBUGREGS, &dr2), 0);
    CHECK_EQ(dr2.db[0], 0x1234);
    REQUIRE_EQ(ioctl(two.cpu, KVM_GET_XSAVE, &xsave2), 0);
    CHECK_MEM((uint8_t *)xsave2.region + 160, (uint8_t *)xsave.region + 160,
              256);
    if (avx)
        CHECK_MEM((uint8_t *)xsave2.region + 576, (uint8_t *)xsave.region + 576,
                  256);
    pat.m.entries[0].data = 0;
    REQUIRE_EQ(ioctl(two.cpu, KVM_GET_MSRS, &pat), 1);
    CHECK_EQ(pat.m.entries[0].data, 0x0007040100070401ull);
    free(p);
    guest_free(&two);
}

/* ------------------------------------------------------ clocks and timers */

#define TSC 0x10
#define TSC_DEADLINE 0x6e0
#define SYSTEM_TIME 0x4b564d01 /* MSR_KVM_SYSTEM_TIME_NEW */
#define LATE (1ull << 40)      /* of a guest that has run for minutes */

static uint64_t msr(int cpu, uint32_t index, const uint64_t *set)
{
    union {
        struct kvm_msrs m;
        uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } one = {.m.nmsrs = 1};
    one.m.entries[0].index = index;
    one.m.entries[0].data = set ? *set : 0;
    CHECK_EQ(ioctl(cpu, set ? KVM_SET_MSRS : KVM_GET_MSRS, &one), 1);
    return one.m.entries[0].data;
}

static uint64_t msec(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#define TIMER_VECTOR 0x40

/* Its local APIC's timer is one of deadlines, `ms` away; 0: none. Interrupts
 * stay off. (A KVM without hardware may leave the counter the host's.) */
static void timer_begin(const struct guest *g, unsigned ms)
{
    const uint64_t tsc = LATE;
    uint64_t deadline;
    struct kvm_lapic_state apic;
    uint32_t on = 0x1ff, lvt = TIMER_VECTOR | 2u << 17;
    REQUIRE_EQ(ioctl(g->cpu, KVM_GET_LAPIC, &apic), 0);
    memcpy(apic.regs + 0xf0, &on, sizeof(on));
    memcpy(apic.regs + 0x320, &lvt, sizeof(lvt));
    REQUIRE_EQ(ioctl(g->cpu, KVM_SET_LAPIC, &apic), 0);
    msr(g->cpu, TSC, &tsc);
    deadline = msr(g->cpu, TSC, NULL) +
               ms * (uint64_t)ioctl(g->cpu, KVM_GET_TSC_KHZ, 0);
    if (ms)
        msr(g->cpu, TSC_DEADLINE, &deadline);
}

static bool timer_fired(struct guest *g)
{
    struct kvm_lapic_state apic;
    guest_count(g);
    REQUIRE_EQ(ioctl(g->cpu, KVM_GET_LAPIC, &apic), 0);
    return apic.regs[0x200 + TIMER_VECTOR / 32 * 0x10] & 1;
}

/* A guest whose timer is to fire then, in another VM. */
static void timer_moves(struct guest *two, unsigned ms)
{
    struct guest one;
    size_t len;
    uint8_t *p;
    guest_new(&one);
    guest_start(&one);
    timer_begin(&one, ms);
    REQUIRE_EQ(kvm_state_save(&one.fds, &p, &len), 0);
    guest_new(two);
    memcpy(two->ram, one.ram, RAM);
    guest_free(&one);
    REQUIRE_EQ(kvm_state_load(&two->fds, p, len), 0);
    free(p);
}

/* Told before the APIC's mode it would be forgotten; before the TSC, it would
 * be minutes away. */
TEST(kvm_state_timer_fires_at_its_deadline)
{
    struct guest g;
    uint64_t begin = msec(), now;
    timer_moves(&g, 500);
    CHECK(msr(g.cpu, TSC, NULL) >= LATE);
    bool fired = timer_fired(&g);
    now = msec();
    if (now - begin < 500) /* else this machine has other work */
        CHECK(!fired);
    while (!fired && msec() - begin < 30000) {
        usleep(1000);
        fired = timer_fired(&g);
    }
    CHECK(fired);
    guest_free(&g);
}

/* Its interrupt may have been lost with the processor it was for. */
TEST(kvm_state_timer_that_had_just_fired_fires_again)
{
    struct guest g;
    timer_moves(&g, 0);
    uint64_t begin = msec();
    bool fired = timer_fired(&g);
    while (!fired && msec() - begin < 30000)
        fired = timer_fired(&g);
    CHECK(fired);
    guest_free(&g);
}

#define CLOCK_PAGE 0x3000
#define CLOCK_FLAGS 29 /* struct pvclock_vcpu_time_info */
#define CLOCK_STOPPED 2

/* Or its watchdog takes the time in between for a processor that hung. */
TEST(kvm_state_paravirtual_clock_is_told_that_it_stood)
{
    const uint64_t page = CLOCK_PAGE | 1;
    struct guest one, two;
    size_t len;
    uint8_t *p;
    guest_new(&one);
    guest_start(&one);
    msr(one.cpu, SYSTEM_TIME, &page);
    guest_count(&one);
    guest_stop(&one);
    CHECK(one.ram[CLOCK_PAGE + 24]); /* it is in use */
    CHECK(!(one.ram[CLOCK_PAGE + CLOCK_FLAGS] & CLOCK_STOPPED));
    REQUIRE_EQ(kvm_state_save(&one.fds, &p, &len), 0);
    guest_new(&two);
    memcpy(two.ram, one.ram, RAM);
    guest_free(&one);
    REQUIRE_EQ(kvm_state_load(&two.fds, p, len), 0);
    guest_count(&two);
    CHECK(two.ram[CLOCK_PAGE + CLOCK_FLAGS] & CLOCK_STOPPED);
    free(p);
    guest_free(&two);
}

static uint64_t kvmclock(const struct guest *g)
{
    struct kvm_clock_data now = {0};
    REQUIRE_EQ(ioctl(g->vm, KVM_GET_CLOCK, &now), 0);
    return now.clock;
}

/* It goes on from where it was; asked to, by the time of day. */
TEST(kvm_state_clock_goes_on_or_is_set_forward)
{
    const uint64_t s = 1000000000, hour = 3600 * s;
    struct guest g;
    struct kvm_clock_data was = {0};
    struct timespec day;
    size_t len;
    uint8_t *p;
    guest_new(&g);
    guest_start(&g);
    if (!(ioctl(g.vm, KVM_CHECK_EXTENSION, KVM_CAP_ADJUST_CLOCK) &
          KVM_CLOCK_REALTIME)) {
        guest_free(&g);
        SKIP("a KVM before Linux 5.16");
    }
    clock_gettime(CLOCK_REALTIME, &day);
    was.clock = 5 * s;
    was.flags = KVM_CLOCK_REALTIME;
    was.realtime = (uint64_t)day.tv_sec * s - hour; /* saved an hour ago */
    g.fds.clock = &was;
    REQUIRE_EQ(kvm_state_save(&g.fds, &p, &len), 0);
    REQUIRE_EQ(kvm_state_load(&g.fds, p, len), 0);
    CHECK(kvmclock(&g) >= was.clock && kvmclock(&g) < was.clock + hour / 2);
    g.fds.realtime = true;
    REQUIRE_EQ(kvm_state_load(&g.fds, p, len), 0);
    CHECK(kvmclock(&g) >= was.clock + hour);
    CHECK(kvmclock(&g) < was.clock + hour + hour / 2);
    free(p);

    was.flags = 0; /* of a host that could not tell */
    REQUIRE_EQ(kvm_state_save(&g.fds, &p, &len), 0);
    test_log();
    CHECK_EQ(kvm_state_load(&g.fds, p, len), -EOPNOTSUPP);
    CHECK_HAS(test_log(), "clock=realtime: the saved machine does not know");
    free(p);
    guest_free(&g);
}

/* Where the bytes of a record begin. */
static uint8_t *record(uint8_t *p, size_t len, const char *name)
{
    size_t n = strlen(name);
    for (size_t at = 0; at + n + 6 < len; at++)
        if (p[at] == n && !memcmp(p + at + 1, name, n))
            return p + at + 1 + n + 5;
    FAIL("there is no %s", name);
    test_end();
}

static uint64_t tsc_offset(int cpu, unsigned long req, uint64_t offset)
{
    struct kvm_device_attr a = {.group = KVM_VCPU_TSC_CTRL,
                                .attr = KVM_VCPU_TSC_OFFSET,
                                .addr = (uintptr_t)&offset};
    return ioctl(cpu, req, &a) ? 0 : offset;
}

/* Some give every guest the host's. */
static bool tsc_can_be_set(int cpu)
{
    tsc_offset(cpu, KVM_SET_DEVICE_ATTR, 12345);
    return tsc_offset(cpu, KVM_GET_DEVICE_ATTR, 0) == 12345;
}

/* A guest of two CPUs; cpu[1] is the caller's to close. */
static void guest_new_of_two(struct guest *g, int cpu[2])
{
    guest_new(g);
    cpu[0] = g->cpu;
    cpu[1] = ioctl(g->vm, KVM_CREATE_VCPU, 1);
    REQUIRE(cpu[1] >= 0);
    guest_cpuid(g, cpu[1]);
    g->fds.cpu = cpu;
    g->fds.ncpus = 2;
}

/* However long it takes to set one after the other: here they are too far apart
 * for KVM to make one of them. */
TEST(kvm_state_tsc_of_all_cpus_stay_as_far_apart_as_they_were)
{
    const uint64_t tsc[2] = {1000000000, 1000000000 + 9999999999999};
    uint64_t offset[2] = {0};
    struct guest g[2];
    uint8_t *p = NULL;
    size_t len = 0;
    for (int i = 0; i < 2; i++) {
        int cpu[2];
        guest_new_of_two(&g[i], cpu);
        g[i].fds.tsc = tsc;
        if (!tsc_can_be_set(cpu[1]))
            SKIP("this KVM cannot set a TSC");
        if (i == 0)
            REQUIRE_EQ(kvm_state_save(&g[i].fds, &p, &len), 0);
        else
            REQUIRE_EQ(kvm_state_load(&g[i].fds, p, len), 0);
        for (int c = 0; c < 2; c++)
            offset[c] = tsc_offset(cpu[c], KVM_GET_DEVICE_ATTR, 0);
        close(cpu[1]);
    }
    CHECK_EQ(offset[1] - offset[0], tsc[1] - tsc[0]);
    free(p);
    guest_free(&g[0]);
    guest_free(&g[1]);
}

/* ------------------------------------------------------------------ order */

static char order[256];

static bool sets_msr(const struct kvm_msrs *m, uint32_t index)
{
    for (uint32_t i = 0; i < m->nmsrs; i++)
        if (m->entries[i].index == index)
            return true;
    return false;
}

static void order_add(char what)
{
    size_t n = strlen(order);
    if (n + 1 < sizeof(order) && (!n || order[n - 1] != what))
        order[n] = what;
}

static void order_note(int fd, unsigned long req, const void *arg)
{
    static const struct {
        unsigned long req;
        char what;
    } calls[] = {
        {KVM_SET_CLOCK, 'C'},       {KVM_SET_REGS, 'R'},
        {KVM_SET_SREGS, 'S'},       {KVM_SET_LAPIC, 'L'},
        {KVM_SET_DEVICE_ATTR, 'o'}, {KVM_SET_VCPU_EVENTS, 'E'},
        {KVM_KVMCLOCK_CTRL, 'K'},
    };
    (void)fd;
    if (req == KVM_SET_MSRS && sets_msr(arg, TSC))
        order_add('t');
    if (req == KVM_SET_MSRS && sets_msr(arg, TSC_DEADLINE))
        order_add('d');
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        if (calls[i].req == req)
            order_add(calls[i].what);
}

/* Some KVMs forgive another one. SREGS have the APIC's base; the APIC's mode,
 * and then the counter, are what a deadline is of; a counter is moved to the
 * others' before; exceptions come after the registers, which clear them; that
 * kvmclock stood is told when it goes on. */
TEST(kvm_state_is_told_in_the_order_that_loses_nothing)
{
    struct guest g[2];
    uint8_t *p = NULL;
    size_t len = 0;
    for (int i = 0; i < 2; i++) {
        int cpu[2];
        guest_new_of_two(&g[i], cpu);
        if (i == 0) {
            REQUIRE_EQ(kvm_state_save(&g[i].fds, &p, &len), 0);
        } else {
            memset(order, 0, sizeof(order));
            fake_ioctl(KVM_GET_DEVICE_ATTR, 0, 0);
            fake_ioctl_told(order_note);
            CHECK_EQ(kvm_state_load(&g[i].fds, p, len), 0);
            fake_host_real();
            CHECK_STR(order, "CRSLtdEKRSLtodEK");
        }
        close(cpu[1]);
    }
    free(p);
    guest_free(&g[0]);
    guest_free(&g[1]);
}

TEST(kvm_state_what_no_host_has_is_refused_by_name)
{
    struct guest g;
    size_t len;
    uint8_t *p = counted(&g, &len), *msrs = record(p, len, "cpu.0.msrs");
    uint8_t index[4];
    memcpy(index, msrs, 4);
    memset(msrs, 0x7e, 4);
    CHECK_EQ(kvm_state_load(&g.fds, p, len), -EINVAL);
    CHECK_HAS(test_log(), "cpu.0.msrs: there is no MSR 0x7e7e7e7e here");
    memcpy(msrs, index, 4);
    memset(record(p, len, "cpu.0.sregs"), 0xff, 16);
    memset(record(p, len, "cpu.0.mp_state"), 0xff, 4);
    CHECK(kvm_state_load(&g.fds, p, len) < 0);
    CHECK_HAS(test_log(), "KVM_SET_MP_STATE of CPU 0: Invalid argument");
    CHECK_EQ(kvm_state_load(&g.fds, p, len - 1), -EINVAL);
    CHECK_HAS(test_log(), "KVM's state: no record");
    free(p);
    guest_free(&g);
}

TEST(kvm_state_bytes_from_anybody_do_no_harm)
{
    struct guest g;
    size_t len;
    uint8_t *p = counted(&g, &len);
    test_timeout(60);
    for (unsigned i = 0; i < 300; i++) {
        size_t at = test_random() % len;
        p[at] ^= (uint8_t)(1 << test_random() % 8);
        kvm_state_load(&g.fds, p, len);
        test_log();
        if (i % 8 == 7) { /* from the beginning */
            free(p);
            guest_free(&g);
            p = counted(&g, &len);
        }
    }
    free(p);
    guest_free(&g);
}
