# make keeps its environment in .venv; another Python: make PYTHON=python3.13 …
PYTHON ?= python3
BIN := .venv/bin
LAB := .venv/lab
READY := .venv/ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Every worker and every process of a test reads what the first one compiled.
unexport PYTHONDONTWRITEBYTECODE

ifdef CI
# Nothing but what requirements.txt knows by its hash.
INSTALL = $(PIP) -r requirements.txt --require-hashes && $(PIP) --no-deps --no-index --no-build-isolation -e .
else
INSTALL = $(PIP) -c constraints.txt -e '.[lab,schedule]'
INSTALL_TESTS = $(PIP) -c constraints.txt -e '.[lab,schedule,test]'
endif
# The tests' quick half, for every other Python: threads, files, databases, HTTP. No browser, no kernel.
QUICK := segment/test_archive segment/test_events audiences/test_memberships postscript sync/test_drift sync/test_mirror \
  sync/test_plan_file sync/test_sync sync/test_undo ledger/test_ledger report/test_audit report/test_timeline \
  notebook/test_parameters notebook/test_settings test_truth

.PHONY: help demo wheel test test-slow test-pythons simulate mutants chaos lab bench check format lock clean

help:
	@echo "make demo       run the four notebooks on the sample, live against the sandbox"
	@echo "make wheel      build the wheel, install it into a new environment, run its demo in an empty folder"
	@echo "make lab        open JupyterLab, a sandbox beside it"
	@echo "make test       run the tests"
	@echo "make test-slow  run the long forms of the tests"
	@echo "make test-pythons  run the quick half of the tests on each other Python"
	@echo "make simulate   play ten thousand histories of simulated shops"
	@echo "make mutants    plant faults that the simulation must find, each with the history that finds it"
	@echo "make chaos      kill a sync two hundred times, and fifty times with PostgreSQL"
	@echo "make bench      measure speed and memory"
	@echo "make check      lint and type-check"
	@echo "make lock       write requirements.txt, with hashes, from constraints.txt"

$(LAB): pyproject.toml constraints.txt requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The toolkit needs Python 3.11 or newer; name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@echo "Setting up .venv (about a minute) …"
	@$(PYTHON) -m venv .venv
	@$(INSTALL)
	@touch $@

$(READY): $(LAB)
	@$(INSTALL_TESTS)
	@touch $@

demo: $(LAB)
	@$(BIN)/python -m toolkit demo

lab: $(LAB)
	@$(BIN)/python -m toolkit lab

# As a new user has it: nothing of this folder is read.
wheel: $(LAB)
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	set -e; empty=$$(mktemp -d); trap 'rm -rf "$$empty"' EXIT; $(PYTHON) -m venv $$empty/venv; \
	  $$empty/venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	    "$$(echo dist/*.whl)[lab]"; \
	  mkdir $$empty/shop; cd $$empty/shop; PATH=$$empty/venv/bin:$$PATH; export HOME=$$empty; \
	  audience-toolkit demo; audience-toolkit init .; audience-toolkit simulate sample; \
	  audience-toolkit run 1_preview_audiences -p mappings_path destination.yaml; ls -A

test: $(READY)
	$(BIN)/python -m pytest -n logical --dist worksteal

test-slow: $(READY)
	$(BIN)/python -m pytest -n auto -m slow tests/test_truth.py tests toolkit

# Each in an environment of its own, .venv-3.12 say, with what this half needs.
test-pythons: $(READY)
	@set -e; for python in $$($(BIN)/python tests/pythons.py); do \
	  home=.venv-$${python##*/python}; \
	  [ $$home/ready -nt constraints.txt ] || { $$python -m venv $$home; \
	    $$home/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	      -e '.[sandbox]' hypothesis nbformat 'psycopg[binary]' pytest pytest-xdist; touch $$home/ready; }; \
	  echo "Python $${python##*/python}"; \
	  $$home/bin/python -m pytest -n logical --dist worksteal $(wildcard $(QUICK:%=tests/%) $(QUICK:%=tests/%.py)); \
	done

simulate: $(READY)
	$(BIN)/python -m tests.simulation

mutants: $(READY)
	$(BIN)/python -m tests.simulation.mutants --known

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
	$(BIN)/lint-imports --no-cache

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-lock/bin/uv pip compile --quiet --no-deps --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --no-config --upgrade constraints.txt -o requirements.txt

clean:
	rm -rf .venv .venv-* output
