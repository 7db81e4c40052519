"""The precision of a run where ``--dtype auto`` leaves it to the machine: settled at its start.

What was settled is what ``run.json`` keeps, so that a run goes on in its own precision elsewhere.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ptune_scale.backbone.precision import fast_dtype
from ptune_scale.errors import UserError
from ptune_scale.flags import Sections
from ptune_scale.parallel import World
from ptune_scale.parallel.launch import relaunch as launch

Config = TypeVar("Config", bound=Sections)


def with_precision(config: Config, *, gpu: int | None = 0) -> Config:
    """The configuration with the precision that is fast here in the place of "auto".

    Where the model is served it stays: the precision is the servers'.

    Args:
        gpu: see ``fast_dtype``.
    """
    name, section = _section(config)
    served = getattr(config, "served", None)
    if section is None or section.dtype != "auto" or (served is not None and served.backbone):
        return config
    settled = replace(section, dtype=fast_dtype(gpu=gpu))
    return replace(config, **{name: settled})  # type: ignore[type-var]


def say_precision(typed: Config, settled: Config) -> None:
    """Tell those who have left it open where it is float32, which takes more memory."""
    if settled != typed and _section(settled)[1].dtype == "float32" and launch.is_first_rank():
        print(
            "precision: float32, as this machine has no instructions for bfloat16 and would be "
            "slower by it; --dtype bfloat16 takes half the memory",
            file=sys.stderr,
            flush=True,
        )


def check_same(config: Sections, world: World) -> None:
    """Make sure that all ranks compute in one precision; all call it together.

    Raises:
        UserError: machines are fast in unlike ones, and nobody has said which it is.
    """
    section = _section(config)[1]
    found = world.gather(None if section is None else section.dtype)
    if len(set(found)) > 1:
        other = next(rank for rank, dtype in enumerate(found) if dtype != found[0])
        raise UserError(
            f"--dtype auto: rank 0 is on a machine that is fast in {found[0]}, rank {other} on one "
            f"that is fast in {found[other]}; say which it is, --dtype float32 or --dtype bfloat16"
        )


def _section(config: Sections) -> tuple[str, Any]:
    """The section that says in which precision the backbone is, and its name."""
    sections: Mapping[str, Any] = vars(config)
    return next(
        ((name, section) for name, section in sections.items() if hasattr(section, "dtype")),
        ("", None),
    )
