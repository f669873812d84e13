/* SPDX-License-Identifier: MIT */
/* Ways for the guest to end, and the exceptions that end it. */

#include "power.h"
#include "acpi.h"
#include "clock.h"
#include "net.h"
#include "ring.h"

#define PORT_PVPANIC 0x505
#define PVPANIC_PANICKED 1
#define PORT_CF9 0xcf9
#define PORT_KBD 0x64
#define KBD_PULSE_RESET 0xfe
#define EFFECT_SPINS 100000 /* time for a reset to happen */

static u64 loader_rsdp;
static bool due; /* test= is to be carried out now */

void power_init(u64 rsdp)
{
    loader_rsdp = rsdp;
}

static void halt_in_ring0(void)
{
    for (;;)
        __asm__ volatile("cli; hlt");
}

static _Noreturn void halt(void)
{
    for (;;)
        ring0(halt_in_ring0);
}

static void wait_for_effect(void)
{
    for (u32 i = 0; i < EFFECT_SPINS; i++)
        cpu_relax();
}

static void print_registers(const struct trap_frame *f)
{
    u64 cr2, cr3;

    __asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
    __asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
    print("guest: rip=%016lx rsp=%016lx rflags=%08lx cs=%lx\n", f->rip, f->rsp,
          f->rflags, f->cs);
    print("guest: rax=%016lx rbx=%016lx rcx=%016lx rdx=%016lx\n", f->rax,
          f->rbx, f->rcx, f->rdx);
    print("guest: rsi=%016lx rdi=%016lx rbp=%016lx r8 =%016lx\n", f->rsi,
          f->rdi, f->rbp, f->r8);
    print("guest: r9 =%016lx r10=%016lx r11=%016lx r12=%016lx\n", f->r9, f->r10,
          f->r11, f->r12);
    print("guest: r13=%016lx r14=%016lx r15=%016lx cr2=%016lx cr3=%lx\n",
          f->r13, f->r14, f->r15, cr2, cr3);
}

/* QEMU docs/specs/pvpanic: reading gives the events the port knows. */
_Noreturn void power_panic(const char *why, const struct trap_frame *f)
{
    print("panic: %s\n", why);
    if (f)
        print_registers(f);
    u8 events = inb(PORT_PVPANIC);

    if (events != 0xff && events & PVPANIC_PANICKED)
        outb(PORT_PVPANIC, PVPANIC_PANICKED);
    halt();
}

_Noreturn void power_exception(const struct trap_frame *f)
{
    print("guest: exception vector=%lu error=%lx\n", f->vector, f->error);
    power_panic("exception", f);
}

/* A null IDT leaves the CPU nowhere to go: shutdown, which resets a PC. */
static void fault_without_idt(void)
{
    struct __attribute__((packed)) {
        u16 limit;
        u64 base;
    } none = {0, 0};

    __asm__ volatile("lidt %0; ud2" : : "m"(none));
}

static bool triple_fault(void)
{
    ring0(fault_without_idt);
    return true;
}

static bool reset_cf9(void)
{
    outb(PORT_CF9, 0x02); /* hard reset, then its rising edge */
    outb(PORT_CF9, 0x06);
    return true;
}

static bool reset_kbd(void)
{
    outb(PORT_KBD, KBD_PULSE_RESET);
    return true;
}

static bool reset_acpi(void)
{
    acpi_init(loader_rsdp);
    return acpi_reset();
}

/* In the order tried without reboot=; false if there is nothing to try. */
static const struct {
    const char *name;
    bool (*reset)(void);
} resets[] = {
    {"acpi", reset_acpi},
    {"cf9", reset_cf9},
    {"kbd", reset_kbd},
    {"triple", triple_fault},
};

static void test_reboot(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(resets); i++) {
        if (opt.reboot && !word_is(opt.reboot, resets[i].name))
            continue;
        if (resets[i].reset())
            wait_for_effect();
        print("guest: reset by %s had no effect\n", resets[i].name);
    }
}

static void test_poweroff(void)
{
    acpi_init(loader_rsdp);
    if (acpi_poweroff())
        wait_for_effect();
    print("guest: power-off had no effect\n");
}

static void test_panic(void)
{
    power_panic("test", NULL);
}

static void test_fault(void)
{
    __asm__ volatile("ud2");
}

static void test_triple(void)
{
    triple_fault();
}

static void test_hang(void)
{
    for (;;)
        cpu_relax();
}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"poweroff", test_poweroff},
    {"reboot", test_reboot},
    {"panic", test_panic},
    {"fault", test_fault},
    {"triple", test_triple},
    {"hang", test_hang},
    {"halt", halt},
};

static void set_due(void)
{
    due = true;
}

void power_event(enum power_event event)
{
    static const char *const names[] = {"up", "ping", "flood", "sink"};
    const char *wanted = opt.on ? opt.on : names[EVENT_UP];

    if (!opt.test || !word_is(wanted, names[event]))
        return;
    if (opt.after_ms)
        clock_timer(TIMER_TEST, opt.after_ms, set_due);
    else
        due = true;
}

void power_run(void)
{
    if (!due)
        return;
    due = false;
    for (unsigned i = 0; i < ARRAY_LEN(tests); i++) {
        if (!word_is(opt.test, tests[i].name))
            continue;
        print("guest: rx frames=%lu tx frames=%lu kicks=%lu irqs=%lu\n",
              nif.rx_frames, nif.tx_frames, nif.kicks, nif.irqs);
        print("guest: test=%s\n", tests[i].name);
        tests[i].run();
    }
}
