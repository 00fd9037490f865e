# `make demo` and `make test` do everything on a fresh machine; each target makes what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 42
STEPS ?= 120
PEERS := .venv-peers
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-kafka kafka storm soak sim-run sim-metrics-run check bench bench-allocation bench-stream format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

$(STAMP): pyproject.toml constraints.txt
	@echo "==> making $(VENV) and installing the pinned dependencies (about a minute, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt hatchling editables
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

demo: $(STAMP) ## embedded broker, 100,000 requests, decisions and a report
	@$(BIN)/aurora demo

test: $(STAMP) ## the test suite
	@echo "==> compiling the kernels (on two cores, where the cache has none)"
	@$(BIN)/python -m aurora_batch.warm_up
	@echo "==> running the test suite, on up to four cores"
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal
	@echo "==> running the tests against a real Kafka broker (a JDK and Maven; skipped without)"
	@$(BIN)/python -m pytest -m kafka -rs

sim-run: $(STAMP) ## the war game; SEED=42 STEPS=120 say which
	@$(BIN)/aurora wargame --seed $(SEED) --steps $(STEPS)

sim-metrics-run: $(STAMP) ## the same, a step a second, with metrics on port 9110
	@$(BIN)/aurora wargame --seed $(SEED) --steps $(STEPS) --metrics

check: $(STAMP) ## lint, format, types, layers
	@echo "==> ruff" && $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "==> mypy --strict" && $(BIN)/mypy
	@echo "==> import-linter" && $(BIN)/lint-imports

kafka: $(STAMP) ## a real Kafka broker in the foreground, at localhost:9092 (NODES=3: a cluster)
	@$(BIN)/python -m tests.broker --nodes $(or $(NODES),1)

test-kafka: $(STAMP) ## the tests that need a real broker (a JDK and Maven)
	@echo "==> running the tests against a real Kafka broker"
	@$(BIN)/python -m pytest -m kafka

storm: $(STAMP) ## kill workers and brokers by the dozen, check every decision (minutes; PARTS=workers)
	@$(BIN)/python -m tests.storm.run $(PARTS)
	@echo "==> 50 zombies and 200 commits in doubt"
	@AURORA_ROUNDS=full $(BIN)/python -m pytest -m kafka tests/fire

soak: $(STAMP) ## 20,000 requests/s for MINUTES=15: memory, descriptors, counters
	@$(BIN)/python -m tests.storm.soak --minutes $(or $(MINUTES),15)

bench: $(STAMP) ## benchmarks: time and quality, with ratios
	@$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only

bench-allocation: $(STAMP) ## the solver beside SciPy and OR-Tools on named instances (minutes)
	@$(BIN)/python -m benchmarks.table

$(PEERS)/.installed: benchmarks/stream/peers/requirements.txt
	@echo "==> making $(PEERS) with Quix Streams (once)"
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/pip install --quiet --disable-pip-version-check -r benchmarks/stream/peers/requirements.txt \
		&& touch $@ || echo "Quix Streams could not be installed: its row is left out" >&2

bench-stream: $(STAMP) $(PEERS)/.installed ## from broker to broker at a real Kafka, beside peers (minutes; ARGS="--full")
	@$(BIN)/python -m benchmarks.stream $(ARGS)

format: $(STAMP) ## format and fix what can be fixed
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean: ## remove the environment, caches and outputs
	rm -rf $(VENV) $(PEERS) out .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
