# nopal's build. `make help` lists the targets.
#
# Everything that is made goes to build/. The machine is not reconfigured: what
# `make` needs and does not find it installs with apt-get; what only the VM and
# the demonstration need is unpacked below build/.

SHELL := /bin/bash
GO ?= go
# An arm64 machine needs no VM.
machine := $(if $(filter aarch64,$(shell uname -m)),tools,vm-tools)

.DEFAULT_GOAL := build
.PHONY: bench bench-peers build build-arm64 demo fixtures fuzz lint man test test-vm toggle vet vm vm-tools tools clean help

build: ## build nopal for this machine (build/nopal)
	$(GO) build -o build/nopal ./cmd/nopal

build-arm64: ## build nopal for arm64 (build/arm64/nopal)
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build -o build/arm64/nopal ./cmd/nopal

tools: ## install the tools that are missing (apt-get)
	@scripts/tools.sh

vm-tools: tools
	@scripts/vm-base.sh $(or $(PAGES),4k)
	@CGO_ENABLED=0 GOARCH=arm64 $(GO) build -o build/vm/init ./internal/vmtest/init
	@$(GO) build -o build/vm/vm ./internal/vmtest/cmd/vm

fixtures: tools
	@test/build.sh

fixtures-arm64: tools
	@test/build.sh --arch arm64

vet:
	$(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./...

# Tests of packages PKG (all), those matching RUN (all); V=1 shows their output.
testall = $(GO) run ./internal/vmtest/cmd/testall $(if $(RUN),-run '$(RUN)') $(if $(V),-v) $(if $(SHORT),-short) \
	$(if $(BOOT),-boot '$(BOOT)')

test: vet $(machine) fixtures build build-arm64 ## run all tests, here and in the arm64 VM
	$(testall) $(PKG)

test-native: tools fixtures build ## run tests on this machine only: PKG=./test RUN=TestAttach V=1
	$(testall) -vm=false $(PKG)

test-vm: vm-tools fixtures-arm64 build-arm64 ## run tests in the arm64 VM only: PKG=./internal/tracee RUN=TestAttach V=1
	$(testall) -host=false $(PKG)

TOGGLES ?= 1000

toggle: $(machine) fixtures build-arm64 ## switch 10,000 functions TOGGLES times (1000) under load; takes long under emulation
	$(testall) -host=$(if $(filter aarch64,$(shell uname -m)),true,false) -v -timeout 4h -args '-toggles=$(TOGGLES)' -run TestToggleStopsNobody ./test

man: build ## write the manual pages to build/man
	build/nopal man build/man

demo: build build-arm64 $(machine) ## record Lua and SQLite on arm64 and show their traces
	@scripts/tools.sh demo
	@demo/run.sh

bench: build build-arm64 $(machine) fixtures ## measure, and print the figures of RATIONALE.md
	@bench/run.sh

bench-peers: build ## measure nopal beside other tracers, here: RUNS=7 (docs/performance.md)
	@scripts/tools.sh peers
	@$(GO) run ./bench/peers $(if $(RUNS),-runs $(RUNS)) $(if $(ONLY),-only '$(ONLY)')

lint: vet ## gofmt, vet, staticcheck and the rules for imports
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt: not formatted:" $$unformatted >&2; exit 1; fi
	$(GO) tool staticcheck ./...
	GOARCH=arm64 $$($(GO) tool -n staticcheck) ./...
	$(GO) test ./internal/lint

FUZZTIME ?= 10s

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@scripts/fuzz.sh $(FUZZTIME)

# The command reaches the shell as it was written: make would expand $ in it.
override CMD := $(value CMD)
export CMD

vm: vm-tools ## run CMD in the arm64 VM, with FILES; see docs/developing.md
	@build/vm/vm $(if $(PAGES),-pages $(PAGES)) $(if $(CPU),-cpu $(CPU)) $(if $(SMP),-smp $(SMP)) \
		$(if $(MEM),-mem $(MEM)) $(if $(ICOUNT),-icount) $(if $(TIMEOUT),-timeout $(TIMEOUT)) \
		$(if $(SHARE),-share $(SHARE)) $(if $(VERBOSE),-console) "$$CMD" $(FILES)

clean: ## remove all that was made
	rm -rf build nopal

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | column -t -s @
