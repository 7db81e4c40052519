"""ReCoRD: which entity of a passage fills the gap in a query?

It is read and scored only: the paper leaves it out of its experiments, and so do we.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ptune_scale.superglue import metrics
from ptune_scale.superglue.fields import BadRecord, Fields
from ptune_scale.superglue.task import Record, Task

PLACEHOLDER = "@placeholder"
"""The gap in a query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Record):
    """A passage and a query with a gap; ``idx`` is the passage's number and the query's.

    Attributes:
        entities: the distinct texts that may fill the gap, in the order of the passage.
        answers: those that are right; empty where they are not known.
    """

    passage: str
    query: str
    entities: tuple[str, ...]
    answers: tuple[str, ...]


def read(fields: Fields) -> Iterator[Query]:
    """The queries of one passage."""
    passage = fields.nested("passage")
    text = passage.text("text")
    # Spans count characters of the text as published, not as stripped.
    entities = [_entity(passage.values["text"], entity) for entity in passage.each("entities")]
    for query in fields.each("qas"):
        sentence = query.text("query")
        if PLACEHOLDER not in sentence:
            raise BadRecord(f"'{query.path}query' has no {PLACEHOLDER}")
        known = fields.labelled or "answers" in query.values
        answers = [answer.text("text") for answer in query.each("answers")] if known else []
        if fields.labelled and not answers:
            raise BadRecord(f"'{query.path}answers' is empty")
        yield Query(
            idx=(fields.integer("idx"), query.integer("idx")),
            label=None,
            passage=text.replace("@highlight\n", "- "),
            query=sentence,
            entities=tuple(dict.fromkeys(entities)),
            answers=tuple(dict.fromkeys(answers)),
        )


def _entity(text: str, entity: Fields) -> str:
    """The text of a span; its end is inclusive."""
    start, end = entity.integer("start"), entity.integer("end")
    if not 0 <= start <= end < len(text):
        raise BadRecord(f"'{entity.path[:-1]}' ends at {end}, the text at {len(text) - 1}")
    return text[start : end + 1]


def score(records: Sequence[Query], predictions: Sequence[str]) -> dict[str, float]:
    """Exact match and F1 of words, of the entities chosen."""
    return metrics.record(predictions, [record.answers for record in records])


TASK = Task(
    name="ReCoRD",
    labels=(),
    answer="choices",
    record=Query,
    read=read,
    score=score,
    deciding=("em", "f1"),
    options=lambda query: query.entities,
)
