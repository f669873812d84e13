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
CPPFLAGS := -I. -I$(B) -D_GNU_SOURCE -DVERSION='"$(VERSION)"'
# musl-gcc hides the system headers; the kernel's UAPI headers are linked into
# a directory of their own.
UAPI := $(B)/uapi
CFLAGS = -std=c11 $(OPT) -g $(WARN) -fno-strict-aliasing -fPIE -fdata-sections \
         -ffunction-sections -fstack-protector-strong \
         -fno-asynchronous-unwind-tables
# Small, but for what runs per packet or per exit. (At -Os gcc's flow analysis
# warns of variables that are set; clang and -O2 builds of the tests see those.)
OPT := -Os -Wno-maybe-uninitialized
HOT := $(addprefix base/, eth lock loop pace) \
       machine/bus machine/machine machine/kvm/vcpu net/tap net/hub \
       $(addprefix devices/virtio/, queue split packed walk) \
       $(addprefix devices/virtio_net/, events rx window tx rss \
         filter) \
       devices/virtio_blk/io \
       $(addprefix devices/e1000/, e1000 regs rx put tx offload irq filter \
         stats)
HOT_OPT := -O2 -fno-align-functions -fno-align-jumps -fno-align-labels
$(HOT:%=$(B)/%.o): OPT := $(HOT_OPT)
# A static program that can lie anywhere: host/start.c puts it in its place, and
# host/process.c makes its tables read-only. musl-gcc takes -static-pie for a
# dynamic program's; so by hand. An older linker only warns that it packs no
# relocations, and host/start.c knows no others: see the rule. Sorted, small
# statics share pages, and are not spread among large ones that nobody touches:
# 28 KiB less for each of a host's machines.
LDFLAGS := -static -nostartfiles -Wl,-pie,--no-dynamic-linker,-z,text \
           -Wl,-z,pack-relative-relocs -Wl,--gc-sections \
           -Wl,--sort-section=alignment \
           -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--build-id=none

ROOMS := base host machine devices net block control
SRC := vmm.c $(shell find $(wildcard $(ROOMS)) -name '*.c' | LC_ALL=C sort)
OBJ := $(SRC:%.c=$(B)/%.o) $(B)/machine/boot/embed.o

# The commit that `vmm -version` names, if this is a clone; the same whoever
# builds it, so git does not ask whose the folder is.
COMMIT := $(shell git -c safe.directory='*' --git-dir=.git describe --always \
                  --dirty --abbrev=12 --exclude '*' 2>/dev/null)
ifneq ($(shell cat $(B)/version.h 2>/dev/null),\#define COMMIT "$(COMMIT)")
$(shell mkdir -p $(B) && echo '#define COMMIT "$(COMMIT)"' >$(B)/version.h)
endif

.PHONY: all
all: vmm

include guest/build.mk
include bios/build.mk
include tests/build.mk

# Other flags or compilers than last time build everything anew.
FLAGS := $(CC) $(MUSL_CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $(BIOS_CFLAGS) \
         $(TCC) $(TFLAGS) $(SAN) $(HOT) $(HOT_OPT)
ifneq ($(strip $(file <$(B)/flags)),$(strip $(FLAGS)))
$(shell mkdir -p $(B))
$(file >$(B)/flags,$(FLAGS))
endif

# is_gcc COMPILER: stops, with what to do, where it is not there or is clang.
is_gcc = $(if $(shell command -v $(1)),,$(error $(1) is missing: `make run` \
  installs what is missing, or: apt-get install musl-tools gcc))\
  $(if $(findstring clang,$(shell $(1) --version 2>/dev/null)),$(error $(1): \
  the binary, the guest and the ROM are built by gcc; clang is for the tests \
  (TCC=)))
$(B)/toolchain: $(B)/flags
	@$(call is_gcc,$(CC))$(call is_gcc,$(MUSL_CC))touch $@

$(UAPI): | $(B)/toolchain
	@mkdir -p $@
	@ln -sfn /usr/include/linux $@/linux
	@ln -sfn /usr/include/asm-generic $@/asm-generic
	@ln -sfn /usr/include/$$($(CC) -print-multiarch)/asm $@/asm

# Of the comments beside the functions that make them: see host/syscalls.awk.
$(B)/syscalls.h: host/syscalls.awk $(SRC) $(B)/flags | $(UAPI)
	@echo "  AWK $@"
	@LC_ALL=C awk -f host/syscalls.awk $(UAPI)/asm/unistd_64.h $(SRC) >$@
$(B)/places.h: $(B)/syscalls.h
	@LC_ALL=C awk -v places=1 -f host/syscalls.awk $(UAPI)/asm/unistd_64.h $(SRC) >$@
$(foreach dir,$(B) $(B)/unit $(B)/tsan $(B)/fuzz $(B)/cov,$(dir)/host/filter.o) \
    $(B)/lint/host/filter.tidy: $(B)/syscalls.h

$(B)/%.o: %.c $(B)/flags | $(UAPI)
	@mkdir -p $(@D)
	@echo "  CC $<"
	@$(MUSL_CC) $(CPPFLAGS) -idirafter $(UAPI) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/machine/boot/embed.o: machine/boot/embed.S $(B)/guest/guest.bzimage $(B)/bios/bios.bin
	@mkdir -p $(@D)
	@echo "  AS $<"
	@$(CC) -I$(B) -c -o $@ $<

$(B)/vmm.debug: $(OBJ)
	@echo "  LD $@"
	@$(MUSL_CC) $(CFLAGS) $(LDFLAGS) -o $@ $^
	@if readelf -d $@ | grep -q 'RELASZ) *[1-9]'; then rm $@; \
	    echo "$@: relocations that are not packed: binutils 2.38 packs them" >&2; \
	    exit 1; fi

vmm: $(B)/vmm.debug
	@strip -o $@ $<

-include $(shell find $(B) -name '*.d' 2>/dev/null)

.PHONY: clean
clean:
	rm -rf $(B) vmm

# ------------------------------------------------------- installing, packaging

PREFIX ?= /usr/local
BIN := $(DESTDIR)$(PREFIX)/bin/vmm
MAN := $(DESTDIR)$(PREFIX)/share/man/man1/vmm.1
COMPLETION := $(DESTDIR)$(PREFIX)/share/bash-completion/completions/vmm
UNITS ?= $(PREFIX)/lib/systemd/system
UNIT_FILES := vmm@.service vmm-tap@.service vmm-api@.socket
SYSUSERS := $(DESTDIR)$(PREFIX)/lib/sysusers.d/vmm.conf

# From the option table, by what -help prints.
$(B)/completion: control/completion.sh vmm
	@sh $< ./vmm >$@

.PHONY: install uninstall docs dist deb
install: vmm $(B)/completion
	install -D -m 755 vmm "$(BIN)"
	install -D -m 644 vmm.1 "$(MAN)"
	install -D -m 644 $(B)/completion "$(COMPLETION)"
	install -D -m 644 systemd/vmm.sysusers "$(SYSUSERS)"
	mkdir -p "$(DESTDIR)$(UNITS)"
	for unit in $(UNIT_FILES); do \
	    sed 's:/usr/bin/vmm:$(PREFIX)/bin/vmm:' systemd/$$unit >"$(DESTDIR)$(UNITS)/$$unit" && \
	    chmod 644 "$(DESTDIR)$(UNITS)/$$unit" || exit 1; done

uninstall:
	rm -f "$(BIN)" "$(MAN)" "$(COMPLETION)" "$(SYSUSERS)" \
	    $(UNIT_FILES:%="$(DESTDIR)$(UNITS)/%")

# The man page's keys, from the tables by what `-device MODEL,help` prints.
docs: vmm
	@tests/docs ./vmm

# What is committed, as a tarball that says so.
NAME := vmm-$(VERSION)
dist:
	@mkdir -p $(B)
	git archive --format=tar.gz --prefix=$(NAME)/ -o $(B)/$(NAME).tar.gz HEAD
	@echo "$(B)/$(NAME).tar.gz"

deb:
	@tests/setup.sh deb
	@$(MAKE) --no-print-directory dist
	rm -rf $(B)/deb
	mkdir -p $(B)/deb
	tar -C $(B)/deb -xf $(B)/$(NAME).tar.gz
	cd $(B)/deb/$(NAME) && dpkg-buildpackage -us -uc -b
	cd $(B)/deb && lintian --fail-on warning,error vmm_$(VERSION)_*.changes
	@echo $(B)/deb/vmm_$(VERSION)_*.deb
