# Two commands do all set-up: `make run` and `make test`. Everything else is for those who change the code.

CARGO ?= cargo
OTP_DIR ?= $(CURDIR)/tests/.otp
NEIGHBOURS_DIR ?= $(CURDIR)/tests/.neighbours
export LOGMACHINE_OTP_DIR := $(OTP_DIR)
export LOGMACHINE_NEIGHBOURS_DIR := $(NEIGHBOURS_DIR)

.PHONY: run demo test test-matrix check bench bench-cluster erlang otp neighbours format

# Builds and runs the node: logs error_logger events of every Erlang node of this host, in ./data.
run:
	$(CARGO) run --release -- run --connect local

# Three Erlang nodes fail in instructive ways, captured and printed as it happens, with alerts and candles; the address
# of the console, where all of it is to be seen, comes first. Ctrl-C ends it.
demo: erlang
	$(CARGO) build --release --quiet
	@examples/demo/run $${CARGO_TARGET_DIR:-target}/release/logmachine

# Installs what the tests need, and runs them all.
test: erlang otp neighbours check-format lint
	$(CARGO) test --quiet
	@if [ -x $(OTP_DIR)/bullseye/bin/erlc ]; then erlang/make-handlers --check $(OTP_DIR); else echo "skipped: handlers are not compared with their sources"; fi
	LOGMACHINE=$${CARGO_TARGET_DIR:-target}/debug/logmachine OTP_MATRIX=$(OTP_DIR) erlang/run-tests
	@echo "all tests passed"

# The tests of other releases alone, and docs/releases.md from what they say.
MATRIX_SAYS = $${CARGO_TARGET_DIR:-target}/test-matrix
test-matrix: erlang otp
	@mkdir -p $${CARGO_TARGET_DIR:-target}
	$(CARGO) test --test it -- --show-output releases:: capture:: subscriptions:: >$(MATRIX_SAYS) || { cat $(MATRIX_SAYS); exit 1; }
	tests/release-table $(OTP_DIR) <$(MATRIX_SAYS) >$(MATRIX_SAYS).md
	mv $(MATRIX_SAYS).md docs/releases.md
	@echo "docs/releases.md says what passed"

# What `make test` runs, and what needs more than a clone: documentation, licences.
check: test
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet
	if command -v cargo-deny >/dev/null; then cargo deny check; else echo "skipped: cargo-deny is not installed"; fi

.PHONY: check-format lint
check-format:
	$(CARGO) fmt --check
lint:
	$(CARGO) clippy --all-targets --quiet -- -D warnings
	$(CARGO) clippy --no-default-features --lib --quiet -- -D warnings

format:
	$(CARGO) fmt

# The log, then an instance, under every fault, HOURS hours together; says the seed of what failed.
HOURS ?= 1
.PHONY: simulate mutants
simulate:
	LOGMACHINE_SIMULATE_SECONDS=$$(($(HOURS) * 1800)) $(CARGO) test --lib -- --nocapture --test-threads=1 \
		nothing_acknowledged_or_seen_is_lost an_instance_keeps_its_promises_whatever_happens

# Whether the tests notice each fault that is planted in the log.
mutants:
	$(CARGO) test --lib -- --nocapture event_log::tests::planted::the_suite_kills_every_planted_fault

bench:
	$(CARGO) bench

# BEAM nodes send to this node and, in alternation, to a BEAM process that only counts: docs/performance.md.
bench-cluster: erlang
	$(CARGO) build --release --quiet
	@benches/cluster/run $${CARGO_TARGET_DIR:-target}/release/logmachine $(SCENARIOS)

# What the console costs the browser of who looks at it, MINUTES minutes at each of two rates; and pictures of it for docs/.
MINUTES ?= 10
IN_BROWSER = PYTHONPATH=$(NEIGHBOURS_DIR)/browser PYTHONDONTWRITEBYTECODE=1 CHROMIUM=$$(command -v chromium) python3
.PHONY: measure-console screenshots
measure-console: neighbours
	$(CARGO) build --release --quiet
	@$(IN_BROWSER) tests/it/console/measure.py $${CARGO_TARGET_DIR:-target}/release/logmachine $(MINUTES)
screenshots: erlang neighbours
	$(CARGO) build --release --quiet
	@$(IN_BROWSER) tests/it/console/screenshots.py $${CARGO_TARGET_DIR:-target}/release/logmachine docs/console

# Erlang through the system's package manager, if it is missing.
erlang:
	@tests/install-erlang

# Several OTP releases side by side, where Debian packages can be had; the tests skip what is missing.
otp:
	@tests/otp-matrix install $(OTP_DIR) || echo "skipped: not every OTP release could be installed"

# Programs of others that we are tested beside, likewise.
neighbours:
	@tests/neighbours $(NEIGHBOURS_DIR) || echo "skipped: not every neighbour could be installed"
