"""The command ``serve``: a backbone for many; ``launchers/serve.py`` calls ``main``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ptune_scale.run.command import Program, run_command
from ptune_scale.serve.config import ServeConfig

if TYPE_CHECKING:
    from ptune_scale.run.site import Site
    from ptune_scale.serve.check import CheckedServer


def _check(config: ServeConfig) -> CheckedServer:
    from ptune_scale.serve.check import check

    return check(config)


def _run(checked: CheckedServer, site: Site) -> None:
    from ptune_scale.serve.run import run

    run(checked, site)


PROGRAM = Program(
    "serve",
    "Hold a frozen model, in any layout, for everybody who tunes prompts against it by --backbone.",
    """  %(prog)s --model MODEL --port 8000
  %(prog)s --model MODEL --num_gpus 8 --tensor_parallel 8 --host 0.0.0.0 --tokens tokens.toml
  ptune tune --backbone http://127.0.0.1:8000 --task tickets.toml
""",
    ServeConfig,
    _check,
    _run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(PROGRAM, arguments)
