# make demo   train both GANs on the shipped sample and restore its test images
#             (about 6 minutes on two cores with AVX-512, up to 16 on slower ones)
# make test   lint, then all tests but the slow ones
# make test-robustness   broken and hostile files, and trainings that are killed: all of them (about 20 minutes)
# make lint   ruff and codespell alone
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-robustness lint

demo: $(VENV)/demo-ready
	$(BIN)/python demo.py

test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-robustness: $(VENV)/test-ready
	$(BIN)/python -m pytest -n 2 --dist=loadfile tests/robustness

lint: $(VENV)/test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

$(VENV)/demo-ready: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/test-ready: requirements-dev.txt $(VENV)/demo-ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
