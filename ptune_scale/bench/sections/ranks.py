"""Processes: the LAMA job itself under torchrun, each rank with as many threads as a side here.

Its own throughput is read, in which the first steps count. One rank stands for itself; several
have a replica of the model each, or share each weight by ZeRO-3.
"""

import math
from typing import Any

from ptune_scale.bench.comparison import Bench
from ptune_scale.bench.job_process import run_job
from ptune_scale.bench.tables import row
from ptune_scale.errors import UserError
from ptune_scale.progress import bar


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
    flags = {**bench.case.flags, "max_steps": steps, "zero_stage": zero_stage}
    try:
        return run_job(flags, bench.config.threads, ranks=ranks).facts_per_second
    except UserError as error:
        raise UserError(f"section ranks, {ranks} ranks: {error}") from error


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
