"""MultiRC: is this a right answer to a question about a passage? Several may be."""

from collections.abc import Iterator

from ptune_scale.superglue.fields import Fields
from ptune_scale.superglue.task import FewShot, SuperglueTask
from ptune_scale.task.answers.words import Words

_TRUTHS = Words({"0": ("False",), "1": ("True",)})


def _read(fields: Fields) -> Iterator[tuple[str, dict[str, str], Fields]]:
    """The answers to all questions of one passage; those to a question are a group."""
    passage = fields.nested("passage")
    text = passage.text("text")
    for question in passage.each("questions"):
        group = f"{fields.integer('idx')}.{question.integer('idx')}"
        for answer in question.each("answers"):
            texts = {
                "passage": text,
                "question": question.text("question"),
                "answer": answer.text("text", may_be_empty=True),
                "group": group,
            }
            yield f"{group}.{answer.integer('idx')}", texts, answer


TASK = SuperglueTask(
    name="MultiRC",
    labels={"0": 0, "1": 1},
    answer=Words({"0": ("No",), "1": ("Yes",)}),
    ptuning="{passage...}. Question: {question}? Is it {answer}? [P] [Y].",
    no_anchors="{passage...}. [P] {question}? [P] {answer}? [P] [Y].",
    # PET's four.
    manual=(
        "{passage...}. Question: {question}? Is it {answer}? [Y].",
        '{passage...}. Question: {question}? Is the correct answer "{answer}"? [Y].',
        "{passage...}. Based on the previous passage, {question}? "
        'Is "{answer}" a correct answer? [Y].',
        ("{passage...} {question} - [ [Y] ] {answer}", _TRUTHS),
    ),
    reference={1: "{passage...}|. Question: |{question}|? Is it |{answer}|?|[P]|[Y]|."},
    classify=("{passage...} [SEP] {question} [SEP] {answer}",),
    few_shot=FewShot(max_length=512, max_steps=250, encoder_lr=1e-4),
    read=_read,
    metrics=("em_by_group", "f1a", "accuracy"),
    select_on=("accuracy", "f1a"),
)
