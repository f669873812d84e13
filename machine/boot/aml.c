/* SPDX-License-Identifier: MIT */
/* A tiny writer of AML (ACPI 6.5 §20.2). */
#include <string.h>

#include "machine/boot/aml.h"

enum { /* §20.3 */
       AML_ZERO = 0x00,
       AML_ONE = 0x01,
       AML_NAME = 0x08,
       AML_BYTE = 0x0a,
       AML_WORD = 0x0b,
       AML_DWORD = 0x0c,
       AML_STRING = 0x0d,
       AML_QWORD = 0x0e,
       AML_SCOPE = 0x10,
       AML_BUFFER = 0x11,
       AML_PACKAGE = 0x12,
       AML_METHOD = 0x14,
       AML_DUAL_NAME = 0x2e,
       AML_EXT = 0x5b,
       AML_NOTIFY = 0x86,
       AML_EXT_DEVICE = 0x82,
};
#define PKGLEN 3 /* always the three-byte form: up to 1 MiB (§20.2.4) */

void aml_byte(struct aml *a, uint8_t v)
{
    if (a->n < a->cap)
        a->p[a->n] = v;
    a->n++;
}

void aml_bytes(struct aml *a, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        aml_byte(a, ((const uint8_t *)p)[i]);
}

void aml_le(struct aml *a, uint64_t v, unsigned bytes)
{
    while (bytes--) {
        aml_byte(a, (uint8_t)v);
        v >>= 8;
    }
}

void aml_name(struct aml *a, const char *seg)
{
    aml_bytes(a, seg, 4);
}

static size_t aml_open_block(struct aml *a, uint8_t op)
{
    size_t mark;

    aml_byte(a, op);
    mark = a->n;
    aml_le(a, 0, PKGLEN);
    return mark;
}

/* PkgLength counts itself; its first byte holds the low four bits. */
void aml_close(struct aml *a, size_t mark)
{
    size_t len = a->n - mark;

    if (a->n > a->cap)
        return;
    a->p[mark] = (uint8_t)(0x80 | (len & 15));
    a->p[mark + 1] = (uint8_t)(len >> 4);
    a->p[mark + 2] = (uint8_t)(len >> 12);
}

size_t aml_scope(struct aml *a, const char *seg)
{
    size_t mark = aml_open_block(a, AML_SCOPE);

    aml_byte(a, '\\');
    aml_name(a, seg);
    return mark;
}

size_t aml_device(struct aml *a, const char *seg)
{
    size_t mark;

    aml_byte(a, AML_EXT);
    mark = aml_open_block(a, AML_EXT_DEVICE);
    aml_name(a, seg);
    return mark;
}

size_t aml_package(struct aml *a, unsigned elements)
{
    size_t mark = aml_open_block(a, AML_PACKAGE);

    aml_byte(a, (uint8_t)elements);
    return mark;
}

void aml_int(struct aml *a, uint64_t v)
{
    if (v <= 1) {
        aml_byte(a, v ? AML_ONE : AML_ZERO);
        return;
    }
    if (v <= 0xff) {
        aml_byte(a, AML_BYTE);
        aml_le(a, v, 1);
    } else if (v <= 0xffff) {
        aml_byte(a, AML_WORD);
        aml_le(a, v, 2);
    } else if (v <= 0xffffffff) {
        aml_byte(a, AML_DWORD);
        aml_le(a, v, 4);
    } else {
        aml_byte(a, AML_QWORD);
        aml_le(a, v, 8);
    }
}

void aml_string(struct aml *a, const char *s)
{
    aml_byte(a, AML_STRING);
    aml_bytes(a, s, strlen(s) + 1);
}

void aml_defname(struct aml *a, const char *seg)
{
    aml_byte(a, AML_NAME);
    aml_name(a, seg);
}

void aml_defint(struct aml *a, const char *seg, uint64_t v)
{
    aml_defname(a, seg);
    aml_int(a, v);
}

void aml_notifier(struct aml *a, const char *seg, const char *scope,
                  const char *device, uint8_t value)
{
    size_t mark = aml_open_block(a, AML_METHOD);

    aml_name(a, seg);
    aml_byte(a, 0); /* no arguments */
    aml_byte(a, AML_NOTIFY);
    aml_byte(a, '\\');
    aml_byte(a, AML_DUAL_NAME);
    aml_name(a, scope);
    aml_name(a, device);
    aml_int(a, value);
    aml_close(a, mark);
}

static unsigned aml_hexdigit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits, four hex digits, big-endian (§19.3.4). */
void aml_defeisa(struct aml *a, const char *seg, const char *id)
{
    unsigned letters = (unsigned)(id[0] & 31) << 10 |
                       (unsigned)(id[1] & 31) << 5 | (unsigned)(id[2] & 31);
    uint8_t b[4] = {
        (uint8_t)(letters >> 8),
        (uint8_t)letters,
        (uint8_t)(aml_hexdigit(id[3]) << 4 | aml_hexdigit(id[4])),
        (uint8_t)(aml_hexdigit(id[5]) << 4 | aml_hexdigit(id[6])),
    };

    aml_defname(a, seg);
    aml_byte(a, AML_DWORD);
    aml_bytes(a, b, 4);
}

/* ------------------------------------------------------- resources (§6.4) */

/* Buffer (size) {…}, the size as a word constant filled in at the end. */
size_t aml_crs(struct aml *a)
{
    size_t mark;

    aml_defname(a, "_CRS");
    mark = aml_open_block(a, AML_BUFFER);
    aml_byte(a, AML_WORD);
    aml_le(a, 0, 2);
    return mark;
}

void aml_crs_close(struct aml *a, size_t mark)
{
    size_t size, at = mark + PKGLEN + 1;

    aml_le(a, 0x0079, 2); /* end tag, no checksum */
    size = a->n - at - 2;
    if (a->n <= a->cap) {
        a->p[at] = (uint8_t)size;
        a->p[at + 1] = (uint8_t)(size >> 8);
    }
    aml_close(a, mark);
}

void aml_io(struct aml *a, uint16_t base, uint8_t len)
{
    aml_byte(a, 0x47);
    aml_byte(a, 1); /* decodes 16 bits */
    aml_le(a, base, 2);
    aml_le(a, base, 2);
    aml_byte(a, 1);
    aml_byte(a, len);
}

void aml_irq(struct aml *a, unsigned irq)
{
    aml_byte(a, 0x22);
    aml_le(a, 1u << irq, 2);
}

void aml_mem32(struct aml *a, uint32_t base, uint32_t len)
{
    aml_byte(a, 0x86);
    aml_le(a, 9, 2);
    aml_byte(a, 1); /* read and write */
    aml_le(a, base, 4);
    aml_le(a, len, 4);
}

/* Word or DWord address space, fixed at both ends, produced (§6.4.3.5). */
static void aml_window(struct aml *a, uint8_t tag, uint8_t type, uint8_t flags,
                       uint32_t first, uint32_t last)
{
    unsigned w = tag == 0x87 ? 4 : 2;

    aml_byte(a, tag);
    aml_le(a, 3 + 5 * w, 2);
    aml_byte(a, type);
    aml_byte(a, 0x0c); /* min and max fixed, positive decode */
    aml_byte(a, flags);
    aml_le(a, 0, w);
    aml_le(a, first, w);
    aml_le(a, last, w);
    aml_le(a, 0, w);
    aml_le(a, (uint64_t)last - first + 1, w);
}

void aml_bus_window(struct aml *a, uint16_t first, uint16_t last)
{
    aml_window(a, 0x88, 2, 0, first, last);
}

void aml_io_window(struct aml *a, uint16_t first, uint16_t last)
{
    aml_window(a, 0x88, 1, 3, first, last); /* whole range, ISA and not */
}

void aml_mem_window(struct aml *a, uint32_t first, uint32_t last)
{
    aml_window(a, 0x87, 0, 1, first, last); /* not cached, read and write */
}
