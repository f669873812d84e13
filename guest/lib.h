/* SPDX-License-Identifier: MIT */
/* Types, port and memory access, strings, serial output. */
#ifndef GUEST_LIB_H
#define GUEST_LIB_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef uintptr_t uptr;

/* For fields of packets and tables that lie at any offset. */
typedef u16 __attribute__((aligned(1), may_alias)) u16_unaligned;
typedef u32 __attribute__((aligned(1), may_alias)) u32_unaligned;
typedef u64 __attribute__((aligned(1), may_alias)) u64_unaligned;

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define NOINIT __attribute__((section(".noinit")))

/* Network byte order; the compiler makes one xchg or bswap of them. */
static inline u16 be16(u16 v)
{
    return (u16)(v << 8 | v >> 8);
}

static inline u32 be32(u32 v)
{
    return __builtin_bswap32(v);
}

/* The first 4 GiB are mapped one to one; NULL for 0 and everything above. */
static inline void *phys(u64 gpa)
{
    return gpa >> 32 ? NULL : (void *)(uptr)gpa;
}

static inline void outb(u16 port, u8 v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outw(u16 port, u16 v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outl(u16 port, u32 v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline u8 inb(u16 port)
{
    u8 v;

    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline u16 inw(u16 port)
{
    u16 v;

    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline u32 inl(u16 port)
{
    u32 v;

    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

/* MMIO: plain moves, never a read-modify-write a hypervisor must decode. */
static inline void mmio_w8(uptr a, u8 v)
{
    __asm__ volatile("movb %0, (%1)" : : "q"(v), "r"(a) : "memory");
}

static inline void mmio_w16(uptr a, u16 v)
{
    __asm__ volatile("movw %0, (%1)" : : "r"(v), "r"(a) : "memory");
}

static inline void mmio_w32(uptr a, u32 v)
{
    __asm__ volatile("movl %0, (%1)" : : "r"(v), "r"(a) : "memory");
}

static inline u8 mmio_r8(uptr a)
{
    u8 v;

    __asm__ volatile("movb (%1), %0" : "=q"(v) : "r"(a) : "memory");
    return v;
}

static inline u16 mmio_r16(uptr a)
{
    u16 v;

    __asm__ volatile("movw (%1), %0" : "=r"(v) : "r"(a) : "memory");
    return v;
}

static inline u32 mmio_r32(uptr a)
{
    u32 v;

    __asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(a) : "memory");
    return v;
}

static inline void cpuid_at(u32 leaf, u32 subleaf, u32 r[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
                     : "a"(leaf), "c"(subleaf));
}

static inline void cpuid(u32 leaf, u32 r[4])
{
    cpuid_at(leaf, 0, r);
}

static inline u64 rdmsr(u32 msr)
{
    u32 lo, hi;

    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 v)
{
    __asm__ volatile("wrmsr"
                     :
                     : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32))
                     : "memory");
}

static inline u64 rdtsc(void)
{
    u32 lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (u64)hi << 32 | lo;
}

/* x86 keeps loads and stores in order among themselves (SDM vol. 3 §8.2.2);
 * only the compiler must be held back. */
static inline void barrier(void)
{
    __asm__ volatile("" : : : "memory");
}

/* Store, then load: a locked operation instead of mfence, which is SSE2 and
 * may be missing in an interpreter of ring 0. */
static inline void barrier_full(void)
{
    __asm__ volatile("lock orl $0, (%%rsp)" : : : "memory", "cc");
}

static inline void cpu_relax(void)
{
    __asm__ volatile("pause");
}

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

void serial_init(void);

/* Formats %s %c %d %u %x %lx %lu with width and zero fill, %% and %pI
 * (const u32 *, IPv4 in network order) and %pM (const u8 *, MAC). */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
