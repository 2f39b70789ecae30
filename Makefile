PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check docs-test browser golden clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/installed-report: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[report]'
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/installed-docs-test: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs-test]'
	touch $@

demo: $(VENV)/installed-report   ## analyse and prune the shipped digits network
	BIN=$(BIN) bash models/demo.sh

check: $(VENV)/installed-test    ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check                      ## lint, types, tests
	$(BIN)/pytest

docs-test: $(VENV)/installed-docs-test  ## report pages in a real browser
	$(BIN)/pytest tests/browser

browser:                         ## Chromium of the distribution's packages, for docs-test
	bash tests/browser/install_browser.sh

golden: $(VENV)/installed-test   ## record the golden files and screens anew
	$(BIN)/pytest tests/test_golden.py tests/test_cli_terminal.py --regenerate

clean:
	rm -rf $(VENV) build dist *.egg-info demo
