# Two commands do everything on a fresh machine with Python and a C++ compiler:
#   make demo    sets up and runs the main job on real scans of digits
#   make test    sets up and runs the tests; make test-exhaustive those that make test leaves out
# Both work in a virtual environment of their own, .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
# two halves of the tests, each in order, so that a module's fixtures are made once; who is done first
# takes half of what the other has left
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist worksteal
SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.hpp') CMakeLists.txt
FOLDERS := $(shell find pyedge -type d -not -name __pycache__)
# scikit-build-core needs cmake and ninja: the system's where they are, else PyPI's
BUILD_TOOLS := scikit-build-core pybind11 $(if $(shell command -v cmake),,cmake) \
	$(if $(shell command -v ninja),,ninja)

.PHONY: help demo docs docs-serve test test-exhaustive test-poisoned test-neon neon-report wheel-aarch64 \
	test-aarch64 test-ray cloud-demo test-cloud-faults crash-test fuzz sanitize bench bench-phone lint format build clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile
	@echo "also: make build (after a C++ change), bench, bench-phone, lint, format, docs, docs-serve,"
	@echo "test-exhaustive, test-poisoned, test-neon, neon-report, wheel-aarch64, test-aarch64, test-ray, cloud-demo, test-cloud-faults, crash-test, fuzz, sanitize, clean"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt $(BUILD_TOOLS)
	$(PIP) install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt \
		--editable ".[dev]"
	@touch $@ $(VENV)/.built

# only what changed is compiled: the build folder, build/<wheel tag>, stays; an editable install notes
# where each module lies, so that one that has moved is looked for anew
$(VENV)/.built: $(VENV)/.installed $(SOURCES) $(FOLDERS)
	$(PIP) install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

build: $(VENV)/.built

demo: build
	$(BIN)/pyedge demo --out demo

test: build
	$(PYTEST) -m "not exhaustive" $(PYTEST_ARGS)

# what make test leaves out: sweeps over everything, emulated processors, long runs
test-exhaustive: build
	$(PYTEST) -m exhaustive $(PYTEST_ARGS)

# the engine's tests, with NaN in its arena wherever nothing lives
test-poisoned: build
	PYEDGE_POISON_ARENA=1 $(PYTEST) tests/engine

test-neon:
	tools/test_neon.sh

neon-report: build
	$(BIN)/python -m bench.neon_report

# what a cross build needs and no more: no torch
$(VENV)/.cross: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt $(BUILD_TOOLS) \
		wheel ziglang
	@touch $@

wheel-aarch64: $(VENV)/.cross
	$(BIN)/python tools/wheel_aarch64.py

# needs qemu-aarch64-static; docs/aarch64.md
test-aarch64: build wheel-aarch64
	$(BIN)/python tools/test_aarch64.py

$(VENV)/.ray: $(VENV)/.installed
	$(PIP) install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt \
		--editable ".[ray]"
	@touch $@

# jobs and replicas on a local Ray, begun and ended by the tests; half a gigabyte to install
test-ray: build $(VENV)/.ray
	$(BIN)/python -m pytest -rs tests/cloud/jobs tests/serve/test_ray_teaching.py

# a service, and three devices without torch that learn from each other: docs/cloud.md
cloud-demo: build
	$(BIN)/python -m pyedge.demo.cloud

# 200 kills of the service, slow and rude clients, full disks, 10,000 fuzzed requests: some 8 minutes
test-cloud-faults: build
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt schemathesis
	$(BIN)/python tools/cloud_faults.py

crash-test: build
	$(BIN)/python tools/crash_test.py

fuzz: build
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt atheris
	$(BIN)/python tests/fuzz/fuzz_student_file.py -runs=5000
	$(BIN)/python tests/fuzz/fuzz_knowledge.py -runs=5000
	$(BIN)/python tests/fuzz/fuzz_statistics.py -runs=5000

sanitize:
	tools/sanitize.sh

bench: build
	$(BIN)/python -m bench.kernels
	$(BIN)/python -m bench.edge_step

bench-phone: build
	$(BIN)/python -m bench.phone

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(filter %.cpp %.hpp,$(SOURCES))
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/project/test_layers.py

format: build
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(filter %.cpp %.hpp,$(SOURCES))

$(VENV)/.docs: $(VENV)/.installed
	$(PIP) install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt \
		--editable ".[docs]"
	@touch $@

# every page is read anew: a page that is not read gives no warning, and a warning is an error
docs: build $(VENV)/.docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env \
		--doctree-dir build/doctrees docs build/site
	@echo build/site/index.html

docs-serve: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site 8000

clean:
	rm -rf build demo $(VENV)
