/* SPDX-License-Identifier: MIT */
/* The bzImage's real-mode part: boot header, A20, e820, protected mode. */

/*
 * Theory of operation
 *
 * A boot loader or BIOS puts these SETUP_SECTS + 1 sectors at some paragraph X
 * and enters at X+0x20:0 (boot.rst "Running the kernel"). The segment is laid
 * out as the zero page itself: header at 0x1f1, e820 table at 0x2d0, code where
 * the second half of that table would be. So nothing has to be copied: the
 * code fills in e820_entries and the table, and hands X << 4 to the 32-bit
 * entry as boot_params. Loaders that enter at 32 or 64 bits read only the
 * header and bring a zero page of their own.
 */

#include "boot.h"

#define SETUP_SECTS 4 /* the boot protocol's least */
#define E820_TABLE 0x2d0
#define E820_MAX 64 /* of 128 */
#define E820_COUNT 0x1e8
#define SMAP 0x534d4150

    .section .setup, "awx"
    .code16
    .globl setup_start
setup_start:
/* In place of a boot sector: BIOSes that boot this by mistake stop. */
    hlt
    jmp setup_start

    .org 0x1f1
    .byte SETUP_SECTS   /* setup_sects */
    .word 0             /* root_flags */
    .long payload_paras /* syssize, in 16-byte units */
    .word 0             /* ram_size */
    .word 0xffff        /* vid_mode: normal */
    .word 0             /* root_dev */
    .word 0xaa55        /* boot_flag */
entry16:
    .byte 0xeb, header_end - 1f /* jump; also the header's length */
1:  .ascii "HdrS"
    .word 0x020f        /* version 2.15 */
    .long 0             /* realmode_swtch */
    .word 0             /* start_sys_seg */
    .word version - 0x200 /* kernel_version */
    .byte 0             /* type_of_loader */
    .byte 0x01          /* loadflags: LOADED_HIGH */
    .word 0             /* setup_move_size */
    .long 0x100000      /* code32_start */
    .long 0, 0          /* ramdisk_image, ramdisk_size */
    .long 0             /* bootsect_kludge */
    .word 0             /* heap_end_ptr */
    .byte 0, 0          /* ext_loader_ver, ext_loader_type */
    .long 0             /* cmd_line_ptr */
    .long 0x7fffffff    /* initrd_addr_max */
    .long 0x1000        /* kernel_alignment */
    .byte 0             /* relocatable_kernel */
    .byte 12            /* min_alignment */
    .word 0x0001        /* xloadflags: XLF_KERNEL_64 */
    .long BOOT_CMDLINE_MAX /* cmdline_size, without the NUL */
    .long 0             /* hardware_subarch: PC */
    .quad 0             /* hardware_subarch_data */
    .long 0, 0          /* payload_offset, payload_length: not compressed */
    .quad 0             /* setup_data */
    .quad 0x100000      /* pref_address */
    .long payload_init_size /* init_size: file, bss and buffers */
    .long 0             /* handover_offset */
    .long 0             /* kernel_info_offset */
header_end:
    jmp start16

    .org 0x7d0
version:
    .asciz "tiny-guest 1"

start16:
    cli
    cld
    movw %ds, %ax       /* boot.rst: DS = ES = SS = X */
    movw %ax, %es
    movw %ax, %ss
    movw $0xfff0, %sp
    xorl %eax, %eax
    movw %ds, %ax
    shll $4, %eax
    movl %eax, %esi     /* linear address of the zero page */

/* ACPI 6 §15.1: INT 15h E820, until EBX is 0 again or carry is set. */
    xorl %ebx, %ebx
    movw $E820_TABLE, %di
next_range:
    movl $0xe820, %eax
    movl $20, %ecx
    movl $SMAP, %edx
    pushl %esi
    pushw %di
    int $0x15
    popw %di
    popl %esi
    jc ranges_done
    cmpl $SMAP, %eax
    jne ranges_done
    incb E820_COUNT
    addw $20, %di
    cmpb $E820_MAX, E820_COUNT
    jae ranges_done
    testl %ebx, %ebx
    jnz next_range
ranges_done:

/* A20: try the BIOS, then the fast gate; each only if still needed. */
    call a20_test
    jne a20_done
    movw $0x2401, %ax
    int $0x15
    call a20_test
    jne a20_done
    inb $0x92, %al
    orb $2, %al
    andb $0xfe, %al     /* bit 0 would reset the machine */
    outb %al, $0x92
a20_done:
    cli                 /* a BIOS call may have set IF */

/* Protected mode: selectors as boot.rst wants them, 0x10 and 0x18. */
    leal setup_gdt(%esi), %eax
    movl %eax, setup_gdt_desc + 2
    lgdtl setup_gdt_desc
    movl 0x214, %edx    /* code32_start, a loader may have changed it */
    movl $BOOT_16, %ebx
    leal flat(%esi), %eax
    movl %eax, flat_ptr
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl *flat_ptr

    .code32
flat:
    movl $0x18, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    xorl %ebp, %ebp
    xorl %edi, %edi
    jmp *%edx

    .code16
/* ZF set if 0:0x500 and 1 MiB + 0x500 are the same cell (A20 is off). Both are
 * put back: the payload already lies at 1 MiB. */
a20_test:
    pushw %ds
    pushw %es
    xorw %ax, %ax
    movw %ax, %ds
    notw %ax
    movw %ax, %es
    pushw %es:0x510
    movw 0x500, %ax
    pushw %ax
    notw %ax
    movw %ax, %es:0x510
    cmpw %ax, 0x500
    popw 0x500          /* pops leave the flags alone */
    popw %es:0x510
    popw %es
    popw %ds
    ret

    .balign 8
setup_gdt:
    .quad 0, 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
setup_gdt_desc:
    .word . - setup_gdt - 1
    .long 0
flat_ptr:
    .long 0
    .word 0x10
    .org (SETUP_SECTS + 1) * 512

    .section .note.GNU-stack, "", @progbits
