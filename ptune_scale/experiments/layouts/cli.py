"""From a command line to a table of layouts."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptune_scale.errors import UserError
from ptune_scale.files import write_text
from ptune_scale.parallel.launch.relaunch import Ending, agent_command
from ptune_scale.parser import Parser, called
from ptune_scale.reading import shown
from ptune_scale.run.alone import run_alone

if TYPE_CHECKING:
    from ptune_scale.parallel import Degrees

_DESCRIPTION = """Train a few steps of the LAMA job in one layout after another and compare each
with a single process: losses, prompt gradients, backbone elements per rank, time and bytes sent.
All further flags are those of lama.py and are the same for every layout."""
_EXAMPLES = """  %(prog)s --layouts 2:1:1:3,2:2:1:0 --model DIR --max_steps 20
  %(prog)s --layouts 2:1:1:3,3:3:1:0,2:1:2:0,6:3:2:0 --data_dir LAMA --relations P103,P17
"""
_DEFAULTS = ["--dtype", "float32", "--method", "ptuning", "--test_facts", "1", "--dev_facts", "1"]
_FORM = "RANKS:TENSOR_PARALLEL:PIPELINE_PARALLEL:ZERO_STAGE"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_alone("layouts", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = Parser("layouts", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("--layouts", required=True, help=f"comma-separated, each {_FORM}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    typed, flags = parser.parse_known_args(arguments)
    from ptune_scale.experiments.layouts.compare import Comparison, table
    from ptune_scale.parallel import Degrees

    layouts = [_parse(text) for text in typed.layouts.split(",")]
    path = getattr(typed, "json", None)
    if path:
        write_text(path, "")  # found out now rather than when all layouts have run
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        one = _run(Degrees(), flags, Path(directory), None)
        for degrees in (Degrees(), *layouts):
            other = one
            if degrees.world_size > 1:
                other = _run(degrees, flags, Path(directory), Path(directory, "single.pt"))
            replicas = degrees.data if degrees.zero_stage == 0 else 1
            rows.append(Comparison.of(one, other, degrees.world_size // replicas))
            print(f"{rows[-1].layout}: dP differs by {rows[-1].gradient:.1e}", file=sys.stderr)
    print(table(rows))
    if path:
        write_text(path, json.dumps([asdict(row) for row in rows], indent=1))
    return 0


def _parse(text: str) -> "Degrees":
    from ptune_scale.parallel import Degrees

    try:
        ranks, tensor, pipeline, zero_stage = map(int, text.split(":"))
    except ValueError:
        raise UserError(f"layout {shown(text)}: write {_FORM}") from None
    return Degrees.resolve(ranks, tensor=tensor, pipeline=pipeline, zero_stage=zero_stage)


def _run(
    degrees: "Degrees", flags: Sequence[str], directory: Path, reference: Path | None
) -> dict[str, Any]:
    """Start the ranks of one layout and wait for what it kept.

    Raises:
        UserError: it failed; the reason is its own.
    """
    from ptune_scale.experiments.layouts.compare import load

    output = directory / f"{degrees.name}.pt"
    ending = Ending(called("layouts"), "", "call it again")
    command = [*agent_command(degrees.world_size, ending), "-m"]
    command += ["ptune_scale.experiments.layouts.worker", str(output), str(reference or "")]
    command += [*_DEFAULTS, *flags, "--tensor_parallel", str(degrees.tensor)]
    command += ["--pipeline_parallel", str(degrees.pipeline)]
    command += ["--zero_stage", str(degrees.zero_stage)]
    cores = len(os.sched_getaffinity(0))
    threads = {"OMP_NUM_THREADS": str(max(1, cores // degrees.world_size))}
    done = subprocess.run(command, env=threads | os.environ, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.splitlines()
        said = [line.partition(": error: ")[2] for line in lines if ": error: " in line]
        crashed = [line for line in lines if "Error" in line]
        reason = [*said, *crashed, f"it ended with status {done.returncode}"][0]
        raise UserError(f"layout {degrees.name} failed: {reason}")
    return load(str(output))
