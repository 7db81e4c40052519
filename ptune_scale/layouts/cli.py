"""From a command line to a table of layouts."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ptune_scale.cli import Parser
from ptune_scale.errors import UserError
from ptune_scale.layouts import worker
from ptune_scale.layouts.compare import Comparison, load, table
from ptune_scale.parallel import Degrees

_DESCRIPTION = """Train a few steps of the LAMA job in one layout after another and compare each
with a single process: losses, prompt gradients, backbone elements per rank, time and bytes sent.
All further flags are those of lama.py and are the same for every layout."""
_EXAMPLES = """examples:
  %(prog)s --layouts 2:1:1:3,2:2:1:0 --model DIR --max_steps 20
  %(prog)s --layouts 2:1:1:3,3:3:1:0,2:1:2:0,6:3:2:0 --data_dir LAMA --relations P103,P17
"""
_DEFAULTS = ["--dtype", "float32", "--method", "ptuning", "--test_facts", "1", "--dev_facts", "1"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if worker.OUTPUT in os.environ:
        return worker.run(arguments)
    try:
        return _compare(arguments)
    except UserError as error:
        print(f"{worker.ERROR}{error}", file=sys.stderr)
        return 2


def _compare(arguments: list[str]) -> int:
    parser = Parser(
        "layouts.py",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--layouts",
        required=True,
        help="comma-separated, each RANKS:TENSOR_PARALLEL:PIPELINE_PARALLEL:ZERO_STAGE",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    typed, flags = parser.parse_known_args(arguments)
    layouts = [_parse(text) for text in typed.layouts.split(",")]
    if typed.json:
        _write(typed.json, "")  # found out now rather than when all layouts have run
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        one = _run(Degrees(), flags, Path(directory), None)
        reference = Path(directory) / f"{Degrees().name}.pt"
        for degrees in (Degrees(), *layouts):
            other = (
                one if degrees.world_size == 1 else _run(degrees, flags, Path(directory), reference)
            )
            replicas = degrees.data if degrees.zero_stage == 0 else 1
            rows.append(Comparison.of(one, other, degrees.world_size // replicas))
            print(f"{rows[-1].layout}: dP differs by {rows[-1].gradient:.1e}", file=sys.stderr)
    print(table(rows))
    if typed.json:
        _write(typed.json, json.dumps([row.as_dict() for row in rows], indent=1))
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise UserError(f"--json {path}: {error.strerror}") from error


def _parse(text: str) -> Degrees:
    try:
        ranks, tensor, pipeline, zero_stage = map(int, text.split(":"))
    except ValueError:
        raise UserError(
            f"layout {text!r}: write RANKS:TENSOR_PARALLEL:PIPELINE_PARALLEL:ZERO_STAGE"
        ) from None
    return Degrees.resolve(ranks, tensor=tensor, pipeline=pipeline, zero_stage=zero_stage)


def _run(degrees: Degrees, flags: list[str], directory: Path, reference: Path | None) -> dict:
    """Start one layout's torchrun and wait for what it kept.

    Raises:
        UserError: it failed; the reason is its own.
    """
    output = directory / f"{degrees.name}.pt"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc_per_node={degrees.world_size}", sys.argv[0], *_DEFAULTS, *flags]
    command += ["--tensor_parallel", str(degrees.tensor)]
    command += ["--pipeline_parallel", str(degrees.pipeline)]
    command += ["--zero_stage", str(degrees.zero_stage)]
    environment = {**os.environ, worker.OUTPUT: str(output)}
    if reference is not None:
        environment[worker.REFERENCE] = str(reference)
    cores = len(os.sched_getaffinity(0))
    environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // degrees.world_size)))
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.splitlines()
        said = [line.removeprefix(worker.ERROR) for line in lines if line.startswith(worker.ERROR)]
        crashed = [line for line in lines if "Error" in line]
        reason = [*said, *crashed, f"torchrun ended with status {done.returncode}"][0]
        raise UserError(f"layout {degrees.name} failed: {reason}")
    return load(str(output))
