# Two commands on a machine with Python 3.11+, make and git: `make run` and `make test`. Both set everything up first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null)
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

RUN_EXTRAS := text,vision,figures
DEV_EXTRAS := text,hf,lora,tables,datasets,tagging,vision,logging,sweep,figures,export,dev

.DEFAULT_GOAL := help
.PHONY: help run setup dev test full quick check format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## set up, then run the main job; settings: make run ARGS="temperature=2"
	$(BIN)/kd run $(ARGS)

test: $(VENV)/.dev ## set up, then run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not full" $(ARGS)

full: $(VENV)/.dev ## the rest: more cells of matrices of which `make test` runs a few
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m full $(ARGS)

quick: $(VENV)/.dev ## the tests that take seconds
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not slow and not full" $(ARGS)

check: $(VENV)/.dev ## style, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev ## put the code into style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(VENV)/.run ## what `make run` needs
dev: $(VENV)/.dev ## what `make test` and `make check` need

clean: ## remove the environment and built files; outputs/ stays
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache

# Stamps: a second call costs nothing until pyproject.toml or the constraints change.
$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(call install,.[$(RUN_EXTRAS)])
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(call install,.[$(DEV_EXTRAS)])
	@touch $@ $(VENV)/.run

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kd_lightning needs Python 3.11 or later: make PYTHON=python3.12 ...")'
ifdef UV
	uv venv --quiet --python $(PYTHON) $(VENV)
else
	$(PYTHON) -m venv $(VENV)
endif

ifdef UV
define install
	uv pip install --quiet --python $(VENV)/bin/python --constraint constraints.txt --editable '$(1)'
endef
else
define install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '$(1)'
endef
endif
