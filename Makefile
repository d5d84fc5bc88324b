# Everything happens in .venv: `make demo` shows what minicnn does, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo test coverage fuzz faults test-matrix lint docs figures notebooks gpu-report clean

demo: $(VENV)/base
	rm -rf runs/demo
	$(BIN)/minicnn train --data synthetic --layers 4 --epochs 2 --out runs/demo
	$(BIN)/minicnn eval runs/demo --split public
	@echo "the report is runs/demo/report.html"

test: $(VENV)/dev
	$(BIN)/pytest

# which lines the tests run, of the engine and its kernels; fails below 95 of 100. The apps' figure is only told
coverage: $(VENV)/dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include 'apps/*' --format total
	$(BIN)/coverage report --include 'minicnn/*,kernels/*' --fail-under 95

# every reader of bytes from outside, given damaged and hostile inputs; other ones with SEED=1
INPUTS ?= 100000
SEED ?= 0
fuzz: $(VENV)/dev
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS) --seed $(SEED)

# the tests on every Python that is supported and there, and with the lowest versions of all dependencies
test-matrix:
	$(PYTHON) -m tests.matrix

# programs are killed, disks filled, files damaged, pipes cut; says how many faults were tried and survived
faults: $(VENV)/dev
	$(BIN)/python -m tests.faults

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict minicnn
	@$(BIN)/python -m minicnn.apps.bench.gpu.freshness docs/benchmarks

# The site, into build/docs; a warning, a link that leads nowhere or a name that is not there ends it
docs: $(VENV)/docs
	rm -rf build/docs
	$(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going --builder html docs build/docs
	@echo "the site is build/docs/index.html"

# docs/images/*.svg, by the scripts in docs/figures, which run the engine
figures: $(VENV)/dev
	$(BIN)/python docs/figures

# each tutorial as a Jupyter notebook
notebooks: $(VENV)/dev
	$(BIN)/python docs/notebooks.py

# on a machine with an NVIDIA GPU: everything that needs one, in nine minutes
gpu-report: $(VENV)/dev
	$(BIN)/python -m pip install --quiet --editable '.[gpu]'
	$(BIN)/minicnn bench gpu --report docs/benchmarks/$$(date +%F)-$$(hostname).json

clean:
	rm -rf $(VENV) runs build dist *.egg-info

$(VENV)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "minicnn needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { echo "no venv module: on Debian, apt-get install python3-venv, then make again"; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/base: $(VENV)/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@$(call opencv)
	touch $@

$(VENV)/dev: $(VENV)/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@$(call opencv)
	@$(call compiler)
	@$(call displays)
	touch $@

$(VENV)/docs: $(VENV)/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@$(call opencv)
	touch $@

# OpenCV's wheel needs two Debian packages that a desktop has and a server may lack
define opencv
$(BIN)/python -c 'import cv2' 2>/dev/null || \
  { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq libgl1 libglib2.0-0; }
endef

# the tests open the live page in Chromium, and a window on a display in memory
define displays
command -v chromium >/dev/null && command -v Xvfb >/dev/null || \
  { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq chromium xvfb; }
endef

# the tests run the GPU's kernels on the CPU: g++ compiles them for that
define compiler
command -v g++ >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq g++; }
endef
