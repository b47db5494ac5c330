# Two commands do all set-up: `make run` and `make test`. Everything else is for those who change the code.

CARGO ?= cargo
OTP_DIR ?= $(CURDIR)/tests/.otp
export LOGMACHINE_OTP_DIR := $(OTP_DIR)

.PHONY: run demo test test-matrix check bench erlang otp format

# Builds and runs the node: logs error_logger events of every Erlang node of this host, in ./data.
run:
	$(CARGO) run --release --quiet -- run --connect local

# Three Erlang nodes fail in instructive ways, captured and printed as it happens; ends by itself.
demo: erlang
	$(CARGO) build --release --quiet
	@examples/demo/run $${CARGO_TARGET_DIR:-target}/release/logmachine

# Installs what the tests need, and runs them all.
test: erlang otp check-format lint
	$(CARGO) test --quiet
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

format:
	$(CARGO) fmt

bench:
	$(CARGO) bench

# Erlang through the system's package manager, if it is missing.
erlang:
	@tests/install-erlang

# Several OTP releases side by side, where Debian packages can be had; the tests skip what is missing.
otp:
	@tests/otp-matrix install $(OTP_DIR) || echo "skipped: not every OTP release could be installed"
