# make demo   train both GANs on the shipped sample and restore its test images
#             (about 4 minutes on two cores with AVX-512, longer on slower ones)
# make test   lint, then all tests but the slow ones (about 8 minutes on two cores)
# make test-all   the same, then the slow ones (about a quarter of an hour)
# make test-robustness   of the tests, broken and hostile files and trainings that are killed: all of them (20 minutes)
# make lint   ruff and codespell alone
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PYTEST = $(BIN)/python -m pytest -n 2

.PHONY: demo test test-all test-robustness lint

demo: $(VENV)/demo-ready
	$(BIN)/python demo.py

test: lint
	$(PYTEST) -m "not slow"

test-all: test
	$(PYTEST) --dist=loadfile -m slow --ignore=tests/robustness

test-robustness: $(VENV)/test-ready
	$(PYTEST) --dist=loadfile tests/robustness

lint: $(VENV)/test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

$(VENV)/demo-ready: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/test-ready: $(wildcard requirements/*.txt) $(VENV)/demo-ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	touch $@
