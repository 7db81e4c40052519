"""Processes: the LAMA job itself under torchrun, each rank with as many threads as a side here.

Its own throughput is read, in which the first steps count. One rank stands for itself; several
have a replica of the model each, or share each weight by ZeRO-3.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ptune_scale.bench.comparison import Bench
from ptune_scale.bench.tables import row
from ptune_scale.errors import UserError
from ptune_scale.progress import bar

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


def run(bench: Bench, result: dict[str, Any]) -> None:
    """Run each number of ranks after the other.

    Raises:
        UserError: a job failed; the reason is its own.
    """
    points = result.setdefault("points", [])
    layouts = [
        (n, stage) for n in bench.config.rank_counts for stage in ((0, 3) if n > 1 else (0,))
    ]
    with bar("ranks", len(layouts), "jobs", shown=True) as progress:
        for ranks, zero_stage in layouts:
            points.append(
                {
                    "ranks": ranks,
                    "zero_stage": zero_stage,
                    "facts_per_second": _throughput(bench, ranks, zero_stage),
                }
            )
            progress.update()


def _throughput(bench: Bench, ranks: int, zero_stage: int) -> float:
    facts = bench.config.section_rounds * bench.config.facts_per_round
    steps = math.ceil(facts / bench.case.config.train.batch_size)
    script = Path(sys.argv[0]).with_name("lama.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc_per_node={ranks}", str(script)]
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "out"
        flags = {**bench.case.flags, **_TRAIN_ONLY, "max_steps": steps, "zero_stage": zero_stage}
        flags["output_dir"] = str(output)
        command += [text for name, value in flags.items() for text in (f"--{name}", str(value))]
        environment = {**os.environ, "OMP_NUM_THREADS": str(bench.config.threads)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.splitlines()
            said = [s.removeprefix(_ERROR) for s in lines if s.startswith(_ERROR)]
            reason = [*said, f"torchrun ended with status {done.returncode}"][0]
            raise UserError(f"section ranks, {ranks} ranks: {reason}")
        return json.loads((output / "results.json").read_text())["throughput"]["facts_per_second"]


def table(result: dict[str, Any]) -> str:
    """One line a layout."""
    titles = ["ranks", "ZeRO stage", "facts per second", "times one rank"]
    lines = [row(titles), row(["---"] * len(titles))]
    points = result["points"]
    for point in points:
        rate, first = point["facts_per_second"], points[0]["facts_per_second"]
        cells = [str(point["ranks"]), str(point["zero_stage"])]
        lines.append(row([*cells, f"{rate:.1f}", f"{rate / first:.2f}"]))
    return "\n".join(lines)
