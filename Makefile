# Everything that is done to this project by hand or by CI. `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help run build test test-deps verify fmt-check clippy doc deny lint-deploy fix schemathesis bench bench-rounds bench-writes bench-quick bench-compare charts simulation chaos soak attack-load fuzz

# The venv that scripts/test-deps.sh makes. Tests that need CPython or PyNaCl find it by this variable.
PYTHON := $(CURDIR)/target/test-venv/bin/python

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

schemathesis: test-deps ## Try to find where the service and its OpenAPI document differ: long, other cases each time
	ARK_TEST_PYTHON=$(PYTHON) ARK_SCHEMATHESIS_EXAMPLES=500 ARK_SCHEMATHESIS_SEED=random \
		cargo test --locked --test openapi what_the_document_says -- --nocapture

bench: ## Measure: the parts, then the whole service; about ten minutes, figures also in benches/results/
	cargo bench --locked --bench canonical --bench verify --bench index --bench registry
	cargo bench --locked --bench load
	cargo test --locked --test write_amplification -- --nocapture --test-threads=1

bench-writes: ## Count the fsyncs and bytes of an edit and of a failed attempt; half a minute
	cargo test --locked --test write_amplification -- --nocapture --test-threads=1

bench-rounds: ## Measure rounds between instances, beside rsync where that is installed; about ten minutes
	cargo bench --locked --bench reconcile
	cargo bench --locked --bench rounds

bench-quick: ## Measure the whole service in short; about two minutes
	cargo bench --locked --bench load -- --quick

BEFORE ?= benches/results/baseline.json
AFTER ?= benches/results/load.json
bench-compare: ## Show two results of the load benchmark side by side; BEFORE, AFTER
	cargo bench --locked --bench load -- --compare $(BEFORE) $(AFTER)

RESULTS ?= benches/results/baseline.json
charts: ## Draw a result of the load benchmark into docs/charts; RESULTS
	cargo bench --locked --bench load -- --charts $(RESULTS)

SEEDS ?= 10000
FROM ?= 1
simulation: ## Simulate SEEDS federations, each from its own number; about half an hour
	ARK_SIMULATION_SEEDS=$(SEEDS) ARK_SIMULATION_FROM=$(FROM) cargo test --locked --test simulation -- --nocapture

CHAOS_SECONDS ?= 60
chaos: ## Four instances, a minute of edits in all ways in which programs save, kill -9, SIGSTOP, restarts; CHAOS_SECONDS, CHAOS_SEED
	CHAOS_SECONDS=$(CHAOS_SECONDS) cargo test --locked --test chaos -- --nocapture

SOAK_SECONDS ?= 300
SOAK_CLIENTS ?= 1000

soak: ## Five minutes of a thousand clients while Redis fails in every way; SOAK_SECONDS, SOAK_CLIENTS
	ulimit -n "$$(ulimit -Hn)"; \
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_CLIENTS=$(SOAK_CLIENTS) SOAK_JSON=benches/results/soak.json \
	cargo test --release --locked --test soak -- --nocapture

ATTACK_SECONDS ?= 10
ATTACK_RATE ?= 5000

attack-load: ## What honest peers notice of 5,000 hostile requests a second; ATTACK_SECONDS (10), ATTACK_RATE
	cargo bench --locked --bench attack -- --seconds $(ATTACK_SECONDS) --rate $(ATTACK_RATE)

# Nightly Rust and cargo-fuzz: see fuzz/README.md. CI runs the corpora only, with the other tests.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= gate canonical envelope sync_body file_name dns invite_line
fuzz: ## Fuzz each target for FUZZ_SECONDS (600); findings go to fuzz/artifacts
	@command -v cargo-fuzz > /dev/null || { echo "make fuzz: cargo install cargo-fuzz --locked (see fuzz/README.md)" >&2; exit 1; }
	cargo +nightly fuzz build
	@for target in $(FUZZ_TARGETS); do \
	    cargo +nightly fuzz run $$target -- -dict=fuzz/json.dict -max_len=4096 -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 || exit 1; \
	done
