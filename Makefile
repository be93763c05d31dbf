# `make` alone prints help. Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test lint types unit compat bench bench-cold gpu-check docs reproductions comparison reports wheel clean
.DEFAULT_GOAL := help

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## a virtual environment with memtrace and what its tests need

$(VENV)/.ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "memtrace needs Python 3.11 or newer; install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup ## replay a recorded GPT-2 training step that ran out of memory; results in reports/
	$(BIN)/memtrace run traces/gpt2-small-amp-tight.parquet --capacity 8441036800

test: lint types unit ## everything that has to pass: style, types, tests

lint: setup ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

types: setup ## mypy, strict
	$(BIN)/mypy

unit: setup ## pytest
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

compat: setup ## equal results with the lowest and the newest versions of the dependencies
	$(BIN)/python tests/compatibility.py

bench: setup ## ns per event beside C++ twins and the system's malloc
	$(BIN)/python -m benchmarks

bench-cold: setup ## seconds of commands without compiled code, and after an edit of a policy
	$(BIN)/python -m benchmarks.cold

gpu-check: setup ## on a machine with PyTorch and a GPU: replays of recordings made there equal the recordings
	$(BIN)/python -m benchmarks.gpu_check

docs: setup ## write docs/measures.md, commands.md, policies.md, workloads.md, gates.md, heaps.md and python.md anew from the declarations
	$(BIN)/python -m docs.measures
	$(BIN)/python -m docs.commands
	$(BIN)/python -m docs.policies
	$(BIN)/python -m docs.workloads
	$(BIN)/python -m docs.gates
	$(BIN)/python -m docs.heaps
	$(BIN)/python -m docs.python

reproductions: setup ## write docs/reproductions.md: classic results, measured again from generated traces
	$(BIN)/python -m docs.reproductions

comparison: setup ## write docs/comparison.md anew: every policy on every recorded trace
	$(BIN)/python -m docs.comparison

EXAMPLE := gpt2-small-amp-tight
reports: setup ## write the example PDF and HTML in reports/ anew: a recorded GPT-2 step in memory that is almost too small
	$(BIN)/memtrace run traces/$(EXAMPLE).parquet --capacity 8441036800 --no-report --output build/$(EXAMPLE) \
	  -p pytorch -p pytorch:expandable_segments:True -p best-fit -p first-fit -p buddy -p tlsf -p size-class
	$(BIN)/memtrace report build/$(EXAMPLE) -o reports/$(EXAMPLE).pdf
	$(BIN)/memtrace report build/$(EXAMPLE) -o reports/$(EXAMPLE).html

wheel: setup ## wheel and source distribution in dist/; built twice, and an error if the two differ
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	rm -rf dist build/again
	$(BIN)/python -P -m build --outdir dist . >/dev/null
	$(BIN)/python -P -m build --outdir build/again . >/dev/null
	diff -r dist build/again && cd dist && sha256sum *

clean: ## remove what was built, not the results
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis benchmarks/.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
