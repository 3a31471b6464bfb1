# What a person needs: `make demo` shows everything on a throwaway server, `make test` checks everything.
SHELL := /bin/bash
PYTHON ?= python3
RUNS ?= 5
SHARD ?= 1/1
SEED ?= 1
MINUTES ?= 60
comma := ,
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
BIN := .venv/bin
SERVERS = $(SUDO) $(BIN)/pytest -q -n 2 --durations 20 --dist loadgroup -p no:cacheprovider
WINDOW := $(subst $() $(),$(comma),$(foreach name,beside identity locks procfs records recovery releases window,decant/server/release/$(name).py))
WINDOW_TESTS := tests/unit/test_window.py tests/unit/test_beside.py tests/unit/test_identity.py
LAB_PACKAGES := mmdebstrap systemd-container iproute2 iptables openssh-client debian-archive-keyring
PACKAGES := git rsync curl python3-venv $(LAB_PACKAGES)

.PHONY: help setup setup-dev tools demo test full faults soak lint types unit servers format schema lock bench bench-startup clean

help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: .venv/.setup  ## make .venv from the pinned, hashed requirements.txt

setup-dev: .venv/.setup-dev  ## add what the tests and linters need

.venv/.setup: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	touch $@

.venv/.setup-dev: .venv/.setup requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
	touch $@

tools:  ## install what booting lab servers needs (Debian, Ubuntu; root or sudo)
	@if [ -f /etc/debian_version ]; then \
	  missing=$$(for p in $(PACKAGES); do dpkg-query -W -f='$${db:Status-Abbrev}' $$p 2>/dev/null | grep -q '^ii' || echo $$p; done); \
	  if [ -n "$$missing" ]; then \
	    $(SUDO) apt-get -q update >/dev/null && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $$missing >/dev/null || exit 1; \
	  fi; \
	else echo "tools: this is neither Debian nor Ubuntu; lab servers cannot be booted here"; fi

demo: tools  ## boot a lab server, deploy the guestbook to it, update it
	@$(MAKE) --no-print-directory setup
	@scripts/demo

test: tools  ## lint, types, unit tests, and the main stack on real servers
	@$(MAKE) --no-print-directory setup-dev lint types unit
	$(SERVERS) -m "not full" tests/servers tests/faults

full: tools  ## everything else that is tested, before a release; SHARD=k/n runs a part of it
	@$(MAKE) --no-print-directory setup-dev
	$(SERVERS) -m full --shard $(SHARD) tests/servers tests/faults tests/platforms

faults: tools  ## a fault at every boundary of every phase, on three stacks; SHARD=k/n, SEED=n
	@$(MAKE) --no-print-directory setup-dev
	$(SUDO) $(BIN)/python -m tests.faults.sweep --shard $(SHARD) --seed $(SEED)

soak: tools  ## an hour of load on a small server that is updated each five minutes; MINUTES=n
	@$(MAKE) --no-print-directory setup-dev
	$(SUDO) $(BIN)/python -m tests.faults.soak --minutes $(MINUTES)

lint: setup-dev  ## ruff and shellcheck
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/shellcheck -x -P decant/server decant/server/*.sh decant/server/*/*.sh scripts/demo .ci/run bench/shell/*.sh

types: setup-dev  ## mypy --strict
	$(BIN)/mypy

unit: setup-dev  ## the unit tests alone; at least 90 % of the branches of operations/, 95 % of those of the release window
	$(BIN)/coverage run --branch --source decant/operations -m pytest -q tests/unit/operations
	$(BIN)/coverage report --fail-under 90
	$(BIN)/coverage run --branch --include '$(WINDOW)' -m pytest -q $(WINDOW_TESTS)
	$(BIN)/coverage report --fail-under 95
	$(BIN)/pytest -q tests/unit --ignore tests/unit/operations $(addprefix --ignore ,$(WINDOW_TESTS))

format: setup-dev  ## let ruff write
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

schema: setup  ## write hosts.schema.json anew from the models
	$(BIN)/python -m decant.config.json_schema > hosts.schema.json

lock: setup-dev  ## pin requirements.txt anew (needs uv)
	uv pip compile pyproject.toml --group pyproject.toml:clone --universal --python-version 3.11 --generate-hashes --no-header -o requirements.txt
	uv pip compile --group pyproject.toml:dev --universal --python-version 3.11 --generate-hashes --no-header -c requirements.txt -o requirements-dev.txt
	uv pip compile --group pyproject.toml:bench --universal --python-version 3.11 --generate-hashes --no-header -o bench/requirements.txt
	scripts/lock-tools

bench: bench-startup tools .bench/.setup  ## the same job by Ansible, pyinfra, a shell script and us: writes bench/RESULTS.md (25 minutes)
	$(SUDO) $(BIN)/python bench/compare.py --runs $(RUNS) --write

bench-startup: setup  ## measure how long fab --list takes beside an empty fabfile's
	$(BIN)/python bench/startup.py

.bench/.setup: bench/requirements.txt
	$(PYTHON) -m venv .bench
	.bench/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r bench/requirements.txt
	touch $@

clean:  ## remove what make made
	rm -rf .venv .bench .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
