# The two commands that a new machine needs are `make demo` and `make test`.

# .cargo/config.toml builds for the host by name, so programs land in a directory of that name.
host    := $(shell rustc -vV | sed -n 's/^host: //p')
target  := $(or $(CARGO_TARGET_DIR),target)/$(host)
release := $(target)/release/cfgsync
quick   := $(target)/demo/cfgsync
debug   := $(target)/debug/cfgsync

# QUICK=1: fewer pairs and requests, for a look; the table in docs/src/performance.md comes from the full run.
BENCH_FLAGS ?= $(if $(QUICK),--pairs 1 --fetches 20000)

.PHONY: help build demo test lint unit e2e e2e-packages generate bench deny fuzz clean

help:
	@echo 'make demo      build, and see three nodes join'
	@echo 'make test      everything that CI checks'
	@echo 'make build     the release binary: $(release)'
	@echo 'make generate  completions/, man/ and schema/, from the code'
	@echo 'make fuzz      fuzz all that reads what others wrote, SECONDS_EACH=60 each (TARGETS="spec wire" for some)'
	@echo 'make deny      licences, duplicates and known vulnerabilities of what this is built on (needs cargo-deny)'
	@echo 'make bench     measure against the ceiling of the protocol (QUICK=1 for a look, ONLY=case,case for some)'

build:
	cargo build --release --locked
	@echo 'built $(release)'

# Built in half the time of the release binary, whose optimizer looks at everything at once.
demo:
	cargo build --profile demo --locked
	@CFGSYNC='$(abspath $(quick))' examples/quickstart/demo.sh

test: lint unit e2e

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo check --lib --no-default-features --locked
	cargo check --locked
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

# Format of the house, golden files, the wire, freshness of what is generated: all of it is cargo's.
unit:
	cargo test --workspace --locked

# With the binary that the other tests use: to build it alone is to build half of it again, with other features.
e2e: e2e-packages
	cargo test --workspace --locked --no-run --quiet
	CFGSYNC='$(abspath $(debug))' tests/e2e/run.sh

e2e-packages:
	tests/e2e/packages.sh

generate:
	cargo run --locked --quiet -- generate

bench: build
	cargo build --release --locked --package bootstorm
	'$(target)/release/compare' --cfgsync '$(abspath $(release))' $(BENCH_FLAGS) $(if $(ONLY),--only '$(ONLY)')

# Licences, duplicates, sources, known vulnerabilities; `cargo install --locked cargo-deny` brings the program.
deny:
	cargo deny --locked check

# Coverage-guided, with the toolchain that is there. `make test` runs the same targets on their corpora.
fuzz:
	fuzz/run.sh $(TARGETS)

clean:
	cargo clean
