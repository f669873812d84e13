/* SPDX-License-Identifier: MIT */
/* INT 15h (memory and system services), INT 1Ah (time). */
#include "bios/bios.h"

u8 cmos_read(u8 reg)
{
    for (unsigned i = 0; i < 10000; i++) { /* not while it is updating */
        outb(PORT_RTC, 0x0a);
        if (!(inb(PORT_RTC + 1) & 0x80))
            break;
    }
    outb(PORT_RTC, reg);
    return inb(PORT_RTC + 1);
}

static void cmos_write(u8 reg, u8 v)
{
    outb(PORT_RTC, reg);
    outb(PORT_RTC + 1, v);
}

/* By the refresh bit of port 61h, which changes about every 16 us. */
void wait_us(u32 us)
{
    u8 last = inb(0x61) & 0x10;

    for (u32 n = us / 16 + 1; n;) {
        u8 now = inb(0x61) & 0x10;
        if (now != last)
            n--;
        last = now;
    }
}

/* ----------------------------------------------------------------- INT 15h */

static void fail_15(regs r)
{
    r->ah = 0x86; /* not supported */
    set_carry(r, 1);
}

/* ACPI 6.5 §15.1; EBX is simply the next index. */
static void e820(regs r)
{
    const struct handoff_e820 *e = &handoff.map[r->ebx];
    u32 di = r->di;

    if (r->edx != 0x534d4150 || r->ecx < 20 || r->ebx >= handoff.nmap) {
        fail_15(r);
        return;
    }
    set_gs(r->es);
    for (unsigned i = 0; i < 5; i++)
        *(volatile u32 GS *)(di + 4 * i) = ((const u32 *)e)[i];
    r->eax = 0x534d4150;
    r->ecx = 20;
    r->ebx = r->ebx + 1 < handoff.nmap ? r->ebx + 1 : 0;
    set_carry(r, 0);
}

/* KiB of RAM from 1 MiB on, below 4 GiB. */
static u32 extended_kib(void)
{
    for (unsigned i = 0; i < handoff.nmap; i++)
        if (handoff.map[i].addr == HIMEM_BASE && handoff.map[i].type == 1)
            return handoff.map[i].size >> 10;
    return 0;
}

static void e801(regs r)
{
    u32 kib = extended_kib(), low = kib < 0x3c00 ? kib : 0x3c00;

    r->ax = r->cx = (u16)low;                /* 1 to 16 MiB, KiB */
    r->bx = r->dx = (u16)((kib - low) >> 6); /* above, 64 KiB each */
    set_carry(r, 0);
}

/* Block move: CX words by a table of descriptors at ES:SI; the third is the
 * source, the fourth the destination. */
static void block_move(regs r)
{
    u32 base[2];

    set_gs(r->es);
    for (unsigned i = 0; i < 2; i++) {
        u32 at = r->si + 0x10u + 8 * i;
        base[i] = (*(volatile u32 GS *)(at + 2) & 0xffffff) |
                  (u32) * (volatile u8 GS *)(at + 7) << 24;
    }
    flat_copy(base[1], base[0], (u32)r->cx * 2);
    r->ah = 0;
    set_carry(r, 0);
}

static void a20(regs r)
{
    u8 v = inb(PORT_FAST_A20);

    switch (r->al) {
    case 0x00:
    case 0x01:
        outb(PORT_FAST_A20, (u8)(((v & ~2) | r->al << 1) & ~1));
        break;
    case 0x02:
        r->al = v >> 1 & 1;
        break;
    case 0x03:
        r->bx = 2; /* port 92h */
        break;
    default:
        fail_15(r);
        return;
    }
    r->ah = 0;
    set_carry(r, 0);
}

/* C0h: model FCh, two 8259s, an RTC, an EBDA. */
static const u8 rom_configuration[] = {8, 0, 0xfc, 0, 1, 0x64, 0x40, 0, 0, 0};

void int_15(regs r)
{
    if (r->ax == 0xe820) {
        e820(r);
        return;
    }
    if (r->ax == 0xe801) {
        e801(r);
        return;
    }
    switch (r->ah) {
    case 0x24:
        a20(r);
        return;
    case 0x86:
        wait_us((u32)r->cx << 16 | r->dx);
        break;
    case 0x87:
        block_move(r);
        return;
    case 0x88:
        r->ax = (u16)(extended_kib() < 0xfc00 ? extended_kib() : 0xfc00);
        break;
    case 0x4f: /* keyboard intercept: the key as it is */
        set_carry(r, 1);
        return;
    case 0x90: /* device busy, ready: nothing to wait for */
    case 0x91:
        r->ah = 0;
        break;
    case 0xc0:
        r->es = BIOS_BASE >> 4;
        r->bx = (u16)(u32)rom_configuration;
        r->ah = 0;
        break;
    case 0xc1:
        r->es = EBDA_BASE >> 4;
        break;
    default:
        fail_15(r);
        return;
    }
    set_carry(r, 0);
}

/* ----------------------------------------------------------------- INT 1Ah */

static void ticks(regs r)
{
    set_gs(BDA_SEG);
    r->cx = (u16)(bda32(BDA_TICKS) >> 16);
    r->dx = (u16)bda32(BDA_TICKS);
    r->al = bda8(BDA_MIDNIGHT);
    bda8(BDA_MIDNIGHT) = 0;
}

static void set_ticks(regs r)
{
    set_gs(BDA_SEG);
    bda32(BDA_TICKS) = (u32)r->cx << 16 | r->dx;
    bda8(BDA_MIDNIGHT) = 0;
}

void int_1a(regs r)
{
    switch (r->ah) {
    case 0x00:
        ticks(r);
        break;
    case 0x01:
        set_ticks(r);
        break;
    case 0x02: /* BCD, as the RTC has it */
        r->ch = cmos_read(4);
        r->cl = cmos_read(2);
        r->dh = cmos_read(0);
        r->dl = cmos_read(0x0b) & 1;
        break;
    case 0x03:
        cmos_write(4, r->ch);
        cmos_write(2, r->cl);
        cmos_write(0, r->dh);
        break;
    case 0x04:
        r->ch = cmos_read(0x32);
        r->cl = cmos_read(9);
        r->dh = cmos_read(8);
        r->dl = cmos_read(7);
        break;
    case 0x05:
        cmos_write(0x32, r->ch);
        cmos_write(9, r->cl);
        cmos_write(8, r->dh);
        cmos_write(7, r->dl);
        break;
    case 0xb1:
        pci_bios(r);
        return;
    default:
        set_carry(r, 1);
        return;
    }
    set_carry(r, 0);
}
