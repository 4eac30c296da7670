# Each target works on a bare machine with Python 3.10+, git and make: it makes .venv and installs into it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet
STAMP  := $(VENV)/.installed
PEERS  := $(VENV)/.peers

.PHONY: help venv user demo test docs floors lint types format benchmark clean

help:
	@echo "make user | venv | demo | test | docs | floors | lint | types | format | benchmark | clean"

venv: $(STAMP)

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) -e '.[dev]'
	@touch $@

# What using the library takes, and no more: neither ray nor learn2learn, nor anything for tests.
user:
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) -e .

# Peers that tests and benchmarks compare with. Their own requirements are out of date, hence --no-deps;
# learn2learn's C files must be made again by Cython, which needs a C compiler.
$(PEERS): $(STAMP)
	$(UV) --no-deps easyfsl==1.5.0
	@$(UV) --no-deps --config-setting=--build-option=build_ext learn2learn==0.2.0 \
		|| { test -z "$(CI)" && echo "learn2learn was not built (it needs a C compiler): its parity tests will skip."; }
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m fewshot.demo

# One thread in each worker: the tests are thousands of tiny products, for which threads only wait for one another.
# Bytecode is kept even where the environment says not to: tests start many processes, and each would compile all that
# it imports anew.
TEST_ENV := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1
PYTEST := -m pytest -q -n auto --maxprocesses 4 --dist worksteal

test: lint types $(PEERS)
	$(TEST_ENV) $(BIN)/python $(PYTEST)

# The documentation site; a warning is an error.
docs: $(STAMP)
	$(BIN)/python docs/site/build.py site

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The oldest releases that pyproject.toml allows, in an environment of their own: make floors PYTHON=python3.10
# First the whole suite on the core with the extras that do not raise it; then each extra whose own requirements ask for
# later releases, added to the same environment, with the tests that were skipped without it.
FLOORS := .venv-floors
FLOOR  := VIRTUAL_ENV=$(abspath $(FLOORS)) $(FLOORS)/bin/uv pip install --quiet --resolution lowest-direct
ATFLOOR := $(TEST_ENV) $(FLOORS)/bin/python $(PYTEST)
floors:
	rm -rf $(FLOORS)
	$(PYTHON) -m venv $(FLOORS)
	$(FLOORS)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(FLOOR) -e '.[test,hub,audio]'
	$(ATFLOOR)
	$(FLOOR) -e '.[test,text,ray]'
	$(ATFLOOR) tests/fewshot/encoders tests/fewshot/engines tests/fewshot/classifier tests/fewshot/transfer
	$(ATFLOOR) tests/test_notebooks.py -k '05 or 06'
	$(FLOOR) -e '.[test,app]'
	$(ATFLOOR) tests/fewshot/app
	$(FLOOR) -e '.[test,onnx]'
	$(ATFLOOR) tests/fewshot/export tests/fewshot/runtimes

benchmark: $(PEERS)
	$(BIN)/python benchmarks/end_to_end.py

clean:
	rm -rf $(VENV) $(FLOORS) site .pytest_cache .mypy_cache .ruff_cache .hypothesis demo
