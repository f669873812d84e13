/* SPDX-License-Identifier: MIT */
/* An option ROM of virtio-net-pci's with a boot entry vector that prints "rom",
 * on a stack of its own as network boot ROMs have one, and gives up. */
    .code16
    .globl _start
_start:
    .byte 0x55, 0xaa, 1
    jmp init
    .org 0x18
    .word pcir, pnp
    .balign 4
pcir:
    .ascii "PCIR"
    .word 0x1af4, 0x1041, 0, 24
    .byte 0, 0, 0, 2
    .word 1, 0
    .byte 0, 0x80
    .word 0
    .balign 16
pnp:
    .ascii "$PnP"
    .byte 1, 2
    .word 0
    .byte 0, 0
    .long 0
    .word 0, 0
    .byte 2, 0, 0, 0
    .word 0, 0, boot, 0, 0
init:
    movw $0x20, %ax
    lret
boot:
    movw %ss, %bx
    movl %esp, %ecx
    movw $0x5000, %ax
    movw %ax, %ss
    movl $0x1000, %esp
    pushw %bx
    pushl %ecx
    movw $7, %bx
    movw $text, %si
1:  movb %cs:(%si), %al
    incw %si
    movb $0x0e, %ah
    int $0x10
    cmpb $'m', %al
    jne 1b
    popl %ecx
    popw %bx
    movw %bx, %ss
    movl %ecx, %esp
    lret
text: .ascii "\r\nrom"
    .org 511
    .byte 0
