# `make demo` and `make test` do all the set-up themselves.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
SYSTEM := chromium xvfb xdotool python3-tk
SECONDS ?= 600
DEMO := experiments/demo_$(shell date +%Y%m%d_%H%M%S)

.PHONY: demo test test-all chaos bench lint audit install system clean

demo: $(INSTALLED) ## Train the small preset and draw its four panels.
	$(BIN)/python -m trainer configs/quick_3blob.json --output-dir $(DEMO)
	$(BIN)/monitord $(DEMO) --static

test: $(INSTALLED) ## Everything that is quick.
	$(BIN)/python -m pytest

test-all: $(INSTALLED) ## The long ones too.
	$(BIN)/python -m pytest -m "not chaos"

chaos: $(INSTALLED) ## Kill real runs at random; make chaos SECONDS=3600 SEED=7.
	$(BIN)/python -m pytest -n 0 -s -m chaos --chaos-seconds $(SECONDS) $(if $(SEED),--chaos-seed $(SEED))

bench: $(INSTALLED) ## Measure speed and memory, side by side with what they are held against.
	$(BIN)/python -m benchmarks

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory audit

audit: ## Known vulnerabilities of the pinned versions, where pip-audit is installed and has its data.
	@command -v pip-audit > /dev/null || { echo "audit: pip-audit is not installed; nothing is proved"; exit 0; }; \
	found=$$(pip-audit --requirement constraints.txt --no-deps --disable-pip --timeout 20 2>&1); status=$$?; \
	case "$$found" in *"nown vulnerabilit"*) ;; *) found="audit: no data can be reached; nothing is proved"; status=0;; esac; \
	echo "$$found" | sed "s,.*could not be audited: ,audit: no data; nothing is proved of ,"; exit $$status

install: $(INSTALLED) ## Set up .venv with pinned versions.

system: ## Debian packages that some tests use: a browser for the page, a display for the live window.
	which chromium Xvfb xdotool > /dev/null || { apt-get update -qq && apt-get install -y -qq $(SYSTEM) > /dev/null; }

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean: ## Remove what tools leave behind; experiments stay.
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
