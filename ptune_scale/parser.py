"""Command lines made from dataclasses of flags: short and full help, errors in one line."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

from ptune_scale.errors import UserError
from ptune_scale.flags import Flag, flags_of, unknown_name

COMPLETING = "_ARGCOMPLETE"
"""Set by a shell that wants the rest of a word, and no command to be run."""

_LONGEST_MESSAGE = 400


class Parser(argparse.ArgumentParser):
    """A parser whose ``--help`` shows common flags, ``--help all`` all of them.

    What is not given is not in the namespace that it returns. Flags are typed in full: a prefix
    that is clear today may not be tomorrow.

    Args:
        prog: what the user called, or the name of a command: see ``called``.
        examples: lines for the end of the help; ``%(prog)s`` stands for the command.
    """

    def __init__(self, prog: str, description: str, examples: str = "") -> None:
        super().__init__(
            called(prog),
            usage="%(prog)s [--FLAG VALUE ...]",
            description=description,
            epilog=f"examples:\n{examples.rstrip()}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
            add_help=False,
        )
        self._rare: list[argparse.Action] = []
        self.add_argument(
            "-h",
            "--help",
            nargs="?",
            const="",
            choices=["", "all"],
            metavar="all",
            action=_Help,
            help="show the common flags; --help all shows all",
        )

    def error(self, message: str) -> NoReturn:
        """Report a wrong flag in one line, like everything else that is wrong.

        Raises:
            UserError: always.
        """
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[:_LONGEST_MESSAGE]}..."
        raise UserError(f"{message} (--help all lists all flags)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse what is known of a command line; see ``argparse``.

        Raises:
            UserError: a flag is wrong.
        """
        for word in sys.argv[1:] if args is None else args:
            # argparse would take the dashes for the end of the flags, and miss the value.
            if word.startswith("--") and word.endswith("=--"):
                self.error(f"argument {word.removesuffix('=--')}: '--' is no value")
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse a command line; see ``argparse``.

        Raises:
            UserError: a flag is unknown or wrong.
        """
        if COMPLETING in os.environ:
            import argcomplete

            argcomplete.autocomplete(self)
        typed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            names = [name for action in self._actions for name in action.option_strings]
            self.error(unknown_name(unknown[0].partition("=")[0], names))
        return typed

    def add_flags(self, section: type, *names: str, title: str | None = None) -> None:
        """Add a group with a flag for each field of a dataclass of flags, or for the named ones.

        Args:
            title: of the group; by default the dataclass's docstring.
        """
        group = self.add_argument_group(title or section.__doc__)
        for one in sorted(flags_of(section).values(), key=lambda one: not one.common):
            if not names or one.name in names:
                action = group.add_argument(f"--{one.name}", **_as_argument(one))
                if not one.common and not names:
                    self._rare.append(action)

    def format_help(self, everything: bool = False) -> str:
        """The help: of common flags, or of all."""
        if everything or not self._rare:
            return super().format_help()
        kept = [action.help for action in self._rare]
        for action in self._rare:
            action.help = argparse.SUPPRESS
        try:
            text = super().format_help()
        finally:
            for action, help in zip(self._rare, kept, strict=True):
                action.help = help
        return f"{text}\n{len(self._rare)} more flags: --help all\n"


class _Help(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        assert isinstance(parser, Parser)
        parser._print_message(parser.format_help(everything=bool(values)), sys.stdout)
        parser.exit()


def _as_argument(one: Flag) -> dict[str, Any]:
    default = "" if one.default in ("", ()) else f" (default: {one.default!r})"
    more = "; may be repeated" if one.repeats else ""
    return {
        "type": one.kind,
        "choices": one.choices or None,
        "action": "append" if one.repeats else "store",
        "help": f"{one.help}{more}{default}".replace("%", "%%"),
        "metavar": None if one.choices else {str: "TEXT", int: "N", float: "X"}[one.kind],
    }


def called(name: str) -> str:
    """How a user called the command of this name: its launcher, or as a command of ``ptune``.

    Args:
        name: of the command, such as "lama".
    """
    launcher = f"{name}.py"
    return launcher if Path(sys.argv[0]).name == launcher else f"ptune {name}"


def runnable(name: str) -> str:
    """What to type for the command of this name, where the user is: for hints to be copied.

    Example:
        >>> sys.argv[0] = "launchers/tune.py"
        >>> runnable("predict")
        'python launchers/predict.py'
    """
    program = Path(sys.argv[0])
    if program.suffix != ".py" or program.name == "__main__.py":
        return f"ptune {name}"
    return shlex.join(["python", str(program.with_name(f"{name}.py"))])
