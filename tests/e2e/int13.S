/* SPDX-License-Identifier: MIT */
/* A boot sector that calls INT 13h as the sectors behind it say, and prints
 * what came back; then INT 18h. A row is nine words: AX BX CX DX SI, the first
 * word to put at DS:SI (0: none), and what to print, address (DS) and length;
 * one reserved. ES = DS = 0. The end is a row that begins with FFFFh. Rows are
 * in sectors 2 to 9, which are read to 8000h. */
    .code16
    .globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movb %dl, drive
    movw $hello, %si
    call puts
    movb drive, %al
    call byte
    movw $0x0208, %ax
    movw $0x8000, %bx
    movw $0x0002, %cx
    movb $0, %dh
    movb drive, %dl
    int $0x13
    jc end
    movw $0x8000, %bp
row:
    cmpw $0xffff, (%bp)
    je end
    call line
    movw 8(%bp), %si
    movw 10(%bp), %ax
    testw %ax, %ax
    jz 1f
    movw %ax, (%si)
1:  movw (%bp), %ax
    movw 2(%bp), %bx
    movw 4(%bp), %cx
    movw 6(%bp), %dx
    cmpb $0xff, %dl
    jne 2f
    movb drive, %dl
2:  pushw %bp
    int $0x13
    popw %bp
    pushfw
    call word
    movw %bx, %ax
    call word
    movw %cx, %ax
    call word
    movw %dx, %ax
    call word
    popw %ax
    andb $1, %al
    call byte
    movw 12(%bp), %si
    movw 14(%bp), %cx
3:  jcxz 4f
    lodsb
    call byte
    decw %cx
    jmp 3b
4:  addw $18, %bp
    jmp row
end:
    int $0x18

line:
    movw $crlf, %si
puts:
    lodsb
    testb %al, %al
    jz 1f
    call put
    jmp puts
1:  ret
word:
    pushw %ax
    movb %ah, %al
    call byte
    popw %ax
byte:
    pushw %ax
    shrb $4, %al
    call digit
    popw %ax
    andb $15, %al
digit:
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe put
    addb $39, %al
put:
    pushaw
    movb $0x0e, %ah
    movw $7, %bx
    int $0x10
    popaw
    ret

hello: .asciz "\r\ndrive "
crlf: .asciz "\r\n= "
drive: .byte 0
    .org 510
    .word 0xaa55
