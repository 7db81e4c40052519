"""CB (CommitmentBank): does a text imply a hypothesis, contradict it, or neither?"""

from ptune_scale.superglue.fields import flat
from ptune_scale.superglue.task import FewShot, SuperglueTask
from ptune_scale.task.answers.words import Words

_TRUTHS = Words({"entailment": ("true",), "contradiction": ("false",), "neutral": ("neither",)})

TASK = SuperglueTask(
    name="CB",
    labels={name: name for name in ("entailment", "contradiction", "neutral")},
    answer=Words({"entailment": ("Yes",), "contradiction": ("No",), "neutral": ("Maybe",)}),
    ptuning="{premise...} [SEP] {hypothesis|bare}? [P] answer: [Y]",
    no_anchors="{premise...} [P] {hypothesis|bare}? [P] [Y]",
    # PET's five; the last is the only one that ends in its target.
    manual=(
        '"{hypothesis|bare}"? [SEP] [Y], "{premise...}"',
        "{hypothesis|bare}? [SEP] [Y], {premise...}",
        '"{hypothesis|bare}"? [SEP] [Y]. "{premise...}"',
        "{hypothesis|bare}? [SEP] [Y]. {premise...}",
        ("{premise...} question: {hypothesis} true, false or neither? answer: [Y]", _TRUTHS),
    ),
    reference={1: "{premise...}|[SEP]|{hypothesis}|?|[P]| answer: |[Y]"},
    classify=("{premise...} [SEP] {hypothesis}",),
    few_shot=FewShot(max_length=256, max_steps=250, encoder_lr=1e-5),
    read=flat("premise", "hypothesis"),
    metrics=("accuracy", "macro_f1"),
    select_on=("accuracy", "macro_f1"),
)
