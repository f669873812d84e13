/* SPDX-License-Identifier: MIT */
/* Every way into the guest ends here: long mode, own tables, guest_main(). */

/*
 * Theory of operation
 *
 * The payload is linked at 1 MiB and is not relocatable. It can be entered
 *
 *   start32   bzImage code32_start (boot.rst "32-bit Boot Protocol"), and from
 *             setup16.S, which says so by EBX = BOOT_16 (boot.rst wants 0)
 *   start64   bzImage +0x200 and ELF e_entry ("64-bit Boot Protocol")
 *   start_pvh the PVH note, EBX = hvm_start_info
 *   start_mb  Multiboot 1 and 2, EAX = magic, EBX = information structure
 *
 * All of them bring %edi = enum boot_kind (boot.h) and %esi = the information
 * structure. Page tables map the first 4 GiB one to one by 2 MiB pages, which
 * every CPU has. Where ring 0 is interpreted (ring.c), the 10000 instructions
 * that fill them in are half of the time to boot; so a 64-bit loader's stay in
 * use if they will do (tables_serve() in window.c), and vmm's do.
 *
 * Interrupts are taken only inside irq_wait() (irq.c), so no stub has to care
 * about what it interrupts; they restore everything all the same.
 */

#include "boot.h"

#define CR0_PE_ET_NE_PG 0x80000031
#define CR4_PAE (1 << 5)
#define MSR_EFER 0xc0000080
#define EFER_LME (1 << 8)
#define PTE_P_W_U 0x07 /* user too, ring.c says why */
#define PTE_UNCACHED 0x18 /* PWT | PCD */
#define PTE_LARGE 0x80

#define SEL_CODE64 0x10 /* the boot protocol's number for code */
#define SEL_DATA 0x18
#define SEL_USER_DATA 0x20
#define SEL_USER_CODE 0x28
#define RFLAGS_NONE 2 /* IF clear, IOPL 0; bit 1 is always set */

/* The six pages from pml4 on. The same text for 32 and for 64 bits; uses EAX,
 * EBX and ECX. */
    .macro fill_tables
    movl %edi, %ebx
    movl $pml4, %edi
    movl $6 * 1024, %ecx
    xorl %eax, %eax
    rep stosl
    movl $own_pdpt + PTE_P_W_U, pml4
    movl $page_dirs + PTE_P_W_U, own_pdpt
    movl $page_dirs + 4096 + PTE_P_W_U, own_pdpt + 8
    movl $page_dirs + 8192 + PTE_P_W_U, own_pdpt + 16
    movl $page_dirs + 12288 + PTE_P_W_U, own_pdpt + 24
    movl $page_dirs, %edi
    movl $PTE_P_W_U + PTE_LARGE, %eax
1:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    jnc 1b
    movl $512, %ecx
2:  orb $PTE_UNCACHED, page_dirs + 12288 - 8(,%ecx,8) /* MMIO is up here */
    decl %ecx
    jnz 2b
    movl %ebx, %edi
    .endm

    .section .head, "awx"
    .code32
    .globl start32
start32:
    cmpl $BOOT_16, %ebx
    movl $BOOT_16, %edi
    je enter_from_32
    movl $BOOT_32, %edi
    jmp enter_from_32

/* Multiboot 1 (§3.1). Bit 16: the addresses below rule, so that a loader
 * need not understand 64-bit ELF; bit 1: memory map wanted. */
    .balign 4
multiboot1:
    .long 0x1badb002, 0x00010002, -(0x1badb002 + 0x00010002)
    .long multiboot1, _start, _edata, _end, start_mb

/* Multiboot 2 (§3.1): address tag 2, entry tag 3, end tag 0. */
    .balign 8
multiboot2:
    .long 0xe85250d6, 0, multiboot2_end - multiboot2
    .long -(0xe85250d6 + (multiboot2_end - multiboot2))
    .short 2, 0
    .long 24, multiboot2, _start, _edata, _end
    .short 3, 0
    .long 12, start_mb
    .balign 8
    .short 0, 0
    .long 8
multiboot2_end:

start_mb:
    movl %ebx, %esi
    movl $BOOT_MB1, %edi
    cmpl $0x2badb002, %eax
    je enter_from_32
    movl $BOOT_MB2, %edi
    jmp enter_from_32

start_pvh:
    movl %ebx, %esi
    movl $BOOT_PVH, %edi

enter_from_32:
    cli
    cld
    fill_tables
    movl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $pml4, %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    movl $EFER_LME, %eax
    xorl %edx, %edx
    wrmsr
    movl $CR0_PE_ET_NE_PG, %eax
    movl %eax, %cr0
    lgdt gdt_desc
    ljmpl $SEL_CODE64, $long_mode

    .org 0x200
    .code64
    .globl start64
start64:
    cli
    cld
    movl $stack_top, %esp
    movl $CR4_PAE, %eax /* no SMEP, SMAP: all pages are the user's */
    movq %rax, %cr4
    pushq %rsi
    movq %cr3, %rdi
    call tables_serve
    popq %rsi
    testb %al, %al
    jnz have_tables
    fill_tables
    movl $pml4, %eax
    movq %rax, %cr3
have_tables:
    movl $BOOT_64, %edi
    lgdt gdt_desc
    pushq $SEL_CODE64
    pushq $long_mode
    lretq

long_mode:
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $stack_top, %esp
    movl %edi, %edx
    movl $_edata, %edi
    movl $_ebss, %ecx
    subl %edi, %ecx
    shrl $3, %ecx
    xorl %eax, %eax
    rep stosq
    movl %edx, %edi
    movl %esi, %esi
    call guest_main
9:  cli
    hlt
    jmp 9b

/*
 * Interrupt stubs, 16 bytes each, so that irq.c can compute their addresses:
 * 0-31 exceptions, 32-47 the two 8259s, 48-63 MSI-X.
 */
    .text
    .balign 16
    .globl vector_stubs
vector_stubs:
    .set vec, 0
    .rept 64
    .balign 16
    .if !(vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21)
    pushq $0 /* the CPU pushes an error code for those above only */
    .endif
    pushq $vec
    jmp vector_common
    .set vec, vec + 1
    .endr

/* void ring0_trap(void (*fn)(void)): the exception has ring.c call fn. */
    .globl ring0_trap
ring0_trap:
    ud2
    ret

/* void ring3_return(void): returns to its caller in ring 3, on the same stack,
 * with interrupts off. */
    .globl ring3_return
ring3_return:
    popq %rax
    movq %rsp, %rcx
    pushq $(SEL_USER_DATA | 3)
    pushq %rcx
    pushq $RFLAGS_NONE
    pushq $(SEL_USER_CODE | 3)
    pushq %rax
    iretq

vector_common:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi /* struct trap_frame * */
    call irq_dispatch
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
    iretq

    .data
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff /* 0x08 code, 32 bits */
    .quad 0x00af9b000000ffff /* 0x10 code, 64 bits */
    .quad 0x00cf93000000ffff /* 0x18 data */
    .quad 0x00cff3000000ffff /* 0x20 data, ring 3 */
    .quad 0x00affb000000ffff /* 0x28 code, ring 3 */
    .globl gdt_tss
gdt_tss:
    .quad 0, 0               /* 0x30 TSS, filled in by ring.c */
gdt_desc:
    .short . - gdt - 1
    .quad gdt

    .section .noinit, "aw", @nobits
    .balign 4096
pml4:
    .skip 4096
    .globl own_pdpt
own_pdpt:
    .skip 4096
page_dirs:
    .skip 4 * 4096
    .skip 16384
stack_top:
    .skip 8192
    .globl ring0_stack_top
ring0_stack_top:

/* XEN_ELFNOTE_PHYS32_ENTRY (18): where a PVH loader enters, 32 bits. */
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18
    .asciz "Xen"
    .long start_pvh

    .section .note.GNU-stack, "", @progbits
