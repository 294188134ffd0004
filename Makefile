PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test lint format bench clean

help:  ## what each target does
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make the virtual environment

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[postgres,report,s3]' \
	  pytest pytest-xdist hypothesis mypy ruff flask flask-cors 'moto[s3]'
	@touch $(STAMP)

demo: setup  ## train, register and score one model per store on the sample data
	bash scripts/demo.sh $(BIN)/manymodels

lint: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup  ## all tests
	bash scripts/services.sh
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.venv-peers/.installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/peers/requirements.txt
	@touch $@

bench: setup .venv-peers/.installed  ## side by side with the alternatives, into docs/benchmarks.md; BENCH='--small' for less
	$(BIN)/python benchmarks/page.py --peers .venv-peers/bin/python $(BENCH)

clean:  ## remove what the targets made
	rm -rf $(VENV) .venv-peers .manymodels demo_output
