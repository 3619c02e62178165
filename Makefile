# Everything from a fresh clone: `make demo` shows it, `make test` checks it, `make help` lists the rest.

VENV = .venv
RUN = $(VENV)/bin/python
PIP = $(RUN) -m pip install --quiet --disable-pip-version-check
PYTHONS = $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3
JOBS = 2
TESTS = tests

.PHONY: help demo test lint docs clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo    two machines behind NATs meet, on this machine   (ARGS="--nat symmetric full-cone")'
	@echo 'make test    lint, types and all tests                        (TESTS=tests.nat JOBS=1)'
	@echo 'make lint    ruff and mypy'
	@echo 'make docs    the documentation, in docs/_build'
	@echo 'make clean   remove what these made'
	@echo 'They install into $(VENV), with the first Python >= 3.11 found, or PYTHON=/path/to/python.'

demo: $(VENV)/.installed
	@$(VENV)/bin/tunnelmesh demo $(ARGS)

test: lint
	$(RUN) -m twisted.trial --jobs=$(JOBS) $(TESTS)

lint: $(VENV)/.installed-test
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy

docs: $(VENV)/.installed-docs
	$(RUN) -m sphinx -W --keep-going -q docs docs/_build

clean:
	rm -rf $(VENV) build dist docs/_build _trial_temp* *.egg-info .mypy_cache .ruff_cache .hypothesis
	rm -f twisted/plugins/dropin.cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.installed: setup.cfg pyproject.toml | $(VENV)/.made
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-%: setup.cfg pyproject.toml | $(VENV)/.made
	$(PIP) --editable '.[$*]'
	@touch $@

# A name in the PATH may be a stub that does not run, and Debian's Python may lack ensurepip.
$(VENV)/.made:
	@for python in $(PYTHONS); do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    found=$$python; \
	    $$python -c 'import ensurepip, venv' 2>/dev/null || continue; \
	    echo "$$python -m venv $(VENV)"; \
	    $$python -m venv $(VENV) && touch $@ && exit 0; \
	done; \
	if [ "$$found" ]; then \
	    echo "$$found cannot make a virtual environment: apt-get install python3-venv" >&2; \
	else \
	    echo "TunnelMesh needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python" >&2; \
	fi; exit 1
