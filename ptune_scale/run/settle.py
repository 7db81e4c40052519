"""From a command line to a configuration; imports nothing heavy unless a run is resumed.

Values are layered: defaults, the preset, the run that is resumed, the ``--config`` file, what was
typed.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ptune_scale.errors import UserError
from ptune_scale.flags import Sections, flags_of, unknown_name
from ptune_scale.parallel.launch import relaunch as launch
from ptune_scale.parser import Parser
from ptune_scale.reading import read_toml
from ptune_scale.run.told import find_run, read_told

Config = TypeVar("Config", bound=Sections)


def build_parser(
    name: str,
    description: str,
    examples: str,
    config: type[Sections],
    extend: Callable[[argparse.ArgumentParser], None] | None = None,
) -> Parser:
    """A parser with a group of flags for each section of a configuration, and ``--config``.

    Args:
        name: of the command.
        extend: adds what is no field of the configuration.
    """
    parser = Parser(name, description, examples)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file of flags: NAME = VALUE, also in a table for each group; what is typed "
        "takes its place",
    )
    if extend is not None:
        extend(parser)
    for section in config.sections().values():
        parser.add_flags(section)
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    return parser


def settle(typed: dict[str, Any], config: type[Config], command: str) -> Config:
    """The configuration that was typed, over those of a file and of a run to go on with.

    Args:
        typed: flags by name; others than the configuration's are left alone.
        command: its name, which a run to go on with has to have.

    Raises:
        UserError: a value, the file or the run is wrong.
    """
    given = {name: value for name, value in typed.items() if name in config.flags()}
    if "config" in typed:
        given = {**read_config(typed["config"], config), **given}
    if given.get("resume_from"):
        given = {**_resumed(given, config, command), **given}
    return config.from_flags(given)


def read_config(path: Path, config: type[Sections]) -> dict[str, Any]:
    """Flags of a TOML file, flat or in tables that are named after sections.

    Raises:
        UserError: it cannot be read, or has a name that is not known there.
    """
    content = read_toml(path, "--config")
    sections, known = config.sections(), config.flags()
    found: dict[str, Any] = {}
    for name, value in content.items():
        is_table = isinstance(value, dict)
        here = value if is_table else {name: value}
        if is_table and name not in sections:
            raise UserError(f"--config {path}: {unknown_name(f'table [{name}]', _tables(config))}")
        names = flags_of(sections[name]) if is_table else known
        for flag, setting in here.items():
            if flag not in names:
                where = f" in [{name}]" if is_table else ""
                raise UserError(f"--config {path}: {unknown_name(flag, names)}{where}")
            if flag in found:
                raise UserError(f"--config {path}: {flag} is given twice")
            found[flag] = setting
    return found


def _tables(config: type[Sections]) -> list[str]:
    return [f"table [{name}]" for name in config.sections()]


def _resumed(given: dict[str, Any], config: type[Sections], command: str) -> dict[str, Any]:
    """Flags of the run to go on with.

    Raises:
        UserError: there is none, or it has other flags than this command takes.
    """
    path = Path(given["resume_from"])
    run = find_run(path)
    if run is None:
        saved = _of_checkpoint(path)
    else:
        saved = {**read_told(run, command), "output_dir": str(run)}
    if unknown := saved.keys() - config.flags().keys():
        raise UserError(
            f"--resume_from {path}: {', '.join(sorted(unknown))}: this version has no such flag; "
            "go on with the version that the run was begun with, or start again"
        )
    if "preset" in given and given["preset"] != saved.get("preset"):
        raise UserError(
            f"--preset {given['preset']} with --resume_from {path}: the run's preset is "
            f"{saved.get('preset')!r}, and it keeps its settings; leave --preset out"
        )
    if launch.world_is_given() and saved.get("num_gpus") != launch.world_size():
        saved.pop("num_gpus", None)  # that of the earlier run; this one may have other nodes
    return saved


def _of_checkpoint(path: Path) -> dict[str, Any]:
    """Flags that a checkpoint brings along that lies in no run's directory any more."""
    from ptune_scale.train import checkpoint

    return dict(checkpoint.read_meta(checkpoint.find(path))["flags"])
