# Two commands: `make demo` shows it, `make test` proves it. The rest is for those who change it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m

.PHONY: demo test check format bench requirements clean

demo: $(VENV)/.run
	$(BIN)/redshank demo

test: $(VENV)/.dev check
	$(RUN) pytest -n 2 --dist loadgroup
	REDSHANK_TEST_STORE=postgres $(RUN) pytest -n 2 --dist loadgroup -m "django_db and not browser"

check: export REDSHANK_SECRET_KEY = no-secret-is-needed-to-check-the-code
check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/django-admin makemigrations --check --dry-run --settings redshank.web.settings

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	for name in $$(ls bench/*.py | xargs -n1 basename -s .py | grep -v '^_'); do $(RUN) bench.$$name || exit 1; done

# One environment; each stamp means that what it names is installed in it. No ensurepip is needed, pip of the machine serves.
$(VENV)/bin/python:
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.run $(VENV)/.dev: $(VENV)/.%: requirements/%.txt pyproject.toml | $(VENV)/bin/python
	test $* = run || sh tests/setup-machine $(PYTHON)
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --require-hashes -r $<
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --no-deps --no-build-isolation -e .
	touch $@

requirements: $(VENV)/.dev
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 --extra setup pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 --extra setup --extra dev --extra bench --extra gbt -c requirements/run.txt pyproject.toml -o requirements/dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache redshank-data
