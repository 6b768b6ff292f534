# make demo   run the main job under faults, on process nodes of this machine
# make test   all tests; make check: style and types; make bench: the numbers
PYTHON ?= python3
VENV ?= .venv
# On a machine without a GPU, TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu spares gigabytes of CUDA packages.
TORCH_INDEX_URL ?=
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .constraints.txt \
	$(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL))
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test test-quick test-wide check bench bench-residue format clean
.DEFAULT_GOAL := demo

$(VENV)/installed: pyproject.toml .constraints.txt
	@echo "making $(VENV) (once; a minute or two)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "raychaos needs Python 3.10 or later; name one: make PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

demo: $(VENV)/installed
	@$(BIN)/raychaos run

test: $(VENV)/installed
	@$(BIN)/python -m pytest

# Without clusters: seconds.
test-quick: $(VENV)/installed
	@$(BIN)/python -m pytest -m "not live"

# What `test` leaves out: the fault contract on compose for faults that the Cloud does alike everywhere.
test-wide: $(VENV)/installed
	@$(BIN)/python -m pytest -m wide

check: $(VENV)/installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_architecture.py

format: $(VENV)/installed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/installed
	@$(BIN)/python -m tests.bench

# 1,000 runners killed at random moments over all faults; an hour.
bench-residue: $(VENV)/installed
	@$(BIN)/python -m tests.bench.residue

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
