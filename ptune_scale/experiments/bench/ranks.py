"""Processes: the LAMA job itself, each rank with as many threads as a side here.

Its own throughput is read, in which the first steps count. One rank stands for itself; several
have a replica of the model each, or share each weight by ZeRO-3.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.experiments.bench.config import BenchSections
from ptune_scale.flags import names_in

_OF_JOB = ("data_dir", "relations", "template", "batch_size", "tasks_per_batch", "seed")
_TRAIN_ONLY = {
    "method": "ptuning",
    "eval_every": 10**9,
    "patience": 0,
    "dev_facts": 1,
    "test_facts": 1,
    "candidates": "full_vocab",
    "checkpoint_every": 0,
}


def throughputs(config: BenchSections) -> Iterator[dict[str, Any]]:
    """Facts per second of each number of ranks, one job after the other.

    Raises:
        UserError: a job failed; the reason is its own.
    """
    facts = config.bench.section_rounds * config.bench.facts_per_round
    model = config.model
    flags = {
        **{"model": model.model, "dtype": model.dtype, "speed": model.speed},
        **{name: getattr(config.data, name) for name in _OF_JOB},
        **vars(config.prompt),
        **_TRAIN_ONLY,
        "max_steps": math.ceil(facts / config.data.batch_size),
    }
    environment = {**os.environ, "OMP_NUM_THREADS": str(config.bench.threads)}
    for ranks in map(int, names_in(config.bench.ranks)):
        for stage in (0, 3) if ranks > 1 else (0,):
            settings = {**flags, "num_gpus": ranks, "zero_stage": stage}
            rate = _throughput(settings, environment)
            yield {"ranks": ranks, "zero_stage": stage, "facts_per_second": rate}


def _throughput(flags: dict[str, Any], environment: dict[str, str]) -> float:
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "out"
        command = [sys.executable, "-m", "ptune_scale", "lama", "--output_dir", str(output)]
        command += [text for name, value in flags.items() for text in (f"--{name}", str(value))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            said = [line.partition(": error: ")[2] for line in lines if ": error: " in line]
            reason = (said or lines)[-1]
            raise UserError(f"section ranks, {flags['num_gpus']} ranks: {reason}")
        throughput = json.loads((output / "results.json").read_text())["throughput"]
        return throughput["facts_per_second"]
