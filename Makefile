# The targets are the project's front door: `make demo`, `make test`. Everything runs in .venv, which `setup` makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 20000
CORE := $(wildcard pipeline/domain/*.py pipeline/domain/*/*.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench faults soak lock wheel clean

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "chargeline needs Python 3.11 or later; name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/locked: $(VENV)/bin/python requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/built: $(VENV)/locked pyproject.toml setup.py $(CORE)
	@rm -f pipeline/domain/*.so pipeline/domain/*/*.so *__mypyc*.so
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/built ## make .venv with chargeline in it

demo: setup ## a small operator's month, on servers of its own, in two minutes
	@$(BIN)/chargeline demo

test: setup ## every test but the long ones
	$(BIN)/python -m pytest -m "not faults"

check: setup ## style, types, arrows
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

faults: setup ## kills, stops, lost disks
	$(BIN)/python -m pytest -m faults

bench: setup ## how fast, against the floor
	$(BIN)/python -m deploy.bench

soak: setup ## the same properties, many more cases: make soak SEEDS=20000
	SEEDS=$(SEEDS) HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -m "not faults and not system" --timeout 3600

lock: $(VENV)/locked ## write requirements.lock anew
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --extra local --extra dev --no-emit-index-url \
	  --no-emit-find-links --no-emit-trusted-host --no-header --annotation-style=line -o requirements.lock pyproject.toml

wheel: setup ## dist/*.whl
	@rm -rf dist build
	$(BIN)/python -m build --wheel --no-isolation

clean: ## what was built, and the environment
	rm -rf $(VENV) build dist *.egg-info pipeline/domain/*.so pipeline/domain/*/*.so *__mypyc*.so
