# make demo: set up, then the whole job on drawn faces.   make test: set up, then every check and test.   make docs: the site.   make lab: the JupyterLab extension.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test setup check lessons docs lab bench clean

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

setup: $(VENV)/ready

demo: setup
	$(BIN)/identiface-audit demo --out identiface-demo

test: setup check lessons
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Code style and types; that notebooks are clean is a test.
check: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

# Every lesson cell of every notebook.
lessons: setup
	$(BIN)/nbdev-test --n-workers 2

# The documentation, in _docs, without Quarto.
docs: setup
	$(BIN)/python tools/docs.py

# The JupyterLab extension, from lab/ into identiface_audit/labextension, which is committed: only a change in lab/ needs this, and Node.
lab: setup
	cd lab && npm ci --no-audit --no-fund && PATH="$(abspath $(BIN)):$$PATH" npm run build

# The figures of the page on speed and large data: half an hour.
bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) identiface-demo _docs _proc dist build
