"""What a record costs in a job of few tasks and in one of very many (``tune.py --task_list``)."""

import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptune_scale.errors import UserError
from ptune_scale.files import write_text
from ptune_scale.tune.countries import write as write_countries

_RECORDS = {"train": 32, "dev": 8, "test": 8}


@dataclass(frozen=True)
class OfList:
    """What a job of so many tasks came to.

    Attributes:
        records: trained on.
        cpu_seconds: of the whole job, its start, evaluations and results with it.
        training_cpu_seconds: of the steps alone.
        peak_mib: most memory that the job held.
    """

    tasks: int
    records: int
    cpu_seconds: float
    training_cpu_seconds: float
    peak_mib: float


def measure_list(count: int, flags: Sequence[str], output: Path) -> OfList:
    """Train so many small tasks, each on records of its own.

    Args:
        flags: of ``tune.py``: the model, and how long each task is trained.

    Raises:
        UserError: the job failed; the reason is its own.
    """
    directory, out = output / f"tasks-{count}", output / f"out-{count}"
    write_tasks(count, directory)
    command = [sys.executable, "-m", "ptune_scale", "tune", "--task_list", str(directory)]
    command += ["--output_dir", str(out), "--checkpoint_every", "0", *flags]
    with open(output / f"out-{count}.log", "w", encoding="utf-8") as log:
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        job = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        _, status, used = os.wait4(job.pid, 0)
        job.returncode = os.waitstatus_to_exitcode(status)
    if job.returncode:
        raise UserError(f"a job of {count} tasks failed; see {log.name}")
    records, training = 0, 0.0
    summary = json.loads((out / "results.json").read_text(encoding="utf-8"))
    for task in summary["tasks"].values():
        found = task["throughput"]
        records += round(found["records_per_second"] * found["training_seconds"])
        training += found["cpu_seconds_of_this_rank"]
    return OfList(count, records, used.ru_utime + used.ru_stime, training, used.ru_maxrss / 1024)


def write_tasks(count: int, directory: Path) -> None:
    """Task files on names of countries, each with other records in another order."""
    table = directory / "countries.csv"
    write_countries(table)
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for number in range(count):
        chosen = random.Random(number).sample(rows, sum(_RECORDS.values()))
        name = f"task{number:05d}"
        lines = [f'name = "{name}"', 'pattern = "{name} [P]*4 Language: [Y]"', "[data]"]
        for part, size in _RECORDS.items():
            records, chosen = chosen[:size], chosen[size:]
            text = "".join(json.dumps(record) + "\n" for record in records)
            write_text(directory / "records" / f"{name}-{part}.jsonl", text)
            lines.append(f'{part} = "records/{name}-{part}.jsonl"')
        words = sorted({row["language"] for row in rows})
        listed = ", ".join(f'"{word}" = "{word}"' for word in words)
        lines += ["[answer]", 'field = "language"', f"words = {{ {listed} }}"]
        write_text(directory / f"{name}.toml", "\n".join(lines) + "\n")
