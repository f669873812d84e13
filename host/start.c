/* SPDX-License-Identifier: MIT */
/* Where the program begins: it puts itself in its place in memory.
 *
 * A static program that can lie anywhere has no dynamic linker to add its
 * address to the pointers in its tables, so it does that itself before anything
 * else, the C library included. The linker lists them packed (DT_RELR of the
 * System V ABI): an even word is a pointer's address, an odd one 63 bits that
 * tell which of the 63 words after it are pointers too. Not packed, that list
 * is 24 bytes a pointer, a fifteenth of the binary; older musl's own start code
 * reads no other. */
#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#ifndef DT_RELR /* musl before 1.2.4 */
#define DT_RELRSZ 35
#define DT_RELR 36
#endif

#define HERE __attribute__((visibility("hidden")))
#define LINKER HERE extern /* what the linker defines */

LINKER const Elf64_Ehdr __ehdr_start;
LINKER const Elf64_Dyn _DYNAMIC[];
int main(int argc, char **argv);
int __libc_start_main(int (*)(int, char **), int, char **, void (*)(void),
                      void (*)(void), void (*)(void));
HERE void start_here(uintptr_t *stack);

/* With the stack as the kernel left it: argc, argv, NULL, environment. */
__asm__(".text\n"
        ".globl _start\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call start_here\n");

static void start_relocate(char *base, const uint64_t *relr, size_t n)
{
    uint64_t *at = (uint64_t *)base;
    for (size_t i = 0; i < n; i++) {
        if (relr[i] & 1) {
            for (int bit = 1; bit < 64; bit++)
                if (relr[i] >> bit & 1)
                    at[bit - 1] += (uintptr_t)base;
            at += 63;
        } else {
            at = (uint64_t *)(base + relr[i]);
            *at++ += (uintptr_t)base;
        }
    }
}

/* No canary is there yet to guard a stack with. */
__attribute__((no_stack_protector)) void start_here(uintptr_t *stack)
{
    char *base = (char *)&__ehdr_start;
    size_t relr = 0, size = 0;
    for (const Elf64_Dyn *d = _DYNAMIC; d->d_tag; d++) {
        if (d->d_tag == DT_RELR)
            relr = d->d_un.d_ptr;
        else if (d->d_tag == DT_RELRSZ)
            size = d->d_un.d_val;
    }
    start_relocate(base, (uint64_t *)(base + relr), size / sizeof(uint64_t));
    __libc_start_main(main, (int)stack[0], (char **)(stack + 1), NULL, NULL,
                      NULL);
}
