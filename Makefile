# On a new machine, start with `make demo` and `make test`.

# .cargo/config.toml builds for the host by name, so programs land in a directory of that name.
host    := $(shell rustc -vV | sed -n 's/^host: //p')
target  := $(or $(CARGO_TARGET_DIR),target)/$(host)
release := $(target)/release/cfgsync
quick   := $(target)/demo/cfgsync
debug   := $(target)/debug/cfgsync

# QUICK=1 runs fewer pairs and requests. The table in docs/src/performance.md comes from the full run.
BENCH_FLAGS ?= $(if $(QUICK),--pairs 1 --fetches 20000)

PREFIX ?= /usr/local
# A binary that is built already, to be installed in place of a new one.
BINARY ?=

.PHONY: help build install demo test test-all lint unit e2e e2e-packages generate bench deny fuzz clean

help:
	@echo 'make demo      build, and let three nodes join on this machine'
	@echo 'make test      run everything that CI runs'
	@echo 'make test-all  the same, and tests that take longer'
	@echo 'make build     build the release binary: $(release)'
	@echo 'make install   install program, manual pages, completions and systemd units below PREFIX=$(PREFIX) (or DESTDIR)'
	@echo 'make generate  write completions/, man/ and schema/ from the code'
	@echo 'make fuzz      fuzz every parser of untrusted input, SECONDS_EACH=60 each (TARGETS="spec wire": only some)'
	@echo 'make deny      check licences, duplicates and known vulnerabilities of the dependencies (needs cargo-deny)'
	@echo 'make bench     compare with an idealized server (QUICK=1: less precise, ONLY=CASE,CASE: only some cases)'

build:
	cargo build --release --locked
	@echo 'built $(release)'

# systemd reads units below /usr/local/lib and /usr/lib. They name the program by its path.
install: $(if $(BINARY),,build)
	install -D -m 0755 '$(or $(BINARY),$(release))' '$(DESTDIR)$(PREFIX)/bin/cfgsync'
	for page in man/*; do \
	    install -D -m 0644 "$$page" "$(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}" || exit; \
	done
	install -D -m 0644 completions/cfgsync.bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/cfgsync'
	install -D -m 0644 completions/_cfgsync '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_cfgsync'
	install -D -m 0644 completions/cfgsync.fish '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/cfgsync.fish'
	for unit in contrib/systemd/cfgsync-*; do \
	    to="$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/}"; \
	    install -D -m 0644 "$$unit" "$$to" && sed -i 's,/usr/local/bin/,$(PREFIX)/bin/,' "$$to" || exit; \
	done

# The profile `demo` compiles in half the time of `release`, because it optimizes less.
demo:
	cargo build --profile demo --locked
	@CFGSYNC='$(abspath $(quick))' examples/quickstart/demo.sh

test: lint unit e2e

# Also tests that take longer: many kills of a real server, many crashes of a simulated disk, and each fuzz target.
test-all: test
	TEST_KILLS=300 cargo test --locked --package cfgsync --test it durable
	TEST_CRASHES=50 cargo test --locked --package cfgsync-store journal
	fuzz/run.sh

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo check --lib --no-default-features --locked
	cargo check --no-default-features --features cli --locked
	cargo check --locked
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

# cargo runs all tests: units, golden files, the wire format, and the check that generated files are up to date. Those of
# the store on etcd start a real one.
unit: e2e-packages
	cargo test --workspace --locked

# Use the binary that `unit` builds. A separate build would compile half of it again, with other features.
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

# Licences, duplicates, sources, known vulnerabilities. `cargo install --locked cargo-deny` installs the program.
# tests/dependencies.rs checks all but the vulnerabilities without it, as part of `make test`.
deny:
	cargo deny --locked check

# Coverage-guided, with the stable toolchain. `make test` runs the same targets on their corpora.
fuzz:
	fuzz/run.sh $(TARGETS)

clean:
	cargo clean
