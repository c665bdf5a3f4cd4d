VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
export RESTORE_DATA ?= data
# Two processes of one thread each; a file stays in one of them, with the fixtures that it shares.
PYTEST := $(PYTHON) -m pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup train test test-data test-ci test-full check lint type schema schema-check tables tables-check nfe speed clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(STAMP)  ## .venv with the tested versions; does nothing when it is there

# The CPU build of torch comes with the pin in constraints.txt; torchvision is excluded there.
$(STAMP): constraints.txt pyproject.toml
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,sweep,app,export]'
	touch $@

train: setup  ## the default experiment (digits) to a table and a picture, minutes on 2 CPU cores
	$(PYTHON) train.py

test: setup  ## the tests not marked slow, minutes on 2 cores; those of data files where there are any
	$(PYTEST) -m "not slow"

test-data: setup  ## the tests of data files (RESTORE_DATA=FOLDER); fails where there are none
	$(PYTEST) -m "data and not slow"

test-ci: setup  ## one case of each slow protection, and the tests of data files where there are any
	$(PYTEST) -m "slow and ci or data and not slow"

test-full: setup  ## all tests
	$(PYTEST)

check: lint type tables-check schema-check  ## what must hold before a commit

lint: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

type: setup
	$(PYTHON) -m mypy

schema: setup  ## for your editor: completion and checks of configs, in .schema/ and .vscode/settings.json
	$(VENV)/bin/restore schema --write .schema --settings .vscode/settings.json

schema-check: setup  ## fails where .schema/, if you have it, is not what the code makes it
	test ! -d .schema || $(VENV)/bin/restore schema --check .schema

tables: setup  ## the tables of README.md and experiments/README.md from experiments/results.csv
	$(PYTHON) -m restore.evaluation.table

tables-check: setup  ## fails where a table is not what results.csv makes it
	$(PYTHON) -m restore.evaluation.table --check

nfe: setup  ## quality against network calls: make nfe PRIOR=RUN [CONDITIONAL=RUN] [BENCHMARK=digits_half]
	$(PYTHON) -m restore.main.nfe $(PRIOR) --benchmark $(or $(BENCHMARK),digits_half) $(if $(CONDITIONAL),--conditional $(CONDITIONAL))

speed: setup  ## ours against peers in one quiet run, appended to experiments/speed/speed.csv
	$(PYTHON) experiments/speed/measure.py

clean:  ## caches and build files; runs and the environment stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
