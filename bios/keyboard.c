/* SPDX-License-Identifier: MIT */
/* INT 16h: keys from the serial port, through the buffer in the BIOS data area
 * where programs also look. */
#include "bios/bios.h"

/* Scan codes of the characters 20h..5Fh; letters are the same in both cases. */
static const u8 scan_codes[64] = {
    0x39, 0x02, 0x28, 0x04, 0x05, 0x06, 0x08, 0x28, 0x0a, 0x0b, 0x09,
    0x0d, 0x33, 0x0c, 0x34, 0x35, 0x0b, 0x02, 0x03, 0x04, 0x05, 0x06,
    0x07, 0x08, 0x09, 0x0a, 0x27, 0x27, 0x33, 0x0d, 0x34, 0x35, 0x03,
    0x1e, 0x30, 0x2e, 0x20, 0x12, 0x21, 0x22, 0x23, 0x17, 0x24, 0x25,
    0x26, 0x32, 0x31, 0x18, 0x19, 0x10, 0x13, 0x1f, 0x14, 0x16, 0x2f,
    0x11, 0x2d, 0x15, 0x2c, 0x1a, 0x2b, 0x1b, 0x07, 0x0c,
};

static u16 key_of_char(u8 c)
{
    u8 scan;

    if (c == 0x7f)
        c = '\b';
    if (c == '\n')
        c = '\r';
    if (c == '\r')
        scan = 0x1c;
    else if (c == '\b')
        scan = 0x0e;
    else if (c == '\t')
        scan = 0x0f;
    else if (c == 0x1b)
        scan = 0x01;
    else if (c < 0x20) /* Ctrl and a letter */
        scan = scan_codes[c + 0x20];
    else if (c < 0x80)
        scan = scan_codes[(c >= 0x60 ? c - 0x20 : c) - 0x20];
    else
        scan = 0;
    return (u16)(scan << 8 | c);
}

/* The rest of an escape sequence comes at once, or it was the key Esc. */
static int next_of_sequence(void)
{
    int c = -1;

    for (unsigned i = 0; i < 20 && c < 0; i++) {
        c = serial_get();
        if (c < 0)
            wait_us(200);
    }
    return c;
}

/* ESC [ A, ESC O P, ESC [ 5 ~ … as scan codes with no character. */
static u16 key_of_sequence(void)
{
    static const u8 letters[] = "A\x48"
                                "B\x50"
                                "C\x4d"
                                "D\x4b"
                                "H\x47"
                                "F\x4f"
                                "P\x3b"
                                "Q\x3c"
                                "R\x3d"
                                "S\x3e";
    static const u8 digits[] = {0x47, 0x52, 0x53, 0x4f, 0x49, 0x51, 0x47, 0x4f};
    int c = next_of_sequence();

    if (c < 0)
        return key_of_char(0x1b);
    if (c != '[' && c != 'O')
        return key_of_char((u8)c);
    c = next_of_sequence();
    for (unsigned i = 0; letters[i]; i += 2)
        if (letters[i] == c)
            return (u16)(letters[i + 1] << 8);
    if (c >= '1' && c <= '8') {
        u16 key = (u16)(digits[c - '1'] << 8);
        while (c >= 0 && c != '~')
            c = next_of_sequence();
        return key;
    }
    return 0;
}

static void store_key(u16 key)
{
    u16 tail, next;

    set_gs(BDA_SEG);
    tail = bda16(BDA_KBD_TAIL);
    next = (u16)(tail + 2 == BDA_KBD_BUF_END ? BDA_KBD_BUF : tail + 2);
    if (next == bda16(BDA_KBD_HEAD))
        return; /* full */
    bda16(tail) = key;
    bda16(BDA_KBD_TAIL) = next;
}

/* A key waits: its code in *key, and taken if `take`. */
static int get_key(u16 *key, int take)
{
    int c = serial_get();
    u16 head;

    if (c >= 0) {
        u16 k = c == 0x1b ? key_of_sequence() : key_of_char((u8)c);
        if (k)
            store_key(k);
    }
    set_gs(BDA_SEG);
    head = bda16(BDA_KBD_HEAD);
    if (head == bda16(BDA_KBD_TAIL))
        return 0;
    *key = bda16(head);
    if (take)
        bda16(BDA_KBD_HEAD) =
            (u16)(head + 2 == BDA_KBD_BUF_END ? BDA_KBD_BUF : head + 2);
    return 1;
}

/* Sleeps until a key: the UART's interrupt (IRQ 4) is open only here. */
static u16 wait_key(void)
{
    u8 mask = inb(0x21);
    u16 key = 0;

    while (!get_key(&key, 1)) {
        outb(PORT_COM1 + 1, 1);
        outb(0x21, (u8)(mask & ~(1 << IRQ_COM1)));
        idle();
        outb(PORT_COM1 + 1, 0);
        outb(0x21, mask);
    }
    return key;
}

void int_16(regs r)
{
    u16 key;

    switch (r->ah) {
    case 0x00:
    case 0x10:
        r->ax = wait_key();
        break;
    case 0x01:
    case 0x11:
        r->flags |= FLAG_ZF;
        if (get_key(&key, 0)) {
            r->flags = (u16)(r->flags & ~FLAG_ZF);
            r->ax = key;
        }
        break;
    case 0x02:
        set_gs(BDA_SEG);
        r->al = bda8(BDA_KBD_FLAGS);
        break;
    case 0x12:
        r->ax = 0;
        break;
    case 0x05:
        store_key(r->cx);
        r->al = 0;
        break;
    default:
        break;
    }
}
