# `make demo` trains a small flow on photographs; `make test` runs all checks; `make docs` builds the site.
# Each target installs its requirements.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
LOWEST ?= .venv-lowest

# wheels of PyTorch without CUDA: make demo CPU=1
CPU    ?=
TORCH  := $(if $(CPU),--index-url https://download.pytorch.org/whl/cpu)
ENGINE ?= $(shell command -v docker || command -v podman)

.PHONY: demo test docs notebooks lint types pytest fast install bench clean image lock test-lowest dist

$(VENV)/.user: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing PyTorch into $(VENV): this downloads several gigabytes and takes a few minutes'
	$(BIN)/python -m pip install --quiet torch torchvision $(TORCH)
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.dev: $(VENV)/.user
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

install: $(VENV)/.user

demo: $(VENV)/.user
	$(BIN)/python -m lightning_flows demo

test: lint types pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

pytest: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --durations 30 --durations-min 5

# one thread per worker: the threads of two workers would compete for two cores
fast: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m 'not slow'

# the tests with the lowest versions that pyproject.toml allows; set PYTHON to the oldest supported version
$(LOWEST)/.dev: pyproject.toml
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(PYTHON) tests/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet -c $(LOWEST)/constraints.txt torch torchvision $(TORCH)
	$(LOWEST)/bin/python -m pip install --quiet -c $(LOWEST)/constraints.txt -e '.[dev]'
	touch $@

test-lowest: $(LOWEST)/.dev
	OMP_NUM_THREADS=1 $(LOWEST)/bin/pytest -n 2 --dist worksteal --durations 30 --durations-min 5

# the site, into site/; any warning is an error. It needs neither torch nor, once its packages are installed, a network
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(VENV)/.docs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PYTHON) website/requirements.py > $(VENV)/docs.txt
	$(BIN)/python -m pip install --quiet -r $(VENV)/docs.txt
	touch $@

# run the notebooks of docs/notebooks and store their outputs: about a minute on one core
notebooks: $(VENV)/.user
	OMP_NUM_THREADS=1 $(BIN)/python website/execute.py docs/notebooks/*.ipynb

# source distribution and wheel; set LIGHTNING_FLOWS_URL to the repository's URL for links on the package's page
dist:
	@test -n "$(LIGHTNING_FLOWS_URL)" || echo "LIGHTNING_FLOWS_URL is not set: the page of the package will have no pictures and no URL to clone"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "hatchling>=1.27"
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist

clean:
	rm -rf $(VENV) $(LOWEST) dist .mypy_cache .pytest_cache .ruff_cache site

# speed, memory and size on this machine; timings are only meaningful if it is idle
bench: $(VENV)/.user
	$(BIN)/python -m lightning_flows benchmark --config demo.yaml
	$(BIN)/python benchmarks/checkpoint_size.py

# the container image of docker/README.md, with docker or podman
image:
	test -n "$(ENGINE)" || { echo "docker or podman is required; set ENGINE=…"; exit 1; }
	$(ENGINE) build -t lightning_flows .

# pin the versions and hashes of the image's packages; run it on the image's platform
lock: $(VENV)/.user
	$(BIN)/python docker/lock.py
