"""A field of a configuration that is a flag of the command line too."""

from collections.abc import Iterable
from dataclasses import field, fields
from typing import Any, Literal

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


def check_flags(sections: Iterable[Any]) -> None:
    """Check the values of sections of a configuration.

    Raises:
        UserError: names every value that cannot be.
    """
    wrong = [
        f"--{one.name} must be {rule}, got {getattr(section, one.name)!r}"
        for section in sections
        for one in fields(section)
        if (rule := _broken_rule(getattr(section, one.name), one.metadata.get("rules", {})))
    ]
    if wrong:
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
