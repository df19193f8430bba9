# The two commands are `make demo` and `make test`; both set themselves up on a fresh clone.
# A set-up is done again when requirements.lock or pyproject.toml changes; that of ROS when
# requirements-ros.lock or something in ros_nodes/ does too.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KEY := $(shell cat requirements.lock pyproject.toml | cksum | tr ' ' '-')
USER_STAMP := $(VENV)/.user-$(KEY)
DEV_STAMP := $(VENV)/.dev-$(KEY)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock

# PyPI has wheels of ROS 2 for x86-64 Linux only.
ifeq ($(shell uname -sm),Linux x86_64)
ROS_KEY := $(shell find ros_nodes -type f -not -path '*/__pycache__/*' | LC_ALL=C sort | \
	xargs cat requirements-ros.lock scripts/build_ros.py | cksum | tr ' ' '-')
ROS_STAMP := .venv-ros/.ros-$(KEY)-$(ROS_KEY)
endif
# The unit tests run on all cores at once. The tests of ROS run in an environment of their own; what
# names other tests has none for it. A choice (-k) may leave none of some over (5).
NONE_OVER := $(if $(findstring -k,$(ARGS)),|| [ $$? -eq 5 ])
ROS_ARGS := $(if $(findstring tests/ros,$(ARGS)),$(ARGS),$(if $(findstring tests/,$(ARGS)),,tests/ros $(ARGS)))
UNIT_ARGS := $(if $(findstring tests/ros,$(ARGS)),,run)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check check-aarch64 bench soak fuzz clean

help:
	@echo "make demo           install, fetch the models, listen to a home, answer three questions"
	@echo "make test           the whole test suite (ARGS=... for pytest)"
	@echo "make check          lint, formatting and types of everything"
	@echo "make check-aarch64  do all default dependencies have wheels for 64-bit Arm"
	@echo "make bench          the benchmarks"
	@echo "make soak           hours of what the suite does for minutes: broken files, a day of audio"
	@echo "make fuzz           10 minutes of fuzzing what parses the bridge's protocol, for every night"
	@echo "make clean          remove the environment, wheels and caches; the corpus and training stay"

demo: $(USER_STAMP)
	@$(BIN)/edge-alm models pull
	@scripts/demo

test: $(DEV_STAMP) $(ROS_STAMP)
ifneq ($(findstring tests/,$(ARGS)),)
	@$(if $(UNIT_ARGS),$(BIN)/python -m pytest $(ARGS))
else
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit -n logical $(ARGS) $(NONE_OVER)
	@$(BIN)/python -m pytest tests --ignore tests/unit $(ARGS) $(NONE_OVER)
endif
ifdef ROS_STAMP
	@$(if $(ROS_ARGS),EDGE_ALM_ROS=1 scripts/with_ros python -m pytest $(ROS_ARGS) $(NONE_OVER))
else
	@echo "tests/ros left out: PyPI has wheels of ROS 2 for x86-64 Linux only"
endif

check: $(DEV_STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

check-aarch64: $(DEV_STAMP)
	@$(BIN)/python scripts/check_aarch64.py

bench: $(USER_STAMP) $(ROS_STAMP)
	@$(BIN)/edge-alm models pull
	@$(BIN)/edge-alm bench
	@for name in $(filter-out heat ros_latency __init__,$(basename $(notdir $(wildcard benchmarks/*.py)))) \
	peers; do \
	echo "== $$name"; $(BIN)/python -m "benchmarks.$$name" || exit 1; done
	@$(if $(ROS_STAMP),echo "== ros_latency"; scripts/with_ros python -m benchmarks.ros_latency)

# Hours: 1,000,000 broken files, a day of audio. `make test` has a few minutes of it.
soak: $(DEV_STAMP)
	@SOAK=long $(BIN)/pytest tests/soak --timeout 0 $(ARGS)

fuzz: $(DEV_STAMP)
	@$(BIN)/python -m firmware_bridge.fuzz $(ARGS)

# Models and the built llama.cpp stay: they are in EDGE_ALM_HOME, shared by all clones. So does the
# rest of build/: the corpus, the scenes and the training runs, hours of work.
clean:
	rm -rf $(VENV) .venv-ros build/ros build/lib build/bdist.* dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 10) <= v <= (3, 13) or sys.exit("python: expected 3.10 to 3.13, got %d.%d; make PYTHON=python3.12 ..." % v)'
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(USER_STAMP): | $(BIN)/python
	@llama=$$($(BIN)/python scripts/build_llama.py) && \
	echo "Installing edge-alm and its dependencies (about 80 MB)" && \
	$(INSTALL) -e '.[mic,llm,asr]' "$$llama"
	@touch $@

$(ROS_STAMP): | $(BIN)/python
	@$(BIN)/python scripts/build_ros.py
	@touch $@

# PyAudio comes as source only, and is wanted only where PortAudio's header is.
$(DEV_STAMP): $(USER_STAMP)
	@echo "Installing what the tests need, torch too (192 MB for the CPU; CONTRIBUTING.md says how)"
	@$(INSTALL) -e '.[mic,llm,asr,bridge,opus,ble,tflite,export,dev]'
	@if echo '#include <portaudio.h>' | $(CC) -E - >/dev/null 2>&1; then $(INSTALL) pyaudio; \
	else echo "no portaudio.h: tests of PyAudio will be skipped (scripts/system-deps installs it)"; fi
	@touch $@
