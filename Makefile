# make          set up, run the default study, name the report
# make test     set up, run the tests
# make lint     set up, run every linter
# make slurm    set up, and add what runs studies on a Slurm cluster
# make reference  keep a study's report, twelve figures and compressed tables in docs/reference (STUDY=causes)
# make protocol   record the code that decides about a measurement, see PROTOCOL in store.py
# make lock     resolve requirements.lock anew (needs uv)
PYTHON ?= python3
CONFIG ?= config/config.yaml
CORES ?= all
STUDY ?= published
BIN := .venv/bin
READY := .venv/ready
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DELETE_ON_ERROR:
.PHONY: study setup slurm test lint reference protocol lock clean

study: $(READY)
	$(BIN)/stagebench run '$(CONFIG)' --cores $(CORES)

setup: $(READY)

$(READY): requirements.lock requirements-build.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stagebench needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	$(PIP) install --require-hashes --requirement requirements-build.lock
	$(PIP) install --require-hashes --no-deps --no-build-isolation --no-compile --requirement requirements.lock
	$(BIN)/python -m compileall -q -j 0 .venv/lib || true # as pip does, but on all cores
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

slurm: $(READY)
	$(PIP) install --require-hashes --no-deps --requirement requirements-slurm.lock

# Four processes (tests often wait), each with one file of tests at a time: a file's fixtures are made once, and
# the order stays, in which the longest files are not the last. Before that, bytecode is written, and what
# the rules hash, also where Python is told to write none: thousands of processes start earlier.
test: $(READY)
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q src
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/snakemake --list-rules >/dev/null
	$(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/python workflow/lint.py

reference: $(READY)
	$(BIN)/python workflow/reference.py results/$(STUDY) docs/reference/$(STUDY)

protocol: $(READY)
	$(BIN)/python -c 'from stagebench.design.code_hash import describe_protocol; print(describe_protocol())' > tests/protocol.txt

lock:
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --quiet \
		--python-version 3.11 requirements-build.in --output-file requirements-build.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --quiet --no-deps \
		--python-version 3.11 requirements-slurm.in --output-file requirements-slurm.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --quiet \
		--python-version 3.11 --extra study --extra dev --extra examples --extra joblib --extra dask pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv
