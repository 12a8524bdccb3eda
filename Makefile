# Two commands do everything on a fresh machine: `make quickstart` and `make test`. Nothing but Python >= 3.10 and make
# is assumed. PYTHON chooses the interpreter, OUT the quickstart's folder.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.10 || echo python3)
OUT ?= quickstart-run
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup quickstart test test-isa test-newest lint bench builtin clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12) and "clipsieve needs Python 3.10 to 3.12; set PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(READY)
	$(BIN)/clipsieve quickstart --out $(OUT)

# A file's tests share what it sets up, so they run in one process; conftest.py says which files come first.
BY_FILE := --dist loadfile --no-loadscope-reorder

test: $(READY)
	$(BIN)/python -m pytest -n auto $(BY_FILE)

# The tests of numbers again, as processors without AVX, and with AVX2 at most, compute them. Elsewhere than on x86-64
# the libraries pass over these names.
WITHOUT_AVX := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 \
  OPENBLAS_CORETYPE=Nehalem OPENCV_CPU_DISABLE=AVX512-SKX,AVX2,AVX FAISS_OPT_LEVEL=generic
WITH_AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
  OPENBLAS_CORETYPE=Haswell OPENCV_CPU_DISABLE=AVX512-SKX FAISS_OPT_LEVEL=avx2

test-isa: $(READY)
	$(WITHOUT_AVX) $(BIN)/python -m pytest -n auto $(BY_FILE) -m numeric
	$(WITH_AVX2) $(BIN)/python -m pytest -n auto $(BY_FILE) -m numeric

# The newest versions that pyproject.toml allows, in a virtual environment of their own: constraints.txt is left out.
test-newest:
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade pip
	.venv-newest/bin/python -m pip install --quiet --editable '.[dev]'
	.venv-newest/bin/python -m pytest -n auto $(BY_FILE)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

# Rebuilds the builtin reference, the quickstart's pairs and its tasks from LAB (see pipelines/builtin/README.md).
builtin: $(READY)
	$(BIN)/python -m clipsieve.pipelines.builtin.build --data $(LAB) --out build/builtin
	cp build/builtin/quickstart/pairs.parquet pipelines/quickstart/
	cp -r build/builtin/tasks/. evaluation/tasks/
	$(BIN)/clipsieve train --shards build/builtin/shards --out build/builtin/model --tower regnet-tiny-64 \
	  --samples 204800 --batch-size 256 --augment crop_flip --warmup-steps 100 --weight-decay 0.5 \
	  --canonicalize --precision bf16
	$(BIN)/python -m clipsieve.pipelines.builtin.ship --model build/builtin/model
	$(BIN)/python -m clipsieve.evaluation.separation --model pipelines/builtin --pairs build/builtin/held_out.parquet

clean:
	rm -rf .venv .venv-newest build *.egg-info
