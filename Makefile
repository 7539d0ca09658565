# make demo       try it, with phones on a page and no account anywhere
# make setup      ask for the settings, and write them to .env
# make serve      run it for real, with the settings in .env
# make test       install what the tests need, and run them
# make test-slow  run the long tests: crashes, full disks, upgrades, other programs (needs strace)
# make lint       check style and types
# make docs       write .env.example, docs/settings.md and docs/commands.md from their help texts
# make install    install what the program needs, into .venv
# make upgrade    get the newest version, install what it needs, restart the service
# make translations  bring the catalogs of translations/ up to date with the sentences
# make lock       pin and hash the newest of every package that the lists name
# make pictures   make the README's pictures, from what the browser tests see
# make bench      measure, and write bench/RESULTS.md (needs wrk)
# make soak       half an hour of everything that goes wrong; adds to bench/RESULTS.md
# make year       a year in an hour: upgrades, full disks, restarts (needs root); adds to bench/RESULTS.md
# make inputs     what anybody may send, a million times to each parser; ten minutes
# make mutants    small faults, one at a time, in the modules that decide who gets in; hours
# make orders     each two requests at the same time, in every order of their steps; half an hour

PYTHON ?= python3
HOST = 127.0.0.1
# (not ?=, because conda sets HOST to something else)
PORT ?= 8000
WORKERS ?= 1
THREADS ?= 16
APP ?= wsgi:create_app

VENV = .venv
BIN = $(VENV)/bin
# A list names all there is to install, so pip has nothing to look for and nothing to build: older
# ones would take the newest of a package that comes with an extra, and miss its hash.
PIP_INSTALL = -m pip install --disable-pip-version-check --no-deps --require-hashes --only-binary :all: --progress-bar off
INSTALL = $(BIN)/python $(PIP_INSTALL)
CHECK = $(BIN)/python -m pip check --disable-pip-version-check
# The version of its Python; none if that is gone. What was installed for another is no use.
FIND_VERSION = $(BIN)/python -c "import sys; print('%d.%d' % sys.version_info[:2])"
VERSION := $(shell $(FIND_VERSION) 2>/dev/null || echo none)
INSTALLED = $(VENV)/installed-$(VERSION)

# Many tests wait for something: so more run at once than there are cores.
PYTEST = $(BIN)/pytest -n $$(( $$(getconf _NPROCESSORS_ONLN) * 5 / 2 )) --dist worksteal
COVERAGE = # or --cov, as in .ci/run

# The tests in a real browser need Chromium, best without windows: that takes half the time. It is
# installed if we may, and asked for if not.
define find_chromium
command -v chromium-headless-shell >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	&& echo "Installing Chromium for the tests in a real browser." && apt-get update -qq \
	&& for it in chromium-headless-shell chromium; do \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$it >/dev/null && break; done; } \
	|| command -v chromium >/dev/null \
	|| echo "Chromium is missing, so the tests in a real browser are skipped (apt-get install chromium)."
endef

.PHONY: demo setup serve docs translations test test-slow lint lock pictures bench soak year inputs mutants orders \
	install upgrade
.DEFAULT_GOAL = demo

demo: install
	@exec $(BIN)/python -m simulator $(PORT)

setup: install
	@$(BIN)/python -m tools.setup

serve: install
	@$(BIN)/flask init-db
	@exec $(BIN)/flask serve --host $(HOST) --port $(PORT) --workers $(WORKERS) --threads $(THREADS) $(APP)

test: .venv/tests-installed .venv/npm-installed
	@$(find_chromium)
	$(PYTEST) -m "not slow" $(COVERAGE)

test-slow: .venv/tests-installed .venv/npm-installed .venv/synapse-installed .venv/allauth-installed .venv/oldest-pip-installed .venv/apps-installed
	$(PYTEST) -m slow -rs

lint: .venv/tests-installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(INSTALLED)
	$(BIN)/python -m tools.settings_docs
	$(BIN)/python -m tools.commands_docs

translations: $(INSTALLED)
	$(BIN)/python -m tools.catalogs

# Each list by itself, in its own folder, so that no path of this machine gets into it.
lock: .venv/lock-installed
	for list in requirements tests/requirements tests/lock tests/synapse tests/allauth tests/oldest_pip; do \
		(cd $$(dirname $$list) && CUSTOM_COMPILE_COMMAND="make lock" $(CURDIR)/.venv/lock/bin/pip-compile --quiet \
			--upgrade --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links \
			--no-emit-trusted-host --output-file $$(basename $$list).txt $$(basename $$list).in) || exit 1; \
	done
	$(MAKE) install
	$(BIN)/python -m tools.licences

pictures: .venv/tests-installed .venv/npm-installed
	@$(find_chromium)
	ALL_TESTS_MUST_RUN=1 PICTURES=1 $(BIN)/pytest tests/test_browser.py
	cp tests/screenshots/journey-light.png tests/screenshots/journey-dark.png docs/

bench: .venv/tests-installed
	$(BIN)/python -m bench

soak: .venv/tests-installed
	$(BIN)/python -m bench.soak

year: .venv/tests-installed
	$(BIN)/python -m bench.year

inputs: .venv/tests-installed
	INPUTS=1000000 $(BIN)/pytest -n auto tests/test_odd_input.py -k one_error

mutants: .venv/tests-installed
	$(BIN)/python -m tests.mutants

orders: .venv/tests-installed
	$(BIN)/python -m tests.two_requests

install: $(INSTALLED) $(VENV)/translated $(VENV)/own-flask

# To the newest version, or to TO=v1.2.0; all at once or not at all.
upgrade:
	@$(BIN)/python -m tools.upgrade $(TO)

# Flask would read .env itself first, and end in a traceback if it isn't UTF-8. The program reads it.
NO_DOTENV = "import os; os.environ.setdefault('FLASK_SKIP_DOTENV', '1')"

# The virtual environment is made once, and again when its Python is another one, as after an
# upgrade of Debian; when the list changes, it is updated.
$(INSTALLED): requirements.txt
	@$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(v < (3, 11) and f'Python 3.11 or later is needed; $(PYTHON) is {v[0]}.{v[1]}.')"
	@echo "Making a Python environment in $(VENV) ..."
	@$(PYTHON) -m venv $$([ -d $(VENV)/lib/python$(VERSION) ] || echo --clear) $(VENV)
	@echo "Installing the packages, about a minute ..."
	@$(INSTALL) -r requirements.txt
	@$(CHECK) || { echo "Packages of an older version are in the way, so all are installed again."; \
		$(PYTHON) -m venv --clear $(VENV) && $(INSTALL) -r requirements.txt && $(CHECK); }
	@echo $(NO_DOTENV) > $$($(BIN)/python -c "import site; print(site.getsitepackages()[0])")/trusted_group.pth
	@cp requirements.txt $(VENV)/
	@touch $(VENV)/installed-$$($(FIND_VERSION))

# The catalogs, as the program reads them.
$(VENV)/translated: $(INSTALLED) $(wildcard translations/*/LC_MESSAGES/messages.po)
	@$(BIN)/pybabel -q compile --directory translations
	@touch $@

# `flask --version` says the program's.
$(VENV)/own-flask: $(INSTALLED) foundation/cli/trusted_group_flask.py
	@$(BIN)/python foundation/cli/trusted_group_flask.py
	@touch $@

.venv/tests-installed: $(INSTALLED) .venv/translated .venv/own-flask tests/requirements.txt
	@echo "Installing what the tests need, about two minutes ..."
	@$(INSTALL) -r tests/requirements.txt
	@$(CHECK)
	@touch $@

.venv/lock-installed: $(INSTALLED) tests/lock.txt
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python $(PIP_INSTALL) -r tests/lock.txt
	.venv/lock/bin/python -m pip check --disable-pip-version-check
	@touch $@

# Programs whose packages don't go with ours have an environment each.
.venv/synapse-installed .venv/allauth-installed: .venv/%-installed: $(INSTALLED) tests/%.txt
	$(PYTHON) -m venv .venv/$*
	.venv/$*/bin/python $(PIP_INSTALL) -r tests/$*.txt
	.venv/$*/bin/python -m pip check --disable-pip-version-check
	@touch $@

.venv/oldest-pip-installed: $(INSTALLED) tests/oldest_pip.txt
	@$(INSTALL) --quiet --target .venv/oldest-pip --upgrade -r tests/oldest_pip.txt
	@touch $@

# The validator and Lighthouse. Without npm, the tests that need them are skipped.
.venv/npm-installed: $(INSTALLED) tests/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix tests --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@; \
	else echo "npm is missing, so the validator and Lighthouse are skipped (apt-get install npm)."; fi

# No package runs a script, except those that compile what Actual Budget needs.
NODE = $$(dirname $$(dirname $$(readlink -f $$(command -v node))))
.venv/apps-installed: $(INSTALLED) tests/apps/package-lock.json
	@if command -v npm >/dev/null; then echo "Installing the apps that are signed in to, about three minutes ..." \
		&& npm ci --prefix tests/apps --ignore-scripts --no-audit --no-fund --loglevel=error \
		&& npm_config_nodedir=$(NODE) npm rebuild --prefix tests/apps --loglevel=error better-sqlite3 bcrypt && touch $@; \
	else echo "npm is missing, so Actual Budget, Node-RED, MeshCentral and Auth.js are skipped (apt-get install npm)."; fi
