# One word per task. Each makes the virtual environment it needs when that is missing or out of date.
#
#   STUDY=configs/raven.yaml   the study that `make bench` runs
#   ARGS="…"                   further arguments of the command behind the task
#   WORKERS=2                  processes that share the tests; 0 runs them in one, as `pytest` does
#   PYTHON=/path/to/python     the interpreter of a virtual environment that is still to be made
#   PYTHON_PINS=…              the same for test-pins alone (Python 3.10), where both are wanted

STUDY ?= configs/quickstart.yaml
ARGS ?=
WORKERS ?= 2
PYTHON ?=
PYTHON_PINS ?= $(PYTHON)

# Today's versions, and the old floor: the versions of nixos-23.05.
TODAY := .venv/bin/python
PINS := .venv-pins/bin/python

# Which process gets what: tests/conftest.py. Nothing is timed where two run at once. The flake has
# a task of its own.
PYTEST := -m pytest --benchmark-disable --numprocesses $(WORKERS) --ignore tests/nix

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: venv bench test test-pins test-flake test-slow microbench lint check clean help

# What `run` suggests next can be pasted, also where nobody has activated the environment.
bench: export RWKV_HARNESS_COMMAND ?= $(TODAY) -m harness
bench: .venv/.ready ## run the quickstart study (STUDY=… another) and write its report
	$(TODAY) -m harness run $(STUDY) $(ARGS)

venv: .venv/.ready ## make the environment .venv, or bring it up to date

test: .venv/.ready ## run the tests with today's versions
	$(TODAY) $(PYTEST) $(ARGS)

test-pins: .venv-pins/.ready ## run the tests with the oldest versions supported (Python 3.10)
	$(PINS) $(PYTEST) $(ARGS)

test-flake: .venv-pins/.ready ## run what the flake offers, offline, where nix is installed
	$(PINS) -m pytest tests/nix $(ARGS)

test-slow: .venv/.ready ## run the tests that the others leave out for their length
	$(TODAY) $(PYTEST) -m slow $(ARGS)

microbench: .venv/.ready ## time the parts: forward, int8, tokenizer, planner
	$(TODAY) -m pytest benchmarks --benchmark-only --benchmark-sort=name \
		--benchmark-columns=median,iqr,min,rounds $(ARGS)

lint: .venv/.ready ## check format, style and types
	$(TODAY) -m ruff format --check --quiet .
	$(TODAY) -m ruff check --quiet .
	$(TODAY) -m mypy

check: lint test test-pins test-flake ## everything that must pass before a change lands

clean: ## remove virtual environments, caches and builds; never results/
	rm -rf .venv .venv-pins build dist *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks .nix-test
	find harness tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

.venv/.ready: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" scripts/make-venv .venv constraints.txt torch,cuda,hub,peers,test,dev 3.11 3.12 3.13

.venv-pins/.ready: pyproject.toml nix/pins-23.05.txt
	@PYTHON="$(PYTHON_PINS)" scripts/make-venv .venv-pins nix/pins-23.05.txt torch,cuda,hub,chat,test 3.10
