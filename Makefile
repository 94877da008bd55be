# Everything runs in .venv, which each target makes for itself. Needs Python 3.11 to 3.14 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two processes: tests that start servers, which mostly wait, and beside them, with the time that is left over, all others.
PYTEST ?= $(BIN)/python -m pytest

.PHONY: help demo test check format bench docs clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/base  ## Make a film from three sample pictures, with everything it needs
	$(BIN)/longtake demo

test: $(VENV)/dev  ## Run all tests
	cd supabase/functions && $(CURDIR)/$(BIN)/deno task test
	@log=$$(mktemp); nice -n 15 $(PYTEST) -m "not stack" > "$$log" 2>&1 & others=$$!; \
	  $(PYTEST) -m stack; servers=$$?; wait $$others; others=$$?; cat "$$log"; rm -f "$$log"; \
	  test $$servers -eq 0 -a $$others -eq 0

check: $(VENV)/dev  ## Lint, formatting, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint deployments/images/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deployments/compose/compose.yaml
	cd supabase/functions && $(CURDIR)/$(BIN)/deno task check

format: $(VENV)/dev  ## Format the code and correct what can be corrected
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev  ## Run the benchmarks; each prints a ratio
	@set -e; for one in benchmarks/[a-z]*.py; do echo "== $$one"; $(BIN)/python $$one; done

docs: $(VENV)/dev  ## Write the generated pages of docs/reference
	$(BIN)/python -m docs.generate

clean:  ## Remove the virtual environment and every cache, keep your films
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each set of dependencies: installed again only when pyproject.toml has changed.
$(VENV)/base: pyproject.toml | $(BIN)/python
	@echo "Installing Longtake into $(VENV); the first time that takes a minute or two."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev: pyproject.toml | $(BIN)/python
	@echo "Installing Longtake and its tools into $(VENV); the first time that takes a minute or two."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/base

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || { \
	  echo "Longtake needs Python 3.11 to 3.14; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
