/* SPDX-License-Identifier: MIT */
/* Where real mode enters the ROM: reset vector, interrupt stubs, the few things
 * that C cannot say, and the structures programs look for in F0000..FFFFF. */
    .code16

/* The lowest byte of the ROM's segment that the image does not use is the top
 * of its stack (bios.ld: stack_top). */

    .section .handoff, "aw"
    .balign 16
    .global handoff
handoff: /* the SMBIOS entry point is its first field: keep it aligned */
    .fill 84 + 20 * 16, 1, 0

/* BIOS32 service directory (PCI BIOS 2.1 §3.3); post() writes the checksums. */
    .balign 16
    .global bios32_header
bios32_header:
    .ascii "_32_"
    .long 0xf0000 + bios32_entry
    .byte 0, 1, 0, 0, 0, 0, 0, 0

/* Plug and Play BIOS 1.0A §4.4: there is one, so that option ROMs leave the
 * choice of what to boot to us; none of its functions is supported. */
    .balign 16
    .global pnp_header
pnp_header:
    .ascii "$PnP"
    .byte 0x10, 0x21
    .word 0
    .byte 0
    .long 0
    .word pnp_real, 0xf000
    .word pnp_protected
    .long 0xf0000
    .long 0
    .word 0xf000
    .long 0xf0000

    .data
    .global bios_sp
bios_sp:
    .word stack_top

    .text
/* ---------------------------------------------------------------- power on */

    .global power_on
power_on:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $stack_top, %esp
    cmpw $0, handoff + 32 /* kind */
    je reset_machine
    calll post
    int $0x19
    jmp reset_machine

/* Resets through the reset control register (CF9h: SYS_RST, then RST_CPU);
 * Linux's last but one way to reboot, and any program's, ends here. */
    .global reset_machine
reset_machine:
    cli
    movw $0xcf9, %dx
    movb $2, %al
    outb %al, %dx
    movb $6, %al
    outb %al, %dx
1:  hlt
    jmp 1b

/* boot.rst "Running the Kernel" */
    .global enter_kernel
enter_kernel:
    cli
    movw handoff + 36, %ax /* kernel_ds */
    movzwl handoff + 38, %ecx
    movw handoff + 34, %bx
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movl %ecx, %esp
    pushw %bx
    pushw $0
    xorl %eax, %eax
    xorl %ebx, %ebx
    xorl %edx, %edx
    lretw

/* enter_boot_sector(al drive): as programs expect it of a BIOS; ES:DI is the
 * PnP structure. */
    .global enter_boot_sector
enter_boot_sector:
    movw %cs, %bx
    movw %bx, %es
    movw $pnp_header, %di
    movzbl %al, %edx
    xorl %eax, %eax
    movw %ax, %ds
    movw %ax, %ss
    movl $0x7c00, %esp
    sti
    ljmpw $0, $0x7c00

/* boot_anew(eax): whoever called or was called before never comes back. */
    .global boot_anew
boot_anew:
    movl $stack_top, %esp
    movw %sp, bios_sp
    calll boot

/* -------------------------------------------------------------- interrupts */

/* Vectors that C answers: push the number, go on in common. */
    .macro VECTORS list:vararg
    .irp v, \list
    .global vector_\v
vector_\v:
    pushw $0x\v
    jmp common
    .endr
    .endm
    VECTORS 00, 06, 10, 11, 12, 13, 14, 15, 16, 18, 19, 1a

common:
    pushal
    pushw %ds
    pushw %es
    pushw %fs
    pushw %gs
    cld
    movw %ss, %cx
    movw %cx, %fs
    movzwl %sp, %eax /* %fs:%eax is struct regs */
    movw %cs, %bx
    movw %bx, %ds
    movw %bx, %es
    movzwl %sp, %esp
    cmpw %bx, %cx
    je 1f
    movw %bx, %ss
    movzwl bios_sp, %esp
1:  pushl %eax
    calll interrupt
    popl %eax
    movw %fs, %cx
    movw %cx, %ss
    movl %eax, %esp
    popw %gs
    popw %fs
    popw %es
    popw %ds
    popal
    addw $2, %sp
    iretw

/* IRQ 0: the tick count at 40:6C wraps at midnight; then the user's hook. */
    .global irq_timer
irq_timer:
    pushw %ax
    pushw %ds
    movw $0x40, %ax
    movw %ax, %ds
    incl 0x6c
    cmpl $0x1800b0, 0x6c
    jb 1f
    movl $0, 0x6c
    incb 0x70
1:  int $0x1c
    jmp eoi_master_pop

/* IRQ 8: reading register C lets the RTC interrupt again. */
    .global irq_rtc
irq_rtc:
    pushw %ax
    pushw %ds
    movb $0x0c, %al
    outb %al, $0x70
    inb $0x71, %al
    jmp eoi_slave_pop

    .global irq_slave
irq_slave:
    pushw %ax
    pushw %ds
eoi_slave_pop:
    movb $0x20, %al
    outb %al, $0xa0
    jmp eoi_master_pop
    .global irq_master
irq_master:
    pushw %ax
    pushw %ds
eoi_master_pop:
    movb $0x20, %al
    outb %al, $0x20
    popw %ds
    popw %ax
    .global iret_stub
iret_stub:
    iretw

/* ------------------------------------------------------- flat memory, ROMs */

/* flat_copy(eax dst, edx src, ecx len): through protected mode, with data
 * segments of 4 GiB. */
    .global flat_copy
flat_copy:
    pushl %esi
    pushl %edi
    pushl %ebx
    movl %eax, %edi
    movl %edx, %esi
    lgdtl gdt_pointer
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpw $0x08, $1f
1:  movw $0x10, %bx
    movw %bx, %ds
    movw %bx, %es
    movl %ecx, %ebx
    shrl $2, %ecx
    rep movsl (%esi), (%edi)
    movl %ebx, %ecx
    andl $3, %ecx
    rep movsb (%esi), (%edi)
    movw $0x18, %bx /* limits of 64 KiB again */
    movw %bx, %ds
    movw %bx, %es
    andb $0xfe, %al
    movl %eax, %cr0
    ljmpw $0xf000, $2f
2:  movw %cs, %bx
    movw %bx, %ds
    movw %bx, %es
    popl %ebx
    popl %edi
    popl %esi
    retl

/* flat_call(eax function, edx argument): in protected mode, GS all memory and
 * the other segments as they are. */
    .global flat_call
flat_call:
    pushl %ebx
    movl %eax, %ebx
    movl %edx, %eax
    lgdtl gdt_pointer
    movl %cr0, %ecx
    orb $1, %cl
    movl %ecx, %cr0
    ljmpw $0x08, $1f
1:  movw $0x10, %cx
    movw %cx, %gs
    calll *%ebx
    movw $0x18, %cx
    movw %cx, %gs
    movl %cr0, %ecx
    andb $0xfe, %cl
    movl %ecx, %cr0
    ljmpw $0xf000, $2f
2:  popl %ebx
    retl

    .balign 8
gdt:
    .quad 0
    .quad 0x00009b0f0000ffff /* 08: this segment */
    .quad 0x00cf93000000ffff /* 10: everything */
    .quad 0x000093000000ffff /* 18: as in real mode */
gdt_pointer:
    .word . - gdt - 1
    .long 0xf0000 + gdt

/* call_rom(ax segment, dx offset, cx value for AX). Interrupts that come from
 * another stack leave this one alone, and what the ROM pushes on it. */
    .global call_rom
call_rom:
    pushal
    pushw bios_sp
    pushw %ds
    pushw %es
    pushw %fs
    pushw %gs
    leal -1024(%esp), %ebx
    movw %bx, bios_sp
    pushw %cs
    pushw $1f
    pushw %ax
    pushw %dx
    movw %cx, %ax
    movw $0xffff, %bx
    movw %bx, %dx
    movw %cs, %di
    movw %di, %es
    movw $pnp_header, %di
    lretw
1:  cli
    cld
    popw %gs
    popw %fs
    popw %es
    popw %ds
    popw bios_sp
    popal
    retl

/* --------------------------------------------- services called, not INTed */

pnp_real: /* PnP BIOS: FUNCTION_NOT_SUPPORTED */
    movw $0x82, %ax
    lretw

    .code32
pnp_protected:
    movw $0x82, %ax
    lretw

/* BIOS32 (PCI BIOS 2.1 §3.3): EAX names a service, EBX is 0; AL = 0, EBX base,
 * ECX length, EDX entry. Called far, from flat 32-bit segments anywhere. */
bios32_entry:
    cmpl $0x49435024, %eax /* "$PCI" */
    jne 1f
    movl $0xf0000, %ebx
    movl $0x10000, %ecx
    movl $pci32_entry, %edx
    movb $0, %al
    lret
1:  movb $0x80, %al /* no such service */
    lret

/* INT 1Ah, AH=B1h by far call: struct pci_call is what pushal leaves. */
    .global pci32_entry
pci32_entry:
    pushal
    movl %esp, %eax
    cld
    call pci32
    btl $0, %eax
    popal
    lret
    .code16

/* --------------------------------------------------------- fixed addresses */

    .section .tag, "a"
    .ascii "VMM-ROM1"
    .word handoff
    .word iret_stub
    .long 0

/* FFF0h: the first instruction; then the release date, the model byte (FCh: a
 * PC/AT) where old programs look for them. */
    .section .reset, "ax"
    .global reset_vector
reset_vector:
    ljmpw $0xf000, $power_on
    .ascii "11/21/26"
    .byte 0
    .byte 0xfc
    .byte 0

    .section .note.GNU-stack,"",@progbits
