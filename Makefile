# ILoRA Lab. `make` lists what there is; every target sets the environment up first where it needs one.
PORT ?= 8501
WORKERS ?= 2
python := .venv/bin/python
export PYTHON

.PHONY: help setup app test bench screenshots clean
.DEFAULT_GOAL := help

help: ## list the targets
	@echo "ILoRA Lab"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

setup: ## make .venv and install everything into it (once; PYTHON=... picks the interpreter)
	@sh scripts/setup.sh

app: setup ## start the app at http://localhost:8501 (PORT=... picks another port)
	@$(python) -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()' 2>/dev/null \
		|| { echo "make app: port $(PORT) is in use; end what runs there, or: make app PORT=$$(($(PORT) + 1))" >&2; exit 1; }
	@echo "ILoRA Lab is served at http://localhost:$(PORT) (Ctrl-C ends it)"
	@$(python) -m streamlit run app.py --server.port $(PORT)

test: setup ## check style and types, then run every test, in a browser too
	@echo "== style (ruff check)"
	@$(python) -m ruff check .
	@echo "== layout (ruff format)"
	@$(python) -m ruff format --check .
	@echo "== types (mypy)"
	@$(python) -m mypy
	@echo "== tests (pytest)"
	@$(python) -m pytest -n $(WORKERS) --dist loadfile

bench: setup ## measure the engines and the app, as in docs/benchmarks.md
	@$(python) -m benchmarks.engine
	@$(python) -m benchmarks.app

screenshots: setup ## photograph the app for the documents
	@$(python) scripts/screenshots.py

clean: ## remove .venv and everything that the tools left behind
	@rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis test-results
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
