# SPDX-License-Identifier: MIT
# The BIOS ROM: $(B)/bios/bios.bin, linked so that it ends at F000:FFFF.

BIOS_SRC := $(wildcard bios/*.c) bios/entry.S
BIOS_OBJ := $(patsubst bios/%,$(B)/bios/%.o,$(basename $(BIOS_SRC)))
# 16-bit code for a 386: no libc, no relocations, nothing the compiler adds.
BIOS_CFLAGS := -m16 -march=i386 -std=gnu11 -Os $(WARN) -ffreestanding -fno-pic \
               -fno-stack-protector -fcf-protection=none -mregparm=3 \
               -fno-asynchronous-unwind-tables -fno-strict-aliasing \
               -mgeneral-regs-only -fno-jump-tables -fomit-frame-pointer \
               -fno-tree-loop-distribute-patterns -mpreferred-stack-boundary=2

$(B)/bios/%.o: bios/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) -I. $(BIOS_CFLAGS) -MMD -MP -c -o $@ $<

# What 32-bit callers run.
$(B)/bios/pci32.o: BIOS_CFLAGS := -m32 $(filter-out -m16,$(BIOS_CFLAGS))

$(B)/bios/%.o: bios/%.S
	@mkdir -p $(@D)
	$(CC) -I. -m32 -MMD -MP -c -o $@ $<

$(B)/bios/bios.elf: $(BIOS_OBJ) bios/bios.ld
	$(CC) -m32 -nostdlib -static -no-pie -Wl,--build-id=none \
	    -Wl,--no-warn-rwx-segments -Wl,-T,bios/bios.ld -o $@ $(BIOS_OBJ)

$(B)/bios/bios.bin: $(B)/bios/bios.elf
	objcopy -O binary $< $@
