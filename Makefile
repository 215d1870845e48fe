# SPDX-License-Identifier: Apache-2.0
#
# make help says what there is. Nothing is listed here by hand: a source takes
# part by where it stands. The pure rooms become one archive, each io room
# another; programs and tests take from them what they need.

BUILD ?= build
MAKEFLAGS += --no-builtin-rules
Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-7s %s\n' $(1) $(2))

# Goals that need no configuration; the others get it by themselves, and those
# that promise to do all their set-up get the packages first.
BARE := deps help clean distclean format format-check
SELF := check demo bench chaos deps
GOALS := $(or $(MAKECMDGOALS),all)

# These also build on every processor, unless told otherwise.
ifneq ($(filter check demo bench chaos,$(GOALS)),)
ifeq ($(filter -j% --jobserver%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif
endif

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all deps check unit io e2e fuzz fuzz-programs fuzz-replay rooms format \
	format-check bench demo chaos test-programs install uninstall clean distclean help

all:

ifneq ($(filter-out $(BARE),$(GOALS)),)
include $(BUILD)/config.mk
endif

$(BUILD)/config.mk: configure $(if $(filter $(SELF),$(GOALS)),| deps)
	$(Q)./configure --build=$(BUILD) $(CONFIGURED_WITH)

# --- flags -------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wconversion -Wswitch-enum \
	-Wimplicit-fallthrough -Wmissing-prototypes
COMPILE = $(CC) -std=gnu11 -D_GNU_SOURCE -I. -include $(BUILD)/config.h \
	$(LIB_CFLAGS) $(WARN) $(WERROR) $(HARDEN) $(SANITIZE) -pthread \
	$(CPPFLAGS) $(CFLAGS)
LINK = $(CC) $(CFLAGS) $(SANITIZE) -pthread $(HARDEN_LINK) $(LDFLAGS)

# --- what there is -----------------------------------------------------------

sources = $(foreach room,$(1),$(wildcard $(room)/*.c))
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

PURE_ROOMS := lib/base lib/wire lib/link lib/attest \
	agent/home agent/away agent/guest agent/tpm agent/stream agent/attest \
	manager/saga manager/roster manager/policy manager/record \
	manager/plan manager/enrol
# lib/crypt is not pure (it is OpenSSL), but needed by pure rooms.
PURE := $(call sources,$(PURE_ROOMS) lib/crypt)
LIB_IO := $(call sources,lib/io)
AGENT_IO := $(call sources,agent/io agent/net)
MANAGER_IO := $(call sources,manager/io manager/store manager/api manager/ca)
CLI := $(filter-out cli/main.c,$(call sources,cli))

UNIT := $(wildcard tests/unit/test_*.c)
IO := $(wildcard tests/io/test_*.c)
FUZZ := $(wildcard tests/fuzz/fuzz_*.c)
BENCH := $(wildcard tests/bench/*.c)
TESTLIB := $(filter-out $(UNIT) $(IO),$(call sources,tests/unit tests/io))

ARCHIVES := $(addprefix $(BUILD)/lib,testlib.a agent.a manager.a cli.a io.a pure.a)
BASE := $(BUILD)/libio.a $(BUILD)/libpure.a

PROGRAMS := $(if $(wildcard agent/main.c),$(BUILD)/lanyard-agent) \
	$(if $(wildcard manager/main.c),$(BUILD)/lanyard-manager) \
	$(if $(wildcard cli/main.c),$(BUILD)/lanyard) \
	$(if $(wildcard agent/keeper/keeper.c),$(BUILD)/lanyard-keeper)
program = $(patsubst tests/%.c,$(BUILD)/tests/%,$(1))
UNIT_PROGRAMS := $(call program,$(UNIT))
IO_PROGRAMS := $(call program,$(IO))
REPLAY_PROGRAMS := $(call program,$(FUZZ))
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzzers/%,$(FUZZ))
# Those in tests/bench/linked measure a part of ours, and are linked with it.
BENCH_LINKED := $(patsubst tests/bench/linked/%.c,$(BUILD)/bench/%,\
	$(wildcard tests/bench/linked/*.c))
CHAOS := $(BUILD)/chaos/chaos $(BUILD)/chaos/once
BENCH_PROGRAMS := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(BENCH))
GUEST_PROGRAMS := $(BUILD)/tests/guest/device
IO_SCRIPTS := $(wildcard tests/io/*.sh)
E2E_SCRIPTS := $(wildcard tests/e2e/*.sh)
SIM := $(call sources,tests/sim)
SIM_PROGRAM := $(if $(SIM),$(BUILD)/tests/sim/sim)

all: $(PROGRAMS)

# --- compiling and linking ---------------------------------------------------

$(BUILD)/obj/%.o: %.c $(BUILD)/config.mk $(BUILD)/config.h
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

$(BUILD)/config.h: ;

# Two rooms may have files of one name, so members are appended, not replaced.
$(BUILD)/lib%.a:
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) qcs $@ $^

$(BUILD)/libpure.a: $(call objects,$(PURE))
$(BUILD)/libio.a: $(call objects,$(LIB_IO))
$(BUILD)/libagent.a: $(call objects,$(AGENT_IO))
$(BUILD)/libmanager.a: $(call objects,$(MANAGER_IO))
$(BUILD)/libcli.a: $(call objects,$(CLI))
$(BUILD)/libtestlib.a: $(call objects,$(TESTLIB))

define link
@mkdir -p $(@D)
$(call say,LD,$@)
$(Q)$(LINK) -o $@ $(filter %.o,$^) \
	-Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(1) $(COMMON_LIBS)
endef

$(BUILD)/lanyard-agent: $(call objects,agent/main.c) $(BUILD)/libagent.a $(BASE)
	$(call link,$(TSS2_LIBS))

$(BUILD)/lanyard-manager: $(call objects,manager/main.c) \
	$(BUILD)/libmanager.a $(BASE)
	$(call link,$(SQLITE_LIBS))

$(BUILD)/lanyard: $(call objects,cli/main.c) $(BUILD)/libcli.a $(BASE)
	$(call link)

# Nothing but libc: there is to be nothing in it that could fail.
$(BUILD)/lanyard-keeper: $(call objects,agent/keeper/keeper.c)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK) -o $@ $^

# Except in tests/io, an io room is linked by those that include its headers;
# the others need not wait for it.
TEST_LIBS = $(TSS2_LIBS) $(SQLITE_LIBS)
includes = $(shell grep -lE '^.include "($(2))/' tests/$(1).c)
rooms_of = $(BUILD)/libtestlib.a \
	$(if $(call includes,$(1),agent/(io|net)),$(BUILD)/libagent.a) \
	$(if $(call includes,$(1),manager/(io|store|api|ca)),\
	$(BUILD)/libmanager.a) \
	$(if $(call includes,$(1),cli),$(BUILD)/libcli.a) $(BASE)

.SECONDEXPANSION:

$(IO_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(ARCHIVES)
	$(call link,$(CMOCKA_LIBS) $(TEST_LIBS))

$(UNIT_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o \
	$$(call rooms_of,$$*)
	$(call link,$(CMOCKA_LIBS) $(TEST_LIBS))

$(REPLAY_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o \
	$(BUILD)/obj/tests/fuzz/replay_main.o $$(call rooms_of,$$*)
	$(call link,$(TEST_LIBS))

$(FUZZERS): $(BUILD)/fuzzers/%: $(BUILD)/obj/tests/fuzz/%.o \
	$$(call rooms_of,fuzz/$$*)
	$(call link,-fsanitize=fuzzer $(TEST_LIBS))

$(BENCH_LINKED): $(BUILD)/bench/%: $(BUILD)/obj/tests/bench/linked/%.o \
	$(BUILD)/libagent.a $(BASE)
	$(call link,$(TSS2_LIBS))

$(SIM_PROGRAM): $(call objects,$(SIM)) $(BUILD)/libpure.a
	$(call link)

# Runs in a guest, with all it is linked with.
$(BUILD)/tests/guest/device: $(BUILD)/obj/tests/guest/device.o \
	$(BUILD)/libagent.a $(BASE)
	$(call link,$(TSS2_LIBS))

# A tool of the bench is one file, and shares no code with what it measures.
$(BENCH_PROGRAMS): $(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o
	$(call link)

# Nor does chaos, which is a few files; only what the guest has too.
$(BUILD)/chaos/chaos: $(call objects,$(wildcard tests/chaos/*.c) tests/guest/sha256.c) \
	$(BUILD)/libpure.a
	$(call link)

$(BUILD)/chaos/once: $(call objects,tests/chaos/once/once.c)
	$(call link)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# --- tests -------------------------------------------------------------------

RUN := BUILD=$(abspath $(BUILD)) ./tests/run

deps:
	$(Q)BUILD=$(abspath $(BUILD)) ./contrib/deps $(filter bench,$(GOALS))

unit: $(UNIT_PROGRAMS) $(BUILD)/lanyard-keeper
	$(Q)$(RUN) $(UNIT_PROGRAMS)

io: all $(GUEST_PROGRAMS) $(IO_PROGRAMS) $(BENCH_PROGRAMS) $(CHAOS)
	$(Q)$(RUN) $(IO_PROGRAMS) $(IO_SCRIPTS)

e2e: all $(BENCH_PROGRAMS) $(CHAOS)
	$(Q)$(RUN) $(E2E_SCRIPTS)

fuzz-replay: $(REPLAY_PROGRAMS)
	$(Q)$(RUN) $(REPLAY_PROGRAMS)

# Whatever make check runs, compiled.
test-programs: all $(UNIT_PROGRAMS) $(REPLAY_PROGRAMS) $(IO_PROGRAMS) \
	$(BENCH_PROGRAMS) $(GUEST_PROGRAMS) $(CHAOS) $(SIM_PROGRAM)

# SEED= STEPS= FAULTS=: see tests/sim/sim.c.
SEED ?= 1
STEPS ?= 1000000000
sim: $(SIM_PROGRAM)
	$(Q)SEED=$(SEED) STEPS=$(STEPS) FAULTS=$(FAULTS) $(SIM_PROGRAM)

# Each invariant's line is taken away: some test has to see it.
mutate:
	$(Q)BUILD=$(abspath $(BUILD)) ./tests/mutate/run

rooms: $(call objects,$(PURE))
	$(Q)BUILD=$(BUILD) PURE_ROOMS="$(PURE_ROOMS)" NM="$(NM)" ./contrib/rooms

check: deps all $(UNIT_PROGRAMS) $(REPLAY_PROGRAMS) $(IO_PROGRAMS) \
	$(BENCH_PROGRAMS) $(GUEST_PROGRAMS) $(CHAOS) $(SIM_PROGRAM) \
	$(call objects,$(PURE))
	$(Q)PURE_ROOMS="$(PURE_ROOMS)" NM="$(NM)" $(RUN) $(UNIT_PROGRAMS) \
	    $(REPLAY_PROGRAMS) $(SIM_PROGRAM) contrib/rooms \
	    $(IO_PROGRAMS) $(IO_SCRIPTS) $(E2E_SCRIPTS)

# Fuzzing has a build of its own; FUZZ_SECONDS for each decoder, findings stay
# in the build directory.
FUZZ_SECONDS ?= 60
fuzz:
	$(Q)./configure --build=$(BUILD)/libfuzzer CC=clang --werror \
	    --sanitize=fuzzer-no-link,address,undefined
	$(Q)$(MAKE) BUILD=$(BUILD)/libfuzzer fuzz-programs
	$(Q)for f in $(notdir $(FUZZ:.c=)); do \
		new=$(BUILD)/libfuzzer/corpus/$$f; \
		old=tests/fuzz/corpus/$${f#fuzz_}; \
		mkdir -p $$new; \
		[ -d $$old ] || old=; \
		echo "  FUZZ    $$f, $(FUZZ_SECONDS) s"; \
		$(BUILD)/libfuzzer/fuzzers/$$f -max_total_time=$(FUZZ_SECONDS) \
		    -timeout=10 -print_final_stats=1 -verbosity=0 \
		    -artifact_prefix=$(BUILD)/libfuzzer/$$f- $$new $$old || \
		    exit 1; \
	done

fuzz-programs: $(FUZZERS)

bench: deps all $(BENCH_PROGRAMS) $(BENCH_LINKED)
	$(Q)BUILD=$(abspath $(BUILD)) sh tests/bench/bench.sh

demo: deps all $(BENCH_PROGRAMS)
	$(Q)BUILD=$(abspath $(BUILD)) sh tests/lab/demo.sh

# What may go wrong, at random, to real daemons and a real guest.
chaos: deps all $(BENCH_PROGRAMS) $(CHAOS)
	$(Q)BUILD=$(abspath $(BUILD)) MINUTES=$(MINUTES) SEED=$(SEED) \
	    SWITCHES=$(SWITCHES) KINDS=$(KINDS) COMMANDS=$(COMMANDS) \
	    KILLS=$(KILLS) sh tests/chaos/$(if $(COMMANDS),once,chaos).sh

# --- form --------------------------------------------------------------------

FORMAT ?= $(firstword $(shell command -v clang-format-14) clang-format)
FORMATTED = $(shell git ls-files --cached --others --exclude-standard \
	'*.c' '*.h' 2>/dev/null || find . -name '*.[ch]' -not -path './build*')

format:
	$(Q)$(FORMAT) -i $(FORMATTED)

format-check:
	$(Q)$(FORMAT) --dry-run -Werror $(FORMATTED)

# --- installing --------------------------------------------------------------

DATADIR = $(PREFIX)/share
BASHDIR = $(DATADIR)/bash-completion/completions
UNITDIR = $(PREFIX)/lib/systemd/system
INSTALL ?= install
UNITS := $(wildcard contrib/systemd/*.service)
EXAMPLES := $(wildcard contrib/*.conf contrib/hooks/*)
COMPLETIONS := $(wildcard contrib/completion/*.bash)
PAGES := $(wildcard man/*.1 man/*.5 man/*.7 man/*.8)
section = $(MANDIR)/man$(subst .,,$(suffix $(1)))
to = $(DESTDIR)$(1)

INSTALLED = $(foreach p,$(PROGRAMS),$(call home,$(notdir $(p)))/$(notdir $(p))) \
	$(foreach p,$(PAGES),$(call section,$(p))/$(notdir $(p))) \
	$(addprefix $(UNITDIR)/,$(notdir $(UNITS))) \
	$(addprefix $(DATADIR)/doc/lanyard/,$(notdir $(EXAMPLES))) \
	$(addprefix $(BASHDIR)/,$(notdir $(COMPLETIONS:.bash=)))
home = $(if $(filter lanyard,$(1)),$(BINDIR),\
	$(if $(filter lanyard-keeper,$(1)),$(LIBEXECDIR),$(SBINDIR)))

# Units name their programs and files where they are installed.
install: all
	$(Q)set -e; $(foreach p,$(PROGRAMS),\
	$(INSTALL) -D -m 755 $(p) \
	    $(call to,$(call home,$(notdir $(p))))/$(notdir $(p));)
	$(Q)set -e; $(foreach p,$(PAGES),\
	$(INSTALL) -D -m 644 $(p) $(call to,$(call section,$(p)))/$(notdir $(p));)
	$(Q)set -e; $(foreach u,$(UNITS),\
	$(INSTALL) -d $(call to,$(UNITDIR)); \
	sed -e 's|/usr/sbin/|$(SBINDIR)/|g' \
	    -e 's|/etc/lanyard|$(SYSCONFDIR)/lanyard|g' $(u) \
	    >$(call to,$(UNITDIR))/$(notdir $(u)); \
	chmod 644 $(call to,$(UNITDIR))/$(notdir $(u));)
	$(Q)set -e; $(foreach e,$(EXAMPLES),\
	$(INSTALL) -D -m 644 $(e) \
	    $(call to,$(DATADIR))/doc/lanyard/$(notdir $(e));)
	$(Q)set -e; $(foreach c,$(COMPLETIONS),\
	$(INSTALL) -D -m 644 $(c) \
	    $(call to,$(BASHDIR))/$(notdir $(c:.bash=));)
	$(Q)printf '  INSTALL %s\n' $(addprefix $(DESTDIR),$(INSTALLED))

uninstall:
	$(Q)rm -f $(addprefix $(DESTDIR),$(INSTALLED))

clean:
	$(Q)rm -rf $(addprefix $(BUILD)/,obj tests fuzzers bench libfuzzer)
	$(Q)rm -f $(BUILD)/lib*.a $(BUILD)/lanyard $(BUILD)/lanyard-*

# Only what configure made a build directory is removed as a whole.
distclean:
	$(Q)if [ -f $(BUILD)/config.log ]; then rm -rf $(BUILD); fi

help:
	@sed -n 's/^#? //p' Makefile

#? make                compile everything into build/
#? make deps           install the Debian packages that are missing
#? make check          all tests, and all their set-up; N passed, N failed
#? make demo           migrate a running VM between two sites, here
#? make chaos          faults at random, for MINUTES=5, from SEED=
#? make bench          measure against others; writes build/bench.json
#?
#? make unit           the tests of the pure rooms
#? make io             tests against loopback and swtpm
#? make e2e            tests of the daemons with QEMU
#? make test-programs  compile all tests, run none
#? make sim            fleets on a fake clock and network, SEED=1 STEPS=10^9
#? make mutate         take invariants away, one by one: a test must see it
#? make fuzz-replay    every decoder against its kept corpus
#? make fuzz           libFuzzer on every decoder, FUZZ_SECONDS=60 each
#? make rooms          prove that the pure rooms are pure
#? make format         clang-format on every source
#? make format-check   say what make format would change
#?
#? make install        DESTDIR= PREFIX=/usr/local
#? make uninstall      DESTDIR= PREFIX=/usr/local
#? make clean          remove what was built
#? make distclean      remove the build directory
#?
#? BUILD=DIR           build there instead (./configure --build=DIR)
#? V=1                 show the commands
