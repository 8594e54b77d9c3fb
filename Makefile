# Every target does its own set-up: a virtual environment in .venv with the pinned packages and prejoin itself.
# Needed beforehand: make, and Python 3.11 or newer. Another Python: `make test PYTHON=/path/to/python3.12`.
.DEFAULT_GOAL := help
.PHONY: help demo test docs browser screenshots vendor torture check bench bench-quick clean

# python3, unless that is older than 3.11: then the newest of the others that there are
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
SETUP := .venv/.done

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(SETUP) ## run the whole system on embedded servers; options: make demo ARGS="--once --scale 0.1"
	@$(BIN)/prejoin demo $(ARGS)

test: $(SETUP) ## run all tests; some of them: make test ARGS=tests/unit
	@$(BIN)/pytest $(ARGS)

docs: $(SETUP) ## the documentation as a site, its reference from the code, its links checked, into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

browser: ## install Debian's chromium, as root, for the tests that look at the dashboard; without it they are skipped
	@sh tools/install_chromium.sh

screenshots: $(SETUP) ## every page of the dashboard, light and dark, wide and narrow, into build/screenshots
	@$(BIN)/python -m tools.screenshots $(ARGS)

vendor: $(SETUP) ## the dashboard's libraries anew from npm, by the versions in tools/vendor_dashboard.py
	@$(BIN)/python -m tools.vendor_dashboard

# `make torture SEED=7` and `SEED=7 make torture`: that seed alone
torture: $(SETUP) ## workers under faults, views against the model; options: make torture SEEDS=20, SEED=7
	@$(BIN)/python -m tests.torture $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),3)) $(ARGS)

check: $(SETUP) ## lint, formatting, types, import rules, contracts and projections
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/prejoin check

bench: $(SETUP) ## measure Prejoin beside peers and limits; a smaller share: make bench-quick; one: make bench ARGS="--only ingest"
	@$(BIN)/python -m bench $(ARGS)

bench-quick: $(SETUP)
	@$(BIN)/python -m bench --quick $(ARGS)

clean: ## remove .venv, caches, and the embedded servers' data and downloads
	@for root in .prejoin/stack .prejoin/demo; do \
		if [ -x $(BIN)/prejoin ] && [ -d $$root ]; then $(BIN)/prejoin stack down --root $$root; fi; done
	rm -rf .venv .prejoin .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(SETUP): requirements.txt pyproject.toml
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Prejoin needs Python 3.11 or newer: install one, or name it with PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
