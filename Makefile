# Everything happens in .venv: `make demo` shows what minicnn does, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo test lint clean

demo: $(VENV)/base
	rm -rf runs/demo
	$(BIN)/minicnn train --data synthetic --layers 4 --epochs 2 --out runs/demo
	$(BIN)/minicnn eval runs/demo --split public
	@echo "the report is runs/demo/report.html"

test: $(VENV)/dev
	$(BIN)/pytest

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict minicnn kernels

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
	touch $@

# OpenCV's wheel needs two Debian packages that a desktop has and a server may lack
define opencv
$(BIN)/python -c 'import cv2' 2>/dev/null || \
  { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq libgl1 libglib2.0-0; }
endef
