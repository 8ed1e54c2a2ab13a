# The commands of this project; `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: run walkabout test test-deps sim sanitize bench perf book dist help

run: ## Install what is missing, build, and start a daemon with all roles: config/dev.toml
	@.ci/setup build
	@.ci/cargo build --bin donetd
	@[ ! -f "$$HOME/.cargo/env" ] || . "$$HOME/.cargo/env"; exec cargo run --quiet --bin donetd -- config/dev.toml

walkabout: ## Play: a small Panda3D game with bots against a daemon of its own (docs/walkabout)
	@.ci/setup build test
	@.ci/cargo build --bin donetd
	@.ci/walkabout

test: ## Install what is missing, build, and run all tests; those that lack a real program are listed
	@.ci/setup build
	@.ci/test

test-deps: ## Install the real programs that some tests use
	@.ci/setup test

sim: ## Play in the simulator: SEEDS=1000 (a count), SEEDS=500..900 (a range), SEED=7 (one, with its trace)
	@.ci/setup build
	@[ ! -f "$$HOME/.cargo/env" ] || . "$$HOME/.cargo/env"; \
	  RUST_BACKTRACE=0 cargo run --quiet --example simulate -- $(if $(SEED),--trace $(SEED),$(SEEDS))

sanitize: ## Run the tests of the executors under the address sanitizer (needs a nightly toolchain)
	@.ci/sanitize address

bench: ## Run the benchmarks of the hot paths
	@.ci/setup build
	@.ci/cargo bench --workspace --profile dev

perf: ## Load a Message Director, and the relay beside it: a Markdown table in some minutes
	@.ci/setup build
	@perf/run-md.sh

book: ## Make HTML of docs/ with mdBook: target/book
	@command -v mdbook >/dev/null || { echo "mdBook is missing: cargo install mdbook --locked" >&2; exit 1; }
	@mdbook build docs -d "$(CURDIR)/target/book"

dist: ## Pack programs, configurations and documentation into a tarball that runs without a toolchain
	@.ci/setup build
	@.ci/cargo build --workspace --bins
	@[ ! -f "$$HOME/.cargo/env" ] || . "$$HOME/.cargo/env"; .ci/dist

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
