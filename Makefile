# What a newcomer needs: `make demo`. What a contributor needs: `make test`.

SINCE := $(shell date +%s)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# Debian's own interpreter, where it is new enough: others may not be readable for the users that
# the processes run as.
PYTHON := $(shell for python in /usr/bin/python3 python3; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin

.PHONY: help setup packages demo test lint stories fresh clean

help:
	@echo "make demo     set up, start everything, build a package, install it (EXIT=1: then stop)"
	@echo "make setup    only set up: Debian packages, .venv"
	@echo "make test     set up and run every check and test"
	@echo "make lint     the quick checks: ruff, mypy, import-linter"
	@echo "make stories  the long forms of the stories"
	@echo "make fresh    demo and test in clean guests of Debian 12 and 13 (root, half an hour)"

setup: packages .venv/.complete

packages:
	@missing="$$(scripts/missing-packages | xargs)"; \
	if [ -n "$$missing" ]; then \
		echo "Debian packages to install: $$missing"; \
		$(SUDO) apt-get update --quiet=2 && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive \
			apt-get install --quiet=2 -o Dpkg::Use-Pty=0 --yes --no-install-recommends $$missing || exit 1; \
		case " $$missing " in *" nginx-light "*) scripts/quiet nginx $(SUDO);; esac; \
		case " $$missing " in *" prometheus "*) scripts/quiet prometheus $(SUDO);; esac; \
		case " $$missing " in *" lighttpd "*) scripts/quiet lighttpd $(SUDO);; esac; \
		case " $$missing " in *" caddy "*) scripts/quiet caddy $(SUDO);; esac; \
	fi

.venv/.complete: pyproject.toml
	@test -n "$(PYTHON)" || { echo "python3 3.11 or later with venv is needed:" \
		"apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: setup
	$(BIN)/python -m examples.first.demo --since $(SINCE) $(if $(EXIT),--exit)

# The agent runs where Python is older; 3.10 is the oldest that mypy knows.
lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 src/commonfarm/agent
	$(BIN)/lint-imports

# Tests make whole root file systems: more than a /tmp in memory may hold, as Debian 13 has it.
test stories: export TMPDIR := /var/tmp

# Two at a time, a file as a whole: each has a PostgreSQL of its own. In which order: tests/conftest.py
test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

stories: setup
	COMMONFARM_LONG_STORIES=1 $(BIN)/python -m pytest -m story

fresh: setup
	$(SUDO) $(BIN)/python scripts/fresh.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
