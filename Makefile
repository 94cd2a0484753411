# make demo: the embedded benchmark with the embedded model, from nothing to a page of pictures.
# make tools: exports read by Label Studio's and Datumaro's code, and Trackio, which pin other packages: in an
#   environment of their own.
# make package: the wheel, built and installed with pinned dependencies in a new environment, and a run with it.
# make site: the documentation site in build/site/html; a warning is an error.
# make test: every test.   make hostile: a million damaged inputs, ten kills of each command, and twenty deaths of each
# kind on a cluster (40 minutes).
# make lint: ruff and mypy.   make bench: speed versus transformers.
# make gate: the promises of baselines/gates.toml.   make bench-base: micro-benchmarks versus those of main.
# make records: evaluate the embedded models again, and renew the committed records and tables that changed.
# make report: the page of all of them, with pictures, in build/report.
# Each makes what it needs in .venv, from constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test tools package site hostile lint bench bench-base gate records report clean

demo: .venv/core
	@rm -rf demo
	$(BIN)/python -m harness run --task refcoco_res --model florence2-nano-ft --data miniature --out demo/results
	@$(BIN)/python -m harness report --results demo/results --to demo/report
	@echo "pictures: demo/report/gallery, best seen in demo/report/index.html"

test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not peers"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m peers

tools: .venv/dev .venv-tools/done
	TOOLS_PYTHON=.venv-tools/bin/python $(BIN)/python -m pytest \
	  tests/harness/tracking/test_trackio.py tests/harness/exports/test_cvat.py tests/harness/exports/test_label_studio.py

package:
	rm -rf build/clean
	PYTHON=$(PYTHON) sh packaging/install.sh build/clean
	cd build && clean/bin/florence2-harness run --task refcoco --model whole-image --data miniature --limit 3 --out clean/results

site: .venv/dev
	$(BIN)/python -m website build/site

hostile: .venv/dev
	HOSTILE_INPUTS=$${HOSTILE_INPUTS:-1000000} HOSTILE_KILLS=$${HOSTILE_KILLS:-10} \
	  HOSTILE_DEATHS=$${HOSTILE_DEATHS:-20} HOSTILE_AUDITS=$${HOSTILE_AUDITS:-1000} \
	  HOSTILE_DRAWS=$${HOSTILE_DRAWS:-1000} \
	  HOSTILE_SEED=$${HOSTILE_SEED:-$$(date +%Y%m%d)} \
	  OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -o timeout=0 tests/hostile tests/harness/evaluation/test_spreading.py \
	  tests/harness/test_statistics_coverage.py

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

gate: .venv/dev
	$(BIN)/python -m harness gate

bench: .venv/dev
	$(BIN)/python -m pytest benchmarks -p benchmark -o addopts= --benchmark-only --benchmark-autosave $(BENCH)

bench-base: .venv/dev
	$(BIN)/python -m harness gate --promises benchmarks/gates.toml

records: .venv/dev
	$(BIN)/python -m benchmarks.records
	$(BIN)/python -m harness report --results results --pictures 0

report: records
	$(BIN)/python -m harness report --results .records --to build/report

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; $(PYTHON) is older: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/core: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

.venv/dev: .venv/core
	$(PIP) --editable '.[dev]'
	@touch $@

.venv-tools/done:
	$(PYTHON) -m venv .venv-tools
	.venv-tools/bin/python -m pip --disable-pip-version-check install --quiet \
	  trackio==0.43.0 'pillow<13' label-studio-sdk==2.1.2 datumaro==1.13.12
	@touch $@

clean:
	rm -rf .venv .venv-tools demo
