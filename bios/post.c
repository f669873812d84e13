/* SPDX-License-Identifier: MIT */
/* Power-on: brings the chips and low memory to where a PC's BIOS leaves them,
 * then boots; and the dispatcher of the software interrupts. */
#include "bios/bios.h"

extern u8 iret_stub[], irq_timer[], irq_master[], irq_slave[], irq_rtc[];
extern u8 vector_00[], vector_06[], vector_10[], vector_11[], vector_12[],
    vector_13[], vector_14[], vector_15[], vector_16[], vector_18[],
    vector_19[], vector_1a[];
extern u8 bios32_header[];
extern u32 bss_start[], bss_end[];

void set_vector(unsigned n, const u8 *to)
{
    set_gs(0);
    *(volatile u32 GS *)(n * 4) = (u32)(BIOS_BASE >> 4) << 16 | (u16)(u32)to;
}

static void init_vectors(void)
{
    for (unsigned i = 0; i < 256; i++)
        set_vector(i, iret_stub);
    for (unsigned i = 0; i < 8; i++) {
        set_vector(0x08 + i, irq_master);
        set_vector(0x70 + i, irq_slave);
    }
    set_vector(0x08, irq_timer);
    set_vector(0x70, irq_rtc);
    set_vector(0x00, vector_00);
    set_vector(0x06, vector_06);
    set_vector(0x10, vector_10);
    set_vector(0x11, vector_11);
    set_vector(0x12, vector_12);
    set_vector(0x13, vector_13);
    set_vector(0x14, vector_14);
    set_vector(0x15, vector_15);
    set_vector(0x16, vector_16);
    set_vector(0x18, vector_18);
    set_vector(0x19, vector_19);
    set_vector(0x1a, vector_1a);
}

static unsigned bcd(u8 v)
{
    return (v >> 4) * 10u + (v & 15);
}

/* Ticks since midnight: 1193182 / 65536 a second. */
static u32 ticks_now(void)
{
    u32 s =
        bcd(cmos_read(4)) * 3600 + bcd(cmos_read(2)) * 60 + bcd(cmos_read(0));

    return s * 18 + s * 2065 / 10000;
}

static void init_bda(void)
{
    set_gs(BDA_SEG);
    for (unsigned i = 0; i < 0x100; i++)
        bda8(i) = 0;
    bda16(BDA_COM1) = PORT_COM1;
    bda16(BDA_EBDA_SEG) = EBDA_BASE >> 4;
    bda16(BDA_EQUIPMENT) = 0x0222; /* one COM port, 80x25, FPU */
    bda16(BDA_BASE_KIB) = EBDA_BASE / 1024;
    bda16(BDA_KBD_HEAD) = bda16(BDA_KBD_TAIL) = BDA_KBD_BUF;
    bda16(BDA_KBD_START) = BDA_KBD_BUF;
    bda16(BDA_KBD_END) = BDA_KBD_BUF_END;
    bda8(BDA_KBD_MODE) = 0x10; /* enhanced keyboard */
    bda32(BDA_TICKS) = ticks_now();
    set_gs(EBDA_BASE >> 4);
    *(volatile u8 GS *)0 = (0xa0000 - EBDA_BASE) / 1024;
}

/* 8259s at vectors 08h and 70h, IRQ 0 and the cascade open; PIT channel 0 at
 * 18.2 Hz; A20 on. The ELCR is the VMM's business. */
static void init_chips(void)
{
    static const u8 icw[2][4] = {{0x11, 0x08, 4, 1}, {0x11, 0x70, 2, 1}};

    for (unsigned c = 0; c < 2; c++) {
        u16 port = c ? 0xa0 : 0x20;
        outb(port, icw[c][0]);
        for (unsigned i = 1; i < 4; i++)
            outb((u16)(port + 1), icw[c][i]);
    }
    outb(0x21, 0xfa);
    outb(0xa1, 0xff);
    outb(0x43, 0x36); /* channel 0, both bytes, square wave */
    outb(0x40, 0);
    outb(0x40, 0);
    outb(PORT_FAST_A20, (u8)((inb(PORT_FAST_A20) | 2) & ~1));
}

static void checksum(u8 *p, unsigned n, unsigned at)
{
    u8 sum = 0;

    p[at] = 0;
    for (unsigned i = 0; i < n; i++)
        sum = (u8)(sum + p[i]);
    p[at] = (u8)-sum;
}

static u16 boot_kind;

void post(void)
{
    for (u32 *p = bss_start; p < bss_end; p++)
        *p = 0;
    boot_kind = handoff.kind;
    handoff.kind = HANDOFF_RESET; /* the next jump to FFF0h resets */
    checksum(bios32_header, 16, 10);
    checksum(pnp_header, 33, 8);
    init_vectors();
    init_bda();
    init_chips();
    serial_init();
    video_init();
    disks_init();
    if (boot_kind != HANDOFF_LINUX)
        optrom_scan();
}

static u32 tried; /* slots */

static void try(u8 slot)
{
    if (tried >> slot & 1)
        return;
    tried |= 1u << slot;
    disk_boot(slot);
    optrom_boot(slot);
}

/* -boot reboot-timeout=, or for good; a tick is 55 ms. */
static void __attribute__((noreturn)) nothing_boots(void)
{
    print("\r\nNothing to boot: neither a disk's boot sector nor a NIC's "
          "ROM (romfile=).\r\n");
    for (u16 ms = handoff.reboot; ms != 1; ms = ms > 56 ? ms - 55 : !!ms)
        idle();
    reset_machine();
}

/* INT 19h begins, INT 18h, where an attempt ends that failed, goes on with what
 * was not tried yet. */
void boot(u32 vector)
{
    if (boot_kind == HANDOFF_LINUX)
        enter_kernel();
    if (vector == 0x19)
        tried = 0;
    for (const u8 *slot = handoff.order; *slot; slot++)
        try(*slot);
    for (unsigned pass = handoff.strict ? 2 : 0; pass < 2; pass++)
        for (u8 slot = 1; slot < 32; slot++)
            if ((disk_slot(slot) < 0) == (pass != handoff.net_first))
                try(slot);
    nothing_boots();
}

/* A fault in real mode comes back to the same instruction: say so and stop. */
static void fault(regs r)
{
    print(r->vector ? "\r\nInvalid opcode at " : "\r\nDivide error at ");
    print_hex(r->cs, 4);
    print(":");
    print_hex(r->ip, 4);
    print("\r\n");
    for (;;)
        idle();
}

void idle(void)
{
    u16 saved = bios_sp, sp;

    /* What interrupts us may change stacks and call back: leave it room. */
    __asm__ volatile("movw %%sp, %0" : "=r"(sp));
    bios_sp = (u16)(sp - 512);
    __asm__ volatile("sti; hlt; cli" : : : "memory");
    bios_sp = saved;
}

void interrupt(regs r)
{
    switch (r->vector) {
    case 0x00:
    case 0x06:
        fault(r);
        break;
    case 0x10:
        int_10(r);
        break;
    case 0x11:
        set_gs(BDA_SEG);
        r->ax = bda16(BDA_EQUIPMENT);
        break;
    case 0x12:
        set_gs(BDA_SEG);
        r->ax = bda16(BDA_BASE_KIB);
        break;
    case 0x13:
        int_13(r);
        break;
    case 0x14:
        int_14(r);
        break;
    case 0x15:
        int_15(r);
        break;
    case 0x16:
        int_16(r);
        break;
    case 0x1a:
        int_1a(r);
        break;
    default:
        boot_anew(r->vector);
    }
}
