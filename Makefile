# Every target sets up what it needs: a virtual environment in .venv with surform and its development tools.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-dev
USER_STAMP := $(VENV)/.installed

.PHONY: demo test test-slow lint audit docs bench matrix check-matrix clean help

help:
	@echo "make demo       train a FactFormer on Kolmogorov flow, roll it out, write a report (10 minutes on 2 cores)"
	@echo "make test       run the tests, but for those that take longer than ten seconds"
	@echo "make test-slow  run these"
	@echo "make lint       format check, lint, types, import contract"
	@echo "make audit      ask for known faults of the installed packages (needs the internet)"
	@echo "make docs       build the documentation into site/"
	@echo "make bench      measure speed and memory; write benchmarks/results/ and the tables of docs/benchmarks.md"
	@echo "make matrix     put every model through bf16, compile, export and two processes; write README's and docs' table"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("surform needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(USER_STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(USER_STAMP)

demo: $(USER_STAMP)
	$(BIN)/surform demo --out demo

# one thread for each of the two processes, which would otherwise wait for each other
test test-slow: export OMP_NUM_THREADS = 1
test test-slow: export MKL_NUM_THREADS = 1

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow'

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

lint: $(STAMP)
	$(BIN)/ruff format --check surform tests benchmarks
	$(BIN)/ruff check surform tests benchmarks
	$(BIN)/pyright
	$(BIN)/lint-imports

audit: $(STAMP)
	.ci/audit $(BIN)/python $(VENV)-audit

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # with --quiet, strictness sees no warnings

bench: $(STAMP)
	$(BIN)/python -m benchmarks

check-matrix: $(STAMP)
	$(BIN)/python -W ignore -m benchmarks.matrix --check >/dev/null

matrix: $(STAMP)
	$(BIN)/python -W ignore -m benchmarks.matrix --slow --write

clean:
	rm -rf build dist site .pytest_cache .hypothesis .ruff_cache
