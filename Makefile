# SPDX-License-Identifier: Apache-2.0
# A thin front for Meson. `make help` lists the targets.
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
MESON   ?= meson

.PHONY: all demo check soak bench macos install format fuzz sanitize sanitize-threads setup-build clean help

all: $(BUILD)/build.ninja ## build everything; the command is build/kiln
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@command -v $(MESON) >/dev/null && command -v ninja >/dev/null || tools/setup.sh build
	@$(MESON) setup $(BUILD) --prefix=$(PREFIX) >/dev/null || { tools/setup.sh build && $(MESON) setup $(BUILD) --prefix=$(PREFIX); }

demo: ## boot a Debian root in a VM and show it
	@tools/setup.sh demo
	@$(MAKE) --no-print-directory all
	@tools/demo.sh

check: ## the whole test suite, with seeded samples of the long tests
	@tools/setup.sh check
	@tools/check.sh

soak: ## the same with full counts
	@tools/setup.sh check
	@KILN_SOAK=1 tools/check.sh

bench: ## boot figures beside those of QEMU, image figures beside those of skopeo and umoci
	@tools/setup.sh bench
	@$(MAKE) --no-print-directory all
	@tests/bench/run.sh

macos: ## build kiln for macOS, universal and signed ad hoc, in build-cross/kiln-macos
	@tools/cross.sh build macos macos-x86_64
	@tools/cross/macos.sh

install: $(BUILD)/build.ninja ## install below DESTDIR and PREFIX
	@$(if $(filter file,$(origin PREFIX)),,$(MESON) configure $(BUILD) -Dprefix=$(PREFIX)) # one that is given counts, whenever
	@ninja -C $(BUILD)
	@DESTDIR=$(DESTDIR) $(MESON) install -C $(BUILD) --no-rebuild

fuzz: ## run each fuzz target for ten minutes (KILN_FUZZ_SECONDS); needs clang
	@tools/fuzz.sh "$${KILN_FUZZ_SECONDS:-600}"

sanitize: ## build with ASan and UBSan in build-asan
	@[ -e build-asan/build.ninja ] || $(MESON) setup build-asan -Db_sanitize=address,undefined -Db_lundef=false -Dstatic_deps=false -Dwerror=false >/dev/null
	@ninja -C build-asan

sanitize-threads: ## build what has threads with TSan in build-tsan
	@[ -e build-tsan/build.ninja ] || $(MESON) setup build-tsan -Db_sanitize=thread -Db_lundef=false -Dstatic_deps=false -Dwerror=false -Dguest_aarch64=disabled -Ddocs=disabled >/dev/null
	@ninja -C build-tsan threaded-tests

format: ## format the C sources
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean: ## remove the builds, not the caches
	@rm -rf build build-asan build-fuzz build-tsan

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
