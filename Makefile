# Needs python3 (3.11 or newer), git and make. Uses uv to be quicker where it is on the PATH.
PYTHON ?= python3
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
SERVE_ARGS ?=

BIN := .venv/bin
STAMP := .venv/.installed
INSTALL := --require-hashes -r requirements.lock
SELF := --no-deps --no-build-isolation -e .

.DEFAULT_GOAL := help
.PHONY: help setup demo serve bench test chaos lint format clean lock

help: ## Say what the targets do
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "HotSKU needs Python 3.11 or newer as $(PYTHON); name another: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@{ command -v uv >/dev/null 2>&1 && uv pip install --quiet --python $(BIN)/python $(INSTALL); } \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check $(INSTALL)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(SELF)
	@touch $@

demo: setup ## Sell one hot item to 200,000 buyers, and audit it
	@$(BIN)/hotsku demo $(DEMO_ARGS)

serve: setup ## Serve the HTTP interface on loopback (SERVE_ARGS="--port 9000")
	@$(BIN)/hotsku serve $(SERVE_ARGS)

bench: setup ## Measure every rung of the ladder side by side (BENCH_ARGS="--quick single bulk")
	@$(BIN)/hotsku bench $(BENCH_ARGS)

# More than there are cores: many tests wait for processes that they have killed, and for timers.
TEST_PROCESSES ?= 4

test: setup ## Run the tests (more arguments: PYTEST_ARGS)
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

CHAOS_SEEDS ?= 1-20
CHAOS_SECONDS ?= 20

chaos: setup ## Run the schedules of faults, long (CHAOS_SEEDS="1-100" CHAOS_SECONDS=20)
	@HOTSKU_CHAOS_SEEDS=$(CHAOS_SEEDS) HOTSKU_CHAOS_SECONDS=$(CHAOS_SECONDS) HOTSKU_CHAOS_DURABILITY=durable,fast \
		$(BIN)/python -m pytest -s tests/chaos $(PYTEST_ARGS)

lint: setup ## Check style, types and the import contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## Fix what ruff can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: setup ## Resolve requirements.lock anew (needs uv)
	@uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra bench --extra client --extra otel \
		--generate-hashes --upgrade \
		--no-config --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--output-file requirements.lock pyproject.toml

clean: ## Remove what a build or a test run left; .venv and .hotsku stay
	@rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
