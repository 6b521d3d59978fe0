# `make demo`: the main job on a sample photo, base install only. `make test`: everything the tests need, then the whole suite.
PYTHON ?= python3
DEMO := .venv-demo
TEST := .venv-test
PIP := -m pip --disable-pip-version-check

.PHONY: demo test lint clean

demo: $(DEMO)/ready
	$(DEMO)/bin/keendepth depth examples/coffee.png -o demo-out --save preview png16 exr npz ply glb edges --overwrite

test: $(TEST)/ready
	$(TEST)/bin/ruff check src tests examples benchmarks runs
	$(TEST)/bin/ruff format --check src tests examples benchmarks runs
	$(TEST)/bin/python -m pytest

lint: $(TEST)/ready
	$(TEST)/bin/ruff check --fix src tests examples benchmarks runs
	$(TEST)/bin/ruff format src tests examples benchmarks runs

$(DEMO)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python $(PIP) install -q -c constraints.txt -e .
	touch $@

$(TEST)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python $(PIP) install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(DEMO) $(TEST) demo-out .pytest_cache .ruff_cache .hypothesis
