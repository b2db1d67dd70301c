# `make demo` and `make test` set up what they need in .venv; nothing else is assumed but Python.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN = $(VENV)/bin

.PHONY: demo test lint types check schemas pins bench thorough zoo converters fuzz docker-test clean

demo: $(VENV)/.demo
	@mkdir -p $(DEMO)
	$(BIN)/python sample_models/build.py fitnet4 --out $(DEMO)
	$(BIN)/python sample_models/images.py --out $(DEMO)/images
	$(BIN)/lsuv init $(DEMO)/fitnet4.onnx --data $(DEMO)/images/photos --preset imagenet \
	    --out $(DEMO)/init.safetensors --report $(DEMO)/report.html --force

test: lint types check

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

check: $(VENV)/.dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --durations 25 --durations-min 5
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

# Compares what this tree writes with what the commit, branch or tag REV does: make pins REV=main
pins: $(VENV)/.dev
	$(BIN)/python tests/pins/compare.py $(REV)

# Writes docs/*.schema.json anew from the types of the JSON documents.
schemas: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python tests/test_schemas.py

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run_all.py

# The further roads and models of what one or two show in `make test`.
thorough: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 -m thorough

# Initialises real architectures by every road, for hours, and writes docs/zoo.md; what
# benchmarks/zoo.jsonl has already is not run again.
zoo: $(VENV)/.zoo
	-PYTHONPATH=tests $(BIN)/python benchmarks/zoo.py --out benchmarks/zoo.jsonl
	PYTHONPATH=tests $(BIN)/python benchmarks/zoo_table.py

# Checks files of other converters, which write them in environments of their own, since their
# libraries do not go together, and writes their table into docs/graphs.md.
converters: $(VENV)/.dev .venv-converters/.done .venv-paddle/.done
	mkdir -p .converters
	.venv-converters/bin/python benchmarks/converter_write.py .converters keras-tensorflow \
	    keras-jax keras-torch tflite jax spox sklearn onnxsim onnxslim float16 extended
	.venv-paddle/bin/python benchmarks/converter_write.py .converters paddle
	PYTHONPATH=tests $(BIN)/python benchmarks/converters.py .converters

# Damages models, samples, weights and options at random, KIND=... or all of them; what .fuzz/ has
# is not run again.
KIND ?= models,samples,weights,configuration
CASES ?= 20000
SEED ?= 0
fuzz: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python -m fuzz.run --kinds $(KIND) --cases $(CASES) --seed $(SEED)

# Builds the Dockerfile without a registry and runs what comes out; as root, for minutes.
docker-test: $(VENV)/.dev
	$(BIN)/python -m pytest -s -p no:randomly tests/docker/docker_image.py

clean:
	rm -rf $(VENV) .venv-* .converters $(DEMO) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*

# torch first, at the tested version: left to itself, an installer takes the newest with its CUDA.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt torch
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install -q -c constraints.txt -e . --group demo
	@touch $@

$(VENV)/.dev: $(VENV)/.demo pyproject.toml
	$(BIN)/python -m pip install -q -c constraints.txt -e . --group dev
	@touch $@

$(VENV)/.zoo: $(VENV)/.dev pyproject.toml
	$(BIN)/python -m pip install -q -c constraints.txt --group zoo
	@touch $@

.venv-converters/.done: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv-converters
	.venv-converters/bin/python -m pip install -q --upgrade pip
	.venv-converters/bin/python -m pip install -q -c constraints.txt torch
	.venv-converters/bin/python -m pip install -q -c constraints.txt --group converters
	@touch $@

# It wants an older onnx than we do.
.venv-paddle/.done: pyproject.toml
	$(PYTHON) -m venv .venv-paddle
	.venv-paddle/bin/python -m pip install -q --upgrade pip
	.venv-paddle/bin/python -m pip install -q --group paddle
	@touch $@
