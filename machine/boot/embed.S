/* SPDX-License-Identifier: MIT */
/* The bundled guest and the BIOS ROM, as bytes inside the binary. */
    .section .rodata
    .balign 16
    .global guest_image, guest_image_end, bios_image, bios_image_end
guest_image:
    .incbin "guest/guest.bzimage"
guest_image_end:
    .balign 16
bios_image:
    .incbin "bios/bios.bin"
bios_image_end:
    .section .note.GNU-stack,"",@progbits
