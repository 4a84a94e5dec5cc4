# make demo [LAYER=redis] | test | check | soak | bench [LAYER=redis] | docs | ci-deps | clean.  Arguments: test ARGS="-x tests/http"
VENV = .venv
PY = $(VENV)/bin/python
READY = $(VENV)/ready
ARGS =
JOBS = 3
LAYER = local
# The first of these that is at least 3.11, the floor in setup.cfg.
PYTHON = $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

.PHONY: help venv demo test check soak bench docs ci-deps clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

venv: $(READY)

$(READY): setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "channels-interfaces needs Python 3.11 or newer, and none was found; try make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { echo "could not make $(VENV); on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing what setup.cfg names into $(VENV) (once) ..."
	@$(PY) -m pip install --quiet --quiet --disable-pip-version-check --editable '.[worker,test,dev]'
	@touch $@

demo: $(READY)
	@exec $(PY) examples/demo.py --layer $(LAYER) $(ARGS)

test: $(READY)
	@$(PY) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: $(READY)
	@$(PY) -m ruff check $(ARGS) .

# All protocols while workers are replaced: ARGS="--layer redis --signal KILL --seconds 600"
soak: $(READY)
	@PYTHONPATH=examples $(PY) -m tests.sockets.soak $(ARGS)

# There is more: benchmarks/sockets.py of WebSocket, mqtt.py of MQTT, held.py of long-polls.
bench: $(READY)
	@$(PY) benchmarks/run.py --layer $(LAYER) $(ARGS)

docs: $(READY)
	@$(PY) docs/generate.py $(ARGS)

# The system programs that tests drive; program:package where Debian's name is another. Tests get packages of PyPI and npm by
# themselves, into the user's cache folder.
PROGRAMS = curl redis-server chromium mosquitto_pub:mosquitto-clients node:nodejs npm
SUDO = $(shell test "$$(id -u)" = 0 || echo sudo)
ci-deps:
	@missing=; for each in $(PROGRAMS); do command -v $${each%:*} >/dev/null || missing="$$missing $${each\#*:}"; done; \
	test -z "$$missing" || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends $$missing; }

clean:
	rm -rf $(VENV) build dist var *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name dropin.cache -delete
