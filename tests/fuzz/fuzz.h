/* SPDX-License-Identifier: MIT */
/* Fuzz targets: bytes become register writes and RAM on the fake machine. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "tests/unit/fake.h"

/* The input, taken from the front; zeroes when it is used up. */
struct fuzz {
    const uint8_t *p;
    size_t n;
};

static inline uint64_t fuzz_take(struct fuzz *f, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes && f->n; i++, f->p++, f->n--)
        v |= (uint64_t)*f->p << (8 * i);
    return v;
}
static inline uint8_t fuzz_u8(struct fuzz *f)
{
    return (uint8_t)fuzz_take(f, 1);
}
static inline uint16_t fuzz_u16(struct fuzz *f)
{
    return (uint16_t)fuzz_take(f, 2);
}
static inline uint32_t fuzz_u32(struct fuzz *f)
{
    return (uint32_t)fuzz_take(f, 4);
}

/* 1, 2, 4 or 8. */
static inline unsigned fuzz_width(struct fuzz *f)
{
    return 1u << (fuzz_u8(f) & 3);
}

/* A target makes its machine once and calls fake_reset() for every input: that
 * is fast, and a device whose reset forgets something shows it. */

/* Each target defines this. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
