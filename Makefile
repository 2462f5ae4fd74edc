# make study: set up and run the default study, or another: make study CONFIG=config/studies/tiny.yaml
#   PROFILE=slurm runs it on a cluster: a folder of workflow/profiles. docs/clusters.md tells more.
# make test: set up and run the tests, but for the long ones, in two workers; WORKERS=8 takes more.
# make test-all: the same, and then the long ones.
# make test-slurm: studies through a Slurm that is started on this machine (by root), and the profiles of clusters;
#   LONG=1 with the long ones.
# make test-browser: the report page in Chromium, which is installed (Debian, by root) if it is not there.
# make bench: set up the peers in an environment of their own, and time toymill beside them; BENCH="--help" tells more.
# make docs: set up and build the documentation site in docs/_build, with warnings as errors.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
BENCH ?=
CORES ?=
CONFIG ?=
PROFILE ?= default
LONG ?=
CUDA ?= $(if $(filter gpu,$(PROFILE)),12)
WORKERS ?= 2
# Python compiles what it imports, a part of it, once; where it may not write that down, all has to be compiled here.
PIP = --quiet --disable-pip-version-check $(if $(PYTHONDONTWRITEBYTECODE),--compile,--no-compile)
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal --durations 30
EXECUTOR := $(shell sed -n 's/^executor: *//p' workflow/profiles/$(PROFILE)/config.yaml)
LINTED := src scripts tests benchmarks config/workspaces config/models docs/conf.py docs/figures

.PHONY: study test test-all test-slurm test-browser lint lint-code lint-pages bench setup setup-dev lock schema format clean

study: setup $(EXECUTOR:%=$(VENV)/.%) $(CUDA:%=$(VENV)/.cuda%)
	$(BIN)/toymill run $(or $(CONFIG),config/config.yaml) --workflow-profile $(PROFILE) $(if $(CORES),--cores $(CORES))

test: setup-dev
	$(PYTEST) -m "not long"

test-all: test
	$(PYTEST) -m long

test-slurm: setup-dev $(VENV)/.slurm $(VENV)/.htcondor $(VENV)/.cluster-generic
	$(BIN)/python -m pytest tests/slurm $(if $(LONG),,-m "not long")

test-browser: setup-dev
	tests/browser/chromium.sh install
	$(BIN)/python -m pytest tests/browser

lint: lint-code lint-pages

lint-code: setup-dev
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/codespell
	$(BIN)/mypy

lint-pages: setup-dev
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs docs/_build

.PHONY: docs
docs: setup-dev
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs docs/_build

bench: $(PEERS)/.run
	$(PEERS)/bin/python benchmarks/bench.py $(BENCH)

format: setup-dev
	$(BIN)/ruff check --fix $(LINTED)
	$(BIN)/ruff format $(LINTED)
	$(BIN)/snakefmt Snakefile workflow

schema: setup-dev
	$(BIN)/python -m toymill.config.schema
	$(BIN)/python -m toymill.results.schema

lock:
	envs/lock.sh

clean:
	rm -rf $(VENV) $(PEERS) .snakemake/toymill .snakemake/conda .pytest_cache .mypy_cache .ruff_cache .hypothesis docs/_build

setup: $(VENV)/.run

setup-dev: $(VENV)/.dev

$(VENV)/.python $(PEERS)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "toymill needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V). Try: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(@D)
	touch $@

$(VENV)/.run: envs/requirements.txt pyproject.toml | $(VENV)/.python
	$(BIN)/python -m pip install $(PIP) --require-hashes -r envs/requirements.txt
	$(BIN)/python -m pip install $(PIP) --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q src
	touch $@

$(VENV)/.dev: envs/requirements-dev.txt $(VENV)/.run
	$(BIN)/python -m pip install $(PIP) --require-hashes -r envs/requirements-dev.txt
	touch $@

# What a profile needs besides: the plugin of its executor, or CUDA.
$(VENV)/.slurm $(VENV)/.htcondor $(VENV)/.cluster-generic $(VENV)/.cuda12 $(VENV)/.cuda13: $(VENV)/.%: envs/requirements-%.txt $(VENV)/.run
	$(BIN)/python -m pip install $(PIP) --require-hashes -r $<
	touch $@

$(PEERS)/.run: envs/requirements-peers.txt envs/requirements-dev.txt pyproject.toml | $(PEERS)/.python
	$(PEERS)/bin/python -m pip install $(PIP) --require-hashes -r envs/requirements-peers.txt || \
	  { echo "Not all peers can be installed here: going on without ROOT and NextStat." >&2; \
	    $(PEERS)/bin/python -m pip install $(PIP) --require-hashes -r envs/requirements-dev.txt; }
	$(PEERS)/bin/python -m pip install $(PIP) --no-deps --no-build-isolation --editable .
	touch $@
