# `make demo` and `make test` do all the set-up: Python >= 3.11 and make are enough.
VENV ?= .venv
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell command -v $(p) >/dev/null 2>&1 && $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
FUZZ_SECONDS ?= 600
BENCH ?= --orders 200000 --repeats 3

.PHONY: help setup demo test chaos fuzz bench bench-guard bench-history bench-memory check docs docs-check format clean

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: $(INSTALLED) ## Make the virtual environment with everything in it

$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: install it, or name it with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[sandbox,dev,docs]'
	@touch $@

demo: $(INSTALLED) ## Load three generated days into a real PostgreSQL on this machine and show them
	$(BIN)/orders-dask demo

test: $(INSTALLED) ## Run all tests but the long ones that kill, on all cores
	$(BIN)/pytest -n auto --dist worksteal -m "not chaos"

chaos: $(INSTALLED) ## Stop, kill and break everything at every point of a run, and many schedules of publishing
	$(BIN)/pytest tests/chaos -n 3 --dist worksteal
	ORDERS_DASK_SCHEDULES=60 $(BIN)/pytest tests/integration/test_schedules.py tests/integration/test_readers.py -n 2

fuzz: $(INSTALLED) ## Try random and hostile input for FUZZ_SECONDS, bombs of some GB included
	ORDERS_DASK_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest -s -o faulthandler_timeout=0 tests/unit/test_fuzz.py tests/unit/test_hostile.py

bench: $(INSTALLED) ## Load the same dump beside DuckDB, dlt and pandas, several times in turn, and write the ratios to build/
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m tests.benchmarks $(BENCH)

bench-guard: $(INSTALLED) ## Fail where a run has become clearly slower beside the floors of decode and COPY
	$(BIN)/python -m tests.benchmarks.guard

bench-history: $(INSTALLED) ## Publish into ten years of run dates and into none, and read them (5 minutes)
	$(BIN)/python -m tests.benchmarks.history

bench-memory: $(INSTALLED) ## Run large and odd inputs and fail where a process takes too much memory (an hour)
	$(BIN)/python -m tests.benchmarks.memory

check: $(INSTALLED) ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: docs-check

docs: $(INSTALLED) ## Build all pages and the API reference as HTML in build/docs; any warning is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning --nitpicky --doctree-dir build/doctrees --conf-dir docs . build/docs

docs-check: $(INSTALLED) ## Fail where a page that docs/generate.py writes no longer follows from the code
	$(BIN)/python docs/generate.py --check

format: $(INSTALLED) ## Format and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what was made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
