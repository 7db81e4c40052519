"""Kinds of answers as plain data: the ``[answer]`` table of a task file, and of an export."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.task.answers.answer import Answer
from ptune_scale.task.answers.choices import Choices
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.span import Span
from ptune_scale.task.answers.text import Text
from ptune_scale.task.answers.words import Words

KINDS: dict[str, type[Any]] = {each.kind: each for each in (Words, Choices, Ranked, Text, Span)}
"""Every kind of answer by its name, which is also its key in a task file."""


def as_data(answer: Answer) -> dict[str, Any]:
    """An answer as a table for JSON or TOML, which ``from_data`` reads back."""
    values = {field.name: getattr(answer, field.name) for field in fields(answer)}  # type: ignore
    main = next(iter(values))
    rest = {name: value for name, value in values.items() if name != main}
    if isinstance(answer, Text):
        return {"text": values}
    return {answer.kind: values[main], **rest}


def from_data(table: Mapping[str, Any], where: str) -> Answer:
    """Read a table with one of the keys ``words``, ``choices``, ``candidates``, ``text``, ``span``.

    Args:
        where: what is read, for messages.

    Raises:
        UserError: there is none, more than one, or a value of the wrong type.
    """
    named = [kind for kind in KINDS if kind in table]
    if len(named) != 1:
        raise UserError(
            f"{where}: [answer] needs one of {', '.join(KINDS)}; it has "
            f"{', '.join(table) or 'nothing'}"
        )
    kind = named[0]
    value, rest = table[kind], {k: v for k, v in table.items() if k != kind}
    try:
        if kind == "words":
            words = {
                str(label): (word,) if isinstance(word, str) else _texts(word)
                for label, word in value.items()
            }
            return Words(words, **_known(Words, rest))
        if kind == "choices":
            names = _texts(rest.pop("names", ()))
            return Choices(_texts(value), names, **_known(Choices, rest))
        if kind == "candidates":
            sets = value if isinstance(value, Mapping) else {"candidates": value}
            lists = {name: None if ws is None else _texts(ws) for name, ws in sets.items()}
            return Ranked(lists, **_known(Ranked, rest))
        if kind == "span":
            return Span(*_texts([value]), **_known(Span, rest))
        settings = {**_known(Text, value), **_known(Text, rest)}
        if "stop" in settings:
            stop = settings["stop"]
            settings["stop"] = (stop,) if isinstance(stop, str) else _texts(stop)
        return Text(**settings)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{where}: [answer] {kind} is not as it should be ({error})") from error


def _texts(values: Any) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise TypeError("a list of texts is needed")
    return tuple(values)


def _known(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name: field.type for field in fields(kind)}
    wrong = [name for name in values if name not in known]
    if wrong:
        raise TypeError(f"no setting {', '.join(wrong)}; there are {', '.join(known)}")
    for name, value in values.items():
        if known[name] in (int, bool, str) and type(value) is not known[name]:
            raise TypeError(f"{name} is {value!r}")
    return dict(values)
