# libautotrace
#
#   make            build/libautotrace.so, build/libautotrace-exporter.so, build/autotrace
#   make demo       the main job, in your terminal
#   make test       everything that must hold: check, unit, e2e
#   make help       all targets
#
# Variables: CC=clang  B=build/clang  WERROR=1  SAN=address|thread|undefined  V=1
#            CFLAGS, LDFLAGS (yours, added to ours)  DESTDIR=  PREFIX=/usr/local
#            LOOP=n (repeat unit tests)  K=pattern (e2e tests whose name matches)  FUZZTIME=60

B	?= build
CC	?= gcc
PREFIX	?= /usr/local
CFLAGS	?= -O2 -g
PROTOC_C ?= protoc-c
PYTHON	?= /usr/bin/python3
Q	:= $(if $(V),,@)

ATR_CFLAGS := -std=gnu11 -fPIC -fvisibility=hidden -ftls-model=initial-exec \
	-fno-omit-frame-pointer -U_FORTIFY_SOURCE -D_GNU_SOURCE -I. -I$(B) -MMD -MP \
	-Wall -Wextra -Wshadow -Wundef -Wvla -Wformat=2 -Wwrite-strings -Wpointer-arith \
	-Wcast-function-type -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Werror=implicit-function-declaration -Werror=incompatible-pointer-types \
	$(if $(WERROR),-Werror) $(if $(SAN),-fsanitize=$(SAN))
ATR_LDFLAGS := -Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,--as-needed $(if $(SAN),-fsanitize=$(SAN))
# (a comma that may stand in a function's argument)
, := ,
# A sanitized shared object leaves the sanitizer's symbols to the preloaded runtime.
ATR_SO_LDFLAGS := $(if $(SAN),$(filter-out -Wl$(,)-z$(,)defs,$(ATR_LDFLAGS)),$(ATR_LDFLAGS))

SHIM_SRC	:= $(wildcard preload/*.c hooks/*.c)
EXPORTER_SRC	:= $(wildcard exporter/*.c)
CLI_SRC		:= $(wildcard cli/*.c)
UNIT_SRC	:= $(wildcard tests/unit/test_*.c)
PROG_SRC	:= $(wildcard tests/e2e/programs/*.c tests/harmless/programs/*.c)

SHIM_OBJ	:= $(SHIM_SRC:%.c=$(B)/%.o)
PROTO_OBJ	:= $(B)/exporter/otlp.pb-c.o
EXPORTER_OBJ	:= $(EXPORTER_SRC:%.c=$(B)/%.o) $(PROTO_OBJ)
EXPORTER_SHARED	:= $(B)/preload/sys.o $(B)/preload/utf8.o $(B)/preload/attr.o $(B)/preload/spoolname.o $(B)/preload/target.o $(B)/preload/authority.o
CLI_OBJ		:= $(CLI_SRC:%.c=$(B)/%.o) $(B)/preload/authority.o $(B)/preload/config.o $(B)/preload/text.o $(B)/preload/sys.o $(B)/preload/spoolname.o $(B)/preload/target.o $(B)/preload/traceparent.o $(B)/preload/utf8.o
UNIT_BIN	:= $(UNIT_SRC:%.c=$(B)/%)
PROG_BIN	:= $(PROG_SRC:%.c=$(B)/%)
DEMO_BIN	:= $(B)/tests/e2e/programs/legacy-orders $(B)/tests/e2e/programs/legacy-stock

all: $(B)/libautotrace.so $(B)/libautotrace-exporter.so $(B)/autotrace ## Build everything (default)

$(B)/libautotrace.so: $(SHIM_OBJ) $(B)/autotrace.map
	@echo "  LINK    $@"
	$(Q)$(CC) -shared $(ATR_SO_LDFLAGS) -Wl,-soname,libautotrace.so \
		-Wl,--version-script=$(B)/autotrace.map $(LDFLAGS) -o $@ $(SHIM_OBJ)

$(B)/libautotrace-exporter.so: $(EXPORTER_OBJ) $(EXPORTER_SHARED) exporter/exporter.map
	@echo "  LINK    $@"
	$(Q)$(CC) -shared $(ATR_SO_LDFLAGS) -Wl,-soname,libautotrace-exporter.so \
		-Wl,--version-script=exporter/exporter.map $(LDFLAGS) -o $@ $(EXPORTER_OBJ) \
		$(EXPORTER_SHARED) \
		-lcurl -lprotobuf-c -lz

$(B)/autotrace: $(CLI_OBJ)
	@echo "  LINK    $@"
	$(Q)$(CC) $(ATR_LDFLAGS) $(LDFLAGS) -o $@ $(CLI_OBJ)

$(B)/autotrace.map: hooks/hooks.def scripts/gen-map.sh
	@mkdir -p $(@D)
	@echo "  GEN     $@"
	$(Q)CC="$(CC)" sh scripts/gen-map.sh hooks/hooks.def > $@.tmp && mv $@.tmp $@

$(B)/exporter/otlp.pb-c.c: exporter/otlp.proto
	@mkdir -p $(@D)
	@echo "  PROTOC  $@"
	$(Q)$(PROTOC_C) --c_out=$(B) -I. exporter/otlp.proto
$(B)/exporter/otlp.pb-c.h: $(B)/exporter/otlp.pb-c.c ;
$(EXPORTER_OBJ) $(UNIT_BIN) $(B)/fuzz/fuzz_spool $(B)/fuzz/fuzz_encode: $(B)/exporter/otlp.pb-c.h

$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC      $@"
	$(Q)$(CC) $(ATR_CFLAGS) $(CFLAGS) -c -o $@ $<

$(PROTO_OBJ): $(B)/exporter/otlp.pb-c.c
	@echo "  CC      $@"
	$(Q)$(CC) $(ATR_CFLAGS) $(CFLAGS) -DNDEBUG -c -o $@ $<

# A unit test includes the .c it tests; a comment "LINK: preload/utf8.o ... -lfoo" in it
# names what it links besides.
unit_link = $(shell sed -n 's/^.*LINK: *\(.*\)\*\/.*/\1/p' tests/unit/$(1).c tests/fuzz/$(1).c 2>/dev/null | \
	sed 's:\([^ ]*\)\.o:$(B)/\1.o:g')
unit_objects = $(filter %.o,$(call unit_link,$(1)))
.SECONDEXPANSION:
$(B)/tests/unit/%: tests/unit/%.c $(B)/preload/sys.o $$(call unit_objects,$$*)
	@mkdir -p $(@D)
	@echo "  UNIT    $@"
	$(Q)$(CC) $(ATR_CFLAGS) $(CFLAGS) -Wno-unused-function $(LDFLAGS) -o $@ $< \
		$(call unit_link,$*) $(if $(SAN),-fsanitize=$(SAN))

# Programs the tests run: ordinary programs, built without our flags.
# A line "LIBS: ..." or "CFLAGS: ..." in a comment of the source names what one needs.
$(PROG_BIN): $(B)/%: %.c $(wildcard tests/harmless/programs/*.h)
	@mkdir -p $(@D)
	@echo "  PROG    $@"
	$(Q)$(CC) -O2 -g -Wall -D_GNU_SOURCE \
		$(shell sed -n 's/^.*CFLAGS: *\(.*\)\*\/.*/\1/p' $<) -o $@ $< \
		$(shell sed -n 's/^.*LIBS: *\(.*\)\*\/.*/\1/p' $<)

setup: ## Install what building and testing need (apt; root or sudo)
	@sh scripts/setup

demo: ## Show the main job: a legacy service, PostgreSQL, the spans as a tree
	@sh scripts/setup demo
	@$(MAKE) --no-print-directory all $(DEMO_BIN)
	@B=$(B) sh scripts/demo

test: ## Run every test: check, unit, e2e
	@sh scripts/setup
	-@$(MAKE) --no-print-directory -k -j$$(nproc) test-bin
	@B=$(B) SAN=$(SAN) WERROR=$(WERROR) PYTHON=$(PYTHON) bash scripts/run-tests

# What the tests run, for building with -j before they run one after another.
test-bin: all $(UNIT_BIN) $(PROG_BIN)

unit: $(UNIT_BIN) ## Run the unit tests
	@LOOP=$(LOOP) bash scripts/run-unit $(UNIT_BIN)

e2e: all $(PROG_BIN) ## Run the end-to-end tests (K=pattern for some)
	@B=$(B) SAN=$(SAN) K="$(K)" PYTHON=$(PYTHON) bash scripts/run-pytest tests/e2e tests/harmless

suites: all ## Other people's test suites, bare and preloaded: the same verdicts (S=suite, ALL=1)
	@B=$(B) K="$(K)" PYTHON=$(PYTHON) bash scripts/run-pytest tests/suites
	@B=$(B) ALL=$(ALL) V=$(V) $(PYTHON) tests/suites/run.py $(S)

test-peers: all $(PROG_BIN) ## Real receivers of other people, built or fetched once, tell what they got
	@B=$(B) SAN=$(SAN) K="$(K)" PYTHON=$(PYTHON) PYTEST_TIMEOUT=$${PYTEST_TIMEOUT:-3600} bash scripts/run-pytest tests/peers

check: all ## Symbols, self-calls, layers, style, documentation
	@B=$(B) CC="$(CC)" bash scripts/run-checks

asan: ## Unit and e2e tests under AddressSanitizer and UBSan
	-@$(MAKE) --no-print-directory -k -j$$(nproc) B=$(B)/asan SAN=address,undefined test-bin
	@$(MAKE) --no-print-directory -k -j1 B=$(B)/asan SAN=address,undefined unit e2e

tsan: ## Unit and e2e tests under ThreadSanitizer
	-@$(MAKE) --no-print-directory -k -j$$(nproc) B=$(B)/tsan SAN=thread test-bin
	@$(MAKE) --no-print-directory -k -j1 B=$(B)/tsan SAN=thread unit e2e

# Each fuzzer includes the .c it tests, and may have LINK comments as unit tests have.  New inputs go to $(B)/fuzz/<name>.corpus.
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
$(B)/fuzz/%: tests/fuzz/%.c $$(call unit_objects,$$*)
	@mkdir -p $(@D)
	@echo "  FUZZ    $@"
	$(Q)clang $(ATR_CFLAGS) $(CFLAGS) -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined $(LDFLAGS) -o $@ $< $(call unit_link,$*)

fuzz: $(FUZZ_BIN) ## Run every fuzzer for FUZZTIME seconds (clang; default 60)
	@FUZZTIME=$(FUZZTIME) bash scripts/run-fuzz $(FUZZ_BIN)

bench: all $(PROG_BIN) ## Ratios of paired runs: bare / loaded-off / unsampled / full
	@B=$(B) $(PYTHON) tests/bench/bench.py

lint: ## cppcheck, gcc -fanalyzer, shellcheck
	@B=$(B) bash scripts/lint

format: ## Reformat the sources
	@clang-format -i $$(sh scripts/sources.sh '*.c' '*.h')

check-format: ## Are the sources formatted?
	@bash scripts/check-format.sh

compile_commands.json: ## For clangd (needs bear)
	@bear -- $(MAKE) -B all

install: all ## Install below $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib
	install -m 755 $(B)/autotrace $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(B)/libautotrace.so $(B)/libautotrace-exporter.so $(DESTDIR)$(PREFIX)/lib/

uninstall: ## Remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/autotrace
	rm -f $(DESTDIR)$(PREFIX)/lib/libautotrace.so $(DESTDIR)$(PREFIX)/lib/libautotrace-exporter.so

clean: ## Remove build/
	rm -rf build

help: ## This list
	@sed -n 's/^\([a-z0-9_.-]*\):.*## \(.*\)/  \1	\2/p' $(MAKEFILE_LIST) | expand -t 24
	@echo
	@sed -n 's/^# \(Variables:.*\)/\1/p; s/^# \(           .*\)/\1/p' $(MAKEFILE_LIST)

.PHONY: all setup demo test test-bin test-peers unit e2e suites check asan tsan fuzz bench lint format check-format install \
	uninstall clean help
.DELETE_ON_ERROR:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
