# SPDX-License-Identifier: MIT
# Tests, fuzzing and lint. Included by the Makefile, which sets B, CPPFLAGS,
# WARN and B's place.

TCC := clang
SAN := -fsanitize=address,undefined -fno-sanitize-recover=all
TFLAGS := -std=c11 -O1 -g -fno-omit-frame-pointer -fno-strict-aliasing \
          $(filter-out -Werror,$(WARN))

JOBS := $(shell nproc)

# What runs without KVM. base/clock.c is not in it: tests have a clock of
# their own (tests/unit/fake.c).
PORTABLE := $(filter-out vmm.c base/clock.c,\
              $(shell grep -L '<linux/kvm.h>\|"machine/kvm/kvm.h"' $(SRC))) \
            machine/kvm/state.c
UNIT_SRC := $(shell find tests/unit -name '*.c' | LC_ALL=C sort)
# make unit SKIP_SRC="tests/unit/net/tap.c …": without files that do not build now
UNIT_OBJ := $(patsubst %.c,$(B)/unit/%.o,$(filter-out $(SKIP_SRC),$(UNIT_SRC)))
# A library, so that only what some test uses must link.
UNIT_LIB := $(patsubst %.c,$(B)/unit/%.o,$(filter-out $(SKIP_SRC),$(PORTABLE)))

$(B)/unit/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC unit $<"
	@$(TCC) $(CPPFLAGS) $(TFLAGS) $(SAN) -MMD -MP -c -o $@ $<

$(B)/unit/lib.a: $(UNIT_LIB)
	@rm -f $@
	@ar qcs $@ $^

# Changes when a test file comes or goes, so that unit is linked anew.
$(B)/unit/list: FORCE
	@mkdir -p $(@D)
	@echo '$(UNIT_OBJ)' | cmp -s - $@ || echo '$(UNIT_OBJ)' >$@
.PHONY: FORCE

# Calls whose answers a test can choose; see tests/unit/fakesys.h.
UNIT_WRAP := -Wl,--wrap=open,--wrap=access,--wrap=execvp,--wrap=ioctl

$(B)/unit/unit: $(UNIT_OBJ) $(B)/unit/lib.a $(B)/unit/list
	@$(TCC) $(SAN) $(UNIT_WRAP) -o $@ $(UNIT_OBJ) $(B)/unit/lib.a \
	    -lpthread -lutil

# T is a part of the names of the tests to run.
.PHONY: unit
unit: $(B)/unit/unit
	@$(B)/unit/unit $(T)

# ------------------------------------------------------- ThreadSanitizer

# Devices, loops and backends at work on real threads, for T seconds in all;
# ONLY=NAME runs some scenarios, S=SEED repeats their decisions.
TSAN_OBJ := $(patsubst %.c,$(B)/tsan/%.o,$(wildcard tests/tsan/*.c))
TSAN_LIB := $(patsubst %.c,$(B)/tsan/%.o,\
              $(filter-out $(SKIP_SRC),$(PORTABLE) base/clock.c))

$(B)/tsan/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC tsan $<"
	@$(TCC) $(CPPFLAGS) $(TFLAGS) -fsanitize=thread -MMD -MP -c -o $@ $<

$(B)/tsan/lib.a: $(TSAN_LIB)
	@rm -f $@
	@ar qcs $@ $^

$(B)/tsan/tsan: $(TSAN_OBJ) $(B)/tsan/lib.a
	@$(TCC) -fsanitize=thread -o $@ $^ -lpthread -lutil

.PHONY: tsan
tsan: $(B)/tsan/tsan
	@tests/tsan/run $< $(T:%=-t %) $(S:%=-s %) $(ONLY)

# ------------------------------------------------------------------- fuzzing

FUZZ := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN := $(FUZZ:%=$(B)/fuzz/%)
FUZZ_LIB := $(patsubst %.c,$(B)/fuzz/%.o,\
              $(filter-out $(SKIP_SRC),$(PORTABLE) \
                tests/unit/fake.c tests/unit/fakenet.c \
                tests/unit/fakeblk.c tests/unit/images.c \
                tests/fuzz/frame.c tests/fuzz/kernel.c))
# Calls that are answered in tests/fuzz/kernel.c.
FUZZ_LINK := -fsanitize=fuzzer $(shell sed -n tests/fuzz/kernel.c \
               -e 's/^CALL.[^,]*, \([a-z0-9_]*\),.*/-Wl,--wrap=\1/p')

# Comparisons are traced where inputs have words to guess; it costs a third of
# the time, which rings and registers have better uses for.
FUZZ_CMP := -fno-sanitize-coverage=trace-cmp
FUZZ_WORDS := net/% host/% control/% devices/virtio/vhost% \
              $(addprefix machine/boot/,boot% elf% image% linux% multiboot% \
                place%)
$(FUZZ_WORDS:%=$(B)/fuzz/%): FUZZ_CMP :=
FUZZ_FLAGS = -O2 -fsanitize=fuzzer-no-link $(FUZZ_CMP) \
             -fno-sanitize-coverage=indirect-calls
# What is not under test is not covered, which costs time as well.
$(B)/fuzz/tests/unit/% $(B)/fuzz/tests/fuzz/kernel.o: FUZZ_FLAGS = -O2

$(B)/fuzz/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC fuzz $<"
	@$(TCC) $(CPPFLAGS) $(TFLAGS) $(SAN) $(FUZZ_FLAGS) \
	    -MMD -MP -c -o $@ $<

$(B)/fuzz/lib.a: $(FUZZ_LIB)
	@rm -f $@
	@ar qcs $@ $^

$(FUZZ_BIN): $(B)/fuzz/%: $(B)/fuzz/tests/fuzz/%.o $(B)/fuzz/lib.a
	@$(TCC) $(SAN) $(FUZZ_LINK) -o $@ $^ -lpthread -lutil

# Each target for T seconds; ONLY=fuzz_x runs one. What is found in new corpus
# entries stays in $(B)/fuzz/corpus, crashers are named on the screen.
.PHONY: fuzz fuzz-corpus fuzz-keep
fuzz: $(FUZZ_BIN)
	tests/fuzz/run -t $(or $(T),60) $(B)/fuzz $(or $(ONLY),$(FUZZ))

fuzz-keep: $(FUZZ_BIN)
	tests/fuzz/run -k $(B)/fuzz $(or $(ONLY),$(FUZZ))

fuzz-corpus: $(FUZZ_BIN)
	tests/fuzz/run $(B)/fuzz $(FUZZ)

# ------------------------------------------------------------------ coverage

# The unit tests and each fuzz target again, counting; the kept inputs are run
# once each. COV: paths to show, COV=-l devices/virtio lists what is missed.
COV_FLAGS := $(SAN) -fprofile-instr-generate -fcoverage-mapping
COV_BIN := $(B)/cov/unit $(FUZZ:%=$(B)/cov/%)

$(B)/cov/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC coverage $<"
	@$(TCC) $(CPPFLAGS) $(TFLAGS) $(COV_FLAGS) -MMD -MP -c -o $@ $<

$(B)/cov/lib.a: $(UNIT_LIB:$(B)/unit/%=$(B)/cov/%)
	@rm -f $@
	@ar rcs $@ $^

$(B)/cov/fuzz.a: $(FUZZ_LIB:$(B)/fuzz/%=$(B)/cov/%)
	@rm -f $@
	@ar rcs $@ $^

$(B)/cov/unit: $(UNIT_OBJ:$(B)/unit/%=$(B)/cov/%) $(B)/cov/lib.a
	@$(TCC) $(COV_FLAGS) $(UNIT_WRAP) -o $@ $^ -lpthread -lutil

$(B)/cov/fuzz_%: $(B)/cov/tests/fuzz/fuzz_%.o $(B)/cov/fuzz.a
	@$(TCC) $(COV_FLAGS) $(FUZZ_LINK) -o $@ $^ -lpthread -lutil

.PHONY: coverage
coverage:
	@tests/setup.sh coverage
	@$(MAKE) --no-print-directory -j$(JOBS) $(COV_BIN)
	@tests/coverage $(filter -l,$(COV)) $(B)/cov $(filter-out -l,$(COV))

# ---------------------------------------------------------------------- cost

# The product's own objects beside the fake machine and drivers, all built as
# the product is: what a packet, a register, an exit costs, counted.
COST_SRC := $(wildcard tests/cost/*.c) tests/unit/fake.c tests/unit/fakenet.c \
            tests/unit/fakevirtio.c tests/unit/devices/e1000/drv.c
# Calls that are answered in tests/cost; see cost.c and exit.c.
COST_WRAP := -Wl,--wrap=syscall,--wrap=epoll_wait,--wrap=ioctl

$(B)/cost/include:
	@mkdir -p $@
	@ln -sfn /usr/include/valgrind $@/valgrind

$(B)/tests/cost/%.o: CPPFLAGS += -idirafter $(B)/cost/include
# It has vcpu.c in it.
$(B)/tests/cost/exit.o: OPT := $(if $(filter machine/kvm/vcpu,$(HOT)),$(HOT_OPT),$(OPT))
$(COST_SRC:%.c=$(B)/%.o): | $(B)/cost/include

$(B)/cost/lib.a: $(PORTABLE:%.c=$(B)/%.o)
	@rm -f $@
	@ar qcs $@ $^

$(B)/cost/cost: $(COST_SRC:%.c=$(B)/%.o) $(B)/host/start.o $(B)/cost/lib.a
	@echo "  LD $@"
	@$(MUSL_CC) $(CFLAGS) $(LDFLAGS) $(COST_WRAP) -o $@ $^

# cost compares with the kept table, cost-keep writes it.
.PHONY: cost cost-keep
cost cost-keep: cost%: check-deps
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/cost/cost
	@tests/cost/run $(if $*,--keep) $(B)/cost/cost

# --------------------------------------------------------------- system calls

# Which of the listed ones are made in tests with guests (tests/e2e/run).
$(B)/syscalls/record: tests/syscalls/record.c $(B)/places.h base/thread.h
	@mkdir -p $(@D)
	@echo "  CC $<"
	@$(CC) $(CPPFLAGS) -std=c11 -O2 $(WARN) -o $@ $<
$(B)/lint/tests/syscalls/record.tidy: $(B)/places.h

# ---------------------------------------------------------------------- lint

C_FILES := $(shell git ls-files -co --exclude-standard '*.c' '*.h' 2>/dev/null)
TIDY_SRC := $(filter %.c,$(filter-out guest/% bios/%,$(C_FILES)))
# Programs without a suffix are known by their first line.
SH_FILES := $(shell git ls-files -co --exclude-standard 2>/dev/null | \
              xargs grep -lIE -m1 '^\#! ?/bin/(ba)?sh' 2>/dev/null)

$(B)/lint/%.tidy: %.c .clang-tidy $(filter %.h,$(C_FILES))
	@mkdir -p $(@D)
	@echo "  TIDY $<"
	@clang-tidy --quiet $< -- $(CPPFLAGS) -std=c11 2>$@.log || \
	    { cat $@.log; exit 1; }
	@touch $@

.PHONY: lint lint-house lint-tidy lint-cppcheck lint-shell format format-check
# Who may include whom, and that no list names a file that is not there.
lint-house:
	@tests/house

lint-tidy: $(TIDY_SRC:%.c=$(B)/lint/%.tidy)

lint-cppcheck:
	@mkdir -p $(B)/lint/cppcheck
	@cppcheck --quiet --error-exitcode=1 --std=c11 --language=c \
	    --enable=warning,performance,portability --inline-suppr \
	    --suppressions-list=tests/cppcheck.txt --template=gcc \
	    --cppcheck-build-dir=$(B)/lint/cppcheck -I. -D_GNU_SOURCE \
	    -DVERSION='""' -D__x86_64__ -U__cplusplus $(TIDY_SRC)

lint-shell:
	@shellcheck -x $(SH_FILES)

lint: lint-deps
	$(MAKE) --no-print-directory -j$(JOBS) \
	    vmm lint-house lint-shell lint-cppcheck lint-tidy
	@echo "lint: clean"

format:
	clang-format -i $(C_FILES)

format-check:
	@clang-format --dry-run -Werror $(C_FILES)
	@echo "format-check: clean"

# --------------------------------------------------------------------- check

.PHONY: check check-long check-fresh run bench size help
# The packages for a purpose.
DEPS := run-deps lint-deps check-deps long-deps bench-deps fresh-deps
.PHONY: $(DEPS)
$(DEPS): %-deps:
	@tests/setup.sh $*

# Whatever a compiler makes for the product and its tests.
.PHONY: built
built: vmm $(B)/unit/unit $(B)/tsan/tsan $(FUZZ_BIN) $(B)/cost/cost \
       $(B)/syscalls/record

# PART="unit kvm": only these parts (tests/check --list).
check: check-deps
	@$(MAKE) --no-print-directory -j$(JOBS) built
	@tests/check $(if $(QUICK),quick,check) $(B) $(PART)

# What needs minutes, by parts of an hour at most: PART=kvm, lab, images, clients, fresh.
check-long: check-deps long-deps fresh-deps
	@$(MAKE) --no-print-directory -j$(JOBS) vmm
	@tests/check long $(B) $(PART)

check-fresh: fresh-deps
	@tests/fresh

run: run-deps
	@$(MAKE) --no-print-directory -j$(JOBS) vmm
	@tests/ping.sh

bench: bench-deps
	@$(MAKE) --no-print-directory -j$(JOBS) vmm
	@tests/bench/run

size: vmm
	@tests/size $(B) $(ROOMS)

help:
	@echo "make               ./vmm, the one static binary"
	@echo "make run           boot the bundled guest on a TAP and ping it"
	@echo "make check         every test: unit, fuzz corpora, guests here and in the lab"
	@echo "make check QUICK=1 the same with two guests in the lab: before each commit"
	@echo "make check-long    what needs minutes [PART=kvm|lab|images|clients|fresh]"
	@echo "make check-fresh   all but the lab, and lint, on a Debian with only git and make"
	@echo "make unit [T=NAME] unit tests (ASan, UBSan), or those named *NAME*"
	@echo "make tsan [T=30]   threads at work under ThreadSanitizer [ONLY=NAME S=SEED]"
	@echo "make fuzz [T=60]   each fuzz target for T seconds [ONLY=fuzz_x]"
	@echo "make fuzz-keep     keep the inputs that reach most (commit them)"
	@echo "make fuzz-corpus   each kept input once"
	@echo "make coverage      lines and branches that tests and kept inputs reach"
	@echo "make cost          instructions and system calls of a packet, a register, an exit"
	@echo "make cost-keep     keep them as the table that check compares with (commit it)"
	@echo "make lint          compiler warnings, clang-tidy, cppcheck, shellcheck"
	@echo "make format        clang-format over every C file; format-check asks"
	@echo "make bench         measure"
	@echo "make size          bytes of the binary and of each room"
	@echo "make docs          the keys of devices and backends into the man page"
	@echo "make install       binary, man page, completion to PREFIX (/usr/local), DESTDIR"
	@echo "make uninstall     remove those"
	@echo "make deb           a Debian package in build/deb, looked at by lintian"
	@echo "make dist          a tarball of what is committed"
	@echo "make clean         remove what was built"
	@echo "B=DIR builds in another directory than build/."
