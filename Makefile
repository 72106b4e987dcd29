.PHONY: demo test test-kernel check lint unit flows man metrics bench soak
PYTHON = .venv/bin/python
CI = -p no:cacheprovider --timeout 120
unexport PYTHONPATH PYTHONHOME PYTHONOPTIMIZE PYTHONSTARTUP PYTHONWARNINGS PYTHONIOENCODING

demo: ; ./scripts/prepare.sh && $(PYTHON) -m mininet_topos.demo $(TOPO) $(if $(CLI),--cli)
test: ; ./scripts/prepare.sh && ./scripts/test.sh
test-kernel: ; ./scripts/prepare.sh && ./scripts/prepare-kernel.sh && $(PYTHON) -m pytest -s $(CI) --timeout 600 tests/kernel
check: ; ./scripts/prepare.sh && $(MAKE) --no-print-directory -j2 --output-sync=target lint unit
unit: ; $(PYTHON) -m pytest -q $(CI) -n 2 --dist loadgroup --hypothesis-profile quick --ignore=tests/unit/test_installation.py tests/unit
lint: ; $(PYTHON) -m flake8 && $(PYTHON) -m isort --check-only --quiet . && $(PYTHON) -m mypy
flows: ; for lb in flows/*/lb.yaml; do $(PYTHON) -m portlb_app.cli compile $$lb -o $$(dirname $$lb); done
man: ; $(PYTHON) scripts/manual.py
metrics: ; $(PYTHON) scripts/metrics.py
soak: ; ./scripts/prepare.sh && $(PYTHON) -m tests.soak
bench: ; ./scripts/prepare.sh && ./scripts/prepare-bench.sh && $(PYTHON) -m tests.bench $(if $(QUICK),--quick) $(CASES)
