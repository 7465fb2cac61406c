# Everything that is done to this project by hand or by CI. `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help run build test test-deps verify fmt-check clippy doc deny lint-deploy fix bench

# The venv that scripts/test-deps.sh makes. Tests that need CPython or PyNaCl find it by this variable.
PYTHON := $(CURDIR)/target/test-venv/bin/python

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build and start the service on lattice_data/, no Redis needed; it prints what to try next
	cargo run --release --locked -- serve

build: ## Build the release binary: target/release/ark-lattice
	cargo build --release --locked

test-deps: ## Install what the tests need beside Rust (Debian, Ubuntu)
	@scripts/test-deps.sh > /dev/null

test: test-deps ## Run every test: Python client first, then Rust
	$(PYTHON) -m unittest discover --start-directory clients/python
	ARK_TEST_PYTHON=$(PYTHON) cargo test --locked

verify: fmt-check clippy doc deny lint-deploy test ## The gate before a commit: changes no file of yours

fmt-check: ## Check the formatting
	cargo fmt --check

clippy: ## Run the linter, all warnings are errors
	cargo clippy --all-targets --locked -- -D warnings

doc: ## Build the API documentation, all warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

deny: ## Check licences, bans and sources of the dependencies
	scripts/deny.sh

lint-deploy: test-deps ## Check Dockerfile, compose file, Kubernetes manifests, proxies, systemd unit, scripts
	scripts/lint-deploy.sh

fix: ## Format, and apply what the linter can repair by itself
	cargo fmt
	cargo clippy --fix --allow-dirty --allow-staged --all-targets --locked
	cargo fmt

bench: ## Run the benchmarks
	cargo bench --locked
