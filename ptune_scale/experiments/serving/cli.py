"""From a command line to a table of a server beside local jobs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ptune_scale.backbone.options import Dtype
from ptune_scale.errors import UserError
from ptune_scale.files import write_text
from ptune_scale.flags import check_flags, flag, names_in
from ptune_scale.parser import Parser
from ptune_scale.run.alone import run_alone

_DESCRIPTION = """Tune prompts for several relations at once against a server, and compare with one
local job of all relations and with local jobs that take turns. Further flags are those of
serve.py. With --task_lists: what a record costs in jobs of few tasks and of very many."""
_EXAMPLES = """  %(prog)s --model smollm2-135m --output_dir serving
  %(prog)s --model smollm2-135m --output_dir serving --num_gpus 3 --tensor_parallel 3
  %(prog)s --model smollm2-135m --output_dir serving --cores apart
  %(prog)s --model DIR --task_lists 10,1000 --output_dir lists
"""
_RELATIONS = (
    "capital,continent,language,currency,city_country,city_state,language_country,capital_country"
)


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """the work"""

    model: str = flag("smollm2-135m", "packaged model, directory, GGUF file or Hugging Face id")
    dtype: Dtype = flag("auto", "precision of the backbone")
    relations: str = flag(_RELATIONS, "of the built-in facts, one for each client")
    steps: int = flag(40, "of each client", at_least=1)
    batch_size: int = flag(8, "facts in a step of a client", at_least=1)
    cores: Literal["shared", "apart"] = flag(
        "shared", "apart: server and local jobs on one core, clients on the others, as if elsewhere"
    )
    task_lists: str = flag(
        "", "measure jobs of so many tasks instead, as in 10,1000; --steps is each task's own"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_alone("serving", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = Parser("serving", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("--output_dir", type=Path, required=True, help="an empty directory")
    parser.add_flags(ServingConfig)
    typed, flags = parser.parse_known_args(arguments)
    known = vars(typed)
    output: Path = known.pop("output_dir")
    config = ServingConfig(**known)
    check_flags([config])
    if config.task_lists and config.cores == "apart":
        raise UserError("--cores apart is for clients; leave it out with --task_lists")
    from ptune_scale.experiments.serving.cores import Cores
    from ptune_scale.experiments.serving.latency import latency
    from ptune_scale.experiments.serving.measure import ManyClients, serving

    if output.exists() and any(output.iterdir()):
        raise UserError(f"--output_dir {output} is in use; choose another")
    model = ["--model", config.model, "--dtype", config.dtype]
    if config.task_lists:
        _measure_lists(names_in(config.task_lists), [*model, *flags], config.steps, output)
        return 0
    relations = names_in(config.relations)
    cores = Cores.apart() if config.cores == "apart" else Cores()
    work = ManyClients(model, relations, config.steps, config.batch_size, output, cores)
    with serving([*model, *flags], cores) as url:
        rows = [work.served(url)]
        found = latency(url)
    rows += [work.one_job(), work.in_turn()]
    lines = [
        "| | facts/s while training | facts/s with loading |",
        "|---|---|---|",
        *(
            f"| {row.name} | {row.records / row.training_seconds:.1f} | "
            f"{row.records / row.wall_seconds:.1f} |"
            for row in rows
        ),
    ]
    print("\n".join(lines))
    print(
        f"\na request for losses and dP: {found.mean:.3f} s (mean), {found.p50:.3f} s (median), "
        f"{found.p90:.3f} s (90 %), {found.p99:.3f} s (99 %); {found.shared:.1f} requests in a pass"
    )
    made = {"ways": [asdict(row) for row in rows], "latency": asdict(found)}
    write_text(output / "serving.json", json.dumps(made, indent=1) + "\n")
    return 0


def _measure_lists(counts: Sequence[str], flags: Sequence[str], steps: int, output: Path) -> None:
    """Print and write what a record costs in a job of each number of tasks.

    Raises:
        UserError: these are no numbers, or a job failed.
    """
    from ptune_scale.experiments.serving.task_lists import measure_list

    if not all(count.isdecimal() and int(count) for count in counts):
        raise UserError(f"--task_lists {','.join(counts)!r}: write numbers, as in 10,1000")
    flags = [*flags, "--method", "manual,ptuning", "--max_steps", str(steps)]
    found = [measure_list(int(count), flags, output) for count in counts]
    print("| tasks | records | CPU ms a record, all in | steps alone | peak memory, MiB |")
    print("|---|---|---|---|---|")
    for one in found:
        costs = (one.cpu_seconds, one.training_cpu_seconds)
        shown = " | ".join(f"{1000 * seconds / one.records:.2f}" for seconds in costs)
        print(f"| {one.tasks} | {one.records} | {shown} | {one.peak_mib:.0f} |")
    write_text(output / "lists.json", json.dumps([asdict(one) for one in found], indent=1) + "\n")
