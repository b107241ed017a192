# make repro   environment, data, pipeline at the mini size
# make test    environment, tests and the notebooks at the smoke size
# make lab     JupyterLab on the notebooks
# make site    the executed notebooks and the figures as pages, in runs/site
# make study   03 to 08 with two more seeds, all drivers on all routes with all three, and the tables

PYTHON ?= $(shell command -v python3.11 || command -v python3)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: repro test notebooks site study lab data lock clean

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; assert sys.version_info[:2] == (3, 11), f'Python 3.11 is needed, found {sys.version}'"
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

data: .venv/installed
	dvc pull data.dvc

repro: data
	dvc repro

test: data
	pytest tests
	$(MAKE) notebooks

# nbval runs the stored notebooks in order with their tagged defaults: the whole pipeline at the smoke size.
notebooks: data
	rm -rf runs/smoke
	pytest --nbval-lax notebooks

site: repro
	python -m irlvla.site runs runs/site

study: repro
	dvc repro notebooks/study/dvc.yaml

lab: data
	jupyter lab --notebook-dir notebooks

# The lock file is what a fresh environment of pyproject's dependencies resolves to.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet .[test]
	.venv-lock/bin/pip freeze --exclude irlvla > requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf .venv runs
