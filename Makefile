# Every target runs in the launcher's own environment (.venv) and makes it first if it must.
PYTHON := scripts/python
WORKERS ?= 2
ARGS ?=

.PHONY: help test lint types docs bench coverage verify lock changelog clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

test: ## all tests, unit tests first (WORKERS=N, ARGS="-k name")
	@sh scripts/needs.sh
	$(PYTHON) -m pytest -q -n $(WORKERS) --dist loadgroup --no-loadscope-reorder --benchmark-disable $(ARGS)

lint: ## ruff and the import contract
	$(PYTHON) -m ruff check .
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command as main; main()'

types: ## mypy, strict
	$(PYTHON) -m mypy

docs: ## links, anchors, commands and options of the documentation; fragments of the changelog
	$(PYTHON) scripts/docs.py
	$(PYTHON) scripts/lock.py --check

bench: ## the measured table against rsync and cp (ARGS=... as in docs/benchmarks.md)
	@sh scripts/needs.sh bench
	$(PYTHON) -m bench $(ARGS)

coverage: ## what the tests reach, movers and command line included; HTML in htmlcov/
	@sh scripts/needs.sh
	sh scripts/coverage.sh $(ARGS)

verify: ## one sync from start to end in a clean place, checked with diff
	sh scripts/verify.sh

lock: ## pin the newest dependencies that fit, with hashes (ARGS=--keep: only what is new)
	$(PYTHON) scripts/lock.py $(ARGS)

changelog: ## gather changelog.d/ into CHANGELOG.md for the version in src/dunlin/__init__.py
	$(PYTHON) -m towncrier build --yes

clean: ## remove the environment and everything that was made
	rm -rf .venv build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .benchmarks .hypothesis
	find src tests scripts bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
