PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test test-all lint clean

demo: $(READY)  ## the main job, on real images where they can be had
	@if $(BIN)/prunebench fetch cifar10; then \
		$(BIN)/prunebench run quickstart; \
	else \
		echo "CIFAR-10 cannot be had here: the same methods run on scikit-learn's digits instead"; \
		$(BIN)/prunebench run quickstart-digits; \
	fi

test: $(READY) lint  ## everything that a change must pass
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not slow"

test-all: $(READY) lint  ## the long tests too
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/prunebench report --check

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "prunebench needs Python 3.11 or later; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[ray,wandb,dev]"
	@touch $(READY)

clean:  ## take the environment away; run folders stay
	rm -rf .venv
