# `make run` and `make test` are complete on a fresh Debian with python3.11, python3-venv and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.requirements.sha256
UV := uv==0.13.9

.PHONY: run test lint program heads reader fitting benchmark-compliance lock venv

run: venv
	@set -a; if [ -f .env ]; then . ./.env; fi; set +a; exec $(BIN)/python -m portal

# Several at once, for much of the time is waiting for processes that are started and killed; what measures runs alone.
# The browser's tests have a process of their own: Playwright keeps an event loop running for as long as it is there.
test: venv
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore=tests/e2e --ignore=tests/performance
	$(BIN)/python -m pytest tests/e2e
	$(BIN)/python -m pytest tests/performance

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

program: venv
	$(BIN)/python -m chain.program.build

# Fits the shipped heads anew to the corpus (its part that may be fitted to); then measure them.
heads: venv
	$(BIN)/python -m workflows.constitutional_compliance.training

# Trains the shipped reader anew, which takes half an hour of one core; then fit heads.
reader: fitting
	$(BIN)/python -m workflows.constitutional_compliance.reader_training

# What training needs and nothing else does: PyTorch.
fitting: venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.fit.txt

# On texts that the heads never saw. With UNFAIR_TOS=FOLDER where that corpus is; without it, that exam is skipped. Its
# first run trains a reader for that corpus, which takes an hour of one core.
benchmark-compliance: fitting
	$(BIN)/python -m workflows.constitutional_compliance.benchmark --write $(if $(UNFAIR_TOS),--unfair-tos "$(UNFAIR_TOS)")

# uv's own lock file would name the registry it used; this one does not.
lock: venv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --generate-hashes --no-header -q -o requirements.lock

venv: $(READY)

# Made anew whenever the lock changes. pip brings uv, and uv the rest: it takes a third of pip's time.
$(READY): requirements.lock requirements.opa.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed: apt-get install python3 python3-venv" >&2; exit 1; }
	@if ! sha256sum --check --status $(READY) 2>/dev/null; then \
		set -e; rm -rf $(VENV); $(PYTHON) -m venv $(VENV); \
		$(BIN)/pip install --quiet --disable-pip-version-check $(UV); \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock; \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python --require-hashes -r requirements.opa.lock; \
	fi
	@sha256sum requirements.lock requirements.opa.lock > $(READY)
