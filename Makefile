# Thin: the work is in tools/. `make test PYTHON=/path/to/python` uses an
# environment of your own instead of .venv, `make test STACK=fork` one with
# OneDL's fork of OpenMMLab.
.DELETE_ON_ERROR:
.PHONY: help env demo gallery test test-all test-fast lint format docs lock \
	clean

STACK := openmmlab
VENV := $(if $(filter fork,$(STACK)),.venv-fork,.venv)
# Of the site, which needs no torch but Python 3.11 or later.
DOCS_VENV := .venv-docs
DOCS_PYTHON := python3
ifeq ($(origin PYTHON),command line)
ENV :=
else
PYTHON := $(VENV)/bin/python
ENV := env
endif

help:
	@echo 'make demo       train RPN and KL-RPN on real images, compare, draw'
	@echo 'make test       run every test; test-fast: those of seconds'
	@echo 'make test-all   every test, and a sweep over every config of mmdet'
	@echo 'make lint       check style, names and docstrings; format: mend'
	@echo 'make docs       build the documentation into site/'
	@echo 'make gallery    draw docs/gallery.md anew, from work_dirs/trees'
	@echo 'make env        build .venv, which the others do by themselves'
	@echo 'make lock       pin all that requirements/ needs; takes uv'

env:
	@./tools/setup_env.sh $(VENV) --stack $(STACK)

demo: $(ENV)
	$(PYTHON) -W ignore tools/demo.py

gallery: $(ENV)
	$(PYTHON) -W ignore tools/analysis_tools/gallery.py

test: $(ENV)
	$(PYTHON) -m pytest

test-all: $(ENV)
	$(PYTHON) -m pytest --every-config

test-fast: $(ENV)
	$(PYTHON) -m pytest -m 'not slow'

lint: $(ENV)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m codespell_lib

format: $(ENV)
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs: $(DOCS_VENV)/ready
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --strict

$(DOCS_VENV)/ready: requirements/docs.txt requirements/lint.txt \
    requirements/locks/docs.txt
	$(DOCS_PYTHON) -m venv --clear $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install -qq --requirement $< \
	    --constraint requirements/locks/docs.txt
	touch $@

# Takes uv on the PATH. What is locked already stays, unless it must change.
LOCK := uv pip compile --quiet --universal --python $(abspath $(PYTHON)) \
    --no-build-isolation --no-emit-index-url --no-annotate \
    --custom-compile-command 'make lock'
lock: $(ENV)
	cd requirements && $(LOCK) --python-version 3.8 -o locks/openmmlab.txt \
	    runtime.txt deploy.txt tests.txt lint.txt mim.txt
	cd requirements && $(LOCK) --python-version 3.10 -o locks/fork.txt \
	    fork.txt tests.txt lint.txt
	cd requirements && $(LOCK) --python-version 3.11.5 -o locks/docs.txt docs.txt

clean:
	rm -rf $(VENV) $(DOCS_VENV) site build dist *.egg-info mmdet_klrpn/.mim .dist_test
