# `make demo` and `make test` do all the set-up: Python >= 3.11 and make are enough.
VENV ?= .venv
# The first command that runs a Python of 3.11 or later: one that pyenv knows may be there and not run.
first_python = $(firstword $(foreach p,$(1),$(shell \
	$(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(p))))
PYTHON ?= $(call first_python,python3 python3.14 python3.13 python3.12 python3.11)
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
LOWEST_PYTHON ?= $(call first_python,$(PYTHONS))
LOCK ?= requirements.lock
TESTS ?= tests
# Which tests of the compose file run, by marks; all by default.
MARKS ?=
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
RESOLVE := $(BIN)/uv pip compile pyproject.toml --quiet --extra sandbox --extra notebook --extra dev --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make lock'
ORCHESTRATORS := prefect dagster airflow
FUZZ_SECONDS ?= 600
ALL_FACTS := sales,discounts,fulfilments,payments,taxes,attributes
BENCH ?= --orders 200000 --repeats 3

.PHONY: help setup lock upgrade hooks demo test test-pythons test-lowest test-long test-compose test-deploy test-orchestrators coverage chaos fuzz simulate bench bench-guard bench-history bench-memory check docs docs-check notebook format clean

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: $(INSTALLED) ## Make the virtual environment with everything in it

$(INSTALLED): pyproject.toml $(LOCK)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: install it, or name it with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --require-hashes --requirement $(LOCK)
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	$(BIN)/python -c 'from orders_dask.extract.decode.compile_once import ensure_compiled; ensure_compiled()'
	@touch $@

lock: $(INSTALLED) ## Write requirements.lock after pyproject.toml was changed, with as few other changes as can be
	$(RESOLVE) --extra docs --universal --python-version 3.11 --output-file requirements.lock

upgrade: $(INSTALLED) ## Write requirements.lock with the newest versions that pyproject.toml allows
	$(RESOLVE) --extra docs --universal --python-version 3.11 --output-file requirements.lock --upgrade

hooks: $(INSTALLED) ## Let git run the checks before each commit
	$(BIN)/pre-commit install

demo: $(INSTALLED) ## Load three generated days into a real PostgreSQL on this machine and show them
	$(BIN)/orders-dask demo

test: $(INSTALLED) ## Run all tests but those that take minutes and most kills, on all cores; some once more with all groups of tables
	$(BIN)/pytest -n auto --dist worksteal -m "not chaos and not long" $(TESTS)
	ORDERS_DASK_FACTS=$(ALL_FACTS) $(BIN)/pytest -n auto --dist worksteal -m "groups and not chaos and not long" $(TESTS)

test-pythons: ## Run the tests with each of PYTHONS that is here, in a virtual environment of its own
	@passed= failed= absent=; for python in $(PYTHONS); do \
		if ! version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
		then absent="$$absent $$python"; \
		elif $(MAKE) test PYTHON=$$python VENV=.venv-$$version; then passed="$$passed $$version"; \
		else failed="$$failed $$version"; fi; \
	done; \
	echo "Passed:$${passed:- none}. Failed:$${failed:- none}. Not installed, so left out:$${absent:- none}."; \
	test -n "$$passed" && test -z "$$failed"

test-lowest: TESTS = tests/unit tests/integration
test-lowest: $(INSTALLED) ## Run the unit and integration tests with the lowest versions that pyproject.toml allows
	$(RESOLVE) --resolution lowest-direct --upgrade --python $(LOWEST_PYTHON) --output-file build/lowest.lock
	NUMBA_CACHE_DIR=$(CURDIR)/.venv-lowest/numba \
	$(MAKE) test PYTHON=$(LOWEST_PYTHON) VENV=.venv-lowest LOCK=build/lowest.lock TESTS="$(TESTS)"

test-long: $(INSTALLED) ## Run the tests that take minutes each
	$(BIN)/pytest -n auto --dist worksteal -m long $(TESTS)

test-compose: $(INSTALLED) ## Build the image, start docker-compose.yml, and break it in the middle of backfills
	tests/compose/engine.sh $(BIN)/pytest -v -m "$(MARKS)" tests/compose

test-orchestrators: $(ORCHESTRATORS:%=test-%) ## Run the modules of deploy/ with the real Prefect, Dagster and Airflow

.PHONY: $(ORCHESTRATORS:%=test-%)
$(ORCHESTRATORS:%=test-%): test-%: .venv-%/.installed
	PATH="$(abspath $(BIN)):$$PATH" .venv-$*/bin/pytest -c tests/orchestrators/pytest.ini tests/orchestrators/test_$*.py

# Each has a virtual environment of its own, without orders_dask.
$(ORCHESTRATORS:%=.venv-%/.installed): .venv-%/.installed: deploy/%/requirements.txt $(INSTALLED)
	$(PYTHON) -m venv .venv-$*
	$(BIN)/uv pip install --quiet --python .venv-$*/bin/python --requirement $< \
		"$$($(BIN)/uv pip freeze --python $(BIN)/python | grep '^pytest==')"
	@touch $@

coverage: $(INSTALLED) ## Run the tests as `make test` does, and fail where they cover less than they did
	rm -rf build/coverage
	$(BIN)/coverage run -m pytest -n auto --dist worksteal -m "not chaos and not long" $(TESTS)
	ORDERS_DASK_FACTS=$(ALL_FACTS) $(BIN)/coverage run -m pytest -n auto --dist worksteal -m "groups and not chaos and not long" $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-deploy: $(INSTALLED) ## Validate deploy/ by the real schemas and tools, and run what it starts
	$(PIP_INSTALL) --editable '.[deploy]'
	$(BIN)/pytest -n auto --dist loadfile tests/deploy

chaos: $(INSTALLED) ## Stop, kill and break everything at every point of a run, and many schedules of publishing
	$(BIN)/pytest tests/chaos -n 3 --dist worksteal
	ORDERS_DASK_SCHEDULES=60 $(BIN)/pytest tests/integration/test_schedules.py tests/integration/test_readers.py -n 2

fuzz: $(INSTALLED) ## Try random and hostile input for FUZZ_SECONDS, bombs of some GB included
	ORDERS_DASK_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest -s -o faulthandler_timeout=0 tests/unit/test_fuzz.py tests/unit/test_hostile.py

simulate: $(INSTALLED) ## Find out how often the checks are right, with a thousand shops that don't exist
	$(BIN)/python -m tests.simulation

bench: $(INSTALLED) ## Load the same dump beside DuckDB, dlt and pandas, several times in turn, and write the ratios to build/
	$(PIP_INSTALL) --editable '.[bench]'
	$(BIN)/python -m tests.benchmarks $(BENCH)
	$(BIN)/python -m tests.benchmarks.small_days
	$(BIN)/python -m tests.benchmarks.cold_start
	$(BIN)/python -m tests.benchmarks.scale_out

bench-fetch: $(INSTALLED) ## Fetch large days from a shop whose pages take seconds: share of the rate, CPU, memory (6 minutes)
	$(BIN)/python -m tests.benchmarks.fetch

bench-guard: $(INSTALLED) ## Fail where a run has become clearly slower beside the floors of decode and COPY
	$(BIN)/python -m tests.benchmarks.guard

bench-history: $(INSTALLED) ## Publish into ten years of run dates and into none, and read them (5 million orders: takes long)
	$(BIN)/python -m tests.benchmarks.history

bench-memory: $(INSTALLED) ## Run large and odd inputs and fail where a process takes too much memory (an hour)
	$(BIN)/python -m tests.benchmarks.memory

check: $(INSTALLED) ## Lint, format, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy $(ORCHESTRATORS:%=deploy/%)
	$(BIN)/codespell
	$(BIN)/hadolint Dockerfile tests/compose/standins/*/Dockerfile
	@if ! docker compose version >/dev/null 2>&1; then echo "No docker compose here: make test-compose reads its files."; \
	else for files in docker-compose.yml docker-compose.yml:deploy/compose/tls.yml; do \
		COMPOSE_FILE=$$files docker compose --profile '*' config --quiet || exit; done; fi

check: docs-check

docs: $(INSTALLED) ## Build all pages and the API reference as HTML in build/docs; any warning is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning --nitpicky --doctree-dir build/doctrees --conf-dir docs . build/docs

notebook: $(INSTALLED) ## Run docs/notebook.md with a synthetic shop, and write its results and pictures
	$(BIN)/python docs/generate_notebook.py

docs-check: $(INSTALLED) ## Fail where a page no longer follows from the code, or from the database that the code makes
	$(BIN)/python docs/generate.py --check
	$(BIN)/python docs/generate_dictionary.py --check

format: $(INSTALLED) ## Format and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what was made here
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
