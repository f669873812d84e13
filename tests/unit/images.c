/* SPDX-License-Identifier: MIT */
/* Stands in for machine/boot/embed.S: tests do not need the real guest and ROM.
 * Weak, so that a test may bring its own. */
__asm__(".section .rodata\n"
        ".weak guest_image, guest_image_end, bios_image, bios_image_end\n"
        "guest_image: guest_image_end:\n"
        "bios_image: bios_image_end: .byte 0\n"
        ".previous\n");
