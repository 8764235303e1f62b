# One command each; `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python -m
WORKERS ?= 2
MINUTES ?= 10
SEED ?=
NEW ?= 30
ROUNDS ?= 1
VMS ?= 20
SUITES ?= bookworm trixie
QUICK ?=

# Tests side by side: each worker has its own processes, directories and ports. What shares an expensive fixture is in one group.
TESTS = $(RUN) pytest -n $(WORKERS) --dist loadgroup --durations=15

# The tests start thousands of processes; without compiled modules each would take half as long again to begin.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: packages $(VENV)/.installed ## install what is missing: packages, virtual environment, the guest's kernel
	@lab/kernel.sh

demo: setup ## move a running guest with its disk, and prove it
	$(RUN) lab.demo

check: $(VENV)/.installed lint ## the quick one: lint, strict types, unit and property tests
	$(TESTS) -m "not integration"

# New random examples for NEW seconds, of a seed that is printed: `make test SEED=...` has the same ones.
test: setup lint ## everything, with real QEMU, nbdkit and twistd processes; WORKERS=2 side by side
	NBDTUN_NEW=$(NEW) NBDTUN_SEED=$(or $(SEED),$(shell date +%s)) $(TESTS)

integration: setup ## the tests with real processes only
	$(TESTS) -m integration

docs: $(VENV)/.installed ## the documentation, as HTML in build/docs and as manuals in build/share/man
	$(RUN) sphinx -W -b html docs build/docs
	$(VENV)/bin/python docs/manuals.py build/share

chaos: setup ## cut, stall and slow the cable at random: MINUTES=10 SEED=; then storm, drain, the slow tests, fuzz, test-pythons, test-deb and test-trixie
	$(RUN) lab.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))
	$(RUN) lab.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) --workers 3
	$(MAKE) storm drain
	@lab/packages.sh deb
	NBDTUN_SLOW=1 $(TESTS) -m slow
	$(MAKE) fuzz test-pythons test-deb test-trixie

test-trixie: ## make test and make demo on Debian 13, in a tree in the cache; takes root
	lab/tree.sh trixie make test demo WORKERS=$(WORKERS)

deb: ## build/nbdtun_*.deb, the package for the Debian release that this is, by debhelper and dh-virtualenv; lintian looks at it
	@lab/packages.sh deb
	$(if $(VERSION),VERSION=$(VERSION)) /usr/bin/python3 -m lab.deb

test-deb: packages $(VENV)/.installed ## the packages for Debian 12 and 13, used and purged in bare trees: SUITES=bookworm for one of them
	$(RUN) lab.packaged $(SUITES)

collection: $(VENV)/.installed ## build/nbdtun-migration-*.tar.gz, the collection for Ansible
	$(RUN) lab.collection

zipapp: $(VENV)/.installed ## build/nbdtun.pyz, one file with all that it requires, for Python 3.11 to 3.14
	$(RUN) lab.zipapp

test-pythons: $(VENV)/.installed ## the tests without QEMU with Python 3.11 to 3.14, and the oldest and newest of all that is required
	$(RUN) lab.pythons --workers $(WORKERS)

storm: setup ## 100 small migrations over a cable that is cut at random from the first byte on: SEED=
	$(RUN) lab.storm $(if $(SEED),--seed $(SEED))

drain: setup ## a host of 20 small VMs is emptied while all that can fail fails, and filled again: SEED=, ROUNDS=1, VMS=20
	$(RUN) lab.drain --rounds $(ROUNDS) --vms $(VMS) $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.installed ## look for bytes that break a parser, guided by coverage: MINUTES=10
	@$(RUN) pip install -q --disable-pip-version-check -e '.[fuzz]' --config-settings editable_mode=compat || echo "atheris cannot be installed here"
	$(RUN) tests.fuzz --minutes $(MINUTES)

bench: setup ## what the tunnel costs beside the best of the others, 25 minutes: QUICK=1 takes 3
	@lab/packages.sh peers || echo "going on without the peers that are missing"
	@$(RUN) pip install -q --disable-pip-version-check -e '.[bench]' --config-settings editable_mode=compat || echo "going on without Twisted's own TLS"
	@mkdir -p build/bench
	$(RUN) bench $(if $(QUICK),--quick) --json build/bench/report.json

clean: ## remove all that was made here, the cache too
	rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

packages:
	@PYTHON=$(PYTHON) lab/packages.sh

lint: $(VENV)/.installed
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

# Installed again when the metadata changes; the checkout itself is what runs.
# Its whole directory goes on the path (compat): twistd finds plugins by path only.
# `packages` comes first, for a system without python3-venv.
$(VENV)/.installed: setup.py pyproject.toml | packages
	[ -x $(VENV)/bin/python ] || $(PYTHON) -m venv $(VENV)
	$(RUN) pip install -q --disable-pip-version-check -e '.[dev]' --config-settings editable_mode=compat
	@touch $@

.PHONY: help setup demo check test integration docs chaos storm drain test-trixie test-pythons test-deb deb zipapp fuzz bench collection clean packages lint
