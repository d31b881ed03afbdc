# What people and CI call. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Cargo sees no terminal where its output is piped; ask here, once.
export CARGO_TERM_COLOR ?= $(if $(MAKE_TERMOUT),always,auto)

TARGET := $(or $(CARGO_TARGET_DIR),target)
LOVAGE := $(TARGET)/debug/lovage
# Where tests/build.rs puts them too: what one has built, the other finds.
GUESTS := target/guests/wasm32-wasip2/guest

# The tests need some features of the dependencies that the binary alone does not. One small test along makes Cargo choose
# for both, so that what was built for the demo is not built again for the tests.
BUILD := cargo build --locked --workspace --bin lovage --test daemon
BUILD_TASKS := env -u RUSTFLAGS cargo build --locked --profile guest --target wasm32-wasip2 --target-dir target/guests \
               -p lovage-digest -p thumbnail -p tour -p wordcount

BUILD_SUITE := env -u RUSTFLAGS cargo build --locked --profile guest --target wasm32-wasip2 --target-dir target/guests \
               -p lovage-test-guests --example celery_suite

BUILD_LOAD := env -u RUSTFLAGS cargo build --locked --profile guest --target wasm32-wasip2 --target-dir target/guests \
              -p lovage-test-guests --example load

.PHONY: help setup setup-tests build test lint demo example celery-suite bench attack nightly fuzz clean

help: ## List what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## Install what builds need and is missing (a C compiler, Python 3, the wasm32-wasip2 target)
	@scripts/setup.sh

setup-tests: ## The same for tests and benches (redis-server, python3-venv, and a browser where one can be had)
	@scripts/setup.sh tests

build: setup ## Build the binary, and the modules in tasks/ as components
	$(BUILD)
	$(BUILD_TASKS)
	@echo; echo "  $(LOVAGE)"; for task in $(GUESTS)/*.wasm; do echo "  $$task"; done

test: setup-tests ## Run every test (this is what CI runs)
	@scripts/test.sh

lint: setup ## Check formatting, lints, docs and, if cargo-deny is installed, licences and advisories
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; \
	else echo "cargo-deny is not installed, deny.toml was not checked (cargo install cargo-deny)"; fi

demo: setup ## Build everything and watch it at work, from the first task to a killed daemon
	$(BUILD)
	$(BUILD_TASKS)
	@python3 scripts/demo.py $(LOVAGE) $(GUESTS)

example: setup-tests ## Run a Celery worker and Lovage beside each other, with one client of both
	$(BUILD)
	$(BUILD_TASKS)
	@LOVAGE=$(abspath $(LOVAGE)) MODULES=$(abspath $(GUESTS)) examples/beside-celery/run.sh

celery-suite: setup-tests ## Run Celery's own integration suite, from PyPI, against Lovage (about 20 minutes)
	$(BUILD)
	$(BUILD_SUITE)
	@LOVAGE=$(abspath $(LOVAGE)) scripts/celery-suite.sh

bench: setup-tests ## Measure, in release mode: a table for Lovage by itself, and one for it beside Celery
	$(BUILD_LOAD)
	cargo bench --locked -p lovage --bench lovage
	cargo build --release --locked -p lovage --bin lovage
	@"$$(scripts/python.sh)" scripts/bench-celery.py $(TARGET)/release/lovage $(GUESTS)/examples/load.wasm

FUZZ_SECONDS ?= 60

fuzz: setup ## Feed what reads bytes of strangers with nonsense, a minute for each (FUZZ="tokens config" for some; needs cargo-fuzz)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz.sh $(FUZZ)

nightly: setup ## Try thousands of components in the crash lab that were not tried before
	$(BUILD) --test hostile
	@export CRASH_LAB_SEED=$${CRASH_LAB_SEED:-$$(date +%s)000000} CRASH_LAB_TIMES=$${CRASH_LAB_TIMES:-20}; \
	echo "again with: CRASH_LAB_SEED=$$CRASH_LAB_SEED CRASH_LAB_TIMES=$$CRASH_LAB_TIMES make nightly"; \
	cargo test --locked --workspace --test hostile smith

attack: setup ## Measure what a tenant notices of another one's attack, in release mode (about 10 minutes; ATTACKS="spinners output" for some)
	cargo build --release --locked --workspace --bin lovage --bench attack
	cargo bench --locked --workspace --bench attack -- $(ATTACKS)

clean: ## Remove everything that was built
	cargo clean
