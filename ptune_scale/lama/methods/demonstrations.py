"""Training facts written out in the manual prompt's words, to stand in front of a question.

They show a frozen model what kind of word is asked for, in words that it has read before (Brown et
al. 2020, "Language Models are Few-Shot Learners").
"""

import hashlib
from collections.abc import Sequence

from ptune_scale.task.pattern import SUBJECT
from ptune_scale.task.record import Record

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
