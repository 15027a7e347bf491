# `make demo` and `make test` create .venv themselves; they need only Python, pip and make.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= runs/demo
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-slow test-all lint bench clean

demo: $(VENV)/.demo
	$(BIN)/python launch.py train --config=configs/classifier.py:digits --workdir=$(DEMO)/classifier
	$(BIN)/python launch.py train --config=configs/digits.py --workdir=$(DEMO)/digits
	@$(BIN)/python launch.py sample --workdir=$(DEMO)/digits --num=100 --out=$(DEMO)/digits.png
	@$(BIN)/python launch.py sample --workdir=$(DEMO)/digits --num=36 --out=$(DEMO)/digits.gif
	@$(BIN)/python launch.py evaluate --workdir=$(DEMO)/digits --metrics=classifier,frechet_pixels \
		--config.eval.classifier=$(DEMO)/classifier > $(DEMO)/digits.txt
	@cat $(DEMO)/digits.txt
	@printf '\n%s\n  %s\n  %s\n  %s\n' "Made:" "$(DEMO)/digits.png   a grid of samples" \
		"$(DEMO)/digits.gif   noise becoming digits" "$(DEMO)/digits.txt   the table above"

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/.parity
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'slow or parity'

test-all: test test-slow

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/.demo
	$(BIN)/python -m benchmarks.train_step
	$(BIN)/python -m benchmarks.sampler
	$(BIN)/python -m benchmarks.gan_step --game=dcgan
	$(BIN)/python -m benchmarks.gan_step --game=r3gan
	$(BIN)/python -m benchmarks.embed

clean:
	rm -rf $(VENV) build *.egg-info

# Stamp files: each marks an extra as installed, and is remade when the requirements change.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[test]'
	@touch $@ $(VENV)/.demo

$(VENV)/.parity: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[test,parity]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps k-diffusion==0.1.1.post1  # its requirements pin NumPy 1
	@touch $@
