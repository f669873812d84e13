/* SPDX-License-Identifier: MIT */
/* Small words that every room uses: containers, arrays, wire integers. */
#ifndef BYTES_H
#define BYTES_H

#include <stddef.h>
#include <stdint.h>

#define container_of(ptr, type, member)                                        \
    ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
/* A way that is seldom gone: a function of its own, so that the usual one need
 * not save registers, nor guard a stack, for its sake. */
#define SELDOM __attribute__((noinline))
/* One that hardly ever is: as small as can be, too, and the code around a call
 * is laid out as if there were none. */
#define RARE __attribute__((noinline, cold))

/* Little-endian wire types: this VMM runs on x86 only, so they are plain
 * integers; the name says that a struct is laid out by a specification. */
typedef uint16_t le16;
typedef uint32_t le32;
typedef uint64_t le64;

#endif
