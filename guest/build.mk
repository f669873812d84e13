# SPDX-License-Identifier: MIT
# The bundled guest kernel: $(B)/guest/guest.elf and guest.bzimage.
# Included by the top Makefile; `make -f guest/build.mk B=build` works alone.

B ?= build
GUEST_CC ?= gcc
GUEST_OBJCOPY ?= objcopy
GUEST_NM ?= nm

# Plain integer code for the oldest 64-bit CPU: where ring 0 is interpreted
# (without hardware virtualisation) there is no SSE and not every newer instruction.
GUEST_CFLAGS := -std=gnu11 -Os -march=x86-64 -mtune=generic -m64 \
	-ffreestanding -fno-builtin -nostdlib -mno-red-zone -mgeneral-regs-only \
	-mcmodel=small -fno-pic -fno-pie -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fcf-protection=none -fno-tree-vectorize \
	-fno-strict-aliasing -Wall -Wextra -Wshadow -Wmissing-prototypes -Werror
GUEST_LDFLAGS := -nostdlib -static -no-pie -Wl,--build-id=none \
	-Wl,-z,max-page-size=0x1000 -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments

GUEST_OBJS := $(patsubst guest/%.c,$(B)/guest/%.o,$(wildcard guest/*.c)) \
	$(B)/guest/entry.o

.PHONY: guest
guest: $(B)/guest/guest.bzimage $(B)/guest/guest.elf

$(B)/guest/%.o: guest/%.c $(wildcard guest/*.h)
	@mkdir -p $(@D)
	$(GUEST_CC) $(GUEST_CFLAGS) -c -o $@ $<

$(B)/guest/%.o: guest/%.S guest/boot.h
	@mkdir -p $(@D)
	$(GUEST_CC) $(GUEST_CFLAGS) -c -o $@ $<

$(B)/guest/guest.elf: guest/link.ld $(GUEST_OBJS)
	$(GUEST_CC) $(GUEST_LDFLAGS) -T guest/link.ld -o $@ $(GUEST_OBJS)

$(B)/guest/guest.bin: $(B)/guest/guest.elf
	$(GUEST_OBJCOPY) -O binary $< $@

# The header needs two sizes of the payload, so setup is linked after it.
$(B)/guest/setup.bin: $(B)/guest/setup16.o $(B)/guest/guest.bin
	end=$$($(GUEST_NM) $(B)/guest/guest.elf | sed -n 's/ . _end$$//p') && \
	$(GUEST_CC) $(GUEST_LDFLAGS) -Wl,-Ttext=0 -Wl,--section-start=.setup=0 \
	    -Wl,-e,0 \
	    -Wl,--defsym=payload_init_size=0x$$end-0x100000 \
	    -Wl,--defsym=payload_paras=$$(($$(wc -c < $(B)/guest/guest.bin) / 16)) \
	    -o $(B)/guest/setup.elf $<
	$(GUEST_OBJCOPY) -O binary -j .setup $(B)/guest/setup.elf $@

$(B)/guest/guest.bzimage: $(B)/guest/setup.bin $(B)/guest/guest.bin
	cat $^ > $@
