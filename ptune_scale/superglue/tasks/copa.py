"""COPA: which of two events is the cause, or the effect, of another?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ptune_scale.superglue.fields import BadRecord, Fields, flat
from ptune_scale.superglue.task import FewShot, SuperglueTask
from ptune_scale.task.answers.choices import Choices
from ptune_scale.task.filters import field_text
from ptune_scale.task.record import Record

_OPTIONS = ("choice1|clause", "choice2|clause")
_OR = "{choice1|clause} or {choice2|clause}?"
_QUOTED = '"{choice1|clause}" or "{choice2|clause}"?'
_SO_FAR = "{premise|bare...} {question|cause=because|effect=so}"


def _check(fields: Fields) -> None:
    question = fields.text("question")
    if question not in ("cause", "effect"):
        raise BadRecord(f"'question' is {question!r}; it must be 'cause' or 'effect'")
    if not all(field_text(option, fields.values).strip() for option in _OPTIONS):
        raise BadRecord("a choice has nothing but punctuation")


def with_mirrored(records: Sequence[Record]) -> Iterator[Record]:
    """The records, and behind them each with its choices exchanged: 64 out of FewGLUE's 32."""
    yield from records
    for record in records:
        one, other = record.fields["choice1"], record.fields["choice2"]
        fields = {**record.fields, "choice1": other, "choice2": one}
        yield replace(record, fields=fields, answer={"0": "1", "1": "0"}.get(record.answer or ""))


TASK = SuperglueTask(
    name="COPA",
    labels={"0": 0, "1": 1},
    answer=Choices(_OPTIONS, names=("0", "1")),
    ptuning=f"{_OR} {_SO_FAR} [P] [Y].",
    no_anchors="{choice1|clause} [P] {choice2|clause}? [P] " + f"{_SO_FAR} [Y].",
    # PET's two.
    manual=(f"{_QUOTED} {_SO_FAR} [Y].", f"{_OR} {_SO_FAR} [Y]."),
    reference={
        1: "{choice1|clause}|or|{choice2|clause}|?|{premise|bare...}|"
        "{question|cause=because|effect=so}|[P]|[Y]|."
    },
    classify=(
        "{premise...} [SEP] {question} [SEP] {choice1}",
        "{premise...} [SEP] {question} [SEP] {choice2}",
    ),
    few_shot=FewShot(max_length=96, max_steps=3500, encoder_lr=1e-5),
    read=flat("premise", "choice1", "choice2", "question", check=_check),
    learn=with_mirrored,
)
