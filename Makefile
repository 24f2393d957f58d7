# Two commands on a fresh machine: `make reproduce` and `make test`. They need Python 3.11+ with its venv module, no more.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
SOURCES = pyproject.toml $(wildcard easgd_theory/*.py easgd_theory/*/*.py simulations/*.py gpu_trainer/*.py figures/*.py easgd_cli/*)

.PHONY: reproduce test lint gallery benchmark clean

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

# One thread each: LAPACK on several that wait for one another would flatter the library.
benchmark: $(VENV)/installed-benchmark
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	  OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/pytest benchmarks/spectra_benchmark.py -q \
	    --benchmark-storage="file://$$scratch" --benchmark-json="$$scratch/run.json" \
	    --benchmark-columns=min,median,max,rounds --benchmark-group-by=func && \
	  $(BIN)/python benchmarks/spectra_table.py "$$scratch/run.json"

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

$(VENV)/installed-benchmark: $(VENV)/installed-dev
	$(BIN)/pip install --quiet --editable ".[benchmark]"
	@touch $@
