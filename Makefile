# Two commands: `make kws` builds keyword spotting into exact firmware (`make ic`, `make vww` the other tasks),
# `make test` runs every test.
# Both set themselves up in .venv. PYTHON chooses the interpreter (3.11 or later).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARM_TOOLS := gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm
RISCV_TOOLS := gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc

.PHONY: kws ic vww test lint slow tools clean

kws ic vww: $(VENV)/installed
	$(BIN)/trecx build $@

test: tools $(VENV)/installed-for-tests lint
	$(BIN)/pytest -n 2 -rs

lint: $(VENV)/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Longer tests, and those that need real data in $$TRECX_DATA.
slow: $(VENV)/installed-for-tests
	$(BIN)/pytest -m slow

# The compilers and the emulators that the tests use. As root they are installed where they are missing;
# otherwise the command to install them is printed, and the tests that need them say so and are skipped.
tools:
	@.ci/tools $(ARM_TOOLS) $(RISCV_TOOLS) clang

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "trecx needs Python 3.11 or later: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv is missing: apt install python3-venv"; exit 1; }

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-for-tests: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[train,test]"
	@touch $(VENV)/installed $@

clean:
	rm -rf build $(VENV)
