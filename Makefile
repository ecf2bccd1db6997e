# Everything a developer runs. Each target sets up what it needs; what is there already is not done again.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
PATHS ?=
READY := $(VENV)/.ready

NPM := sdk/typescript
# Marks of the tests that need more than Python: a control plane, a kubelet, an MLflow server.
REAL := realcluster or realnode or realregistry

.PHONY: properties test-programs mlflow node-programs help env binaries demo test unit e2e e2e-node scenarios lint format types contracts generate check-generated lock bench-latency bench-propagation bench-footprint bench-sdk bench-engine bench-decisions bench-correlated clean typescript

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

env: $(READY)  ## the Python environment in .venv, exactly as requirements.lock pins it

$(READY): requirements.lock pyproject.toml sdk/python/pyproject.toml
	@test -n "$(PYTHON)" || { echo "No python3 found. Python 3.11 or newer is needed; name it by PYTHON=…"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11; name another by PYTHON=…"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the Python environment into $(VENV) (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e sdk/python
	@touch $@

typescript: $(NPM)/node_modules/.ready  ## the TypeScript SDK's tools, exactly as its package-lock.json pins them

$(NPM)/node_modules/.ready: $(NPM)/package-lock.json $(NPM)/package.json
	@command -v npm >/dev/null || { echo "npm not found: Node.js 20.12 or newer is needed for the TypeScript SDK"; exit 1; }
	@cd $(NPM) && npm ci --loglevel=error
	@touch $@

binaries: env  ## the control plane's programs, built once (about 16 min cold) and cached
	@$(BIN)/python -m e2e.controlplane.binaries

test-programs: env binaries
	@$(BIN)/python -m e2e.controlplane.binaries promtool flagd-evaluator

mlflow: env  ## an MLflow server for the tests of prompt registries, installed once (850 MB) and cached
	@$(BIN)/python -m e2e.mlflow.environment

demo: env  ## the story in the terminal: one good prompt, two bad ones (KEEP=1 leaves the cluster up)
	@KEEP="$(KEEP)" $(BIN)/python -m e2e.demo

# Two at a time, the longest first; conftest.py says what stays together.
test: env typescript test-programs mlflow  ## all tests, those on the real control plane included (PATHS=, PYTEST_ARGS=)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS) $(PATHS)

unit: env typescript  ## the tests that need no control plane
	@$(BIN)/python -m pytest -m "not ($(REAL))" -n 2 --dist loadfile $(PYTEST_ARGS) $(PATHS)

e2e: env test-programs mlflow  ## the tests on the real control plane
	@$(BIN)/python -m pytest -m "realcluster or realregistry" $(PYTEST_ARGS) $(PATHS)

e2e-node: node-programs  ## real kubelet, real pods: installs containerd and runc (root, Debian), builds the kubelet once
	@$(BIN)/python -m pytest tests/node $(PYTEST_ARGS)

node-programs: env binaries
	@$(BIN)/python -m e2e.realnode.machine
	@$(BIN)/python -m e2e.controlplane.binaries kubelet kube-scheduler

scenarios: env binaries  ## every scenario on the real control plane, a table row each
	@$(BIN)/python -m pytest -p e2e.scenario_table -q --no-header tests/scenarios $(PYTEST_ARGS)

lint: env  ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: env  ## let ruff repair what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: env  ## mypy --strict
	@$(BIN)/mypy

contracts: env  ## import-linter: which room may import which
	@$(BIN)/lint-imports

generate: env  ## write the generated files (CRDs, the diagram of states, Argo CD's scripts, the examples' dashboards)
	@$(BIN)/python -m promptrollout.api.crd --write
	@$(BIN)/python -m promptrollout.rollout.diagram --write
	@$(BIN)/python gitops/argocd/generate.py --write
	@$(BIN)/python -m examples.kit.dashboards --write

check-generated: env  ## fail when a generated file is not what its source says
	@$(BIN)/python -m promptrollout.api.crd --check
	@$(BIN)/python -m promptrollout.rollout.diagram --check
	@$(BIN)/python gitops/argocd/generate.py --check
	@$(BIN)/python -m examples.kit.dashboards --check
	@$(BIN)/python -m benchmarks.decisions --check
	@$(BIN)/python -m benchmarks.correlated --check
	@$(BIN)/python -m benchmarks.costs --check

properties: env  ## thousands of random histories of one rollout against all that must always hold
	@HISTORIES=3000 $(BIN)/pytest -q tests/rollout/test_properties.py -o timeout=0

lock:  ## pin the newest allowed versions (needs uv)
	uv pip compile --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-annotate \
	  --upgrade --extra operator --extra cli --extra dev pyproject.toml -o requirements.lock
	echo 'mlflow>=3.17,<4' | uv pip compile --python-version 3.11 --universal --generate-hashes --no-emit-index-url \
	  --no-annotate --upgrade --custom-compile-command "make lock" - -o requirements-mlflow.lock

bench-latency: env binaries  ## how fast a rollback is: data readable -> ConfigMap -> last pod, over 20 rollbacks
	@$(BIN)/python -m e2e.latency --output benchmarks/results/latency.json
	@$(BIN)/python -m benchmarks.costs

bench-propagation: node-programs  ## from the ConfigMap's write to the pods, on a real node, per mode (20 min, most of them for Mount)
	@$(BIN)/python -m e2e.propagation --output benchmarks/results/propagation.json
	@$(BIN)/python -m benchmarks.costs

bench-footprint: env binaries  ## what the operator costs: memory, CPU, API requests, queries (writes benchmarks/results)
	@$(BIN)/python -m benchmarks.footprint
	@$(BIN)/python -m benchmarks.costs

bench-engine: env  ## what a tick of the analysis costs for 1,000 rollouts with six metrics each
	@$(BIN)/python -m benchmarks.engine

bench-decisions: env  ## this engine and other tools' rules on the same traffic (QUICK=1: some minutes; goes on where it stopped)
	@$(BIN)/python -m benchmarks.decisions $(if $(QUICK),--quick)

bench-correlated: env  ## false rollbacks where requests of one conversation resemble each other
	@$(BIN)/python -m benchmarks.correlated

bench-sdk: env typescript  ## what the SDKs cost: per assign, per request, memory, reload (writes benchmarks/results)
	@$(BIN)/python -m benchmarks.sdk
	@$(BIN)/python -m benchmarks.costs

clean:  ## remove the environment and caches of this checkout (built programs stay in the user's cache)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
