/* SPDX-License-Identifier: MIT */
/* Interrupts: IDT, local APIC, 8259 pair. */

#include "irq.h"
#include "power.h"
#include "ring.h"

#define SEL_CODE64 0x10
#define VECTOR_UD 6           /* how ring0() gets there */
#define GATE_INTERRUPT 0x8e00 /* present, ring 0, 64-bit interrupt gate */

#define PIC1 0x20
#define PIC2 0xa0
#define PIC_EOI 0x20
#define ELCR 0x4d0 /* edge/level control, one bit per input */

#define MSR_APIC_BASE 0x1b
#define APIC_BASE_X2 (1 << 10)
#define APIC_BASE_EN (1 << 11)
#define MSR_X2APIC 0x800
/* Register offsets of xAPIC; an x2APIC's MSR is 0x800 + offset / 16. */
#define APIC_ID 0x020
#define APIC_EOI 0x0b0
#define APIC_SVR 0x0f0
#define APIC_LINT0 0x350
#define APIC_SVR_EN 0x100
#define APIC_EXTINT 0x700

struct idt_gate {
    u16 offset_low, selector, flags, offset_mid;
    u32 offset_high, zero;
};

extern const u8 vector_stubs[];

static struct idt_gate idt[VECTORS];
static void (*handlers[VECTORS])(void);
static uptr xapic; /* 0: x2APIC mode */
static u32 apic_id;
static u16 pic_mask = 0xffff;
static bool pic_ready;

static void apic_write(u32 reg, u32 v)
{
    if (xapic)
        mmio_w32(xapic + reg, v);
    else
        wrmsr(MSR_X2APIC + reg / 16, v);
}

/* Enabled for MSI; LINT0 lets the 8259s through (virtual wire mode). */
static void apic_init(void)
{
    u64 base = rdmsr(MSR_APIC_BASE);

    if (!(base & APIC_BASE_EN))
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_EN);
    xapic = base & APIC_BASE_X2 ? 0 : (uptr)(base & 0xfffff000);
    apic_id = xapic ? mmio_r32(xapic + APIC_ID) >> 24
                    : (u32)rdmsr(MSR_X2APIC + APIC_ID / 16);
    apic_write(APIC_SVR, APIC_SVR_EN | VECTOR_SPURIOUS);
    apic_write(APIC_LINT0, APIC_EXTINT);
}

static void gate(unsigned vector)
{
    u32 stub = (u32)(uptr)vector_stubs + 16 * vector;

    idt[vector].offset_low = (u16)stub;
    idt[vector].selector = SEL_CODE64;
    idt[vector].flags = GATE_INTERRUPT;
    idt[vector].offset_mid = (u16)(stub >> 16);
}

void irq_gates(void)
{
    for (unsigned i = 0; i < VECTORS; i++)
        gate(i);
}

void irq_init(void)
{
    struct __attribute__((packed)) {
        u16 limit;
        u64 base;
    } desc = {sizeof(idt) - 1, (uptr)idt};

    gate(VECTOR_UD);
    __asm__ volatile("lidt %0" : : "m"(desc));
    /* Firmware may have left the timer running. */
    outb(PIC1 + 1, 0xff);
    outb(PIC2 + 1, 0xff);
    apic_init();
}

/* 8259A datasheet "Initialization Command Words"; only on first use, since
 * with MSI-X and no timer the pair is not needed at all. */
static void pic_init(void)
{
    outb(PIC1, 0x11);
    outb(PIC1 + 1, VECTOR_PIC);
    outb(PIC1 + 1, 1 << 2);
    outb(PIC1 + 1, 0x01);
    outb(PIC2, 0x11);
    outb(PIC2 + 1, VECTOR_PIC + 8);
    outb(PIC2 + 1, 2);
    outb(PIC2 + 1, 0x01);
    outb(PIC2 + 1, 0xff);
    pic_mask = 0xffff & ~(1u << 2); /* the cascade */
    pic_ready = true;
}

/* Lines from 3 up that carry PCI INTx must be level triggered; firmware has
 * said so in ELCR as a rule, but not every one. 0, 1, 2, 8, 13 stay edge. */
static void pic_set_level(u8 line)
{
    u16 port = line < 8 ? ELCR : ELCR + 1;
    u8 bit = (u8)(1u << (line & 7)), elcr = inb(port);

    if (!(elcr & bit))
        outb(port, elcr | bit);
}

void irq_line_enable(u8 line, void (*handler)(void))
{
    if (line > 15)
        return;
    if (!pic_ready)
        pic_init();
    if (line > 2 && line != 8 && line != 13)
        pic_set_level(line);
    handlers[VECTOR_PIC + line] = handler;
    pic_mask &= (u16) ~(1u << line);
    outb(PIC1 + 1, (u8)pic_mask);
    if (line > 7)
        outb(PIC2 + 1, (u8)(pic_mask >> 8));
}

void irq_vector_set(u8 vector, void (*handler)(void))
{
    handlers[vector] = handler;
}

/* The APIC's own word for its number: CPUID's, in ring 3 where no hardware
 * intercepts it, is that of the host's CPU we happen to run on. */
u32 irq_msi_address(void)
{
    return 0xfee00000 | (apic_id & 0xff) << 12;
}

/* The instruction behind sti is still protected from interrupts (Intel SDM
 * vol. 2, STI), so none can slip in between and leave us halted. */
static void wait_in_ring0(void)
{
    __asm__ volatile("sti; hlt; cli" : : : "memory");
}

void irq_wait(void)
{
    ring0(wait_in_ring0);
}

void irq_dispatch(struct trap_frame *f)
{
    u64 vector = f->vector;

    if (vector < VECTOR_PIC) {
        if (!ring_trapped(f))
            power_exception(f);
        return;
    }
    if (vector >= VECTORS || vector == VECTOR_SPURIOUS)
        return;
    if (handlers[vector])
        handlers[vector]();
    if (vector >= VECTOR_MSI) {
        apic_write(APIC_EOI, 0);
        return;
    }
    if (vector >= VECTOR_PIC + 8)
        outb(PIC2, PIC_EOI);
    outb(PIC1, PIC_EOI);
}
