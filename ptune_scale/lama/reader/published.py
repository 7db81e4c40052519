"""Prompts made of words that LPAQA published (Jiang et al. 2020, arXiv:1911.12543).

A prompts directory holds one JSON object a line::

    lpaqa/mine/P17.jsonl  lpaqa/paraphrase/P17.jsonl        {"template": ..., "weight": ...}

In a template "[X]" is the subject and "[Y]" the target; all else is literal, brackets too.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ptune_scale.errors import UserError
from ptune_scale.reading import has_file
from ptune_scale.task.files import OnBadRecord, bad_record, read_rows
from ptune_scale.task.pattern import SUBJECT, Kind, Pattern, Piece, Target, TextPiece

LPAQA_KINDS = ("mine", "paraphrase")
"""Sets of prompts that LPAQA publishes: mined from text, and paraphrased by translation."""


@dataclass(frozen=True, slots=True)
class WordPrompt:
    """A cloze sentence made of words, and its share among the prompts of its relation."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Published:
    """The prompts of one kind, by relation, and the bad lines that were skipped."""

    prompts: Mapping[str, Sequence[WordPrompt]]
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class UsablePrompts:
    """The prompts of one relation that a kind of model can be asked.

    Attributes:
        patterns: distinct, the heaviest first.
        weights: of each, positive or zero.
        left_out: how many were not taken, by reason.
    """

    patterns: Sequence[Pattern]
    weights: Sequence[float]
    left_out: Counter[str]


def prompts_directory(data_dir: str, prompts_dir: str) -> Path:
    """Where prompts are read from.

    Raises:
        UserError: it was not said, and the built-in facts come without prompts.
    """
    if prompts_dir:
        return Path(prompts_dir)
    if data_dir == "embedded":
        raise UserError(
            "the built-in facts come without prompts of others; name a directory by --prompts_dir, "
            "or take facts from a --data_dir that has prompts/"
        )
    return Path(data_dir) / "prompts"


def read_lpaqa(
    directory: Path, kind: str, relations: Iterable[str], on_bad_record: OnBadRecord = "stop"
) -> Published:
    """LPAQA's prompts of one kind for these relations.

    Args:
        kind: one of ``LPAQA_KINDS``.

    Raises:
        UserError: a file is missing or empty, or a line cannot be read; it is named.
    """
    found: dict[str, list[WordPrompt]] = {}
    dropped: Counter[str] = Counter()
    for relation in relations:
        path = directory / "lpaqa" / kind / f"{relation}.jsonl"
        if not has_file(path):
            raise UserError(
                f'{path} does not exist; expected a {{"template": "[X] is in [Y] .", '
                '"weight": 0.5} a line (see --prompts_dir)'
            )
        found[relation] = []
        required = ("template",)
        for row in read_rows(path, required=required, on_bad_record=on_bad_record, dropped=dropped):
            weight = row.values.get("weight")
            number = -1.0 if isinstance(weight, bool) or weight is None else weight
            if not isinstance(number, int | float) or not 0 <= number < math.inf:
                reason = "'weight' is missing or not a number from 0"
                bad_record(row.source, reason, on_bad_record, dropped)
                continue
            found[relation].append(WordPrompt(row.values["template"], float(number)))
        if not found[relation]:
            raise UserError(f"{path} holds no prompts")
    return Published(found, dropped)


def usable(prompts: Sequence[WordPrompt], kind: Kind, at_most: int = 0) -> UsablePrompts:
    """The prompts that a kind of model can be asked, of each wording one.

    A causal model sees nothing behind the target: prompts that differ there alone are one prompt,
    with their weights added up.

    Args:
        at_most: so many of the heaviest; 0 for all.
    """
    left_out: Counter[str] = Counter()
    weights: dict[str, float] = {}
    patterns: dict[str, Pattern] = {}
    for prompt in prompts:
        try:
            pattern = word_pattern(prompt.text, kind)
        except UserError:
            places = prompt.text.count("[X]") == prompt.text.count("[Y]") == 1
            left_out["subject behind the target" if places else "not one [X] and one [Y]"] += 1
            continue
        if pattern.text in patterns:
            left_out["the same up to the target as another"] += 1
        patterns.setdefault(pattern.text, pattern)
        weights[pattern.text] = weights.get(pattern.text, 0.0) + prompt.weight
    heaviest = sorted(patterns, key=lambda text: -weights[text])
    chosen = heaviest[:at_most] if at_most else heaviest
    if len(heaviest) > len(chosen):
        left_out["beyond the heaviest"] = len(heaviest) - len(chosen)
    return UsablePrompts([patterns[t] for t in chosen], [weights[t] for t in chosen], left_out)


def word_pattern(text: str, kind: Kind) -> Pattern:
    """A pattern of words alone, up to its target where the model sees nothing behind it.

    ``Pattern.parse`` reads numbers in parentheses and words in brackets as notation; here they are
    what they are.

    Raises:
        UserError: not exactly one [X] and one [Y], words in braces, or a causal model and the
            subject behind the target.
    """
    text = " ".join(text.split())
    if text.count("[X]") != 1 or text.count("[Y]") != 1:
        raise UserError(f"prompt {text!r}: write [X] and [Y] exactly once each")
    head, _, tail = text.partition("[Y]")
    if kind == "causal":
        if "[X]" in tail:
            raise UserError(
                f"prompt {text!r}: the subject stands behind the target, "
                "so a causal model cannot use it"
            )
        tail = ""
    pieces: list[Piece] = [*_words(head), Target(), *_words(tail)]
    pattern = Pattern(f"{head}[Y]{tail}", tuple(pieces))
    if pattern.names != [SUBJECT]:
        raise UserError(f"prompt {text!r}: words in braces stand for fields; leave them out")
    return pattern


def _words(text: str) -> list[TextPiece]:
    if not text.strip():
        return []
    with_subject = text.strip().replace("[X]", f"{{{SUBJECT}}}")
    return [TextPiece(with_subject, space=text[0].isspace())]
