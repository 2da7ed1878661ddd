# `make demo` and `make test` need python3 with pip and make, and nothing else.
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/indian_pines

.PHONY: demo test docs clean

# Pip installs only what is missing, so that an environment made by the README's commands is taken
# as it is. The package is installed again only if pyproject.toml has changed since the last time.
.venv/ready: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13), \
	    f"Python 3.11 to 3.13 is needed, this is {sys.version.split()[0]}: make PYTHON=python3.12 ..."'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	{ test ! -e $@ && $(BIN)/python -P -c 'import dualsr_jax' 2>/dev/null; } || \
	    $(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

.venv/ready-dev: .venv/ready requirements-dev.lock
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.lock
	touch $@

demo: .venv/ready  ## train, super-resolve, score and draw a real hyperspectral cube
	$(BIN)/python -m dualsr_jax.train --config configs/indian_pines.py --workdir $(RUN)
	$(BIN)/python -m dualsr_jax.evaluate --config configs/indian_pines.py --weights $(RUN)

test: .venv/ready-dev  ## lint, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

docs: .venv/ready-dev  ## the documentation as a site, in build/docs
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/sphinx-build -W --keep-going docs build/docs

clean:
	rm -rf .venv runs build *.egg-info
