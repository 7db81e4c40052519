"""Texts of many tokens to train on: passages of somebody's file, or of Python's own documentation.

Few-shot tuning goes over the same few texts again and again: the first time they are new, and what
an epoch costs from the second on is what a job costs.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ptune_scale.errors import UserError
from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.config import BenchDataConfig
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.files import read_rows
from ptune_scale.task.pattern import SUBJECT, Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording

PLACES = {
    "in front": "[P]*6 {subject...} [Y]",
    "around": "[P]*3 {subject...} [P]*3 [Y]",
    "behind": "{subject...} [P]*6 [Y]",
}
"""Where slots stand: a text before all of them needs no backward pass, and is the same in each
step."""

_FIELDS = ("passage", "text")
_LETTERS_OF_A_TOKEN = 8
"""At most, nearly always: texts that are longer are cut, all to the same number of tokens."""


def long_texts(data: BenchDataConfig) -> list[str]:
    """``num_texts`` texts, each of more than ``text_tokens`` tokens; no model is needed for it.

    Raises:
        UserError: the file cannot be read, or has too few texts that are long enough.
    """
    letters = _LETTERS_OF_A_TOKEN * data.text_tokens
    texts = _passages(Path(data.texts), letters) if data.texts else _documentation(letters)
    if len(texts) < data.num_texts:
        source = data.texts or "the built-in texts"
        raise UserError(f"--texts {source}: {len(texts)} long texts, and {data.num_texts} needed")
    return texts[: data.num_texts]


def text_case(case: Case, texts: Sequence[str], place: str, length: int) -> Case:
    """A case of these texts cut to rows of ``length`` tokens, in one task.

    Args:
        place: of the slots, a key of ``PLACES``.
    """
    pattern = Pattern.parse(PLACES[place])
    answers = sorted({r.answer for t in case.tasks for r in t.splits.train if r.answer})
    chance = random.Random(case.train.seed)
    records = [
        Record(str(number), {SUBJECT: text}, chance.choice(answers))
        for number, text in enumerate(texts)
    ]
    wording = Wording(pattern, Ranked({"full_vocab": None}, one_token=True))
    task = Task("texts", wording, Splits(tuple(records), (), ()), max_length=length)
    return replace(case, tasks=(task,))


def _passages(path: Path, letters: int) -> list[str]:
    """Texts of a file of JSON lines, such as FewGLUE's BoolQ; several make one that is too short.

    Raises:
        UserError: it cannot be read, or its lines have no text.
    """
    found, text = [], ""
    for row in read_rows(path):
        name = next((name for name in _FIELDS if isinstance(row.values.get(name), str)), None)
        if name is None:
            raise UserError(f"--texts {row.source}: it has no {' or '.join(_FIELDS)}")
        text = f"{text} {row.values[name]}".strip()
        if len(text) >= letters:
            found.append(text)
            text = ""
    return found


def _documentation(letters: int) -> list[str]:
    """Python's reference, in pieces of so many letters."""
    from pydoc_data.topics import topics

    prose = re.sub(r"\s+", " ", " ".join(topics[name] for name in sorted(topics)))
    return [prose[i : i + letters] for i in range(0, len(prose) - letters, letters)]
