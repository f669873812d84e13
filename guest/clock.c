/* SPDX-License-Identifier: MIT */
/* Time from the TSC, timer interrupts from the PIT's channel 0. */

#include "clock.h"
#include "irq.h"
#include "ring.h"

#define PIT_HZ 1193182
#define PIT_CH0 0x40
#define PIT_CH2 0x42
#define PIT_MODE 0x43
#define PORT61 0x61
#define PIT_MAX_MS 50 /* 65535 counts are 54.9 ms */
#define SPINS 2000000

#define CPUID_HV 0x40000000
#define CPUID_HV_KVM 0x40000001 /* EAX bit 3: CLOCKSOURCE2 */
#define CPUID_HV_TSC 0x40000010 /* EAX: TSC kHz, as VMware defined it */
#define MSR_KVM_SYSTEM_TIME 0x4b564d01

/* Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW. */
struct pvclock {
    u32 version, pad0;
    u64 tsc_timestamp, system_time;
    u32 mul;
    signed char shift;
    u8 flags, pad[2];
};

static struct {
    u64 due_us;
    void (*fn)(void);
} timers[TIMERS];

static u32 tsc_khz;
static u64 tsc_base;
static bool pit_routed;

static struct pvclock pv __attribute__((aligned(32)));

/* On and off again: one reading is all that is wanted of it. */
static void read_kvmclock(void)
{
    wrmsr(MSR_KVM_SYSTEM_TIME, (uptr)&pv | 1);
    wrmsr(MSR_KVM_SYSTEM_TIME, 0);
}

static u32 khz_from_kvmclock(void)
{
    read_kvmclock();
    u32 mul = pv.mul;
    int shift = pv.shift;

    if (!mul)
        return 0;
    /* ns = (ticks << shift) * mul >> 32, hence kHz = 10^6 * 2^32 / mul. */
    u64 khz = (1000000ull << 32) / mul;

    return (u32)(shift < 0 ? khz << -shift : khz >> shift);
}

static u32 khz_from_cpuid(void)
{
    u32 r[4];

    cpuid(0, r);
    if (r[0] >= 0x15) {
        cpuid(0x15, r);
        if (r[0] && r[1] && r[2])
            return (u32)((u64)r[2] * r[1] / r[0] / 1000);
    }
    cpuid(1, r);
    if (!(r[2] >> 31))
        return 0;
    cpuid(CPUID_HV, r);
    u32 max = r[0];
    bool kvm = r[1] == 0x4b4d564b; /* "KVMK" */

    if (max >= CPUID_HV_TSC && max < CPUID_HV + 0x100) {
        cpuid(CPUID_HV_TSC, r);
        if (r[0])
            return r[0];
    }
    if (!kvm)
        return 0;
    cpuid(CPUID_HV_KVM, r);
    return r[0] & 1 << 3 ? khz_from_kvmclock() : 0;
}

/* For ring 0: in ring 3 CPUID may be the host's (irq.c), whose leaves say
 * nothing of our own hypervisor. */
static void ask_hypervisor(void)
{
    tsc_khz = khz_from_cpuid();
}

/* 10 ms of channel 2, whose output is bit 5 of port 61h. */
static u32 khz_from_pit(void)
{
    u32 count = PIT_HZ / 100;

    outb(PORT61, (inb(PORT61) & ~2u) | 1); /* gate on, speaker off */
    outb(PIT_MODE, 0xb0);                  /* channel 2, mode 0, binary */
    outb(PIT_CH2, (u8)count);
    outb(PIT_CH2, (u8)(count >> 8));
    u64 start = rdtsc();

    for (u32 i = 0; i < SPINS; i++)
        if (inb(PORT61) & 0x20)
            return (u32)((rdtsc() - start) / 10);
    return 1000000; /* no PIT: pretend 1 GHz rather than hang */
}

u64 clock_us(void)
{
    if (!tsc_khz) {
        ring0(ask_hypervisor);
        if (!tsc_khz)
            tsc_khz = khz_from_pit();
        if (!tsc_khz)
            tsc_khz = 1;
        tsc_base = rdtsc();
    }
    return (rdtsc() - tsc_base) * 1000 / tsc_khz;
}

void clock_timer(enum timer_id id, u32 ms, void (*fn)(void))
{
    timers[id].fn = fn;
    if (fn)
        timers[id].due_us = clock_us() + (u64)ms * 1000;
}

/* Earliest due time, 0 if no timer is set. */
static u64 next_due(void)
{
    u64 due = 0;

    for (unsigned i = 0; i < TIMERS; i++)
        if (timers[i].fn && (!due || timers[i].due_us < due))
            due = timers[i].due_us;
    return due;
}

void clock_run(void)
{
    u64 due = next_due();

    if (!due)
        return;
    u64 now = clock_us();

    for (unsigned i = 0; i < TIMERS && due <= now; i++) {
        void (*fn)(void) = timers[i].fn;

        if (fn && timers[i].due_us <= now) {
            timers[i].fn = NULL;
            fn();
        }
    }
}

void clock_arm(void)
{
    u64 due = next_due();

    if (!due)
        return;
    u64 now = clock_us();
    u64 ms = due > now ? (due - now) / 1000 + 1 : 1;
    u32 count = (ms > PIT_MAX_MS ? PIT_MAX_MS : (u32)ms) * (PIT_HZ / 1000);

    if (!pit_routed) {
        irq_line_enable(0, NULL); /* waking up is all it has to do */
        pit_routed = true;
    }
    outb(PIT_MODE, 0x30); /* channel 0, mode 0: one interrupt */
    outb(PIT_CH0, (u8)count);
    outb(PIT_CH0, (u8)(count >> 8));
}
