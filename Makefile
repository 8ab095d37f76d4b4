# Two commands: `make run` and `make test`. The longer ones: test-postgresql, test-isolated, check, bench, soak; before a
# release: requirements, audit.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
# The first Python on this machine that is new enough; `make PYTHON=... run` chooses another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$p && break; done)
PACKAGING := setup.cfg pyproject.toml
# File by file, in the order of tests/conftest.py: the longest first.
AT_ONCE := -n 4 --dist loadfile --no-loadscope-reorder

.PHONY: run test test-postgresql test-isolated check bench soak requirements audit real-parts
.DEFAULT_GOAL := run

run: $(VENV)/installed
	@exec $(BIN)/remoteweb serve

# Four at a time, also on two cores, each with real parts of its own: much of a test is waiting. `make test ARGS="tests/library -k key"` runs a part.
test: real-parts $(VENV)/installed-test
	$(BIN)/pytest $(AT_ONCE) $(ARGS)

# The pages, the commands and the syncs once more, on a PostgreSQL that the tests start: a database for each test.
test-postgresql: real-parts $(VENV)/installed-test
	DATABASE=postgresql $(BIN)/pytest $(AT_ONCE) tests/web $(ARGS)

# The pages, the commands and the syncs once more as on a VPS: with an empty network namespace around them, so that nothing but
# unix sockets is there, and the pages and the worker as two processes. Tests of the network itself are skipped.
# `make test-isolated TESTS="FILE..."`: a part.
test-isolated: real-parts $(VENV)/installed-test
	ISOLATED=1 unshare --net $(BIN)/pytest $(AT_ONCE) $(or $(TESTS),tests/web) $(ARGS)

# Each long form leaves a row in the file of the day in bench/results.
soak: real-parts $(VENV)/installed-test
	SOAK_FIGURES=bench/results/soak-$$(date -u +%F).md $(BIN)/pytest -m soak $(ARGS)

check: $(VENV)/installed-check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# What a deployment installs, with the hash of every file: from setup.cfg, and what pip builds the package itself with.
# `make requirements ARGS=--upgrade` takes newer versions.
requirements: $(VENV)/installed-deploy
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])' \
		| $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--custom-compile-command "make requirements" setup.cfg - -o deploy/requirements.txt $(ARGS)

# By hand, before a release: it asks an advisory service on the internet.
audit: $(VENV)/installed-deploy
	$(BIN)/pip-audit --require-hashes --disable-pip -r deploy/requirements.txt

bench: real-parts $(VENV)/installed-test
	$(BIN)/python bench/run.py $(ARGS)

real-parts:
	@tests/cluster/install.sh

# A stamp per set of packages: a second call installs nothing.
$(VENV)/installed: $(PACKAGING) | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-%: $(PACKAGING) | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[$*]'
	@touch $@ $(VENV)/installed

# real-parts may install the module venv first, hence the order-only wish.
$(BIN)/python: | $(if $(filter test test-postgresql soak bench,$(MAKECMDGOALS)),real-parts)
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed, and none was found: install it, or name it with 'make PYTHON=/path/to/python3 run'." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian: apt install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
