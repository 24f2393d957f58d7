# Two commands on a fresh machine: `make reproduce` and `make test`. They need Python 3.11+ with its venv module, no more.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
SOURCES = pyproject.toml $(wildcard easgd_theory/*.py easgd_theory/*/*.py figures/*.py easgd_cli/*)

.PHONY: reproduce test lint gallery clean

reproduce: $(VENV)/installed
	$(BIN)/easgd reproduce $(if $(QUICK),--quick)

test: $(VENV)/installed-dev
	$(BIN)/pytest -n auto

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

gallery: $(VENV)/installed-dev
	$(BIN)/python -m figures.gallery

clean:
	rm -rf $(VENV) build dist *.egg-info reproduction

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "easgd needs Python 3.11 or later: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/installed: $(BIN)/python $(SOURCES)
	$(BIN)/pip install --quiet .
	@touch $@

# Editable, so that the tests see the tree.
$(VENV)/installed-dev: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet --editable ".[dev]"
	@touch $@
