/* SPDX-License-Identifier: MIT */
/* Running in ring 3, and stepping into ring 0 where it must be. */

/*
 * Theory of operation
 *
 * A hypervisor without hardware virtualisation, as on our build machines, runs
 * ring 3 at native speed and interprets ring 0 (2 to 4 million
 * instructions a second). With `ring3` all but a handful of instructions are
 * carried out in ring 3. The guest has no secrets from itself: all pages are
 * the user's, and ports are reached through the TSS's permission bitmap.
 * Interrupts stay off in ring 3; irq_wait() allows them in ring 0 (irq.h).
 *
 * The usual ways to do this were tried there and fail: IOPL 3 is ignored, `int`
 * is an invalid opcode, and syscall arrives without having left ring 3. An
 * exception does work, so ring0() is a ud2 at a known address. Real KVM exits
 * on it, one more exit for each hlt, which is why ring 0 is the default.
 */

#include "ring.h"
#include "power.h"

#define SEL_TSS 0x30
#define TSS_AVAILABLE 0x89ull /* present, 64-bit TSS */
#define PORTS 0x1000          /* nobody here uses higher ones */

/* Intel SDM vol. 3 §8.7 and vol. 1 §19.5.2: a clear bit allows the port, one
 * byte of ones ends the bitmap. */
static struct __attribute__((packed)) {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1, ist[7], reserved2;
    u16 reserved3, bitmap_at;
    u8 bitmap[PORTS / 8];
    u8 bitmap_end;
} tss __attribute__((aligned(16)));

#define UD2_LEN 2

extern u64 gdt_tss[2];
extern u8 ring0_stack_top[];
static bool in_ring3;

/* ---------------------------------------------------------------- vectors */

#define CR4_OSFXSR_OSXMMEXCPT 0x600

/* Nothing else here uses vector registers, so they have what was put there
 * last, or somebody lost it: whoever saves this guest. Ring 0 may be
 * interpreted, without them. */
static u64 counted;

static void vectors_set(void)
{
    __asm__ volatile("movq %0, %%xmm6\n\tmovq %1, %%xmm7"
                     :
                     : "r"(counted), "r"(~counted));
}

static void vectors_allow(void)
{
    u64 cr4;

    __asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("movq %0, %%cr4" : : "r"(cr4 | CR4_OSFXSR_OSXMMEXCPT));
}

void vectors_count(void)
{
    u64 count, inverse;

    if (!in_ring3)
        return;
    __asm__ volatile("movq %%xmm6, %0\n\tmovq %%xmm7, %1"
                     : "=r"(count), "=r"(inverse));
    if (count != counted || inverse != ~counted)
        power_panic("vector registers are lost", NULL);
    counted++;
    vectors_set();
}

/* ----------------------------------------------------------------- ring 3 */

void ring_enter3(void)
{
    u64 base = (uptr)&tss;

    tss.rsp[0] = (uptr)ring0_stack_top;
    tss.bitmap_at = offsetof(__typeof__(tss), bitmap);
    tss.bitmap_end = 0xff;
    gdt_tss[0] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 |
                 TSS_AVAILABLE << 40 | (base >> 24) << 56;
    __asm__ volatile("ltr %w0" : : "r"(SEL_TSS));
    vectors_allow();
    in_ring3 = true;
    ring3_return();
    vectors_set();
}

void ring0(void (*fn)(void))
{
    if (in_ring3)
        ring0_trap(fn);
    else
        fn();
}

bool ring_trapped(struct trap_frame *f)
{
    if (f->rip != (uptr)ring0_trap)
        return false;
    ((void (*)(void))(uptr)f->rdi)();
    f->rip += UD2_LEN;
    return true;
}
