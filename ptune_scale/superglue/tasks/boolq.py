"""BoolQ: is the answer to a question about a passage yes or no?"""

from ptune_scale.superglue.fields import flat
from ptune_scale.superglue.task import FewShot, SuperglueTask
from ptune_scale.task.answers.words import Words

_TRUTHS = Words({"False": ("false",), "True": ("true",)})
_ANSWER = "{passage...}. Question: {question}? Answer: [Y]."
_BASED_ON = "{passage...}. Based on the previous passage, {question}? [Y]."
_FOLLOWING = "Based on the following passage, {question}? [Y]. {passage...}"

TASK = SuperglueTask(
    name="BoolQ",
    labels={"False": False, "True": True},
    answer=Words({"False": ("No",), "True": ("Yes",)}),
    ptuning="{passage...}. [P] Question: {question}? Answer: [Y].",
    behind="{passage...}. Question: {question}? [P] Answer: [Y].",
    no_anchors="{passage...}. [P] {question}? [P] [Y].",
    # PET's six: three texts with two pairs of words each.
    manual=(
        _ANSWER,
        (_ANSWER, _TRUTHS),
        _BASED_ON,
        (_BASED_ON, _TRUTHS),
        _FOLLOWING,
        (_FOLLOWING, _TRUTHS),
    ),
    reference={1: "{passage...}|.|[P]| Question: |{question...}|? Answer: |[Y]|."},
    classify=("{passage...} [SEP] {question}",),
    few_shot=FewShot(max_length=256, max_steps=250, encoder_lr=1e-4),
    read=flat("passage", "question"),
)
