# `make demo` and `make test` need python3 with pip and make, and nothing else.
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/indian_pines

.PHONY: demo test clean

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13), \
	    f"Python 3.11 to 3.13 is needed, this is {sys.version.split()[0]}: make PYTHON=python3.12 ..."'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: .venv/ready  ## train, super-resolve, score and draw a real hyperspectral cube
	$(BIN)/python -m dualsr_jax.train --config configs/indian_pines.py --workdir $(RUN)
	$(BIN)/python -m dualsr_jax.evaluate --config configs/indian_pines.py --weights $(RUN)

test: .venv/ready  ## lint, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

clean:
	rm -rf .venv runs build *.egg-info
