"""WiC: does a word have the same meaning in two sentences?"""

from ptune_scale.superglue.fields import BadRecord, Fields, flat
from ptune_scale.superglue.task import FewShot, SuperglueTask
from ptune_scale.task.answers.words import Words

_SENSES = Words({"F": ("2",), "T": ("b",)})


def _check_spans(fields: Fields) -> None:
    # The word may be inflected in the sentence, so only the place of some word can be checked.
    for number in "12":
        if f"start{number}" in fields.values:
            start, end = fields.integer(f"start{number}"), fields.integer(f"end{number}")
            span = fields.values[f"sentence{number}"][start:end] if 0 <= start < end else ""
            if len(span) < end - start or span != span.strip() or not span:
                raise BadRecord(f"no word stands at {start} to {end} of 'sentence{number}'")


TASK = SuperglueTask(
    name="WiC",
    labels={"F": False, "T": True},
    answer=Words({"F": ("No",), "T": ("Yes",)}),
    ptuning="{sentence1...} [SEP] {sentence2...} [P] *{word}*? [Y]",
    behind="{sentence1...} [SEP] {sentence2...} *{word}*? [P] [Y]",
    no_anchors="{sentence1...} [P] {sentence2...} [P] {word} [P] [Y]",
    # PET's three; the last has its target in the middle.
    manual=(
        '"{sentence1...}" / "{sentence2...}" Similar sense of "{word}"? [Y].',
        "{sentence1...} {sentence2...} Does {word} have the same meaning in both sentences? [Y]",
        ('{word} . Sense (1) (a) "{sentence1...}" ( [Y] ) "{sentence2...}"', _SENSES),
    ),
    reference={
        1: "{sentence1...}|[SEP]|{sentence2...}|[P]|*{word} *?|[Y]",
        2: "{sentence1...}|[SEP]|{sentence2...}|[P]|*{word} *?|[P]|[Y]",
        3: "[P]|{sentence1...}|[SEP]|{sentence2...}|[P]|*{word} *?|[P]|[Y]",
        4: "[P]|{sentence1...}|[SEP]|{sentence2...}|[P]|*{word} *?|[P]|[Y]|[P]",
    },
    classify=("{sentence1...} [SEP] {sentence2...} [SEP] {word}",),
    few_shot=FewShot(max_length=256, max_steps=3500, encoder_lr=1e-5),
    read=flat("word", "sentence1", "sentence2", check=_check_spans),
)
