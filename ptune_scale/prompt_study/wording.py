"""The prompts of a study: where they come from, and how files of them are read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptune_scale.data.prompts import LPAQA_KINDS, read_lpaqa
from ptune_scale.errors import UserError
from ptune_scale.paper.records import rows
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.task import Task

_OF_RELATION = 1
_OF_TASK = 6
"""Tables of the paper that compare prompts."""


@dataclass(frozen=True)
class Wording:
    """A prompt of a relation as somebody wrote it.

    Attributes:
        text: with "[X]" and "[Y]".
        source: who wrote it.
    """

    text: str
    source: str


def wordings(relation: str, own: str, data_dir: Path, prompts: str) -> list[Wording]:
    """The prompts of a relation.

    Args:
        own: the relation's prompt in the data.
        prompts: a file with all of them; "" for the published ones that are at hand.

    Raises:
        UserError: a file cannot be read; a bad line is named.
    """
    if prompts:
        path = Path(prompts)
        return [
            Wording(_text(value, "template", path, number), f"{path.name}:{number}")
            for number, value in _lines(path, "template")
        ]
    found = [Wording(text, "paper") for text in papers_wordings(relation)]
    found.append(Wording(own, "LAMA"))
    directory = data_dir / "prompts"
    for kind in LPAQA_KINDS:
        if (directory / "lpaqa" / kind / f"{relation}.jsonl").is_file():
            heaviest = sorted(
                read_lpaqa(directory, kind, [relation])[relation], key=lambda p: -p.weight
            )
            found += [Wording(prompt.text, f"LPAQA {kind}") for prompt in heaviest]
    return found


def papers_setting(subject: str) -> str:
    """What the paper's numbers of a relation's or a task's prompts are; "" where it has none."""
    for row in rows().values():
        if row.table in (_OF_RELATION, _OF_TASK) and subject in row.paper:
            return f"Table {row.table} ({row.title}), {row.model.name}"
    return ""


def papers_wordings(relation: str) -> dict[str, float]:
    """The prompts that the paper compares, with their P@1 in percent."""
    return {
        row.manual_prompt: row.paper[relation]
        for row in rows().values()
        if row.table == _OF_RELATION and relation in row.paper
    }


def papers_patterns(task: str) -> dict[str, dict[str, float]]:
    """By the name of a pattern, what the paper reports of it in percent, as "small" and "full"."""
    return {
        row.pattern: {"small": row.paper[f"{task} dev32"], "full": row.paper[task]}
        for row in rows().values()
        if row.table == _OF_TASK and row.pattern and task in row.paper
    }


def read_patterns(task: Task, path: Path) -> dict[str, Pattern]:
    """Patterns of a file, named as manual ones; where a line has no words, the task's own.

    Raises:
        UserError: the file cannot be read; a bad line is named.
    """
    own = task.pattern().words
    found = {}
    for number, value in _lines(path, "pattern"):
        text = _text(value, "pattern", path, number)
        words = value.get("words", dict(own)) if isinstance(value, dict) else dict(own)
        good = isinstance(words, dict) and all(isinstance(w, str) and w for w in words.values())
        if not good or set(words) != set(own):
            labels = ", ".join(task.labels) if own else "no label"
            raise UserError(f"{path}:{number}: 'words' must have a word for {labels}")
        try:
            pattern = Pattern.parse(text, words)
        except UserError as error:
            raise UserError(f"{path}:{number}: {error}") from error
        unknown = [name for name in pattern.names if not hasattr(task.record, name)]
        if unknown or pattern.num_slots:
            reason = f"a record of {task.name} has no {', '.join(unknown)}"
            reason = reason if unknown else "a manual pattern has no prompt slots [P]"
            raise UserError(f"{path}:{number}: pattern {text!r}: {reason}")
        found[f"manual_{path.stem}_{number}"] = pattern
    return found


def _lines(path: Path, key: str) -> Iterator[tuple[int, Any]]:
    """(number, text or object) of each line that is not blank."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    some = False
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line:
            continue
        some = True
        # A pattern may begin with a brace, too: "{premise...} ...".
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            if line.startswith('{"'):
                reason = f"not JSON ({error.msg})"
                raise UserError(f"{path}:{number}: bad record: {reason}") from error
            value = line
        yield number, value if isinstance(value, dict) else line
    if not some:
        raise UserError(f"{path} holds no {key}s")


def _text(value: Any, key: str, path: Path, number: int) -> str:
    text = value.get(key) if isinstance(value, dict) else value
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{path}:{number}: bad record: {key!r} is missing or not a text")
    return text
