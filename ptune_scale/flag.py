"""Configurations whose fields are flags of the command line too."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, field, fields
from typing import Any, ClassVar, Literal, Self

from ptune_scale.errors import UserError

OnOff = Literal["on", "off"]


def flag(
    default: Any,
    help: str,
    *,
    at_least: int | None = None,
    positive: bool = False,
    share: bool = False,
) -> Any:
    """A dataclass field with its line of ``--help``; see ``ptune_scale.cli.add_flags``.

    Args:
        at_least, positive, share: what ``check_flags`` makes sure of: a least value, a number
            above 0, one in [0, 1). None of them takes infinity.
    """
    rules = {"at_least": at_least, "positive": positive, "share": share}
    return field(default=default, metadata={"help": help, "rules": rules})


def check_flags(sections: Iterable[Any], also: Iterable[str] = ()) -> None:
    """Check the values of sections of a configuration.

    Args:
        also: what is wrong besides, in the user's words.

    Raises:
        UserError: names every value that cannot be.
    """
    wrong = [
        f"--{one.name} must be {rule}, got {getattr(section, one.name)!r}"
        for section in sections
        for one in fields(section)
        if (rule := _broken_rule(getattr(section, one.name), one.metadata.get("rules", {})))
    ]
    if wrong := [*wrong, *also]:
        raise UserError("; ".join(wrong))


def _broken_rule(value: Any, rules: dict[str, Any]) -> str | None:
    least = rules.get("at_least")
    if least is not None and not least <= value < float("inf"):
        return "-1, 0 or more" if least == -1 else f"{least} or more"
    if rules.get("positive") and not 0 < value < float("inf"):
        return "a positive number"
    if rules.get("share") and not 0 <= value < 1:
        return "in [0, 1)"
    return None


class Sections:
    """A configuration of sections; a subclass is a frozen dataclass whose fields are the sections.

    Attributes:
        presets: by name, values that take the place of defaults; chosen by the flag ``preset``.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        """Check all values at once.

        Raises:
            UserError: names every value that cannot be.
        """
        check_flags(
            (getattr(self, section.name) for section in fields(self)), self.contradictions()
        )

    def contradictions(self) -> Iterator[str]:
        """What no flag by itself can say is wrong, in the user's words."""
        yield from ()

    @classmethod
    def sections(cls) -> dict[str, type]:
        """The dataclasses of flags, by name."""
        return {section.name: section.type for section in fields(cls)}

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> Self:
        """Build it from a flat mapping of flag names, over the preset's values.

        Raises:
            UserError: a value is out of range, or the preset is not known.
        """
        preset = flags.get("preset")
        if preset is not None and preset not in cls.presets:
            raise UserError(f"--preset {preset!r}: choose from {', '.join(cls.presets)}")
        values = {**cls.presets.get(preset, {}), **flags}
        made = {}
        for name, section in cls.sections().items():
            known = {one.name for one in fields(section)}
            made[name] = section(**{k: v for k, v in values.items() if k in known})
        return cls(**made)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        return asdict(self)

    def as_flags(self) -> dict[str, Any]:
        """All values, by flag."""
        return {name: value for section in asdict(self).values() for name, value in section.items()}


def names_in(text: str) -> tuple[str, ...]:
    """The names of a comma-separated list, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
