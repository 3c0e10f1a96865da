# Two commands matter: `make demo` runs the main job, `make test` runs all tests.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
WORKERS ?= 2  # processes that share the tests, a file at a time; 0 for none beside pytest's own

.PHONY: demo test check soak bench crds clean
.DELETE_ON_ERROR:

demo: $(READY)  ## the main job on this machine; KEEP=1 leaves it running
	$(BIN)/carbonfleet demo $(if $(KEEP),--keep)

test: $(READY)  ## all tests (ARGS="-k name" for some)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

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

crds: $(READY)  ## generate crds/ from the models
	$(BIN)/carbonfleet crds generate

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "carbonfleet needs Python 3.11: install it, or run make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,train]' --group test --group lint --group bench
	touch $@

clean:
	rm -rf $(VENV) .carbonfleet
