/* SPDX-License-Identifier: MIT */
/* A tiny writer of AML, the byte code of ACPI's DSDT (ACPI 6.5 chapter 20), and
 * of the resource descriptors inside it (§6.4). */
#ifndef AML_H
#define AML_H

#include <stddef.h>
#include <stdint.h>

/* Bytes are appended at p[n]; n goes on counting past cap, so that the caller
 * checks once, at the end. */
struct aml {
    uint8_t *p;
    size_t n, cap;
};

void aml_byte(struct aml *a, uint8_t v);
void aml_bytes(struct aml *a, const void *p, size_t n);
void aml_le(struct aml *a, uint64_t v, unsigned bytes);
/* A four-letter name segment. */
void aml_name(struct aml *a, const char *seg);

/* Blocks: open gives a mark for close, which fills in the PkgLength. */
size_t aml_scope(struct aml *a, const char *seg); /* \seg */
size_t aml_device(struct aml *a, const char *seg);
size_t aml_package(struct aml *a, unsigned elements);
void aml_close(struct aml *a, size_t mark);

void aml_int(struct aml *a, uint64_t v);
void aml_string(struct aml *a, const char *s);
/* Name (seg, …): the value is written next. */
void aml_defname(struct aml *a, const char *seg);
void aml_defint(struct aml *a, const char *seg, uint64_t v);
/* Name (seg, EisaId ("PNP0A08")), and one with a string. */
void aml_defeisa(struct aml *a, const char *seg, const char *id);

/* Method (seg) { Notify (\scope.device, value) } */
void aml_notifier(struct aml *a, const char *seg, const char *scope,
                  const char *device, uint8_t value);

/* Name (_CRS, Buffer …): open, descriptors, close. */
size_t aml_crs(struct aml *a);
void aml_crs_close(struct aml *a, size_t mark);
void aml_io(struct aml *a, uint16_t base, uint8_t len);
void aml_irq(struct aml *a, unsigned irq); /* ISA: edge, high, exclusive */
void aml_mem32(struct aml *a, uint32_t base, uint32_t len);
void aml_bus_window(struct aml *a, uint16_t first, uint16_t last);
void aml_io_window(struct aml *a, uint16_t first, uint16_t last);
void aml_mem_window(struct aml *a, uint32_t first, uint32_t last);

#endif
