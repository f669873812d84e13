/* SPDX-License-Identifier: MIT */
/* COM1: the ROM's console, and INT 14h. Polled; INT 16h opens its interrupt
 * only while it waits. */
#include "bios/bios.h"

enum { RBR = 0, IER = 1, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6 };
enum { LSR_READY = 0x01, LSR_EMPTY = 0x20 };

void serial_init(void)
{
    outb(PORT_COM1 + IER, 0);
    outb(PORT_COM1 + LCR, 0x83); /* divisor */
    outb(PORT_COM1 + RBR, 1);    /* 115200 */
    outb(PORT_COM1 + IER, 0);
    outb(PORT_COM1 + LCR, 0x03); /* 8n1 */
    outb(PORT_COM1 + FCR, 0x01);
    outb(PORT_COM1 + MCR, 0x0b); /* DTR, RTS, OUT2 */
}

/* Bounded: a port that never empties must not hang the guest. */
void serial_put(u8 c)
{
    for (unsigned i = 0; i < 0xffff && !(inb(PORT_COM1 + LSR) & LSR_EMPTY); i++)
        ;
    outb(PORT_COM1 + RBR, c);
}

int serial_get(void)
{
    u8 lsr = inb(PORT_COM1 + LSR);

    if (lsr == 0xff || !(lsr & LSR_READY))
        return -1;
    return inb(PORT_COM1 + RBR);
}

void int_14(regs r)
{
    int c;

    if (r->dx != 0) {
        r->ah = 0x80; /* timeout: no such port */
        return;
    }
    switch (r->ah) {
    case 0x00: /* initialise: the speed is of no account here */
    case 0x03:
        r->al = inb(PORT_COM1 + MSR);
        break;
    case 0x01:
        serial_put(r->al);
        break;
    case 0x02:
        c = serial_get();
        if (c < 0) {
            r->ah = 0x80;
            return;
        }
        r->al = (u8)c;
        break;
    default:
        return;
    }
    r->ah = inb(PORT_COM1 + LSR);
}
