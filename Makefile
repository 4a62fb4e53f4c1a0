# `make` lists the targets. The environment is made on first use, with or without a ROS 2 distribution.

VENV ?= .venv
JOBS ?= 4# processes that share the tests
# Expanded only when the environment is made: the Python of a sourced ROS 2, else the one that the ROS wheels are for.
PYTHON ?= $(shell python3 -c 'import rclpy' 2>/dev/null && echo python3 || echo python3.11)
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.made
INPUTS := $(filter-out %/docs.txt,$(wildcard requirements/*.txt)) $(wildcard tools/*venv*.py overlay/tf2_msgs/*.* overlay/tf2_msgs/msg/*) \
  setup.py setup.cfg
DOCS := .venv-docs

# Fast DDS's default shared memory segment loses camera images and clouds. Two names: Fast DDS 2 (Jazzy) and 3.
DDS := $(if $(filter humble jazzy,$(ROS_DISTRO)),FASTRTPS,FASTDDS)_DEFAULT_PROFILES_FILE=$(CURDIR)/config/fastdds.xml

.PHONY: help venv test lint docs docs-commands bench gpu demo web clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

venv: $(STAMP)  ## the environment in .venv: real rclpy and Fast DDS (PYTHON=... chooses another Python)

$(STAMP): $(INPUTS)
	@$(PYTHON) -c '' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' does not run. Install Python 3.11 (or source a ROS 2 distribution), or say which: make venv PYTHON=..." >&2; exit 1; }
	$(PYTHON) tools/make_venv.py $(VENV)
	@touch $@

# A demo, or the page, alone: far less to install. Where everything is there already, that serves.
$(VENV)/.made-%: $(INPUTS)
	@$(PYTHON) -c '' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' does not run. Install Python 3.11 (or source a ROS 2 distribution), or say which: make $* PYTHON=..." >&2; exit 1; }
	$(PYTHON) tools/make_venv.py $(VENV) --only $*
	@touch $@

# The longest files begin first, so that no process waits for another; hundreds of processes compile what they import once.
test: $(STAMP)  ## every test (ARGS="-k name" passes options to pytest; JOBS= runs them in one process)
	$(DDS) ROS_PYTHON_CHECK_FIELDS=1 ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest \
	  $(if $(JOBS),-n $(JOBS) --dist loadfile --no-loadscope-reorder) $(ARGS)

lint: $(STAMP)  ## ruff and mypy
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy

docs: $(DOCS)/.made  ## the documentation as pages in site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict $(ARGS)

docs-commands: $(STAMP)  ## every command of README and docs/ as printed, on small inputs (ARGS="README.md" takes some pages)
	$(RUN) tools/walk_docs.py $(ARGS)

$(DOCS)/.made: requirements/docs.txt
	$(PYTHON) -m venv --clear $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/docs.txt
	@touch $@

# Without an environment, a Python that has PyTorch, a GPU machine's for instance, serves as it is. Asked for these alone.
BENCH := $(RUN)
ifneq ($(filter bench gpu,$(MAKECMDGOALS)),)
BENCH := $(if $(wildcard $(STAMP)),$(RUN),$(shell python3 -c 'import torch' 2>/dev/null && echo python3 || echo $(RUN)))
endif

bench: $(if $(filter python3,$(BENCH)),,$(STAMP))  ## time, operations and memory of the model's stages on this machine (ARGS="--help")
	PYTHONPATH=. $(BENCH) -m dvlt_ros.benchmark $(ARGS)
	PYTHONPATH=. $(BENCH) benchmarks/camera_recovery.py
	@mkdir -p bench_output
	plot=$$($(BENCH) -c 'import matplotlib' 2>/dev/null && echo --plot bench_output/speed.png); \
	  PYTHONPATH=. $(BENCH) benchmarks/speed.py --json bench_output/speed.json $$plot

gpu: $(if $(filter python3,$(BENCH)),,$(STAMP))  ## smoke test, speed, training and evaluation on a GPU (ARGS="--minutes 25")
	PYTHONPATH=. $(BENCH) -m benchmarks.gpu $(ARGS)

demo: $(if $(wildcard $(STAMP)),$(STAMP),$(VENV)/.made-demo)  ## a rendered room through camera, DDS and node: pictures and a map in demo_output/
	$(DDS) $(RUN) -m dvlt_ros.ros.tools.demo $(ARGS)

web: $(if $(wildcard $(STAMP)),$(STAMP),$(VENV)/.made-web)  ## a page in the browser, http://127.0.0.1:7860: photos, a video or a bag in, a 3D scene out
	$(RUN) -m dvlt_ros.web $(ARGS)

clean:  ## remove the environment and what tools left
	rm -rf $(VENV) $(DOCS) site build install log .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
