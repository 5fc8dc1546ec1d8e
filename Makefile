# Every target sets up what it needs in .venv; start with `make help`.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# What is never imported need not be compiled, which would take longer than all else.
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
# What is imported is compiled once and kept, where the environment says otherwise too: torch takes seconds a process.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo test suite lint lowest validate benchmark docs clean

help: ## Show what each target does
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | awk -F'|' '{printf "make %-10s %s\n", $$1, $$2}'

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "separable needs Python 3.10 or newer; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip # that of an old Python takes minutes to choose versions
	$(PIP) 'torch'
	$(PIP) --editable '.[demo,dev]'
	touch $@

$(VENV)/peers: $(VENV)/installed
	$(PIP) --editable '.[peers]'
	touch $@

$(VENV)/exponax/installed: $(VENV)/installed
	$(PYTHON) -m venv $(VENV)/exponax
	$(VENV)/exponax/bin/python -m pip install --quiet --disable-pip-version-check exponax==0.2.0
	touch $@

$(VENV)/docs: $(VENV)/installed
	$(PIP) --editable '.[docs]'
	touch $@

BESIDE = $(VENV)/peers $(VENV)/docs $(VENV)/exponax/installed # what benchmarks need besides the library

install: $(VENV)/installed ## Set up .venv with the library, its tools and its tests (the other targets do this themselves)

demo: install ## Fit tables, invert a formula, solve a PDE, design a cell, fly, forecast, write, ask; leaves runs/demo/report.html (under 5 minutes)
	$(BIN)/python -m domains.demo

lint: install ## Style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint suite ## Everything that must hold at every commit (under 15 minutes on 2 cores)

suite: install ## The tests of that alone: make suite PYTHON=python3.13 VENV=build/python3.13
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --durations=15

lowest: ## The tests with the lowest versions that pyproject.toml states (5 GB of torch)
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet uv
	build/lowest/bin/uv pip compile --quiet --resolution lowest-direct --extra dev --constraint tools/lowest.txt pyproject.toml --output-file build/lowest.txt
	build/lowest/bin/uv pip install --quiet --python build/lowest/bin/python --requirement build/lowest.txt --constraint tools/lowest.txt --editable .
	OMP_NUM_THREADS=1 build/lowest/bin/python -m pytest -n 2 --dist loadfile -W default --deselect \
		tests/packaging/test_third_party.py::test_what_the_core_brings_in_is_listed_with_the_licence_that_is_stated

validate: $(BESIDE) ## Slow evidence: tests/validation; a trial of every benchmark among it
	$(BIN)/pytest -o 'norecursedirs=.*' tests/validation

benchmark: $(BESIDE) ## Every record again, side by side with peers; writes benchmarks/results and RESULTS.md (days; TRIAL=1 tries that all run)
	$(BIN)/python -m benchmarks

docs: $(VENV)/docs ## The documents in build/docs/index.html (1 minute; RUN_EXAMPLES=1 runs the examples too, 10 minutes)
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs build/docs

clean: ## Remove .venv and caches, keep runs
	rm -rf $(VENV) build dist *.egg-info .ruff_cache .mypy_cache .hypothesis
