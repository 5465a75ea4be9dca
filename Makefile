# ILoRA Lab. `make` lists what there is; every target sets the environment up first where it needs one.
PORT ?= 8501
WORKERS ?= 2
# what `make quick` runs: rules, factors, clients, stages and sentences; no whole run, no page, no process
QUICK := $(addprefix tests/,lora clients stages methods/test_methods.py training/test_client_model.py training/test_vectorised.py \
	lab/analysis lab/captions test_diagnostics.py test_experiment.py test_records.py test_layers.py)
python := .venv/bin/python
export PYTHON

.PHONY: help setup setup-app app test quick style bench screenshots clean
.DEFAULT_GOAL := help

help: ## list the targets
	@echo "ILoRA Lab"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

setup: ## make .venv and install everything into it (once; PYTHON=... picks the interpreter)
	@sh scripts/setup.sh

setup-app:
	@sh scripts/setup.sh app

app: setup-app ## start the app at http://localhost:8501 (PORT=... picks another port)
	@$(python) -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()' 2>/dev/null \
		|| { echo "make app: port $(PORT) is in use; end what runs there, or: make app PORT=$$(($(PORT) + 1))" >&2; exit 1; }
	@echo "ILoRA Lab is served at http://localhost:$(PORT) (Ctrl-C ends it)"
	@$(python) -m ilora app --port $(PORT)

test: setup style ## check style, layers and types, then run every test, in a browser too
	@echo "== tests (pytest)"
	@$(python) -m pytest -n $(WORKERS) --dist loadfile

quick: setup style ## check style, layers and types, then the fast tests of the core: under a minute
	@echo "== fast tests of the core (pytest)"
	@$(python) -m pytest -n $(WORKERS) -q -m "not slow" $(QUICK)

style: setup ## check style, layers and types
	@echo "== style (ruff check)"
	@$(python) -m ruff check .
	@echo "== layout (ruff format)"
	@$(python) -m ruff format --check .
	@echo "== layers (import-linter)"
	@.venv/bin/lint-imports --no-logo --no-cache
	@echo "== types (mypy)"
	@$(python) -m mypy

bench: setup ## measure the engines and the app, as in docs/benchmarks.md
	@$(python) -m benchmarks.engine
	@$(python) -m benchmarks.app

screenshots: setup ## photograph the app for the documents
	@$(python) scripts/screenshots.py

clean: ## remove .venv and everything that the tools left behind
	@rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis test-results
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
