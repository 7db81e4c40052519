"""Command-line flags made from the configuration dataclasses."""

import argparse
import dataclasses
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ptune_scale.errors import UserError
from ptune_scale.flag import Sections
from ptune_scale.parallel import launch


@dataclass(frozen=True)
class Program:
    """A command line: what it is called, and which configuration it fills.

    Attributes:
        name: of the launcher.
        description, examples: for ``--help``.
        config: the fields of its sections are the flags.
        resume: flags of a run to go on with, from what ``--resume_from`` names; it raises
            UserError where there is none.
        extend: adds what is no field of the configuration.
    """

    name: str
    description: str
    examples: str
    config: type[Sections]
    resume: Callable[[Path], dict[str, Any]]
    extend: Callable[[argparse.ArgumentParser], None] = lambda parser: None


class Parser(argparse.ArgumentParser):
    """Reports a wrong flag in one line, like everything else that is wrong."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (--help lists all flags)")


def build_parser(program: Program) -> argparse.ArgumentParser:
    """A parser with one group of flags per section of the configuration."""
    parser = Parser(
        program.name,
        description=program.description,
        epilog=f"examples:\n{program.examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    for section in program.config.sections().values():
        add_flags(parser.add_argument_group(section.__doc__), section)
    program.extend(parser)
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    return parser


def add_flags(group: argparse._ArgumentGroup, section: type, *names: str) -> None:
    """Add a flag for each field of a section of the configuration, or for the named ones."""
    types = typing.get_type_hints(section)
    for field in dataclasses.fields(section):
        if names and field.name not in names:
            continue
        choices = typing.get_args(types[field.name]) or None
        group.add_argument(
            f"--{field.name}",
            type=str if choices else types[field.name],
            choices=choices,
            help=f"{field.metadata['help']} (default: {field.default!r})".replace("%", "%%"),
        )


def parse(arguments: Sequence[str], program: Program) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Parse a command line; when resuming, settings not typed come from the run resumed.

    Returns:
        what was typed, and the flat settings of the run.

    Raises:
        UserError: a flag is wrong, or the run to resume is not there.
    """
    typed = build_parser(program).parse_args(arguments)
    names = {
        field.name
        for section in program.config.sections().values()
        for field in dataclasses.fields(section)
    }
    flags = {name: value for name, value in vars(typed).items() if name in names}
    if "resume_from" in flags:
        saved = program.resume(Path(flags["resume_from"]))
        if launch.world_is_given() and saved.get("num_gpus") != launch.world_size():
            saved.pop("num_gpus", None)  # that of the earlier run; this one may have other nodes
        flags = {**saved, **flags, "resume_from": saved["resume_from"]}
    return typed, flags
