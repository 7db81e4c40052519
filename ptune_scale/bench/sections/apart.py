"""All relations in one job, and each in a job of its own: whole processes, start and all.

Each relation is trained on ``--facts_per_round`` facts, filled up to whole steps, either way.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ptune_scale.bench.comparison import Bench
from ptune_scale.bench.job_process import run_job
from ptune_scale.bench.tables import row
from ptune_scale.errors import UserError
from ptune_scale.progress import bar


def run(bench: Bench, result: dict[str, Any]) -> None:
    """Time the joint job, then one job after another.

    Raises:
        UserError: a job failed; the reason is its own.
    """
    relations = [relation.id for relation in bench.case.facts.relations]
    result["steps_per_relation"] = math.ceil(
        bench.config.facts_per_round / bench.case.config.train.batch_size
    )
    points = result.setdefault("points", [])
    with bar("apart", 1 + len(relations), "jobs", shown=True) as progress:
        for job in [relations, *([relation] for relation in relations)]:
            points.append(_timed(bench, job, result["steps_per_relation"]))
            progress.update()


def _timed(bench: Bench, relations: Sequence[str], steps_per_relation: int) -> dict[str, Any]:
    flags = {
        **bench.case.flags,
        "relations": ",".join(relations),
        "max_steps": steps_per_relation * len(relations),
    }
    try:
        return {"relations": list(relations), **asdict(run_job(flags, bench.config.threads))}
    except UserError as error:
        raise UserError(f"section apart, {', '.join(relations)}: {error}") from error


def table(result: dict[str, Any]) -> str:
    """One line for the joint job, one for those of single relations together."""
    joint, *single = result["points"]
    titles = ["", "jobs", "relations", "steps", "wall s", "CPU s"]
    lines = [row(titles), row(["---"] * len(titles))]
    lines.append(_line("together", [joint], result))
    if single:
        lines.append(_line("apart", single, result))
    if 0 < len(single) < len(joint["relations"]):
        lines += ["", f"- Stopped after {len(single)} of {len(joint['relations'])} single jobs."]
    return "\n".join(lines)


def _line(name: str, jobs: Sequence[dict[str, Any]], result: dict[str, Any]) -> str:
    relations = sum(len(job["relations"]) for job in jobs)
    steps = relations * result["steps_per_relation"]
    totals = [sum(job[key] for job in jobs) for key in ("seconds", "cpu_seconds")]
    cells = [str(len(jobs)), str(relations), str(steps), *(f"{total:.0f}" for total in totals)]
    return row([name, *cells])
