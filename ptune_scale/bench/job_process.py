"""The LAMA job as a process of its own, in which it trains and does little else."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

from ptune_scale.errors import UserError

_TRAIN_ONLY = {
    "method": "ptuning",
    "eval_every": 10**9,
    "patience": 0,
    "dev_facts": 1,
    "test_facts": 1,
    "candidates": "full_vocab",
    "checkpoint_every": 0,
    # A job this short would do little but compile.
    "compiled_layers": "off",
    "packed_weights": "off",
}
_ERROR = "lama.py: error: "


@dataclass(frozen=True)
class FinishedJob:
    """What a job took.

    Attributes:
        seconds, cpu_seconds: of the whole process and its ranks, start and end included.
        facts_per_second: of its training, as it reports it.
    """

    seconds: float
    cpu_seconds: float
    facts_per_second: float


def run_job(flags: Mapping[str, Any], threads: int, *, ranks: int | None = None) -> FinishedJob:
    """Run ``lama.py``, which lies beside the script that was started.

    Args:
        flags: by their names; those that are not for training are set here.
        threads: of each rank.
        ranks: under torchrun; None for a plain process.

    Raises:
        UserError: the job failed; the reason is its own.
    """
    command = [sys.executable]
    if ranks is not None:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    command.append(str(Path(sys.argv[0]).with_name("lama.py")))
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "out"
        settings = {**flags, **_TRAIN_ONLY, "output_dir": str(output)}
        command += [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        started, cpu_started = time.perf_counter(), _children()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        seconds, cpu_seconds = time.perf_counter() - started, _children() - cpu_started
        if done.returncode:
            lines = done.stderr.splitlines()
            said = [s.removeprefix(_ERROR) for s in lines if s.startswith(_ERROR)]
            raise UserError([*said, f"the job ended with status {done.returncode}"][0])
        throughput = json.loads((output / "results.json").read_text())["throughput"]
        return FinishedJob(seconds, cpu_seconds, throughput["facts_per_second"])


def _children() -> float:
    """CPU seconds of processes that were started here and have ended."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
