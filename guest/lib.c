/* SPDX-License-Identifier: MIT */
/* Strings and serial output. */

#include "lib.h"

#define COM1 0x3f8
#define THR 0
#define IER 1
#define FCR 2
#define LCR 3
#define MCR 4
#define LSR 5
#define LSR_THRE 0x20
#define FIFO_BYTES 16
#define THRE_SPINS 100000 /* about 1 s of inb: give up on a dead UART */

/* Words first: where ring 0 is interpreted, each access to memory has a price
 * (10 us on the build machines). */
void *memcpy(void *to, const void *from, size_t n)
{
    void *d = to;
    size_t words = n / 8, bytes = n % 8;

    __asm__ volatile("rep movsq; mov %3, %2; rep movsb"
                     : "+D"(d), "+S"(from), "+c"(words)
                     : "r"(bytes)
                     : "memory");
    return to;
}

void *memset(void *to, int c, size_t n)
{
    void *d = to;
    size_t words = n / 8, bytes = n % 8;

    __asm__ volatile("rep stosq; mov %2, %1; rep stosb"
                     : "+D"(d), "+c"(words)
                     : "r"(bytes), "a"((u8)c * 0x0101010101010101ull)
                     : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const u8 *p = a, *q = b;

    for (; n; n--, p++, q++)
        if (*p != *q)
            return *p - *q;
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;

    while (s[n])
        n++;
    return n;
}

/* 115200 8N1, FIFO on and empty (16550 datasheet §8). */
void serial_init(void)
{
    outb(COM1 + IER, 0);
    outb(COM1 + LCR, 0x80);
    outb(COM1 + THR, 1); /* divisor 1 while DLAB */
    outb(COM1 + IER, 0);
    outb(COM1 + LCR, 0x03);
    outb(COM1 + FCR, 0x07);
    outb(COM1 + MCR, 0x03);
}

/* Every port access is an exit, so LSR is read once per FIFO filling: THRE
 * then means all 16 bytes are free. */
static void put(char c)
{
    static u8 fifo_free;

    if (!fifo_free) {
        for (u32 i = 0; i < THRE_SPINS; i++)
            if (inb(COM1 + LSR) & LSR_THRE)
                break;
        fifo_free = FIFO_BYTES;
    }
    fifo_free--;
    outb(COM1 + THR, (u8)c);
}

static void put_number(u64 v, unsigned base, unsigned width, char fill)
{
    char digits[20];
    unsigned n = 0;

    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    for (; width > n; width--)
        put(fill);
    while (n)
        put(digits[--n]);
}

static void put_string(const char *s)
{
    while (*s) {
        if (*s == '\n')
            put('\r');
        put(*s++);
    }
}

static void put_address(char kind, const u8 *p)
{
    unsigned n = kind == 'M' ? 6 : 4;

    for (unsigned i = 0; i < n; i++) {
        if (i)
            put(kind == 'M' ? ':' : '.');
        if (kind == 'M')
            put_number(p[i], 16, 2, '0');
        else
            put_number(p[i], 10, 0, ' ');
    }
}

static void put_signed(long v)
{
    if (v < 0)
        put('-');
    put_number(v < 0 ? -(u64)v : (u64)v, 10, 0, ' ');
}

/* One conversion, fmt just behind the '%'; returns what follows it. */
static const char *put_arg(const char *fmt, va_list *ap)
{
    char fill = *fmt == '0' ? '0' : ' ';
    unsigned width = 0;
    bool is_long = false;

    while (*fmt >= '0' && *fmt <= '9')
        width = width * 10 + (unsigned)(*fmt++ - '0');
    if (*fmt == 'l') {
        is_long = true;
        fmt++;
    }
    switch (*fmt++) {
    case 's':
        put_string(va_arg(*ap, const char *));
        break;
    case 'c':
        put((char)va_arg(*ap, int));
        break;
    case 'd':
        put_signed(va_arg(*ap, int));
        break;
    case 'u':
        put_number(is_long ? va_arg(*ap, u64) : va_arg(*ap, u32), 10, width,
                   fill);
        break;
    case 'x':
        put_number(is_long ? va_arg(*ap, u64) : va_arg(*ap, u32), 16, width,
                   fill);
        break;
    case 'p':
        put_address(*fmt++, va_arg(*ap, const void *));
        break;
    default:
        put('%');
    }
    return fmt;
}

void print(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    while (*fmt) {
        if (*fmt == '%') {
            fmt = put_arg(fmt + 1, &ap);
        } else {
            if (*fmt == '\n')
                put('\r');
            put(*fmt++);
        }
    }
    va_end(ap);
}
