# Each target does its own set-up: python3 (3.11 or newer) with venv is all a machine needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint slow vllm bench docs clean

demo: $(VENV)/core.stamp
	$(BIN)/modelcheck demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations 5

lint: $(VENV)/test.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

slow: $(VENV)/test.stamp
	$(BIN)/python tools/fetch.py
	$(BIN)/python tools/overlays.py
	$(BIN)/python -m pytest -m slow -n 2 --dist worksteal --durations 8

vllm: $(VENV)/test.stamp
	$(BIN)/python tools/vllm_env.py
	$(BIN)/python -m pytest -m vllm --durations 4

bench: $(VENV)/test.stamp
	$(BIN)/python benchmarks/run.py

docs: $(VENV)/core.stamp
	$(BIN)/python tools/rule_pages.py

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/core.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	touch $@

# The tests' set-up contains the core's.
$(VENV)/test.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable ".[test]"
	@# xgrammar asks for triton, hundreds of megabytes that only a GPU can use.
	$(PIP) --no-deps "xgrammar>=0.2.8" "apache-tvm-ffi>=0.1.11"
	touch $(VENV)/core.stamp $@
