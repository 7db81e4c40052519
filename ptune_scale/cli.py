"""Command-line flags made from the configuration dataclasses."""

import argparse
import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ptune_scale import checkpoint
from ptune_scale.config import SECTIONS
from ptune_scale.errors import UserError
from ptune_scale.parallel import launch

_EXAMPLES = """examples:
  %(prog)s --num_gpus 2 --output_dir out
  %(prog)s --data_dir LAMA --relations P103,P17 --max_steps 400 --output_dir out
  %(prog)s --resume_from out
  %(prog)s --prompt out/prompt --subject Norway --relation capital
"""


class Parser(argparse.ArgumentParser):
    """Reports a wrong flag in one line, like everything else that is wrong."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (--help lists all flags)")


def build_parser(prog: str) -> argparse.ArgumentParser:
    """A parser with one group of flags per section of the configuration."""
    parser = Parser(
        prog,
        description="P-tune a frozen language model on facts and compare with manual prompts.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    for section in SECTIONS.values():
        add_flags(parser.add_argument_group(section.__doc__), section)
    ask = parser.add_argument_group("asking a tuned prompt instead of training")
    ask.add_argument("--prompt", metavar="DIR", help="exported prompt, the prompt folder of a run")
    ask.add_argument("--subject", help="what to ask about")
    ask.add_argument("--relation", help="id or label of one of the prompt's relations")
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


def parse(arguments: Sequence[str], prog: str) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Parse a command line; when resuming, settings not typed come from the checkpoint.

    Returns:
        what was typed, and the flat settings of the run.

    Raises:
        UserError: a flag is wrong, or the checkpoint to resume from is not there.
    """
    typed = build_parser(prog).parse_args(arguments)
    names = {field.name for section in SECTIONS.values() for field in dataclasses.fields(section)}
    flags = {name: value for name, value in vars(typed).items() if name in names}
    if "resume_from" in flags:
        path = checkpoint.find(Path(flags["resume_from"]))
        saved = dict(checkpoint.read_meta(path)["flags"])
        if launch.world_is_given() and saved.get("num_gpus") != launch.world_size():
            saved.pop("num_gpus", None)  # that of the earlier run; this one may have other nodes
        run = checkpoint.run_directory(path)
        same_place = {"output_dir": str(run)} if run else {}
        flags = {**saved, **same_place, **flags, "resume_from": str(path)}
    return typed, flags
