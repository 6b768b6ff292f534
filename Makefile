# make demo   run the main job under faults, on process nodes of this machine
# make test   all tests; make check: style and types; make bench: the numbers
PYTHON ?= python3
VENV ?= .venv
# On a machine without a GPU, TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu spares gigabytes of CUDA packages.
TORCH_INDEX_URL ?=
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .constraints.txt \
	$(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL))
WITHOUT_CLUSTERS = -m "not live and not wide and not releases" --numprocesses logical --maxprocesses 8 --dist loadfile
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test test-quick test-wide check bench bench-residue bench-fidelity quality format clean
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

# What needs no cluster is done side by side; clusters have the machine for themselves.
test: $(VENV)/installed
	@$(BIN)/python -m pytest $(WITHOUT_CLUSTERS); first=$$?; \
		$(BIN)/python -m pytest -m "live and not wide and not releases"; second=$$?; exit $$((first | second))

# Without clusters: minutes.
test-quick: $(VENV)/installed
	@$(BIN)/python -m pytest $(WITHOUT_CLUSTERS)

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

# What takes other releases of Ray: their tests; the bugs that they had, found with them. And how many random schedules
# find each of the bugs planted
# in Ray's autoscaler; writes the tables of docs/quality.md.
quality: $(VENV)/installed
	@$(BIN)/python -m pytest -m releases
	@$(BIN)/python -m tests.quality.known_bugs
	@$(BIN)/python -m tests.quality.power
	@$(BIN)/python -m tests.quality.search

# 1,000 runners killed at random moments over all faults; an hour.
bench-residue: $(VENV)/installed
	@$(BIN)/python -m tests.bench.residue

# 30 random schedules in containers and on the twin; an hour. Finished runs are kept, so that it can be broken off.
bench-fidelity: $(VENV)/installed
	@$(BIN)/python -m tests.bench.fidelity --cluster compose --schedules 30 --seed 1

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
