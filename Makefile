# SPDX-License-Identifier: MIT
# The whole build. `make help` lists what it can do.

B ?= build
VERSION := 0.1
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

CC := gcc
MUSL_CC := musl-gcc
WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes \
        -Wvla -Wpointer-arith -Wwrite-strings -Werror
CPPFLAGS := -I. -D_GNU_SOURCE -DVERSION='"$(VERSION)"'
# musl-gcc hides the system headers; the kernel's UAPI headers are linked into
# a directory of their own.
UAPI := $(B)/uapi
CFLAGS = -std=c11 $(OPT) -g $(WARN) -fno-strict-aliasing -fPIE -fdata-sections \
         -ffunction-sections -fstack-protector-strong \
         -fno-asynchronous-unwind-tables
# Small, but for what runs per packet or per exit. (At -Os gcc's flow analysis
# warns of variables that are set; clang and -O2 builds of the tests see those.)
OPT := -Os -Wno-maybe-uninitialized
HOT := machine/kvm/vcpu machine/bus base/loop machine/machine net/tap net/hub \
       devices/virtio/queue devices/virtio/packed devices/virtio_net/% devices/e1000/%
$(HOT:%=$(B)/%.o): OPT := -O2
# A static program that can lie anywhere, its tables read-only (host/process.c).
# musl-gcc takes -static-pie for a dynamic program's; so by hand, with what the
# C library has for it beside its crti.o.
LDFLAGS := -static -nostartfiles -Wl,-pie,--no-dynamic-linker,-z,text \
           -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-z,noexecstack \
           -Wl,--build-id=none
CRT = $(dir $(shell $(MUSL_CC) -\#\#\# -xc /dev/null 2>&1 | \
              grep -o '[^ "]*/crti\.o'))
CRT_BEGIN = $(CRT)rcrt1.o $(CRT)crti.o \
            $(shell $(MUSL_CC) -print-file-name=crtbeginS.o)
CRT_END = $(shell $(MUSL_CC) -print-file-name=crtendS.o) $(CRT)crtn.o

ROOMS := base host machine devices net block control
SRC := vmm.c $(shell find $(wildcard $(ROOMS)) -name '*.c' | LC_ALL=C sort)
OBJ := $(SRC:%.c=$(B)/%.o) $(B)/machine/boot/embed.o

.PHONY: all
all: vmm

include guest/build.mk
include bios/build.mk
include tests/build.mk

$(UAPI):
	@mkdir -p $@
	@ln -sfn /usr/include/linux $@/linux
	@ln -sfn /usr/include/asm-generic $@/asm-generic
	@ln -sfn /usr/include/$$($(CC) -print-multiarch)/asm $@/asm

$(B)/%.o: %.c | $(UAPI)
	@mkdir -p $(@D)
	@echo "  CC $<"
	@$(MUSL_CC) $(CPPFLAGS) -idirafter $(UAPI) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/machine/boot/embed.o: machine/boot/embed.S $(B)/guest/guest.bzimage $(B)/bios/bios.bin
	@mkdir -p $(@D)
	@echo "  AS $<"
	@$(CC) -I$(B) -c -o $@ $<

$(B)/vmm.debug: $(OBJ)
	@echo "  LD $@"
	@$(MUSL_CC) $(CFLAGS) $(LDFLAGS) -o $@ $(CRT_BEGIN) $^ $(CRT_END)

vmm: $(B)/vmm.debug
	@strip -o $@ $<

-include $(shell find $(B) -name '*.d' 2>/dev/null)

.PHONY: clean
clean:
	rm -rf $(B) vmm
