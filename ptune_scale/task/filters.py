"""Filters of a pattern's fields: ``{hypothesis|bare}``, ``{question|cause=because|effect=so}``."""

import string
from collections.abc import Callable, Mapping

from ptune_scale.errors import UserError


def _bare(text: str) -> str:
    return text.rstrip(string.punctuation)


FILTERS: dict[str, Callable[[str], str]] = {
    "bare": _bare,
    "clause": lambda text: _bare(text[:1].lower() + text[1:]),
    "lower": str.lower,
    "upper": str.upper,
    "capitalize": lambda text: text[:1].upper() + text[1:],
}
"""By name. bare: without the punctuation at the end; clause: that, and a small letter in front."""


def field_name(expression: str) -> str:
    """The field that an expression such as "hypothesis|bare" reads."""
    return expression.split("|", 1)[0].strip()


def field_text(expression: str, fields: Mapping[str, str]) -> str:
    """A field's text, passed through the filters of the expression.

    Raises:
        UserError: the text is none of those that the expression gives words for.
        KeyError: there is no such field.

    Example:
        >>> field_text("question|cause=because|effect=so", {"question": "effect"})
        'so'
    """
    name, *filters = (part.strip() for part in expression.split("|"))
    text = fields[name]
    pairs = (each.split("=", 1) for each in filters if "=" in each)
    words = {value.strip(): word.strip() for value, word in pairs}
    if words:
        if text not in words:
            raise UserError(
                f"field {name!r} is {text!r}; the pattern has words for {', '.join(words)} only"
            )
        text = words[text]
    for each in filters:
        if "=" not in each:
            text = FILTERS[each](text)
    return text


def check_filters(expression: str) -> None:
    """Make sure that all filters of an expression are known.

    Raises:
        UserError: one is not.
    """
    for each in expression.split("|")[1:]:
        if "=" not in each and each.strip() not in FILTERS:
            raise UserError(
                f"{{{expression}}}: no filter {each.strip()!r}; there are {', '.join(FILTERS)}, "
                "and words for values, as {name|value=word|other=word}"
            )
