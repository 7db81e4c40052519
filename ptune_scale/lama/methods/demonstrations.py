"""Training facts written out in the manual prompt's words, to stand in front of a question.

They show a frozen model what kind of word is asked for, in words that it has read before (Brown et
al. 2020, "Language Models are Few-Shot Learners"). They are the same for all questions of a
relation, or retrieved for each: those whose subjects are spelled most alike (Liu et al. 2021, "What
Makes Good In-Context Examples for GPT-3?", take neighbours in the space of a sentence encoder).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ptune_scale.task.pattern import SUBJECT
from ptune_scale.task.record import Record
from ptune_scale.task.task import Task

if TYPE_CHECKING:
    import numpy as np

RETRIEVED = "retrieved"
"""The field of a record that holds the facts retrieved for it, written out."""

_NOTATION = set("{}[]")
"""Names with these would be read as a pattern's notation."""


def chosen_facts(facts: Sequence[Record], count: int) -> list[Record]:
    """So many facts, by a hash of their subjects, each with an object of its own.

    A relation's commonest object would otherwise be all that is shown. Fewer where there are not so
    many objects, and never more than a quarter of the facts: from the others a prompt learns to do
    more than to repeat what is shown.
    """
    by_object: dict[str, Record] = {}
    count = min(count, len(facts) // 4)
    for fact in sorted(facts, key=lambda fact: hashlib.sha256(fact.id.encode()).digest()):
        if not _NOTATION & set(fact.fields[SUBJECT] + (fact.answer or "")):
            by_object.setdefault(fact.answer or "", fact)
    return list(by_object.values())[:count]


def written_out(facts: Sequence[Record], sentence: str) -> str:
    """The facts in the words of a manual prompt, as one text.

    Example:
        >>> written_out([oslo], "The capital of [X] is [Y] .")
        'The capital of Norway is Oslo.'
    """
    sentence = sentence.replace(" .", ".")
    return " ".join(
        sentence.replace("[X]", fact.fields[SUBJECT]).replace("[Y]", fact.answer or "")
        for fact in facts
    )


def with_retrieved(task: Task, count: int) -> Task:
    """The relation with a field ``RETRIEVED`` in each record: what stands in front of its question.

    The fact most alike stands last, next to the question.
    """
    train, sentence = task.splits.train, task.manual["manual"].pattern.text

    def shown(records: Sequence[Record]) -> tuple[Record, ...]:
        return tuple(
            replace(
                record,
                fields={
                    **record.fields,
                    RETRIEVED: written_out([train[i] for i in places[:count][::-1]], sentence),
                },
            )
            for record, (places, _) in zip(records, nearest(train, records), strict=True)
        )

    splits = task.splits
    return replace(
        task,
        splits=replace(splits, train=shown(train), dev=shown(splits.dev), test=shown(splits.test)),
    )


def nearest(
    facts: Sequence[Record], asked: Sequence[Record]
) -> Iterator[tuple[list[int], np.ndarray]]:
    """For each record asked, places of all facts about other subjects, those most alike first.

    Yields:
        The places, and (F,) float64, how alike the subject of each fact is: the cosine of counts of
        2 to 5 letters within words, those that few subjects have weighing more (TF-IDF).
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not asked:
        return
    counts = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    known = counts.fit_transform([fact.fields[SUBJECT] for fact in facts])
    alike = (counts.transform([record.fields[SUBJECT] for record in asked]) @ known.T).toarray()
    for record, row in zip(asked, alike, strict=True):
        order = np.argsort(-row, kind="stable").tolist()
        subject = record.fields[SUBJECT]
        yield [i for i in order if facts[i].fields[SUBJECT] != subject], row
