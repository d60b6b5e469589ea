# `make demo` trains a small flow on real photographs; `make test` runs every check. Both install what they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

ENGINE ?= $(shell command -v docker || command -v podman)

.PHONY: demo test lint types pytest fast install bench clean image lock

$(VENV)/.user: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing PyTorch into $(VENV): some gigabytes, some minutes'
	$(BIN)/python -m pip install --quiet torch torchvision
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
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# one thread a worker: threads of two workers on two cores wait for each other
fast: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m 'not slow'

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

# the figures of docs/figures.md that need no trained model; on a busy machine the times mean nothing
bench: $(VENV)/.user
	$(BIN)/python benchmarks/csf_layer.py
	$(BIN)/python benchmarks/checkpoint_size.py

# the image of docker/README.md, by docker or podman
image:
	test -n "$(ENGINE)" || { echo "docker or podman is needed; set ENGINE=…"; exit 1; }
	$(ENGINE) build -t lightning_flows .

# the versions and hashes of the packages in the image, on the image's platform
lock: $(VENV)/.user
	$(BIN)/python docker/lock.py
