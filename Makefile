.PHONY: demo test test-kernel check lint flows bench
PYTHON = .venv/bin/python
unexport PYTHONPATH PYTHONHOME PYTHONOPTIMIZE PYTHONSTARTUP PYTHONWARNINGS PYTHONIOENCODING

demo: ; ./scripts/prepare.sh && $(PYTHON) -m mininet_topos.demo $(TOPO) $(if $(CLI),--cli)
test: ; ./scripts/prepare.sh && $(MAKE) --no-print-directory lint && $(PYTHON) -m pytest -p no:cacheprovider --ignore=tests/kernel tests
test-kernel: ; ./scripts/prepare.sh && ./scripts/prepare-kernel.sh && $(PYTHON) -m pytest -s -p no:cacheprovider tests/kernel
check: ; ./scripts/prepare.sh && $(MAKE) --no-print-directory lint && $(PYTHON) -m pytest -q -p no:cacheprovider tests/unit
lint: ; $(PYTHON) -m flake8 && $(PYTHON) -m isort --check-only --quiet . && $(PYTHON) -m mypy
flows: ; for lb in flows/*/lb.yaml; do $(PYTHON) -m portlb_app.cli compile $$lb -o $$(dirname $$lb); done
bench: ; ./scripts/prepare.sh && $(PYTHON) -m bench.agents
