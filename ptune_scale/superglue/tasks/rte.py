"""RTE: does a text imply a hypothesis?"""

from ptune_scale.superglue.fields import flat
from ptune_scale.superglue.task import FewShot, SuperglueTask
from ptune_scale.task.answers.words import Words

_TRUTHS = Words({"entailment": ("true",), "not_entailment": ("false",)})

TASK = SuperglueTask(
    name="RTE",
    labels={name: name for name in ("entailment", "not_entailment")},
    answer=Words({"entailment": ("Yes",), "not_entailment": ("No",)}),
    ptuning="{premise...} Question: {hypothesis|bare}? [P] Answer: [Y].",
    no_anchors="{premise...} [P] {hypothesis|bare}? [P] [Y].",
    manual=(
        # PET's five.
        '"{hypothesis|bare}"? [SEP] [Y], "{premise...}"',
        "{hypothesis|bare}? [SEP] [Y], {premise...}",
        '"{hypothesis|bare}"? [SEP] [Y]. "{premise...}"',
        "{hypothesis|bare}? [SEP] [Y]. {premise...}",
        ("{premise...} question: {hypothesis} True or False? answer: [Y]", _TRUTHS),
        # Those of Liu et al. 2021, table 6.
        "Does {premise...} agree with {hypothesis|bare}? [Y].",
        "Does {hypothesis|bare} agree with {premise...}? [Y].",
        "Premise: {premise...} Hypothesis: {hypothesis} Answer: [Y].",
        ("{premise...} question: {hypothesis|bare}. true or false? answer: [Y].", _TRUTHS),
    ),
    reference={1: "{premise...}|Question:|{hypothesis|bare...}|?|[P]|Answer:|[Y]|."},
    classify=("{premise...} [SEP] {hypothesis}",),
    few_shot=FewShot(max_length=256, max_steps=3500, encoder_lr=1e-4, warmup_steps=150),
    read=flat("premise", "hypothesis"),
)
