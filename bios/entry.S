/* SPDX-License-Identifier: MIT */
/* Where real mode enters the ROM: the reset vector and the tag by which the
 * loader finds the rest. */
    .code16

    .section .handoff, "aw"
    .balign 16
    .global handoff
handoff:
    .fill 48 + 20 * 16, 1, 0

    .text
    .global post
post:
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

    .global iret_stub
iret_stub:
    iretw

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
    ljmpw $0xf000, $post
    .ascii "11/21/26"
    .byte 0
    .byte 0xfc
    .byte 0

    .section .note.GNU-stack,"",@progbits
