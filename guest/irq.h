/* SPDX-License-Identifier: MIT */
/* Interrupts: IDT, local APIC, 8259 pair. */
#ifndef GUEST_IRQ_H
#define GUEST_IRQ_H

#include "lib.h"

#define VECTOR_PIC 32 /* 8259 inputs 0 to 15 */
#define VECTOR_MSI 48 /* MSI-X, up to VECTOR_SPURIOUS */
#define VECTOR_SPURIOUS 63
#define VECTORS 64 /* as many as entry.S has stubs for */

/* What entry.S has pushed. */
struct trap_frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8;
    u64 rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error;
    u64 rip, cs, rflags, rsp, ss;
};

/* First in ring 0, as little as it takes to leave it (ring.c); then in whatever
 * ring. */
void irq_init(void);
void irq_gates(void);

/* Handlers run with interrupts off; the end-of-interrupt is done for them. */
void irq_line_enable(u8 line, void (*handler)(void));
void irq_vector_set(u8 vector, void (*handler)(void));

/* MSI address that reaches this CPU (Intel SDM vol. 3 §11.11.1). */
u32 irq_msi_address(void);

/* Halts until an interrupt has been handled. The only place where interrupts
 * are taken: all else in the guest runs with IF clear. */
void irq_wait(void);

/* Called by entry.S. */
void irq_dispatch(struct trap_frame *f);

#endif
