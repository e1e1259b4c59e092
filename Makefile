# make keeps its environment in .venv; another Python: make PYTHON=python3.13 …
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# One more than there are processors: some tests wait for a browser or a pace.
WORKERS = $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')

.PHONY: help demo test test-slow chaos lab bench check format clean

help:
	@echo "make demo       run the four notebooks on the sample, live against the sandbox"
	@echo "make lab        open JupyterLab, a sandbox beside it"
	@echo "make test       run the tests"
	@echo "make test-slow  run the long forms of the tests"
	@echo "make chaos      kill a sync two hundred times, and fifty times with PostgreSQL"
	@echo "make bench      measure speed and memory"
	@echo "make check      lint and type-check"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The toolkit needs Python 3.11 or newer; name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@echo "Setting up .venv (about a minute) …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lab,sandbox,schedule,test]'
	@touch $@

demo: $(READY)
	@$(BIN)/python -m toolkit.rehearsal demo

lab: $(READY)
	@$(BIN)/python -m toolkit.rehearsal lab

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-slow: $(READY)
	$(BIN)/python -m pytest -n auto -m slow tests/test_truth.py tests toolkit

chaos: $(READY)
	$(BIN)/python tests/test_chaos.py 200
	$(BIN)/python tests/test_chaos.py 50 postgresql

bench: $(READY)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.mapping
	$(BIN)/python -m benchmarks.contacts
	$(BIN)/python -m benchmarks.preview
	$(BIN)/python -m benchmarks.plan
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.delivery
	$(BIN)/python -m benchmarks.headless

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv output
