"""Reads prompts made of words that others published: LPAQA's and AutoPrompt's.

A prompts directory holds one JSON object a line::

    lpaqa/mine/P17.jsonl  lpaqa/paraphrase/P17.jsonl        {"template": ..., "weight": ...}
    autoprompt_bert.jsonl  autoprompt_roberta.jsonl         {"relation": ..., "template": ...}

In a template "[X]" is the subject and "[Y]" the target; all else is literal, brackets too.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ptune_scale.data.records import OnBadRecord, bad_record, read_records
from ptune_scale.errors import UserError
from ptune_scale.template import Target, Template, Text
from ptune_scale.tokenization import Kind

LPAQA_KINDS = ("mine", "paraphrase")
"""Sets of prompts that LPAQA publishes: mined from text, and paraphrased by translation."""

AUTOPROMPT_MODELS = ("bert", "roberta")
"""Models that AutoPrompt published prompts for."""


@dataclass(frozen=True, slots=True)
class WordPrompt:
    """A cloze sentence made of words.

    Attributes:
        text: as it was published.
        weight: its share among the prompts of its relation, as it was published.
    """

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class UsablePrompts:
    """The prompts of one relation that a kind of model can be asked.

    Attributes:
        templates: distinct, the heaviest first.
        weights: of each, positive or zero.
        left_out: how many were not taken, by reason.
    """

    templates: tuple[Template, ...]
    weights: tuple[float, ...]
    left_out: Counter[str] = field(default_factory=Counter)


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
    directory: Path,
    kind: str,
    relations: Iterable[str],
    on_bad_record: OnBadRecord = "stop",
    dropped: Counter[str] | None = None,
) -> dict[str, list[WordPrompt]]:
    """LPAQA's prompts of one kind for these relations.

    Args:
        kind: one of ``LPAQA_KINDS``.
        dropped: where bad lines that are skipped are counted.

    Raises:
        UserError: a file is missing or empty, or a line cannot be read; it is named.
    """
    found = {}
    for relation in relations:
        path = directory / "lpaqa" / kind / f"{relation}.jsonl"
        _must_exist(path, 'a {"template": "[X] is in [Y] .", "weight": 0.5} a line')
        found[relation] = _weighted(path, on_bad_record, Counter() if dropped is None else dropped)
        if not found[relation]:
            raise UserError(f"{path} holds no prompts")
    return found


def read_autoprompt(
    directory: Path,
    model: str,
    relations: Iterable[str],
    on_bad_record: OnBadRecord = "stop",
    dropped: Counter[str] | None = None,
) -> dict[str, WordPrompt]:
    """The prompt that AutoPrompt found for each of these relations on a model.

    Args:
        model: one of ``AUTOPROMPT_MODELS``.
        dropped: where bad lines that are skipped are counted.

    Raises:
        UserError: the file is missing or lacks a relation, or a line cannot be read; it is named.
    """
    path = directory / f"autoprompt_{model}.jsonl"
    _must_exist(path, 'a {"relation": "P17", "template": "[X] is in [Y]."} a line')
    dropped = Counter() if dropped is None else dropped
    keys = ("relation", "template")
    records = [record for _, record in read_records(path, keys, on_bad_record, dropped)]
    found = {record["relation"]: WordPrompt(record["template"]) for record in records}
    missing = [relation for relation in relations if relation not in found]
    if missing:
        raise UserError(f"{path} has no prompt of relation {', '.join(missing)}")
    return {relation: found[relation] for relation in relations}


def _weighted(path: Path, on_bad_record: OnBadRecord, dropped: Counter[str]) -> list[WordPrompt]:
    prompts = []
    for number, record in read_records(path, ("template",), on_bad_record, dropped):
        weight = record.get("weight")
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if is_number and 0 <= weight < math.inf:
            prompts.append(WordPrompt(record["template"], float(weight)))
        else:
            reason = "'weight' is missing or not a number of 0 or more"
            bad_record(path, number, reason, on_bad_record, dropped)
    return prompts


def _must_exist(path: Path, content: str) -> None:
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected {content} (see --prompts_dir)")


def usable(prompts: Sequence[WordPrompt], kind: Kind, at_most: int = 0) -> UsablePrompts:
    """The prompts that a kind of model can be asked, of each wording one.

    A causal model sees nothing behind the target: prompts that differ there alone are one prompt,
    with their weights added up.

    Args:
        at_most: so many of the heaviest; 0 for all.
    """
    left_out: Counter[str] = Counter()
    weights: dict[str, float] = {}
    templates: dict[str, Template] = {}
    for prompt in prompts:
        try:
            template = word_template(prompt.text, kind)
        except UserError:
            places = prompt.text.count("[X]") == prompt.text.count("[Y]") == 1
            left_out["subject behind the target" if places else "not one [X] and one [Y]"] += 1
            continue
        if template.pattern in templates:
            left_out["the same up to the target as another"] += 1
        templates.setdefault(template.pattern, template)
        weights[template.pattern] = weights.get(template.pattern, 0.0) + prompt.weight
    heaviest = sorted(templates, key=lambda pattern: -weights[pattern])
    chosen = heaviest[:at_most] if at_most else heaviest
    if len(heaviest) > len(chosen):
        left_out["beyond the heaviest"] = len(heaviest) - len(chosen)
    return UsablePrompts(
        tuple(templates[pattern] for pattern in chosen),
        tuple(weights[pattern] for pattern in chosen),
        left_out,
    )


def word_template(text: str, kind: Kind) -> Template:
    """A template of words alone, up to its target where the model sees nothing behind it.

    ``Template.parse`` reads numbers in parentheses and words in brackets as notation; here they are
    what they are.

    Raises:
        UserError: not exactly one [X] and one [Y], or a causal model and the subject behind the
            target.
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
    parts: list[Text | Target] = [Target()]
    if head.strip():
        parts.insert(0, _literal(head))
    if tail.strip():
        parts.append(_literal(tail))
    return Template(f"{head}[Y]{tail}", tuple(parts))


def _literal(text: str) -> Text:
    before, subject, after = text.partition("[X]")
    return Text(before, bool(subject), after)
