# Two commands matter: `make demo` runs the main job, `make test` runs all tests.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
AIRFLOW := $(VENV)/airflow
PIP    := $(BIN)/pip --quiet --disable-pip-version-check install
HASHED := $(PIP) --require-hashes -c constraints.txt
UV     := $(BIN)/uv
COMPILE = $(UV) pip compile --python-platform linux --python-version 3.11 --generate-hashes --no-annotate --no-header \
  --no-emit-index-url --quiet $(if $(UPGRADE),--upgrade)
# PyTorch's own CPU build for x86-64 and Python 3.11, a tenth of PyPI's: taken where pip finds it (PIP_FIND_LINKS).
TORCH_CPU := sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
READY  := $(VENV)/.ready
WORKERS ?= 4  # processes that share the tests, a file at a time: twice the cores, since many wait; 0 for pytest's own

TOOLS  := $(READY) $(VENV)/sshd $(VENV)/prometheus $(AIRFLOW)/.ready

.PHONY: demo test tools check soak bench docs crds constraints clean
.DELETE_ON_ERROR:

demo: $(READY)  ## the main job on this machine; KEEP=1 leaves it running
	$(BIN)/carbonfleet demo $(if $(KEEP),--keep)

test: $(TOOLS)  ## all tests (ARGS="-k name" for some)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

tools: $(TOOLS)  ## what the tests need beside it

check: $(READY)  ## lint, types, import layers, no circle, no crowded folder
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@find operator workloads -name '*.py' ! -name __init__.py | sed 's|/[^/]*$$||' | sort | uniq -c | \
	  awk '$$1 > 12 { print "crowded, at most 12 files to a folder: " $$2 " has " $$1; bad = 1 } END { exit bad }'

soak: $(READY)  ## the long tests at their full count
	$(BIN)/pytest -m soak --timeout 0 -s $(ARGS)

bench: $(READY)  ## every benchmark, each beside its floor
	for b in benchmarks/*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

docs: $(READY)  ## the documentation into build/docs; a broken link inside or a warning fails
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs

crds: $(READY)  ## generate crds/ from the models
	$(BIN)/carbonfleet crds generate

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "carbonfleet needs Python 3.11: install it, or run make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing: apt-get install python3-venv"; exit 1; }
	sed -n '/^pip==/,/[^\\]$$/p' constraints.txt >$(VENV)/pip.txt
	$(PIP) --require-hashes -r $(VENV)/pip.txt
	sed -n 's/^\(torch==[^ ]*\).*/\1 --hash=$(TORCH_CPU)/p' constraints.txt >$(VENV)/torch.txt
	$(PIP) --no-index --no-deps --require-hashes -r $(VENV)/torch.txt 2>/dev/null || echo "taking PyTorch with CUDA"
	$(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  extras = project["optional-dependencies"]; \
	  print(*project["dependencies"], *extras["local"], *extras["train"], sep="\n")' >$(VENV)/own.txt
	$(HASHED) -r $(VENV)/own.txt --group build --group test --group lint --group bench --group docs
	$(PIP) --no-build-isolation --no-deps -e .
	touch $@

# A real sshd for the tests that want one; where it can't be had they say so and are skipped.
$(VENV)/sshd: | $(READY)
	mkdir -p $@.new
	command -v sshd >/dev/null || [ -x /usr/sbin/sshd ] || { cd $@.new && apt-get -qq download openssh-server libwrap0 && \
	  for package in *.deb; do dpkg-deb -x $$package .; done && rm *.deb; } 2>/dev/null || \
	  echo "no sshd: some tests are skipped"
	mv $@.new $@

# The same of Prometheus, which tries alerts and the dashboard.
$(VENV)/prometheus: | $(READY)
	mkdir -p $@.new
	command -v prometheus >/dev/null || { cd $@.new && apt-get -qq download prometheus && \
	  dpkg-deb -x *.deb . && rm *.deb; } 2>/dev/null || echo "no Prometheus: some tests are skipped"
	mv $@.new $@

# Airflow, in an environment of its own, with an empty database.
$(AIRFLOW)/.ready: constraints-airflow.txt | $(READY)
	rm -rf $(AIRFLOW)
	$(UV) --quiet venv --python $(BIN)/python $(AIRFLOW)
	$(UV) --quiet pip install --python $(AIRFLOW)/bin/python --require-hashes -r constraints-airflow.txt
	AIRFLOW_HOME=$(abspath $(AIRFLOW))/home AIRFLOW__CORE__LOAD_EXAMPLES=False $(AIRFLOW)/bin/airflow db migrate >$(AIRFLOW)/migrate.log 2>&1
	touch $@

constraints:  ## both constraints files anew (UPGRADE=1: with newer versions), with the hash of every file of each
	$(COMPILE) pyproject.toml workloads/lora/requirements.txt -o constraints.txt --extra local --extra ui --extra postgresql \
	  --extra notebook --extra train --group build --group test --group lint --group bench --group docs
	echo apache-airflow-providers-cncf-kubernetes | $(COMPILE) pyproject.toml - -o constraints-airflow.txt --extra airflow

clean:
	rm -rf $(VENV) .carbonfleet
