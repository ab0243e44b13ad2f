# Every target sets up what it needs in .venv, from nothing but python3 (3.11 or newer), pip and make.
PYTHON ?= python3
DEMO_MINUTES ?= 8
EXAMPLES ?= 2000

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt
TORCH := torch==2.13.0
CPU_INDEX := https://download.pytorch.org/whl/cpu

help: ## Print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

test: .venv/.installed ## Run the tests, all but the slow ones
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not slow'

test-slow: .venv/.installed ## Run the slow tests
	$(BIN)/python -m pytest -n auto --dist loadgroup -m slow

fuzz: .venv/.installed ## Run the property tests alone, EXAMPLES=2000 random examples of each (slow)
	LILLIPUT_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -n auto --dist loadfile -m hypothesis

demo: .venv/.demo ## Compress a sentence encoder, teach it a task, bundle it; DEMO_MINUTES=8 of training
	$(BIN)/python examples/demo.py $(DEMO_MINUTES)

web: ## Build the page that runs a bundle in a browser: web/dist (needs npm)
	cd web && npm ci --ignore-scripts && npm run build

docs: .venv/.docs ## Build the site of the documentation, with strict links: build/site
	$(BIN)/mkdocs build --strict --quiet

lint: .venv/.installed ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.installed ## Lay out the code as `make lint` wants it
	$(BIN)/ruff check --fix-only --select I .
	$(BIN)/ruff format .

clean: ## Remove caches and build files; .venv and runs stay
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests examples -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## Remove .venv too
	rm -rf .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lilliput needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	@# Debian's python3 has no ensurepip; there the system's pip puts one into the environment.
	$(PYTHON) -m venv .venv 2> /dev/null || { $(PYTHON) -m venv --clear --without-pip .venv && \
	    $(PYTHON) -m pip --python .venv/bin/python install --quiet pip; }

# torch comes first and alone. PyPI's wheels of it for Linux on x86-64 are CUDA builds of 5 GB, so pip is asked
# what it would install, from metadata alone (fast-deps), and stopped at the first word of CUDA. Only where it says
# that it would do without CUDA does torch come from pip's own index, else from PyTorch's index of CPU builds.
.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) 'pip>=24.1'
	@if $(BIN)/python -c 'import importlib.metadata as m; exit(m.version("torch").split("+")[0] != "2.13.0")' 2> /dev/null; \
	then echo '$(TORCH) is there'; exit; fi; \
	case "$$(PYTHONUNBUFFERED=1 $(PIP) install --dry-run --use-feature=fast-deps --constraint constraints.txt $(TORCH) 2>&1 \
	    | grep -m 1 -E '(nvidia|cuda)-|^Would install')" in \
	    *nvidia-* | *cuda-*) index='--index-url $(CPU_INDEX)';; \
	    'Would install '*) index=;; \
	    *) index='--index-url $(CPU_INDEX)';; \
	esac; \
	set -x; $(INSTALL) $$index $(TORCH)
	$(INSTALL) --editable '.[test]'
	@touch $@

.venv/.demo: .venv/.installed
	$(INSTALL) --editable '.[demo]'
	@touch $@

.venv/.docs: .venv/.installed
	$(INSTALL) --editable '.[docs]'
	@touch $@

.PHONY: help test test-slow fuzz demo web docs lint format clean distclean
.DEFAULT_GOAL := help
