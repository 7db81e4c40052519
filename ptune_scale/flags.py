"""Settings that are flags of the command line too: dataclasses of ``flag`` fields.

A ``Sections`` is a configuration of several such dataclasses. Its values come from a flat mapping
of flag names, wherever that comes from: a command line, a file, an earlier run, or Python.
"""

import difflib
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from typing import Any, ClassVar, Literal, Self

from ptune_scale.errors import UserError
from ptune_scale.reading import NOT_TEXT, shown

OnOff = Literal["on", "off"]

MOST = 2**31
"""Whole numbers are below it: libraries keep counts in 32 bits, and seeds in 64."""


def flag(
    default: Any,
    help: str,
    *,
    common: bool = False,
    at_least: int | None = None,
    positive: bool = False,
    share: bool = False,
) -> Any:
    """A dataclass field of type str, int, float, Literal or tuple[str, ...], with its help.

    Args:
        common: among the few that a short ``--help`` shows.
        at_least, positive, share: what ``check_flags`` makes sure of besides that numbers are
            finite and texts are text: a least value, a number above 0, one in [0, 1).
    """
    rules = {"at_least": at_least, "positive": positive, "share": share}
    return field(default=default, metadata={"help": help, "common": common, "rules": rules})


@dataclass(frozen=True)
class Flag:
    """A field as a command line or a file sees it.

    Attributes:
        kind: of a value, or of one of several.
        choices: the values there are; () for any.
        repeats: whether it takes several values.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    repeats: bool
    default: Any
    help: str
    common: bool

    def convert(self, value: Any) -> Any:
        """The value as the field takes it.

        Raises:
            UserError: it is of another type, or none of the choices.
        """
        if self.repeats:
            if not isinstance(value, list | tuple) or any(type(one) is not str for one in value):
                raise UserError(f"--{self.name} must be a list of texts, got {shown(value)}")
            return tuple(value)
        if self.choices:
            if type(value) is not str or value not in self.choices:
                names = ", ".join(self.choices)
                raise UserError(f"--{self.name} must be one of {names}; got {shown(value)}")
        elif type(value) is int and self.kind is float:
            return float(value) if abs(value) < MOST else float("inf")
        elif type(value) is not self.kind:
            kind = {str: "a text", int: "a whole number", float: "a number"}[self.kind]
            raise UserError(f"--{self.name} must be {kind}, got {shown(value)}")
        return value


@cache
def flags_of(section: Any) -> dict[str, Flag]:
    """The fields of a dataclass of flags, by name.

    Args:
        section: the class, or an instance whose values are the defaults.
    """
    types = typing.get_type_hints(section if isinstance(section, type) else type(section))
    found = {}
    for one in fields(section):
        kind, choices, repeats = types[one.name], (), False
        if typing.get_origin(kind) is Literal:
            kind, choices = str, typing.get_args(kind)
        elif typing.get_origin(kind) is tuple:
            kind, repeats = str, True
        meta = one.metadata
        default = getattr(section, one.name)
        found[one.name] = Flag(
            one.name, kind, choices, repeats, default, meta["help"], meta["common"]
        )
    return found


def check_flags(sections: Iterable[Any], also: Iterable[str] = ()) -> None:
    """Check the values of sections of a configuration.

    Args:
        also: what is wrong besides, in the user's words.

    Raises:
        UserError: names every value that cannot be.
    """
    wrong = [
        f"--{one.name} must be {rule}, got {shown(getattr(section, one.name))}"
        for section in sections
        for one in fields(section)
        if (rule := _broken_rule(getattr(section, one.name), one.metadata["rules"]))
    ]
    if wrong := [*wrong, *also]:
        raise UserError("; ".join(wrong))


def _broken_rule(value: Any, rules: dict[str, Any]) -> str | None:
    least = rules["at_least"]
    if least is not None and not least <= value < float("inf"):
        return "-1, 0 or more" if least == -1 else f"{least} or more"
    if rules["positive"] and not 0 < value < float("inf"):
        return "a positive number"
    if rules["share"] and not 0 <= value < 1:
        return "in [0, 1)"
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if isinstance(value, int) and abs(value) >= MOST:
        return f"at most {MOST - 1}" if value > 0 else f"at least {1 - MOST}"
    texts = [value] if isinstance(value, str) else value if isinstance(value, tuple) else ()
    return "text without zero bytes, in UTF-8" if any(map(NOT_TEXT.search, texts)) else None


class Sections:
    """A configuration of sections; a subclass is a frozen dataclass whose fields are the sections.

    A field's default is a section whose values are the defaults.

    Attributes:
        presets: by name, values that take the place of defaults; chosen by the flag ``preset``.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        """Check all values at once.

        Raises:
            UserError: names every value that cannot be.
        """
        check_flags((getattr(self, name) for name in self.sections()), self.contradictions())

    def contradictions(self) -> Iterator[str]:
        """What no flag by itself can say is wrong, in the user's words."""
        yield from ()

    @classmethod
    def sections(cls) -> dict[str, Any]:
        """The sections by name, with the default values."""
        return {section.name: section.default for section in fields(cls)}  # type: ignore[arg-type]

    @classmethod
    def flags(cls) -> dict[str, Flag]:
        """The fields of all sections, by name; a name is in one section only."""
        return {name: one for s in cls.sections().values() for name, one in flags_of(s).items()}

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> Self:
        """Build it from a flat mapping of flag names, over the preset's values.

        Raises:
            UserError: a name is unknown, a value is of another type or out of range, or the preset
                is not known.

        Example:
            >>> LamaConfig.from_flags({"relations": "P17", "max_steps": 100})
        """
        known = cls.flags()
        for name in flags:
            if name not in known:
                raise UserError(unknown_name(f"--{name}", [f"--{one}" for one in known]))
        preset = flags.get("preset")
        if preset is not None and not (isinstance(preset, str) and preset in cls.presets):
            raise UserError(f"--preset {shown(preset)}: choose from {', '.join(cls.presets)}")
        over = {} if preset is None else cls.presets[preset]
        values = {name: known[name].convert(value) for name, value in {**over, **flags}.items()}
        return cls(
            **{
                name: replace(section, **{k: values[k] for k in flags_of(section) if k in values})
                for name, section in cls.sections().items()
            }
        )

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """All values, by section and flag."""
        return asdict(self)  # type: ignore[call-overload]

    def as_flags(self) -> dict[str, Any]:
        """All values, by flag: what ``from_flags`` takes."""
        return {name: v for section in self.as_dict().values() for name, v in section.items()}


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Say that a name is not known, and which known one it is like."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown {name}" + (f"; did you mean {close[0]}?" if close else "")


def names_in(text: str) -> tuple[str, ...]:
    """The names of a comma-separated list, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
